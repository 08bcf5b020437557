"""`hrmd report`: what a journal says of a day that was run, as `hrmd replay` says it of a tape."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import AsJson, print_json
from daemon.core.errors import UsageError


def report(
    journal: Annotated[
        Path, typer.Argument(help="A journal of `hrmd run` or `hrmd replay --journal`.", show_default=False)
    ],
    run: Annotated[
        int | None,
        typer.Option(help="This run alone instead of the newest with those of its day that it went on from.", min=1),
    ] = None,
    day: Annotated[str | None, typer.Option(help="This day alone (YYYY-MM-DD), where a run went over several.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write an HTML report into this directory.")] = None,
    as_json: AsJson = False,
) -> None:
    """Report a run from its journal alone: the summary of `hrmd replay`, and with -o its page."""
    import msgspec
    from rich.console import Console

    from daemon.report.html import write_report
    from daemon.report.shell import check_page
    from daemon.report.terminal import print_summary
    from daemon.run import log
    from daemon.run.reporting import report_journal
    from daemon.settings.run import LogSettings

    log.configure(LogSettings(), sys.stderr)
    if out is not None:
        check_page(out / "index.html")
    found = report_journal(journal, run, _date(day) if day is not None else None, keep=out is not None or not as_json)
    page = write_report(out, found.summary, found.shown) if out is not None else None
    if as_json:
        print_json({"journal": found.journal, "runs": found.runs, **msgspec.structs.asdict(found.summary)})
        return
    print_summary(Console(), found.summary, found.shown.trades, title="hrmd report")
    if page is not None:
        typer.echo(f"wrote {page}")


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--day {text}: expected a date such as 2026-01-05") from None
