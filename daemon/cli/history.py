"""`hrmd history`: bars of the past from a broker, for training."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daemon.brokers.choice import broker_or_first
from daemon.brokers.history import RESOLUTIONS, Chunk, chunks
from daemon.brokers.history_download import HistoryDownload, HistoryReport, Wish
from daemon.cli.instruments import parse_day
from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.core.clock import LiveClock
from daemon.core.errors import UsageError
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.settings.orders import BrokerSettings

history_app = typer.Typer(help="Bars of the past from a broker.", no_args_is_help=True)

DAYS_SHOWN: Final = 5
_ALIAS: Final = re.compile(r"-FUT[1-9]$")


@history_app.command("download")
def download(
    symbol: Annotated[str, typer.Argument(help="Such as NSE:SBIN-EQ or NSE:NIFTY50-INDEX.")],
    first: Annotated[str, typer.Option("--from", help="First day, such as 2024-01-01.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The Parquet file of bars to write.", show_default=False)],
    last: Annotated[str | None, typer.Option("--to", help="Last day, included; default: yesterday.")] = None,
    interval: Annotated[str, typer.Option(help=f"One of {', '.join(RESOLUTIONS)}.")] = "5m",
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out where it exists.")] = False,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Download bars, as many calls as it takes; called again after a break it goes on where it was.

    The result is a file of bars (not of ticks: it is no tape) that hrmd train and hrmd tape import --bars read.
    """
    settings = settings_and_logs(config, overrides)
    calendar = MarketCalendar.load(settings.market.calendar_file)
    if interval not in RESOLUTIONS:
        raise UsageError(f"--interval {interval}: expected one of {', '.join(RESOLUTIONS)}")
    if _ALIAS.search(symbol):
        raise UsageError(
            f"symbol {symbol}: expected a contract by its own name; hrmd instruments show {symbol} tells it"
        )
    if ":" not in symbol:
        raise UsageError(f"symbol {symbol}: expected one such as NSE:SBIN-EQ")
    if out.is_dir():
        raise UsageError(f"--out {out}: is a directory; name a file to write")
    if out.exists() and not force:
        raise UsageError(f"--out {out}: is there already; --force overwrites it")
    clock = LiveClock()
    wish = Wish(symbol, interval, *_span(first, last, ist_date(clock.now_ns())))
    chunks(wish.first, wish.last, wish.interval)  # a span without history is refused before anything is opened
    instruments = InstrumentBook(settings.market, calendar=calendar)  # no day's symbol master knows what ended before
    report = run_loop(_download(settings.broker, wish, out, clock, calendar, instruments))
    if as_json:
        print_json(report)
    else:
        _print(report)


def _span(first: str, last: str | None, today: dt.date) -> tuple[dt.date, dt.date]:
    """The days that are asked for. Raises `UsageError` where none of them has come yet."""
    start, yesterday = parse_day("--from", first), today - dt.timedelta(days=1)
    latest = today if last else yesterday
    if start > latest:
        raise UsageError(f"--from {start}: expected a day up to {latest}{'' if last else ', or one more with --to'}")
    return start, parse_day("--to", last) if last else yesterday


async def _download(
    broker: BrokerSettings, wish: Wish, out: Path, clock: LiveClock, calendar: MarketCalendar,
    instruments: InstrumentBook,
) -> HistoryReport:  # fmt: skip
    source = broker_or_first(broker).history(broker, clock, instruments)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with source as rest:
        load = HistoryDownload(rest, wish, out, clock, calendar)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{wish.symbol} {wish.interval}", total=None)

            def show(done: int, total: int, chunk: Chunk) -> None:
                bar.update(task, completed=done, total=total, description=f"{wish.symbol} {chunk.last}")

            return await load.run(show)


def _print(report: HistoryReport) -> None:
    typer.echo(f"{report.file}: {report.bars} {report.interval} bars of {report.symbol}, {report.calls} calls")
    if report.calls_before:
        typer.echo(f"  {report.calls_before} parts were there from before")
    for why, count in report.dropped.items():
        typer.echo(f"  {count} bars not kept: {why}")
    if report.empty_sessions:
        shown = ", ".join(str(day) for day in report.empty_sessions[:DAYS_SHOWN])
        more = len(report.empty_sessions) - DAYS_SHOWN
        typer.echo(
            f"  {len(report.empty_sessions)} sessions without a bar: {shown}{f' and {more} more' if more > 0 else ''}"
        )
