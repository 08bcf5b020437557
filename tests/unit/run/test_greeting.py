"""Who is shown the link: somebody at a terminal, nobody else."""

from __future__ import annotations

import io

from daemon.run.greeting import greet

LINK = "http://127.0.0.1:8642/#code=abc"


class Terminal(io.StringIO):
    """Where somebody sits."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_the_link_is_for_a_terminal() -> None:
    """A pipe or a file, such as systemd's, gets nothing: what is written there is read by others."""
    here, pipe = Terminal(), io.StringIO()
    greet(LINK, here)
    greet(LINK, pipe)
    assert here.getvalue() == f"live page, signed in (opens once, within 5 minutes): {LINK}\n"
    assert pipe.getvalue() == ""


def test_no_link_no_line() -> None:
    """Control may be off."""
    here = Terminal()
    greet("", here)
    assert here.getvalue() == ""
