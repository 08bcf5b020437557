"""`hrmd instruments`: get Fyers' symbol master, and look at what a symbol is and trades as."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.core.clock import wall_ns
from daemon.core.errors import UsageError
from daemon.market.calendar import ist_date
from daemon.market.instruments import Instrument, InstrumentBook, Kind
from daemon.market.symbol_files import cached, newest_day, update
from daemon.report.tables import show, table

instruments_app = typer.Typer(help="Get the symbol master; look at instruments.", no_args_is_help=True)

Day = Annotated[str | None, typer.Option(help="The day, such as 2026-01-05, instead of today (or the newest copy).")]


@instruments_app.command("update")
def refresh(day: Day = None, config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Download the symbol master files, check them, and keep them as those of today."""
    settings = settings_and_logs(config, overrides).market.symbol_master
    today = ist_date(wall_ns())
    wanted = parse_day("--day", day) if day else today
    if wanted > today:
        raise UsageError(f"--day {wanted}: expected a day up to {today}: what is valid then isn't known")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, size: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None)
            progress.update(tasks[name], completed=size)

        master = run_loop(update(settings, wanted, show))
    if as_json:
        answer = {"day": wanted.isoformat(), "rows": master.rows, "directory": str(settings.directory)}
        print_json(answer)
    else:
        typer.echo(f"{master.rows} symbols of {wanted} are in {settings.directory}")


@instruments_app.command("show")
def show_instruments(
    symbols: Annotated[list[str], typer.Argument(help="Such as NSE:NIFTY-FUT1, NSE:NIFTY50-INDEX, NSE:SBIN-EQ.")],
    day: Day = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what symbols are by the symbol master, or where there is none by their names and the settings."""
    market = settings_and_logs(config, overrides).market
    wanted = parse_day("--day", day) if day else newest_day(market.symbol_master.directory)
    if wanted is None:
        book, source = InstrumentBook(market, ist_date(wall_ns())), "names and settings alone"
    else:
        book, source = (
            InstrumentBook(market, wanted, cached(market.symbol_master, wanted)),
            f"symbol master of {wanted}",
        )
    rows = []
    for symbol in symbols:
        found = book.resolve(symbol)
        if found is None:
            said = "no such symbol" if wanted is None else f"not in the {source}"
            raise UsageError(f"symbol {symbol}: {said}")
        known = wanted is not None or (found.tradeable and not found.missing_lot)
        own = wanted is not None or found.kind is Kind.EQUITY or found.expiry is not None
        rows.append({"symbol": symbol, "kind": found.kind.value, "traded_as": book.traded_as(symbol) if own else None,
                     "lot_size": found.lot_size if known else None, "tick_size": str(found.tick_size),
                     "expiry": found.expiry and found.expiry.isoformat(), "strike": found.strike and str(found.strike),
                     "right": found.right or None, "settled": _settled(found),
                     "freeze_quantity": found.freeze_quantity})  # fmt: skip
    if as_json:
        print_json({"day": None if wanted is None else wanted.isoformat(), "instruments": rows})
        return
    shown = table("=symbol", "=kind", "=traded as", ">lot", ">tick", "=expiry", ">strike", "=right", "=settled",
                  ">freeze", title=source)  # fmt: skip
    for row in rows:
        shown.add_row(*("-" if value is None else str(value) for value in row.values()))
    show(shown)
    if wanted is None:
        directory = market.symbol_master.directory
        typer.echo(
            f"{directory} holds no symbol master, so lots and dates may be unknown; hrmd instruments update gets it"
        )


def _settled(found: Instrument) -> str | None:
    """How a contract ends; None for what doesn't."""
    if not found.is_contract:
        return None
    return "delivery" if found.delivered else "cash"


def parse_day(option: str, text: str) -> dt.date:
    """A date that was given as an option; raises `UsageError`."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: expected a date such as 2026-01-05") from None
