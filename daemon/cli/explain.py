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
    from daemon.report.text import ist_minute, percent, words
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
    shown.add_row("decided", f"{words(told.action.lower())}, {percent(told.confidence, 0)} sure")
    shown.add_row("reason", told.reason)
    shown.add_row("what mattered", told.why)
    show(shown)
    if told.parts:
        shown = table("=part", ">logits", "=speaks", title="What the lead of this over the next best has of each part")
        for part in told.parts:
            shown.add_row(part.name, f"{part.effect:+.2f}", "for it" if part.effect > 0 else "against it")
        show(shown)
