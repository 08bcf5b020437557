"""`hrmd top`: a running daemon in this terminal. What it needs is an extra, and is imported when it runs."""

from __future__ import annotations

import sys

from daemon.cli.ctl import TokenFile, Url, signed
from daemon.cli.options import Config, Overrides
from daemon.control.finding import find
from daemon.core.errors import UsageError


def top(config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None) -> None:
    """Watch and command a running daemon in this terminal (hrmd[top]).

    Positions, orders, decisions, P&L, the ladder, health, its log. It is found as `hrmd ctl`
    finds it. Keys: h halt, r resume, f flatten, s strategy, c cancel an order, q quit.
    """
    try:
        from daemon.top.app import Top
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise UsageError("hrmd top: textual is not installed; install hrmd[top] (pip install 'hrmd[top]')") from None
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # it draws on stderr
        raise UsageError("hrmd top: expected a terminal; for a pipe there is hrmd ctl status --watch")
    find(config, overrides, url, token_file)  # a mistake is said before the terminal is taken
    Top(lambda: find(config, overrides, url, token_file), lambda body: signed(body, "by hrmd top")).run()
