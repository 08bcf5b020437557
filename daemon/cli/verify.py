"""`hrmd verify`: the decisions of a journal, made again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import AsJson, print_json
from daemon.core.errors import CheckFailed


def verify(
    journal: Annotated[
        Path, typer.Argument(help="A journal of `hrmd run` or `hrmd replay --journal`.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Re-run a journal's decisions; exit 1 and the first difference where one differs."""
    import msgspec

    from daemon.run import log
    from daemon.run.verifying import verify_journal
    from daemon.settings.run import LogSettings

    log.configure(LogSettings(), sys.stderr)
    try:
        result = verify_journal(journal)
    except CheckFailed as error:
        if as_json:
            print_json({"journal": str(journal), "equal": False, "difference": str(error)})
        raise
    if as_json:
        print_json({**msgspec.to_builtins(result), "equal": True, "difference": None})
    else:
        model = f" on model {result.model}" if result.model else ""
        over = f"; {result.passed_over} more saw bars that were deleted" if result.passed_over else ""
        canary = f"; {result.canary}" if result.canary else ""
        equal = "all equal"
        if result.near:
            off = f"figures of {result.near} off by {result.off_by:.2g} at most"
            equal = f"actions and depths all equal, {off}: another version of hrmd made them"
        typer.echo(f"{journal}: {result.decisions} decisions made again{model}, {equal}{over}{canary}")
