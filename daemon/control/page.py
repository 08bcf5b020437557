"""The files of `live/`, the look of every page and the charts → one page, and the policy that fences it in.

Invariant: the page loads nothing from anywhere: its scripts and its style are inline and named by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from daemon.report.shell import ATTRIBUTION, CHARTS, asset

SCRIPTS = ("format.js", "talk.js", "charts.js", "panels.js", "commands.js", "main.js")
"""In this order: what a later one uses is in an earlier one."""


@cache
def page() -> str:
    """The live page, HTML."""
    scripts = [asset(CHARTS), *(_part(name) for name in SCRIPTS)]
    return (
        _part("page.html")
        .replace("<!-- style -->", f"<style>{asset('page.css')}{_part('live.css')}</style>")
        .replace("<!-- attribution -->", ATTRIBUTION)
        .replace("<!-- scripts -->", "\n".join(f"<script>{script}</script>" for script in scripts))
    )


@cache
def content_security_policy(html: str) -> str:
    """The policy (W3C Content Security Policy 3) under which `html` runs its own scripts and style, and no other."""
    return (
        f"default-src 'none'; script-src {_hashes(html, 'script')}; style-src {_hashes(html, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _part(name: str) -> str:
    return files("daemon.control").joinpath("live", name).read_text(encoding="utf-8")


def _hashes(html: str, tag: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
