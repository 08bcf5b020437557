"""Turns a request's headers into why it is not answered: it is meant for another host, or a foreign page sent it.

Defence in depth around the token: a name that an attacker's DNS lets point at loopback (DNS rebinding) and a page of
another origin (Fetch Metadata, W3C) get nothing, whatever else they know. Invariant: what can't be read strictly is
refused.
"""

from __future__ import annotations

import re

from aiohttp import web

_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_SAME = "same-origin"
_OWN_SITES = frozenset({_SAME, "none"})


def why_refused(request: web.Request, names: frozenset[str] = frozenset()) -> str:
    """Why `request` is not answered; "" where it may be. `names`: hosts that are ours beside loopback, by TLS."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not (_HOST.fullmatch(hosts[0]) or (request.secure and _name(hosts[0]) in names)):
        return "Host: expected 127.0.0.1, localhost or [::1], with or without a port"
    origins = request.headers.getall("Origin", [])
    own = f"{request.scheme}://{hosts[0]}"
    if any(origin.lower() != own.lower() for origin in origins):
        return f"Origin: expected {own}, or none: commands of another page are not taken"
    sites = request.headers.getall("Sec-Fetch-Site", [])
    if request.path != "/" and not _OWN_SITES.issuperset(sites):  # a link to the page, which holds nothing, is fine
        return "Sec-Fetch-Site: expected same-origin or none: requests of another page are not answered"
    return ""


def why_not_by_cookie(request: web.Request) -> str:
    """Why a cookie is no credential for `request`; "" where it is one.

    A browser sends cookies by itself, whoever's page asks; what changes something has to say that our own page does.
    """
    is_look = request.method in ("GET", "HEAD") and "Upgrade" not in request.headers
    if is_look or "Origin" in request.headers or request.headers.get("Sec-Fetch-Site") == _SAME:
        return ""
    return "Origin: expected with a session's cookie: commands of another page are not taken"


def _name(host: str) -> str:
    """Without the port."""
    return re.sub(r":[0-9]{1,5}\Z", "", host.lower())
