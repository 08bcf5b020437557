"""`hrmd replay TAPE --lookahead`: whether any decision saw what came after it."""

from __future__ import annotations

from pathlib import Path

import typer

from daemon.cli.options import print_json
from daemon.core.errors import CheckFailed
from daemon.market.calendar import ist_clock, ist_date
from daemon.report.text import whole
from daemon.run.lookahead import Decide, Difference, LookAhead, apart, look_ahead
from daemon.settings.tree import Settings


def check_lookahead(
    settings: Settings, tapes: list[Path], symbols: list[str], latency: str, *, as_json: bool, decide: Decide = apart
) -> None:
    """Say what came of it. Raises `CheckFailed`, one line, for a decision that isn't the same without what came later.

    A tape of which nothing was decided is no proof of anything and fails, too.
    """
    found = look_ahead(settings, tapes, symbols, latency, decide)
    if as_json:
        print_json(found)
    if found.difference is not None:
        raise CheckFailed(_line(found, found.difference))
    if not found.decisions:
        raise CheckFailed(f"{found.strategy}: made no decision on this tape, so nothing is known of look-ahead")
    if not as_json:
        said = f"{whole(found.decisions)} decisions before {found.cuts} cuts of the tape came out the same"
        typer.echo(f"{found.strategy}: no look-ahead: {said}")


def _line(found: LookAhead, difference: Difference) -> str:
    at = f"{difference.symbol}, bar {ist_date(difference.ts_bar)} {ist_clock(difference.ts_bar)}"
    if not difference.deterministic:
        return f"{found.strategy}: not deterministic: a second replay of the whole tape decides otherwise ({at})"
    what = f"{difference.field} is {difference.whole}, and {difference.cut} without what came later"
    return f"{found.strategy}: look-ahead: {at}: {what}"
