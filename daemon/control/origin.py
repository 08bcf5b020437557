"""Turns a request's headers into why it is not answered: it is meant for another host, or a foreign page sent it.

Defence in depth around the token: a name that an attacker's DNS lets point at loopback (DNS rebinding) and a page of
another origin (Fetch Metadata, W3C) get nothing, whatever else they know. Invariant: what can't be read strictly is
refused.
"""

from __future__ import annotations

import re

from aiohttp import web

_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_OWN_SITES = frozenset({"same-origin", "none"})


def why_refused(request: web.Request) -> str:
    """Why `request` is not answered; "" where it may be."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return "Host: expected 127.0.0.1, localhost or [::1], with or without a port"
    origins = request.headers.getall("Origin", [])
    if any(origin.lower() != f"http://{hosts[0]}".lower() for origin in origins):
        return f"Origin: expected http://{hosts[0]}, or none: commands of another page are not taken"
    sites = request.headers.getall("Sec-Fetch-Site", [])
    if request.path != "/" and not _OWN_SITES.issuperset(sites):  # a link to the page, which holds nothing, is fine
        return "Sec-Fetch-Site: expected same-origin or none: requests of another page are not answered"
    return ""
