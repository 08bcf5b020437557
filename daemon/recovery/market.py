"""A journal and today's recording → what the market looked like to the process before, for the one that goes on.

The journal holds the bars that decisions saw and who was in charge; the recording holds the ticks of the bars that were
in the making. Invariant: windows, complexity and bars go on as if no process had ended, but for the ticks that nobody
received meanwhile; nothing that lies after the new run's beginning is remembered, and ticks that were played from a
tape never count as those of the market.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog

from daemon.bars.builder import BarBuilder
from daemon.core.clock import DAY_NS
from daemon.core.errors import TapeError, UsageError
from daemon.core.events import (
    AccountSnapshot,
    Bar,
    BaselineWeighed,
    CanaryChanged,
    Decision,
    Event,
    FeedState,
    LockStrategy,
    MarketRemembered,
    MitigationTaken,
    ModelLoaded,
    PositionChanged,
    PriceAdjusted,
    PriceJumped,
    StrategySwapped,
    SwapStrategy,
    TickBatch,
)
from daemon.feed.tick_filter import TickFilter
from daemon.journal.reader import JournalReader, is_blank
from daemon.journal.schema import CANARY, IN_CHARGE, LOCK
from daemon.market.calendar import MarketCalendar
from daemon.market.legs import Legs
from daemon.settings.tree import Settings
from daemon.supervision.supervisor import BEFORE
from daemon.tape.reel import ReelReader
from strategies.base import MarketView, ViewSettings

log = structlog.get_logger("recovery")

_DECIDERS = (("strategy", "name"), ("supervisor", "ladder"))
"""Settings that say who decides: where they were changed, the new ones count."""


class Rung(msgspec.Struct, frozen=True):
    """Who was in charge when the process before ended, and why."""

    name: str
    reason: str
    before: str = ""
    """Who was in charge before that, "" where nobody was."""
    who: str = ""
    """Who put it there."""


class Recalled(msgspec.Struct):
    """What a journal tells of the market, oldest first; `rung` is None where the settings' strategy was in charge.

    `model` is the last model that was put in charge while the process before ran, None where none was.
    """

    seen: list[Event] = []
    rung: Rung | None = None
    model: ModelLoaded | None = None
    steps: list[MitigationTaken] = []
    """What was done by itself about strategies."""
    weighed: list[BaselineWeighed] = []
    """How strategies stood against the baseline, of each the newest word."""
    lock: LockStrategy | None = None
    """The newest word of a person on whether anything may be."""
    canary: CanaryChanged | None = None
    """How the newest canary stood."""

    def add(self, bars: Iterable[Bar]) -> None:
        """Bars that no journal holds: those that are newer than what it has of their kind."""
        newest = {(event.symbol, event.interval): event.ts_close for event in self.seen if isinstance(event, Bar)}
        self.seen += [bar for bar in bars if bar.ts_close > newest.get((bar.symbol, bar.interval), 0)]


def recall(path: Path, settings: Settings, intervals: Sequence[str], until_ns: int, *, live: bool) -> Recalled:
    """What the runs in a journal saw before `until_ns`; `live`: of the market, not of tapes. Raises `UsageError`."""
    if is_blank(path):
        return Recalled()
    reader = JournalReader(path)
    try:
        runs = [run for run, tapes in reader.metadata_of_all("tapes").items() if (tapes == "[]") is live]
        entries: tuple[type[Event], ...] = ()
        if settings.hierarchical_reasoning_model.entries.adaptive:
            entries = (Decision, AccountSnapshot) if live else (Decision,)
        events = reader.of_runs(runs, Bar, PositionChanged, PriceAdjusted, PriceJumped, *entries)
        steps, lock = _care(reader)
        weighed, canary = _weighed(reader, runs), _canary(reader, runs, path)
        lived = _as_lived(events, intervals, until_ns)
        newest = reader.newest_with_events()
        if newest is None:
            return Recalled(lived, steps=steps, weighed=weighed, lock=lock, canary=canary)
        return Recalled(lived, _rung(reader, newest, settings), _model(reader, newest), steps, weighed, lock, canary)
    finally:
        reader.close()


def _as_lived(events: Any, intervals: Sequence[str], until_ns: int) -> list[Event]:
    """One past of it: a run that began again at an earlier time, on a tape that was played twice, replaces it."""
    kept: list[Event | None] = []
    places: dict[tuple[str, str], list[tuple[int, int]]] = {}  # of bars: (close, place in `kept`)
    wanted: dict[tuple[str, str], list[tuple[int, int]]] = {}  # of decisions that wanted an entry: the same
    for event in events:
        if isinstance(event, Bar):
            if event.interval not in intervals:
                continue
            lived = places.setdefault((event.symbol, event.interval), [])
            for replaced in (lived, wanted.get((event.symbol, event.interval), [])):
                while replaced and replaced[-1][0] >= event.ts_close:
                    kept[replaced.pop()[1]] = None
            if event.ts_close > until_ns:
                continue
            lived.append((event.ts_close, len(kept)))
        elif isinstance(event, Decision):
            if event.wanted is None or event.ts_bar > until_ns:
                continue
            wanted.setdefault((event.symbol, event.interval), []).append((event.ts_bar, len(kept)))
        elif isinstance(event, PriceAdjusted | PriceJumped | AccountSnapshot) and event.ts > until_ns:
            continue
        kept.append(event)
    return [event for event in kept if event is not None]


def _rung(reader: JournalReader, run: int, settings: Settings) -> Rung | None:
    """Who was in charge at the end of `run`, where the settings still say the same of it."""
    metadata = reader.metadata(run)
    told = list(reader.of_runs([run], StrategySwapped, SwapStrategy))
    swaps = [event for event in told if isinstance(event, StrategySwapped)]
    name = swaps[-1].new if swaps else metadata.get(IN_CHARGE, settings.strategy.name)
    rung = Rung(name, swaps[-1].reason if swaps else "", _before(swaps, name), swaps[-1].who if swaps else "")
    word = _not_yet_done(told, name, settings)
    if word is not None:
        rung = Rung(word.name, word.reason, name, word.who)
    if rung.name == settings.strategy.name:
        return None
    then, now = _deciders(metadata.get("settings", "")), _deciders(settings.model_dump_json())
    if then != now:
        log.warning("the settings name other strategies than before: they count", was_in_charge=rung.name)
        return None
    return rung


def _not_yet_done(told: Sequence[Event], in_charge: str, settings: Settings) -> SwapStrategy | None:
    """A person's word on who decides that was on disk when the process ended, and not what came of it.

    Only the last one: what the daemon did after a word counts more, or a step down might be undone.
    """
    last = told[-1] if told else None
    known = {settings.strategy.name, *settings.supervisor.ladder}
    if isinstance(last, SwapStrategy) and last.name != in_charge and last.name in known:
        return last
    return None


def _care(reader: JournalReader) -> tuple[list[MitigationTaken], LockStrategy | None]:
    """Automatic steps, and the newest word on the lock; of a shortened run a note tells of what was cut off."""
    steps: list[MitigationTaken] = []
    lock: LockStrategy | None = None
    for run in sorted(reader.metadata_of_all("tapes")):
        noted = reader.metadata(run).get(LOCK)
        if noted is not None:
            lock = LockStrategy(ts=0, locked=bool(noted), reason=noted)
        for event in reader.of_runs([run], MitigationTaken, LockStrategy):
            if isinstance(event, MitigationTaken):
                steps.append(event)
            elif isinstance(event, LockStrategy):
                lock = event
    return steps, lock


def _weighed(reader: JournalReader, runs: Sequence[int]) -> list[BaselineWeighed]:
    newest: dict[tuple[str, str], BaselineWeighed] = {}
    for event in reader.of_runs(runs, BaselineWeighed):
        if isinstance(event, BaselineWeighed):
            newest[event.strategy, event.model_hash] = event
    return list(newest.values())


def _canary(reader: JournalReader, runs: Sequence[int], path: Path) -> CanaryChanged | None:
    """The newest word on one, of which a note tells where a run was shortened after it."""
    for run in sorted(runs, reverse=True):
        *_, said = (None, *reader.of_runs([run], CanaryChanged))
        if isinstance(said, CanaryChanged):
            return said
        noted = reader.metadata(run).get(CANARY)
        if noted is not None:
            try:
                return msgspec.json.decode(noted, type=CanaryChanged)
            except msgspec.DecodeError as error:
                raise UsageError(f"{path}: the canary that run {run} begins with can't be read ({error})") from None
    return None


def _before(swaps: Sequence[StrategySwapped], name: str) -> str:
    """Who was in charge before `name`; a start that goes on with a rung is no swap."""
    return next((swap.old for swap in reversed(swaps) if swap.new == name and not swap.reason.startswith(BEFORE)), "")


def _model(reader: JournalReader, run: int) -> ModelLoaded | None:
    loaded = [event for event in reader.of_runs([run], ModelLoaded) if isinstance(event, ModelLoaded)]
    return loaded[-1] if loaded else None


def _deciders(settings_json: str) -> list[Any]:
    try:
        values = msgspec.json.decode(settings_json)
        return [values[room][key] for room, key in _DECIDERS]
    except (msgspec.DecodeError, KeyError, TypeError):
        return []


def remembered(
    recalled: Recalled, view: ViewSettings, legs: Legs, positions: Mapping[str, int], ts: int
) -> list[MarketRemembered]:
    """What a strategy is told of each symbol; `positions` are those of the account now, by the symbol they are in."""
    scratch = MarketView(view, _NoSessions())
    windows: dict[str, list[Bar]] = {}
    actions: dict[str, list[PriceAdjusted]] = {}
    for event in recalled.seen:
        if isinstance(event, Bar):
            scratch.on_bar(event)
            windows.setdefault(event.symbol, []).append(event)
        elif isinstance(event, PriceAdjusted):
            actions.setdefault(event.symbol, []).append(event)
        elif isinstance(event, PriceJumped):
            windows.pop(event.symbol, None)
            scratch.on_jumped(event)
        elif isinstance(event, PositionChanged):
            scratch.on_position(legs.seen(event))
        elif isinstance(event, Decision):
            scratch.on_decision(event)
        elif isinstance(event, AccountSnapshot):  # what was before it may have been cut off
            scratch.restore_sessions(event.sessions)
    held = {legs.shown(symbol): quantity for symbol, quantity in positions.items()}
    told = []
    for symbol, bars in windows.items():
        quantity, (before, count) = held.get(symbol, 0), scratch.held(symbol)
        newest = _newest(bars, view)
        told.append(
            MarketRemembered(
                ts=ts,
                symbol=symbol,
                bars=newest,
                adjusted=tuple(one for one in actions.get(symbol, ()) if one.ts > newest[0].ts_close),
                quantity=quantity,
                bars_held=count if quantity * before > 0 else 0,
                past=tuple(session.sums for session in scratch.past(symbol)),
                entries=scratch.entries(symbol),
            )
        )
    return told


def _newest(bars: Sequence[Bar], view: ViewSettings) -> tuple[Bar, ...]:
    """As many of each interval as a view looks back on, in their order, and all of the newest session."""
    newest_day = bars[-1].ts_open // DAY_NS
    today = sum(1 for bar in bars if bar.interval == view.interval and bar.ts_open // DAY_NS == newest_day)
    wanted = {view.interval: max(view.window, today)}
    wanted[view.coarse_interval] = max(view.coarse_window, wanted.get(view.coarse_interval, 0))
    chosen = []
    for bar in reversed(bars):
        if wanted.get(bar.interval, 0) > 0:
            wanted[bar.interval] -= 1
            chosen.append(bar)
    return tuple(reversed(chosen))


class _NoSessions:
    """A view that is never asked for a moment needs no calendar."""

    def session_at(self, ts_ns: int) -> None:
        """There is none."""


def resume_bars(
    reels: Sequence[Path],
    symbols: Sequence[str],
    tick_filter: TickFilter,
    builder: BarBuilder,
    calendar: MarketCalendar,
    until_ns: int,
) -> list[Bar]:
    """Put today's recorded ticks through filter and bars; the bars that are over by `until_ns`, as they were closed.

    What the filter believes and the bars in the making stay in `tick_filter` and `builder`. A reel that can't be read
    is passed over, and said. Who recorded while the machine's clock was ahead received at times that are still to come:
    no bar is closed by them.
    """
    closed: list[Bar] = []
    wanted = frozenset(symbols)
    for reel in reels:
        try:
            for item in ReelReader(reel):
                if isinstance(item, TickBatch):
                    closed += _take(_of(item, wanted), tick_filter, builder, until_ns)
                elif item.status.state is FeedState.STALE:
                    builder.mark_gap(item.status.symbol, min(item.status.ts, until_ns))
        except TapeError as error:
            log.warning("a recording can't be read, bars in the making begin anew", why=str(error))
    if reels and calendar.session_at(until_ns) is not None:
        builder.mark_gap(None, until_ns)  # nobody received what came between the processes
    closed += builder.on_time(until_ns)
    builder.forget_counts()
    tick_filter.forget_counts()
    return closed


def _of(batch: TickBatch, wanted: frozenset[str]) -> TickBatch:
    codes = [code for code, symbol in enumerate(batch.symbols) if symbol in wanted]
    return batch if len(codes) == len(batch.symbols) else batch.take(np.isin(batch.code, codes))


def _take(raw: TickBatch, tick_filter: TickFilter, builder: BarBuilder, until_ns: int) -> list[Bar]:
    if not len(raw):
        return []
    closed = builder.on_time(min(int(raw.ts_recv[0]), until_ns))
    accepted, _ = tick_filter.apply(raw)
    builder.on_ticks(accepted)
    return closed
