"""`hrmd tape`: look at recorded ticks, convert them, or make simulated ones.

Invariant: with `--json` stdout holds exactly one JSON document; everything else goes to stderr.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.cli.record import record, seal_left
from daemon.core.clock import IST
from daemon.core.errors import UsageError
from daemon.feed.survey import TapeSurvey
from daemon.feed.tick_filter import MAX_PRICE, MIN_PRICE
from daemon.market.calendar import MarketCalendar, Session
from daemon.market.instruments import InstrumentBook, Kind
from daemon.report.tables import show, table, terminal
from daemon.report.text import counted, percent
from daemon.run.process import ended_in_order
from daemon.run.surveying import survey_tapes
from daemon.settings.tree import Settings
from daemon.tape.bar_importer import BAR_NAMES, BarsReport, import_bars
from daemon.tape.bar_ticks import BAR_INTERVALS, BARS_NOTE
from daemon.tape.format import TapeWriter
from daemon.tape.importer import ImportReport, import_tape, parse_map
from daemon.tape.simulator import SimulatedSymbol, simulate
from daemon.tape.zones import parse_zone

tape_app = typer.Typer(help="Look at, convert, simulate or record tapes of ticks.", no_args_is_help=True)
tape_app.command("record")(record)
tape_app.command("seal")(seal_left)

Out = Annotated[Path, typer.Option("-o", "--out", help="The tape to write.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Overwrite --out where it exists.")]

_BARS = "▁▂▃▄▅▆▇█"
_PICTURE_WIDTH = 24
_WIDE = 110
"""Columns of a terminal that has room for it."""


@tape_app.command("info")
def info(
    tapes: Annotated[list[Path], typer.Argument(help="Tapes, in order of time.", show_default=False)],
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Show who is on a tape, when, and how many of its ticks a replay would reject, and why."""
    settings = settings_and_logs(config, overrides)
    with Console(stderr=True).status("reading the tape"):
        survey = run_loop(survey_tapes(settings, tapes))
    if as_json:
        print_json(survey)
    else:
        _print_survey(survey)
    return 0


@tape_app.command("import")
def convert(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Parquet, CSV with a header, or JSONL; several make one tape.", show_default=False),
    ],
    out: Out,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="TAPE_COLUMN=SOURCE_COLUMN, such as ts_event=ts; may repeat."),
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="The symbol, where the source has no column for it.")] = None,
    tz: Annotated[
        str | None, typer.Option(help="The zone of times that have none, such as Asia/Kolkata or UTC.")
    ] = None,
    bars: Annotated[
        str | None, typer.Option(help=f"The files hold bars of this interval: {' '.join(BAR_INTERVALS)}.")
    ] = None,
    stamp: Annotated[str, typer.Option(help="What the times of bars are: start | end.")] = "start",
    config: Config = None,
    overrides: Overrides = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Convert someone else's ticks, or bars, into a tape; no tick is dropped unsaid."""
    settings = settings_and_logs(config, overrides)
    zone = parse_zone(tz) if tz is not None else None
    if stamp not in ("start", "end") or (stamp == "end" and bars is None):
        raise UsageError(f"--stamp {stamp}: expected start or end, with --bars")
    if bars is not None:
        mapped = parse_map(columns or [], tuple(BAR_NAMES), "bar")
        with Console(stderr=True).status(f"importing {sources[0].name}"), ended_in_order():
            calendar, by_end = MarketCalendar.load(settings.market.calendar_file), stamp == "end"
            made = import_bars(
                sources, out, bars, mapped, symbol, zone, calendar=calendar,
                instruments=InstrumentBook(settings.market), by_end=by_end, overwrite=force,
            )  # fmt: skip
        if as_json:
            print_json(made)
        else:
            _print_bars(made)
        return 0
    mapping = parse_map(columns or [])
    with Console(stderr=True).status(f"importing {sources[0].name}"), ended_in_order():
        report = import_tape(sources, out, mapping, symbol, zone, overwrite=force)
    if as_json:
        print_json(report)
    else:
        _print_import(report)
    return 0


