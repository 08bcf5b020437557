"""A journal → the summary and the page of what was run, of a replay the same as the replay's own.

A replay is one run. `hrmd run` begins another at every start: those of one day that went on from each other are joined,
so that a restart at noon doesn't cut the day in two. Positions that were held before are carried in at their last
price. Invariant: the journal stays untouched, and what it can't tell any more is said in the notes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from daemon.core.clock import DAY_NS
from daemon.core.errors import UsageError
from daemon.core.events import AccountSnapshot, Bar, Event, Fill, HoldingRecord, PositionChanged, RunCounted
from daemon.core.latency import MeasuredLatency
from daemon.journal.reader import JournalReader
from daemon.journal.schema import BEGINS_AT
from daemon.market.calendar import MarketCalendar, ist_date, ist_ns
from daemon.market.calendar_file import CalendarFile
from daemon.market.instruments import InstrumentBook, Kind
from daemon.portfolio.book import Portfolio
from daemon.portfolio.curve import EquityCurve
from daemon.recovery.account import FOLDED, Account
from daemon.report.page import Shown
from daemon.report.summary import ReplaySummary
from daemon.report.text import ist_minute
from daemon.run.chronicle import CHRONICLED, Chronicle, Described
from daemon.settings.renamed import renamed
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS

T = TypeVar("T")

NO_END = 2**63


class JournalReport(msgspec.Struct, frozen=True, kw_only=True):
    """`runs` are the numbers of those that were joined, oldest first."""

    journal: str
    runs: list[int]
    summary: ReplaySummary
    shown: Shown


def report_journal(
    path: Path, run: int | None = None, day: dt.date | None = None, *, keep: bool = False
) -> JournalReport:
    """Of `run` alone, or of the newest with what it went on from that day; of `day` alone where one is given.

    `keep`: what a page shows, too. Raises `UsageError` for a journal, a run, a day or settings that can't be read,
    `CheckFailed` for an altered journal.
    """
    reader = JournalReader(path)
    try:
        return _report(reader, path, chosen_runs(reader, path, run, day), day, keep=keep)
    finally:
        reader.close()


def chosen_runs(reader: JournalReader, path: Path, run: int | None, day: dt.date | None = None) -> list[int]:
    """The runs to report, oldest first. Raises `UsageError` where there is none such."""
    known = sorted(reader.metadata_of_all("settings"))
    if run is not None and run not in known:
        raise UsageError(f"--run {run}: {path} has {', '.join(map(str, known)) or 'none'}")
    newest = reader.newest_with_events()
    if newest is None:
        raise UsageError(f"{path}: no event is kept, there is nothing to report")
    spans = {number: _days(reader, number) for number in known}
    seen = [number for number in ([run] if run is not None else known) if _touches(spans[number], day)]
    if day is not None and not seen:
        days = sorted(end for span in spans.values() if span is not None for end in span)
        told = f"its bars are of {days[0]} to {days[-1]}" if days else "it holds no bar"
        raise UsageError(f"--day {day}: no run of {path} has a bar of it; {told}")
    chosen = [run if run is not None else seen[-1] if seen else newest]
    return chosen if run is not None else _joined(reader, chosen, [one for one in known if one < chosen[0]], day)


def _joined(reader: JournalReader, chosen: list[int], earlier: list[int], day: dt.date | None) -> list[int]:
    """`chosen` after those of the `earlier` runs that it went on from, those of `day` where one is given."""
    without_bars: list[int] = []
    for number in reversed(earlier):
        if not (recovers(reader.metadata(number)) and recovers(reader.metadata(chosen[0]))):
            break
        before, after = reader.span(number), reader.span(chosen[0])
        if before is None:  # ended before its first bar: it is part of the day where one before it is
            without_bars.insert(0, number)
            continue
        same = after is not None and before[1] <= after[0] and ist_date(before[1]) == ist_date(after[0])
        if not same or not _touches(_days(reader, number), day):
            break
        chosen, without_bars = [number, *without_bars, *chosen], []
    return chosen


def _days(reader: JournalReader, run: int) -> tuple[dt.date, dt.date] | None:
    """Those of its first and of its last bar."""
    span = reader.span(run)
    return None if span is None else (ist_date(span[0]), ist_date(span[1]))


def _touches(days: tuple[dt.date, dt.date] | None, day: dt.date | None) -> bool:
    return days is not None and (day is None or days[0] <= day <= days[1])


def recovers(metadata: dict[str, str]) -> bool:
    """A daemon takes over what the run before it left, a replay begins with nothing.

    Earlier versions didn't say which; there only a daemon's latency was measured.
    """
    return bool(metadata.get("recovers", metadata.get("latency") == MeasuredLatency.name))


def _report(reader: JournalReader, path: Path, runs: list[int], day: dt.date | None, *, keep: bool) -> JournalReport:
    metadata = reader.metadata(runs[-1])
    settings = settings_of_run(metadata, path)
    calendar = MarketCalendar(_decoded(metadata, "calendar", CalendarFile, CalendarFile(), path))
    described = _described([reader.metadata(number) for number in runs], settings, path)
    portfolio, notes = _opening(reader, runs[0], settings)
    if "simulated" not in metadata:
        notes.append("written by an earlier version of hrmd: whether its ticks were simulated isn't recorded")
    if len(runs) > 1:
        notes.append(f"the daemon was restarted: joined of the runs {', '.join(map(str, runs))}")
    events = _events(reader, runs, day, notes)
    before = EquityCurve(portfolio, settings.strategy.interval)
    first = next((event for event in events if not _passed_over(event, day, before)), None)
    chronicle = Chronicle(settings, calendar, described, portfolio, keep=keep)
    for event in chain(() if first is None else (first,), events):
        chronicle.record(event)
    chronicle.notes += notes
    return JournalReport(journal=str(path), runs=runs, summary=chronicle.summary(0.0), shown=chronicle.shown())


def _events(reader: JournalReader, runs: list[int], day: dt.date | None, notes: list[str]) -> Iterator[Event]:
    """Of all `runs` up to the end of `day`; what isn't counted for it is added to `notes`."""
    end = NO_END if day is None else ist_ns(day, "00:00") + DAY_NS
    for number in runs:
        reader.select(number)
        days, counted = _days(reader, number), False
        for event in reader.events(*CHRONICLED):
            if isinstance(event, RunCounted):
                counted = day is None or days is None or days == (day, day)
                if not counted:
                    continue
            elif _time_of(event) >= end:
                continue
            yield event
        if day is not None and days is not None and days != (day, day):
            notes.append(f"run {number} went over several days: its ticks are not counted by day")
        elif not counted:
            notes.append(f"run {number} still goes on or did not end in order: its ticks are not counted")


