"""A daemon that listens → the line by which whoever started it at a terminal opens its page, signed in.

Invariant: the link is written to a terminal only, never to a log, a file or a pipe: it opens every door, once.
"""

from __future__ import annotations

from typing import TextIO

from daemon.control.login_codes import LIFETIME_S


def greet(link: str, out: TextIO) -> None:
    """Show the link where somebody sits who can use it."""
    if link and out.isatty():
        print(f"live page, signed in (opens once, within {LIFETIME_S // 60} minutes): {link}", file=out, flush=True)