@tape_app.command("simulate")
def make(
    out: Out,
    symbol: Annotated[
        list[str] | None,
        typer.Option(help="SYMBOL=START_PRICE; may repeat. [default: NSE:RELIANCE-EQ=1450, NSE:SBIN-EQ=820]"),
    ] = None,
    start: Annotated[
        str, typer.Option(help="First date; holidays and special sessions are passed over.")
    ] = "2026-01-05",
    sessions: Annotated[int, typer.Option(min=1, help="Trading days.")] = 3,
    ticks: Annotated[int, typer.Option(min=1, max=10_000_000, help="Ticks of each symbol in each session.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same tape.")] = 1,
    fault_rate: Annotated[float, typer.Option(min=0, max=0.1, help="Share of faulty ticks of each kind to add.")] = 0.0,
    trends: Annotated[float, typer.Option(min=1, max=4, help="How much stronger and longer drifts are.")] = 1.0,
    config: Config = None,
    overrides: Overrides = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Make a seeded, believable tape; its metadata says that it is simulated."""
    settings = settings_and_logs(config, overrides)
    symbols = simulated_symbols(symbol or ["NSE:RELIANCE-EQ=1450", "NSE:SBIN-EQ=820"], settings)
    calendar = MarketCalendar.load(settings.market.calendar_file)
    days = ordinary_sessions(calendar, _date(start), sessions)
    for doubt in calendar.doubts(day.date for day in days):
        typer.echo(doubt, err=True)
    rows = write_simulated(out, symbols, days, ticks, seed, fault_rate, trends, force=force)
    made = _Simulated(
        out=str(out),
        rows=rows,
        symbols=[item.symbol for item in symbols],
        sessions=[day.date.isoformat() for day in days],
        seed=seed,
        fault_rate=fault_rate,
    )
    if as_json:
        print_json(made)
    else:
        terminal().print(
            f"{out}: {made.rows:,} simulated ticks of {', '.join(made.symbols)} on "
            f"{counted(len(days), 'session')} from {made.sessions[0]} to {made.sessions[-1]}, seed {seed}"
        )
    return 0


def write_simulated(
    out: Path, symbols: Sequence[SimulatedSymbol], days: Sequence[Session], ticks: int, seed: int,
    fault_rate: float = 0.0, trends: float = 1.0, *, force: bool = False,
) -> int:  # fmt: skip
    """Simulate into a tape that says so; how many ticks it holds."""
    notes = {
        "simulated": "true", "seed": str(seed), "fault_rate": str(fault_rate), "trends": f"{trends:g}",
        "by": "hrmd tape simulate",
    }  # fmt: skip
    with (
        Console(stderr=True).status("simulating"),
        ended_in_order(),
        TapeWriter(out, columns=_SIMULATED_COLUMNS, notes=notes, overwrite=force) as writer,
    ):
        for batch in simulate(symbols, days, ticks, seed, fault_rate, trends):
            writer.write(batch)
    return writer.rows


_SIMULATED_COLUMNS = ("ts_recv", "last_qty", "volume", "bid", "ask", "bid_qty", "ask_qty")


class _Simulated(msgspec.Struct):
    """What `hrmd tape simulate --json` prints."""

    out: str
    rows: int
    symbols: list[str]
    sessions: list[str]
    seed: int
    fault_rate: float
    simulated: bool = True


def simulated_symbols(options: Sequence[str], settings: Settings) -> list[SimulatedSymbol]:
    """`SYMBOL=START_PRICE` as instruments of the market. Raises UsageError."""
    book = InstrumentBook(settings.market)
    symbols: dict[str, SimulatedSymbol] = {}
    for option in options:
        name, separator, text = option.rpartition("=")
        price = _price(text)
        if not separator or not name or price is None:
            raise UsageError(f"--symbol {option}: expected SYMBOL=START_PRICE, such as NSE:SBIN-EQ=820")
        instrument = book.resolve(name)
        if instrument is None:
            raise UsageError(f"--symbol {option}: unknown symbol {name}; expected one such as NSE:SBIN-EQ or NIFTY")
        if name in symbols:
            raise UsageError(f"--symbol {option}: {name} is named twice")
        tick_size = float(instrument.tick_size)
        if price < 100 * tick_size:
            raise UsageError(f"--symbol {option}: a price of at least 100 ticks of {tick_size} is needed")
        symbols[name] = SimulatedSymbol(name, price, tick_size, is_index=instrument.kind is Kind.INDEX)
    return list(symbols.values())


def _price(text: str) -> float | None:
    try:
        price = float(text)
    except ValueError:
        return None
    return price if math.isfinite(price) and MIN_PRICE <= price < MAX_PRICE else None


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--start {text}: expected a date such as 2026-01-05") from None


def ordinary_sessions(calendar: MarketCalendar, start: dt.date, count: int) -> list[Session]:
    """Find the next `count` sessions from `start` on that have no pause."""
    days: list[Session] = []
    day = start
    while len(days) < count:
        session = calendar.session(day)
        if session is not None:
            minutes = np.arange(session.open_ns, session.close_ns, 60_000_000_000, dtype=np.int64)
            if calendar.in_session(minutes).all():
                days.append(session)
        day += dt.timedelta(days=1)
    return days


# -- what is printed --------------------------------------------------------------------------------------------------


def _print_survey(survey: TapeSurvey) -> None:
    out = terminal()
    span = "no valid time"
    if survey.first_ts is not None and survey.last_ts is not None:
        span = f"{_moment(survey.first_ts)} to {_moment(survey.last_ts)}"
    named = Text(", ".join(survey.tapes), "bold")
    out.print(named.append(f"  {survey.rows:,} ticks, {survey.bytes / 1e6:,.1f} MB", "not bold"))
    if BARS_NOTE in survey.notes:
        made = f"made of {survey.notes[BARS_NOTE]} bars"
        out.print(Text(made, "yellow").append(": seven ticks stand for each, none is a record", "not yellow"))
    if survey.simulated:
        out.print(Text(f"simulated (seed {survey.notes.get('seed', '?')}): not market prices", "yellow"))
    out.print(f"{span}, {counted(len(survey.sessions), 'session')}; columns {', '.join(survey.columns)}")
    drawn = ("=price",) if out.width >= _WIDE else ()
    shown = table("=symbol", ">ticks", ">accepted", ">first", ">low", ">high", ">last", *drawn)
    for name, found in survey.symbols.items():
        prices = [_figure(value) for value in (found.first, found.low, found.high, found.last)]
        picture = [sparkline(found.path, _PICTURE_WIDTH)] if drawn else []
        shown.add_row(name or "(none)", f"{found.rows:,}", f"{found.accepted:,}", *prices, *picture)
    show(shown)
    show(_counts("rejected", survey.rejected, survey.rows))
    show(_counts("repaired", survey.repaired, survey.rows))


def _counts(title: str, counts: dict[str, int], rows: int) -> Table:
    shown = table(title, ">ticks", ">share")
    for reason, count in counts.items():
        shown.add_row(reason, f"{count:,}", percent(count / rows))
    return shown


def _print_import(report: ImportReport) -> None:
    out = terminal()
    out.print(
        f"{report.out}: {report.rows:,} ticks of {', '.join(report.symbols)} from {report.source} ({report.format})"
    )
    shown = table("=tape column", "read from", ">unreadable values", "remark")
    for target, name in report.columns.items():
        shown.add_row(target, name, f"{report.unreadable.get(target, 0):,}", report.remarks.get(target, ""))
    show(shown)
    if report.invalid_times:
        out.print(f"{report.invalid_times:,} ticks have no valid time: kept as time 0, a replay counts them bad_time")
    for reason, count in report.skipped.items():
        out.print(f"{count:,} lines skipped: {reason}")
    if report.sorted:
        out.print(report.sorted, soft_wrap=True)


def _print_bars(report: BarsReport) -> None:
    out = terminal()
    out.print(
        f"{report.out}: {report.bars:,} {report.interval} bars of {', '.join(report.symbols)} from {report.source} "
        f"({report.format}) as {report.ticks:,} ticks; a replay says that it is made of bars"
    )
    out.print(", ".join(f"{target} from {name}" for target, name in report.columns.items()))
    for name, remark in report.remarks.items():
        out.print(f"{name}: {remark}")
    for reason, count in report.left_out.items():
        out.print(f"{count:,} bars left out: {reason}, first {report.first_left_out[reason]}", soft_wrap=True)
    if report.sorted:
        out.print("the bars were not in order of time: sorted")


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values as at most `width` bars between their lowest and highest."""
    if not values:
        return ""
    chosen = np.asarray(values)[np.linspace(0, len(values) - 1, min(width, len(values))).astype(int)]
    low, high = float(chosen.min()), float(chosen.max())
    steps = (chosen - low) / (high - low or 1.0) * (len(_BARS) - 1)
    return "".join(_BARS[round(float(step))] for step in steps)


def _moment(ts_ns: int) -> str:
    clock = dt.datetime.fromtimestamp(ts_ns // 1_000_000_000, IST)
    return clock.strftime("%Y-%m-%d %H:%M:%S IST")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