def _passed_over(event: Event, day: dt.date | None, before: EquityCurve) -> bool:
    """Whether `event` comes before `day`: it moves the account and is no part of the report."""
    if day is None or _time_of(event) >= ist_ns(day, "00:00"):
        return False
    before.record(event)
    return True


def _time_of(event: Event) -> int:
    return event.ts_close if isinstance(event, Bar) else int(getattr(event, "ts"))  # noqa: B009 — each has one


def _described(all_metadata: list[dict[str, str]], settings: Settings, path: Path) -> Described:
    """Of runs that belong together: what they ran on, and the newest's model."""
    newest = all_metadata[-1]
    tapes, symbols = _names(all_metadata, "tapes", path), _names(all_metadata, "symbols", path)
    nothing: dict[str, tuple[Kind, bool]] = {}
    instruments = _decoded(newest, "instruments", dict[str, tuple[Kind, bool]], nothing, path)
    if "instruments" not in newest:  # written by an earlier version: as the settings would read the names
        book = InstrumentBook(settings.market)
        found = ((symbol, book.resolve(symbol)) for symbol in symbols)
        instruments = {symbol: (item.kind, item.tradeable) for symbol, item in found if item is not None}
    return Described(
        tapes=tapes, symbols=symbols, model=newest.get("model", ""),
        simulated=any(one.get("simulated") for one in all_metadata), latency=newest.get("latency", ""),
        order_delay_ns=_decoded(newest, "order_delay_ns", int, 0, path), made_of=_made_of(newest, path),
        received=bool(newest.get("received")), instruments=instruments,
        untried=newest.get("untried", ""), twice_told=newest.get("twice_told", ""),
        idle=_decoded(newest, "idle", list[str], [], path),
        depth=_decoded(newest, "depth", int | None, None, path),
        learned=_decoded(newest, "learned", tuple[str, str] | None, None, path),
    )  # fmt: skip


