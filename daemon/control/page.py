"""Turns `status.html`, which ships beside this module, into the status page and the policy that fences it in.

Invariant: the page loads nothing from anywhere: its one script and one style are inline and named by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files


def page() -> str:
    """The status page, HTML."""
    return files("daemon.control").joinpath("status.html").read_text(encoding="utf-8")


def content_security_policy(html: str) -> str:
    """The policy (W3C Content Security Policy 3) under which `html` runs its own script and style, and no other."""
    return (
        f"default-src 'none'; script-src {_hashes(html, 'script')}; style-src {_hashes(html, 'style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(html: str, tag: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
