"""`hrmd explain`: what spoke for a recorded decision, and what against it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import AsJson, print_json


def explain(
    journal: Annotated[
        Path, typer.Argument(help="A journal of `hrmd run` or `hrmd replay --journal`.", show_default=False)
    ],
    decision: Annotated[
        int | None,
        typer.Option(help="Number of the decision in its run, from 1. [default: the newest that traded]", min=1),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a journal's decisions again up to one, and say what spoke for it and against it."""
    import msgspec

    from daemon.report.tables import facts, show, table
    from daemon.report.text import MINUS, ist_minute, percent, words
    from daemon.run import log
    from daemon.run.explaining import explain_decision
    from daemon.settings.run import LogSettings

    log.configure(LogSettings(), sys.stderr)
    told = explain_decision(journal, decision)
    if as_json:
        print_json(msgspec.to_builtins(told))
        return
    shown = facts()
    shown.add_row("decision", f"{told.number}, {told.symbol} {told.interval} at {ist_minute(told.ts_bar)}")
    shown.add_row("by", told.strategy)
    sure = f", {percent(told.confidence, 0)} sure" if told.confidence else ""
    shown.add_row("decided", f"{words(told.action.lower())}{sure}")
    shown.add_row("reason", told.reason)
    if told.why != told.reason:
        shown.add_row("what mattered", told.why)
    show(shown)
    if told.parts:
        title = "What each part of what was seen adds to its lead over the next best"
        shown = table("=part", ">logits", "=speaks", title=title)
        for part in told.parts:
            effect = f"{part.effect:+z.2f}".replace("-", MINUS)
            speaks = "" if effect == "+0.00" else "for it" if part.effect > 0 else "against it"
            shown.add_row(part.name, effect if speaks else "0.00", speaks)
        show(shown)
