"""A recorded tape → the bus: slices of accepted ticks, and the moments at which something is due between them.

The tape is cut at every boundary where anything can happen (a bar of the decision interval closing, square-off, the
end of the session), so ticks travel as columns and a replay runs at millions of them a second. Invariant: when
`TimeAdvanced(ts)` is published every accepted tick received by `ts` has been handled and none received later has been
seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, PacedClock, ReplayClock
from daemon.core.columns import running_max
from daemon.core.errors import TapeError
from daemon.core.events import FeedState, FeedStatus, TickBatch, TimeAdvanced, joined
from daemon.core.files import named_twice
from daemon.feed.compiled_filter import CompiledTickFilter
from daemon.feed.tick_filter import NO_LIMIT_PERCENT, Instruments, Mark, TickFilter
from daemon.feed.twice_told import twice_told
from daemon.market.calendar import MarketCalendar, Session
from daemon.native.kernel import Kernel
from daemon.settings.feed import FeedSettings
from daemon.settings.values import INTERVALS
from daemon.tape.ahead import ahead
from daemon.tape.bar_ticks import BAR_INTERVALS, BARS_NOTE, DAILY
from daemon.tape.format import TapeReader
from daemon.tape.marks import marks_of

Ints = NDArray[np.int64]

_FARTHEST = int(np.iinfo(np.int64).max)

GROUPING_S = 0.02
"""Paced: ticks are handed over in groups of this much wall time, as a socket would."""

SIFTED_S = 1.0
"""Paced: ticks are sifted at most this much wall time before they are handed over, so that what is counted has come."""

LONGEST_NAP_S = 0.25
"""Paced: time advances at least this often, so that time-outs and staleness are noticed without ticks."""


class Sessions(Protocol):
    """What the feed needs of a calendar."""

    def session_at(self, ts_ns: int) -> Session | None:
        """The session that contains `ts_ns`."""


class Tapes:
    """One or several tapes as one stream in order of receipt."""

    def __init__(self, paths: Sequence[Path], symbols: Sequence[str], chunk_rows: int) -> None:
        """Open all; raises `TapeError` for a bad tape or for a symbol that none of them has."""
        if (twice := named_twice(paths)) is not None:
            raise TapeError(f"{twice}: is given twice; its ticks would count twice")
        self._readers = [TapeReader([path]) for path in paths]
        self._chunk_rows = chunk_rows
        self.paths = list(paths)
        known = list(dict.fromkeys(symbol for reader in self._readers for symbol in reader.symbols))
        for symbol in symbols:
            if symbol not in known:
                raise TapeError(f"symbol {symbol}: not on the tape; it has {', '.join(known)}")
        self.symbols = tuple(symbol for symbol in known if not symbols or symbol in symbols)
        self.rows = sum(reader.rows for reader in self._readers)
        self.simulated = any(reader.notes.get("simulated") == "true" for reader in self._readers)
        self.real = not paths or any(reader.notes.get("simulated") != "true" for reader in self._readers)
        """Whether ticks of a market come, a recorded or a live one."""
        self.quoted = not paths or any({"bid", "ask"} <= set(reader.columns) for reader in self._readers)
        """Whether ticks may have bid and ask: those of a feed, or of a tape with such columns."""
        self.bars = self._made_of()
        """The interval of the bars of which the tapes are made; "" for ticks."""
        self.received = any("ts_recv" in reader.columns for reader in self._readers)
        """Whether times of receipt were recorded."""
        marks = [mark for reader in self._readers for mark in marks_of(reader.notes)]
        self.marks = sorted(
            (mark for mark in marks if mark.status.symbol is None or mark.status.symbol in self.symbols),
            key=lambda mark: mark.place,
        )
        """What the feed said of itself while the tapes were recorded, in order."""

    @cached_property
    def twice_told(self) -> str:
        """What has to be said of tapes that tell of the same symbols at the same time; "" where none do."""
        return twice_told(self._readers, self.symbols)

    def _made_of(self) -> str:
        made = {reader.notes.get(BARS_NOTE, ""): path for path, reader in zip(self.paths, self._readers, strict=True)}
        for interval, path in made.items():
            if interval and interval not in BAR_INTERVALS:
                raise TapeError(
                    f"{path}: its note {BARS_NOTE} is {interval}; expected one of {', '.join(BAR_INTERVALS)}"
                )
        if len(made) > 1:
            said = ", ".join(
                f"{path} of {interval + ' bars' if interval else 'ticks'}" for interval, path in made.items()
            )
            raise TapeError(f"tapes of different kinds can't be replayed together: {said}")
        return next(iter(made), "")

    @property
    def nature(self) -> dict[str, str]:
        """The notes that a copy of their ticks has to keep: what they are no record of."""
        return ({"simulated": "true"} if self.simulated else {}) | ({BARS_NOTE: self.bars} if self.bars else {})

    def tick_filter(
        self, feed: FeedSettings, instruments: Instruments, calendar: MarketCalendar, kernel: Kernel | None = None
    ) -> TickFilter:
        """What their ticks are sifted by: those of bars, which were judged as bars, may move as far as they do."""
        share, of_option = feed.max_jump_percent, feed.max_option_jump_percent
        if self.bars:
            share = of_option = NO_LIMIT_PERCENT
        if kernel is not None:
            return CompiledTickFilter(instruments, calendar, share, of_option, kernel)
        return TickFilter(instruments, calendar, share, of_option)

    def intervals(self, names: Sequence[str], needed: Sequence[str] = ()) -> dict[str, int]:
        """Those of the bars `names` that can be built of the tapes, with their seconds: of bars only whole ones.

        Raises `TapeError` where one that is `needed` can't.
        """
        step = INTERVALS[self.bars] if self.bars else 1
        built = {name: INTERVALS[name] for name in names if name == DAILY or INTERVALS[name] % step == 0}
        for name in needed:
            if name not in built:
                raise TapeError(
                    f"{', '.join(map(str, self.paths))}: made of {self.bars} bars, of which no {name} bars can be "
                    f"built: strategy.interval and the HRM's coarse_interval have to be multiples of {self.bars}"
                )
        return built

    @property
    def opening_ts(self) -> int | None:
        """About when the first tape begins, UTC ns."""
        return min((reader.opening_ts for reader in self._readers if reader.opening_ts is not None), default=None)

    def beginning(self, calendar: Sessions) -> int | None:
        """When the first tick of the first session was, UTC ns; None where no session is on the tapes."""
        opening = self.opening_ts
        session = calendar.session_at(opening) if opening is not None else None
        if session is None:
            return None
        found = (reader.first_in(session.open_ns, session.close_ns) for reader in self._readers)
        return min((ts for ts in found if ts is not None), default=None)

    def batches(self) -> Iterator[TickBatch]:
        """Ticks of all tapes, at most a chunk of each at a time; the next are decoded meanwhile."""
        streams = [self._stream(reader) for reader in self._readers]
        return ahead(streams[0] if len(streams) == 1 else _merge(streams))

    def _stream(self, reader: TapeReader) -> Iterator[TickBatch]:
        wanted = [symbol for symbol in reader.symbols if symbol in self.symbols]
        if not wanted:
            return
        code_of = np.array([self.symbols.index(s) if s in self.symbols else -1 for s in reader.symbols], dtype=np.int32)
        for batch in reader.batches(self._chunk_rows, None if len(wanted) == len(reader.symbols) else wanted):
            if batch.symbols != self.symbols:
                batch = msgspec.structs.replace(batch, symbols=self.symbols, code=code_of[batch.code])
            yield batch


def _merge(streams: list[Iterator[TickBatch]]) -> Iterator[TickBatch]:
    """Rows of several streams by `ts_recv`; equal times keep the order of the streams."""
    heads: list[tuple[TickBatch, Iterator[TickBatch]]] = []
    for stream in streams:
        first = next(stream, None)
        if first is not None:
            heads.append((first, stream))
    while heads:
        horizon = min(int(batch.ts_recv[-1]) for batch, _ in heads)
        # a stream that ends at the horizon may go on there: what the streams after it have at that time must wait
        ending = next(place for place, (batch, _) in enumerate(heads) if batch.ts_recv[-1] == horizon)
        parts, kept = [], []
        for place, (batch, stream) in enumerate(heads):
            stop = int(np.searchsorted(batch.ts_recv, horizon, side="right" if place <= ending else "left"))
            if stop:
                parts.append(batch.slice(0, stop))
            rest = batch.slice(stop, len(batch)) if stop < len(batch) else next(stream, None)
            if rest is not None:
                kept.append((rest, stream))
        heads = kept
        merged = joined(parts)
        yield merged if len(parts) == 1 else merged.take(np.argsort(merged.ts_recv, kind="stable"))


class Schedule:
    """The moments of a session at which something is due, UTC nanoseconds, ascending."""

    def __init__(self, interval_s: int, grace_ns: int, square_off_minutes: float) -> None:
        self._interval_ns = interval_s * NS_PER_S
        self._grace_ns = grace_ns
        self._square_off_ns = int(square_off_minutes * 60 * NS_PER_S)

    def of(self, session: Session) -> list[int]:
        """The open, every close of the decision interval (with its grace), and square-off."""
        first, last, step = session.open_ns, session.close_ns, self._interval_ns
        closes = {min(end, last) for end in range(first + step, last + step, step)}
        square_off = max(first, last - self._square_off_ns)
        return sorted({first + self._grace_ns, square_off, *(close + self._grace_ns for close in closes)})


class TapeFeed:
    """Plays tapes onto the bus; `run` returns at their end."""

    def __init__(
        self,
        bus: Bus,
        tapes: Tapes,
        tick_filter: TickFilter,
        calendar: Sessions,
        schedule: Schedule,
        clock: ReplayClock | PacedClock,
    ) -> None:
        self.tick_filter = tick_filter
        self.first_ts: int | None = None
        self.last_ts: int | None = None
        self.sessions: list[Session] = []
        self._bus = bus
        self._tapes = tapes
        self._calendar = calendar
        self._schedule = schedule
        self._clock = clock
        self._due: list[int] = []
        self._marks = deque(tapes.marks)
        self._scheduled: set[int] = set()
        self._told = 0
        self._received = 0
        self._played = 0  # ticks of the newest batch that were handed over
        self._told_ns = 0

    async def run(self) -> None:
        """Play to the end, and through the end of the last session."""
        made_of = f", made of {self._tapes.bars} bars" if self._tapes.bars else ""
        self._status(FeedState.CONNECTED, f"tape opened{made_of}", self._tapes.opening_ts or 0)
        for raw in self._pieces():
            before, self._played = self.tick_filter.mark(), 0
            accepted, _ = self.tick_filter.apply(raw)
            if len(accepted):
                received = running_max(accepted.ts_recv, self._received)
                self._received = int(received[-1])
                try:
                    await self._play(msgspec.structs.replace(accepted, ts_recv=received))
                except asyncio.CancelledError:
                    self._count_played(raw, before)
                    raise
            else:
                await asyncio.sleep(0)
        await self._finish_session()
        self._status(FeedState.ENDED, "end of the tape", self._clock.now_ns())
        await self._bus.idle()

    def _pieces(self) -> Iterator[TickBatch]:
        """What is sifted at a time: all that was read, or of a paced tape no more than is nearly due."""
        clock = self._clock
        if isinstance(clock, ReplayClock):
            yield from self._tapes.batches()
            return
        for raw in self._tapes.batches():
            received = running_max(raw.ts_recv, self._received)
            start = 0
            while start < len(raw):
                until = min(max(clock.now_ns(), int(received[start])) + clock.ns_within(SIFTED_S), _FARTHEST)
                stop = int(np.searchsorted(received, until, side="right"))
                yield raw.slice(start, stop)
                start = stop

    def _publish(self, batch: TickBatch) -> None:
        self._bus.publish(batch)
        self._played += len(batch)
        if self.first_ts is None:
            self.first_ts = int(batch.ts_event[0])
        self.last_ts = int(batch.ts_event[-1])

    def _count_played(self, raw: TickBatch, before: Mark) -> None:
        """Count of `raw` what comes up to the last tick that was handed over: nobody saw the rest."""
        rows, played = self.tick_filter.rows, self._played
        self.tick_filter.back_to(before)
        if played:
            self.tick_filter.apply(raw.slice(0, (int(rows[played - 1]) if rows is not None else played - 1) + 1))

    async def _play(self, batch: TickBatch) -> None:
        """Hand a batch over, cut at every due moment."""
        received = batch.ts_recv
        start, stop = 0, len(batch)
        while start < stop:
            if not self._due:
                await self._open_session(int(batch.ts_event[start]), int(received[start]))
            if self._due:
                cut = int(received.searchsorted(self._due[0], side="right"))
            else:
                cut = start + self._stragglers(batch.ts_event[start:])
            if cut > start:
                await self._hand_over(batch.slice(start, cut) if cut - start < stop else batch)
                start = cut
            if start < stop and self._due:
                await self._advance(self._due.pop(0))

    async def _open_session(self, ts_event: int, ts_recv: int) -> None:
        """Line up the moments of the session that a tick belongs to; in a paced run skip the closed hours."""
        session = self._calendar.session_at(ts_event)
        if session is None:
            raise ValueError(f"tick at {ts_event} ns is outside every session: it should have been rejected")
        if self.sessions and session.open_ns <= self.sessions[-1].open_ns:
            return
        self.sessions.append(session)
        self._repeat_marks(ts_recv - 1)
        moments = self._schedule.of(session)
        self._scheduled = {moment for moment in moments if moment >= ts_recv}
        self._due = sorted(self._scheduled | {mark.place for mark in self._marks if mark.place <= moments[-1]})
        if isinstance(self._clock, PacedClock):
            self._clock.start(ts_recv)

    def _stragglers(self, ts_event: Ints) -> int:
        """How many ticks come before the first one of the next session: after the last moment of a session some do."""
        later = ts_event >= self.sessions[-1].close_ns
        return int(np.argmax(later)) if later.any() else len(ts_event)

    async def _finish_session(self) -> None:
        while self._due:
            await self._advance(self._due.pop(0))

    async def _hand_over(self, batch: TickBatch) -> None:
        clock = self._clock
        if isinstance(clock, ReplayClock):
            self._publish(batch)
            clock.advance(int(batch.ts_recv[-1]))
            await self._bus.idle()
            return
        start = 0
        while start < len(batch):
            await self._wait_until(int(batch.ts_recv[start]))
            now = clock.now_ns()
            cut = int(np.searchsorted(batch.ts_recv, now, side="right"))
            self._publish(batch.slice(start, cut))
            start = cut
            if start < len(batch):
                self._tell_time(now, clock.monotonic_ns())
            await asyncio.sleep(GROUPING_S)

    async def _advance(self, moment: int) -> None:
        if isinstance(self._clock, ReplayClock):
            self._clock.advance(moment)
        else:
            await self._wait_until(moment)
            await self._bus.idle()
        if moment in self._scheduled:
            self._tell(moment)
        self._repeat_marks(moment)
        await self._bus.idle()

    def _tell(self, ts: int) -> None:
        self._told = ts
        self._bus.publish(TimeAdvanced(ts=ts))

    def _repeat_marks(self, until: int) -> None:
        """Say again, in its place among ticks and moments, what the feed said when the tape was recorded."""
        while self._marks and self._marks[0].place <= until:
            mark = self._marks.popleft()
            if mark.told > self._told:
                self._tell(mark.told)
            self._bus.publish(mark.status)

    def _tell_time(self, now: int, monotonic_ns: int) -> None:
        """Paced: time advances at least every `LONGEST_NAP_S` while ticks flow, too, short of the next due moment."""
        if monotonic_ns - self._told_ns >= LONGEST_NAP_S * NS_PER_S:
            self._told_ns = monotonic_ns
            self._bus.publish(TimeAdvanced(ts=min(now, self._due[0] - 1) if self._due else now))

    async def _wait_until(self, ts: int) -> None:
        """Sleep to a moment of the tape; on the way, short of it, time advances at least every `LONGEST_NAP_S`."""
        clock = self._clock
        assert isinstance(clock, PacedClock)
        while (left := clock.wall_seconds_until(ts)) > 0:
            await asyncio.sleep(min(left, LONGEST_NAP_S))
            if left > LONGEST_NAP_S:
                self._bus.publish(TimeAdvanced(ts=min(clock.now_ns(), ts - 1)))

    def _status(self, state: FeedState, reason: str, ts: int) -> None:
        self._bus.publish(FeedStatus(ts=ts, state=state, symbol=None, reason=reason))