def _made_of(metadata: dict[str, str], path: Path) -> str:
    """The interval of the bars that its tapes were made of, "" for ticks."""
    found = metadata.get("made_of", "")
    if found and found not in INTERVALS:
        raise UsageError(f"{path}: its made_of can't be read (expected one of {', '.join(INTERVALS)}, got {found!r})")
    return found


def _names(all_metadata: list[dict[str, str]], key: str, path: Path) -> list[str]:
    """Those that any of the runs has, each once."""
    nothing: list[str] = []
    lists = [_decoded(one, key, list[str], nothing, path) for one in all_metadata]
    return list(dict.fromkeys(name for names in lists for name in names))


def settings_of_run(metadata: dict[str, str], path: Path) -> Settings:
    """What a run was set to. Raises `UsageError` where this version can't read it."""
    try:
        return Settings(**renamed(msgspec.json.decode(metadata.get("settings", "")), "the journal"))
    except (ValidationError, msgspec.DecodeError, TypeError, RecursionError):
        raise UsageError(
            f"{path}: its settings are not those of this version of hrmd ({metadata.get('version')})"
        ) from None


def _decoded(metadata: dict[str, str], key: str, kind: Any, absent: T, path: Path) -> T:
    if key not in metadata:
        return absent
    try:
        value: T = msgspec.json.decode(metadata[key], type=kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: its {key} can't be read ({error})") from None
    return value


def _opening(reader: JournalReader, run: int, settings: Settings) -> tuple[Portfolio, list[str]]:
    """The account as `run` found it, and what has to be said of that."""
    cash, metadata = settings.broker.starting_cash, reader.metadata(run)
    reader.select(run)
    if BEGINS_AT in metadata:
        snapshot = next(reader.events(AccountSnapshot), None)
        if isinstance(snapshot, AccountSnapshot):
            portfolio = Portfolio(snapshot.starting_cash)
            portfolio.restore(snapshot.cash, snapshot.holdings, ())
            for symbol in snapshot.unsettled:
                portfolio.unsettle(symbol)
            since = ist_minute(snapshot.ts)
            return portfolio, [f"the journal was shortened: this begins at {since}, what was before is gone"]
    if not recovers(metadata):
        return Portfolio(cash), []
    account = Account(cash)
    account.fold(reader.leading_to(run, *FOLDED))
    if account.records:
        return account.portfolio, []
    return _standing(reader, cash)


def _standing(reader: JournalReader, cash: Decimal) -> tuple[Portfolio, list[str]]:
    """Positions as the run itself said at its start, where what led to them was deleted."""
    portfolio = Portfolio(cash)
    standing: list[PositionChanged] = []
    for event in reader.events(PositionChanged, Bar, Fill):
        if not isinstance(event, PositionChanged):
            break
        standing.append(event)
    if not standing:
        return portfolio, []
    holdings = [
        HoldingRecord(it.symbol, it.quantity, it.average_price * it.quantity, it.realised_pnl, it.costs, it.opened_ts)
        for it in standing
    ]
    portfolio.restore(standing[-1].cash, holdings, ())
    return portfolio, ["the runs before were deleted: what was held is carried in at what it cost"]
