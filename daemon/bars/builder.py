"""Accepted ticks → bars of several intervals at once.

Ticks are reduced column-wise into bars of the base interval (the greatest common divisor of the intervals asked for),
which roll up into the longer ones. Intervals are anchored at the session's open (09:15 IST), so a 60-minute bar starts
at 09:15, and the last bar of a session ends with it. Invariant: a bar closes by the clock alone (its end plus the grace
period), so the same ticks give the same bars live and in replay; a tick received after its bar of the base interval was
closed is counted as `late`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.bars.overnight import Overnight
from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S
from daemon.core.columns import rows_by_code
from daemon.core.events import Bar, Event, FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.market.calendar import Session

DAY = "1d"

_SUM, _LEAST, _MOST = np.add.reduce, np.minimum.reduce, np.maximum.reduce
"""What `sum`, `min` and `max` of an array come to, without what Python does before: of a bar's ticks that is more."""


class SessionSource(Protocol):
    """What the bars need of a calendar."""

    def session_at(self, ts_ns: int) -> Session | None:
        """The session that contains `ts_ns`."""


class _Partial(msgspec.Struct, gc=False):
    """A bar in the making; `end` is when its interval is over."""

    session: Session
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    ticks: int
    gap: bool

    def absorb(self, other: _Partial) -> None:
        """Add what came later in the same interval."""
        if other.high > self.high:
            self.high = other.high
        if other.low < self.low:
            self.low = other.low
        self.close = other.close
        if other.volume >= 0:
            self.volume = other.volume if self.volume < 0 else self.volume + other.volume
        self.ticks += other.ticks
        self.gap = self.gap or other.gap


class _SymbolBars:
    """Open bars of one symbol: base bars not yet closed, and one partial per longer interval."""

    __slots__ = ("base", "gap", "rolled")

    def __init__(self) -> None:
        self.base: list[_Partial] = []
        self.rolled: dict[str, _Partial] = {}
        self.gap = False


class BarBuilder:
    """Loop-free: `on_ticks` takes columns, `on_time` returns the bars that are due.

    `seconds` maps interval name to its length. Volume of a bar is the sum of the traded quantities of its ticks
    (`TickBatch.traded`), −1 where the instrument has none.
    """

    def __init__(self, calendar: SessionSource, seconds: dict[str, int], grace_ns: int) -> None:
        self.late_of: Counter[str] = Counter()
        """Ticks that came too late, by symbol."""
        self.built = 0
        self._calendar = calendar
        self._grace = grace_ns
        intraday = [length for name, length in seconds.items() if name != DAY]
        self._base_ns = (math.gcd(*intraday) if intraday else 86_400) * NS_PER_S
        self._lengths = sorted((length * NS_PER_S, name) for name, length in seconds.items())
        self._longer = [(length, name) for length, name in self._lengths if length > self._base_ns]
        self._base_name = next((name for length, name in self._lengths if length == self._base_ns), None)
        self._rank = {name: rank for rank, (_, name) in enumerate(self._lengths)}
        self._symbols: dict[str, _SymbolBars] = {}
        self._lost: dict[str | None, int] = {}  # when the feed of a symbol (None: of all) last went silent
        self._session: Session | None = None
        self._now = 0

    @property
    def late(self) -> int:
        """Ticks that came too late."""
        return self.late_of.total()

    def on_ticks(self, batch: TickBatch) -> None:
        """Reduce a batch of accepted ticks into open bars; per symbol, `ts_event` does not fall."""
        ts = batch.ts_event
        if not len(ts):
            return
        session = self._session_of(int(ts[0]))
        code = batch.code
        if len(batch.symbols) == 1 or (code == code[0]).all():
            if ts[-1] < session.close_ns:
                self._reduce(batch.symbols[code[0]], session, ts, batch.ts_recv, batch.ltp, batch.traded)
            else:
                self._split(batch, ts < session.close_ns)
            return
        inside = (ts >= session.open_ns) & (ts < session.close_ns)
        if not inside.all():
            self._split(batch, inside)
            return
        for symbol_code, rows in rows_by_code(code):
            columns = (ts[rows], batch.ts_recv[rows], batch.ltp[rows], batch.traded[rows])
            self._reduce(batch.symbols[symbol_code], session, *columns)

    def _split(self, batch: TickBatch, first: NDArray[np.bool_]) -> None:
        """Ticks of several sessions in one batch: one session after the other."""
        self.on_ticks(batch.take(first))
        self.on_ticks(batch.take(~first))

    def on_time(self, ts: int) -> list[Bar]:
        """All bars whose end plus grace is not after `ts`, ordered by end, interval and symbol."""
        self._now = max(self._now, ts)
        due = self._now - self._grace
        closed: list[Bar] = []
        for symbol, bars in self._symbols.items():
            while bars.base and bars.base[0].end <= due:
                partial = bars.base.pop(0)
                if self._base_name is not None:
                    closed.append(_bar(symbol, self._base_name, partial))
                closed += [_bar(symbol, name, whole) for name, whole in self._roll_up(bars, partial)]
            for name, partial in list(bars.rolled.items()):
                if partial.end <= due:
                    closed.append(_bar(symbol, name, bars.rolled.pop(name)))
        if len(closed) > 1:
            closed.sort(key=lambda bar: (bar.ts_close, self._rank[bar.interval], bar.symbol))
        self.built += len(closed)
        return closed

    def forget_counts(self) -> None:
        """What is in the making stays; what was built isn't counted."""
        self.built = 0
        self.late_of.clear()

    def seed(self, bars: Sequence[Bar], until: int) -> None:
        """Begin the longer bars in which `until` lies with the shorter `bars` (of one interval) that are part of them.

        For symbols of which no tick has come yet; what their longer bars held until now is otherwise forgotten. The
        next bar carries `gap`.
        """
        session = self._calendar.session_at(until)
        fresh = {bar.symbol for bar in bars} - self._symbols.keys()
        for bar in bars:
            if session is None or bar.symbol not in fresh or not session.open_ns <= bar.ts_open < session.close_ns:
                continue
            part = _Partial(
                session, bar.ts_open, bar.ts_close, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.ticks,
                bar.gap,
            )  # fmt: skip
            known = self._symbols.setdefault(bar.symbol, _SymbolBars())
            known.gap = True  # nobody has what came since the last of them
            self._roll_into(known, part, until)

    def _roll_into(self, bars: _SymbolBars, part: _Partial, until: int) -> None:
        """Add a part to those longer bars that aren't over by `until`."""
        session = part.session
        for length, name in self._longer:
            start = part.start - (part.start - session.open_ns) % length
            end = min(start + length, session.close_ns)
            if start <= part.start and part.end <= end and part.end - part.start < length and end > until:
                held = bars.rolled.get(name)
                if held is not None and held.start == start:
                    held.absorb(part)
                else:
                    bars.rolled[name] = msgspec.structs.replace(part, start=start, end=end)

    def mark_gap(self, symbol: str | None, ts: int) -> None:
        """The feed of `symbol` (None: of all) went silent: its open bars, and the next one, carry `gap`.

        So does the first bar of a symbol that had no tick yet in the session: nobody knows what was missed.
        """
        self._lost[symbol] = ts
        for name, bars in self._symbols.items():
            if symbol is None or name == symbol:
                bars.gap = True
                for partial in (*bars.base[-1:], *bars.rolled.values()):
                    partial.gap = True

    def _session_of(self, ts: int) -> Session:
        session = self._session
        if session is None or not session.open_ns <= ts < session.close_ns:
            session = self._calendar.session_at(ts)
            if session is None:
                raise ValueError(f"tick at {ts} ns is outside every session: it should have been rejected")
            self._session = session
        return session

    def _reduce(
        self,
        symbol: str,
        session: Session,
        ts: NDArray[np.int64],
        received: NDArray[np.int64],
        ltp: NDArray[np.float64],
        traded: NDArray[np.int64],
    ) -> None:
        late = self._late(session, ts, received)
        if late is not None:
            self.late_of[symbol] += int(np.count_nonzero(late))
            kept = ~late
            ts, ltp, traded = ts[kept], ltp[kept], traded[kept]
            if not len(ts):
                return
        bars = self._bars_of(symbol, session)
        opened, base = session.open_ns, self._base_ns
        first, last = (int(ts[0]) - opened) // base, (int(ts[-1]) - opened) // base
        if last - first == 1:  # what came within the grace, and the bar after it
            cut = int(ts.searchsorted(opened + last * base))
            self._whole(bars, session, first, ltp[:cut], traded[:cut])
            self._whole(bars, session, last, ltp[cut:], traded[cut:])
            return
        if first == last:
            self._whole(bars, session, first, ltp, traded)
            return
        edges = np.arange(first + 1, last + 1) * base + opened
        found = [0, *ts.searchsorted(edges).tolist(), len(ts)]
        buckets = [k for k in range(last - first + 1) if found[k] < found[k + 1]]  # those that a tick fell into
        starts = [found[k] for k in buckets]
        columns = zip(
            buckets,
            starts,
            np.maximum.reduceat(ltp, starts).tolist(),
            np.minimum.reduceat(ltp, starts).tolist(),
            _volumes(traded, starts),
            strict=True,
        )
        for k, start, high, low, volume in columns:
            stop = found[k + 1]
            price, close = float(ltp[start]), float(ltp[stop - 1])
            self._add(bars, session, first + k, price, high, low, close, volume, stop - start)

    def _bars_of(self, symbol: str, session: Session) -> _SymbolBars:
        """Those of a symbol, made at its first tick."""
        bars = self._symbols.get(symbol)
        if bars is None:
            bars = self._symbols[symbol] = _SymbolBars()
            bars.gap = max(self._lost.get(symbol, 0), self._lost.get(None, 0)) >= session.open_ns
        return bars

    def _whole(
        self, bars: _SymbolBars, session: Session, bucket: int, ltp: NDArray[np.float64], traded: NDArray[np.int64]
    ) -> None:
        """Ticks that all belong to one bar."""
        if len(ltp) == 1:
            price = float(ltp[0])
            self._add(bars, session, bucket, price, price, price, price, int(traded[0]), 1)
            return
        volume = int(_SUM(traded)) if _LEAST(traded) >= 0 else _volumes(traded, [0])[0]
        high, low = float(_MOST(ltp)), float(_LEAST(ltp))
        self._add(bars, session, bucket, float(ltp[0]), high, low, float(ltp[-1]), volume, len(ltp))

    def _late(self, session: Session, ts: NDArray[np.int64], received: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which ticks came after their base bar was closed, None where none did.

        Told by the time of receipt, so that it does not depend on how often somebody looked at the clock in between;
        and whatever the stamps say, a bar that was published stays as it was.
        """
        due = self._now - self._grace
        first_end = self._end_of(session, int(ts[0]))
        in_time = received[-1] <= first_end + self._grace or (received - ts).max() <= self._grace
        if in_time and first_end > due:
            return None
        bucket = (ts - session.open_ns) // self._base_ns
        end = np.minimum(session.open_ns + (bucket + 1) * self._base_ns, session.close_ns)
        late: NDArray[np.bool_] = (end <= due) | (received > end + self._grace)
        return late if late.any() else None

    def _end_of(self, session: Session, ts: int) -> int:
        """When the base bar that `ts` falls into is over."""
        start = ts - (ts - session.open_ns) % self._base_ns
        return min(start + self._base_ns, session.close_ns)

    def _add(
        self, bars: _SymbolBars, session: Session, bucket: int, o: float, h: float, lo: float, c: float, v: int, n: int
    ) -> None:
        start = session.open_ns + bucket * self._base_ns
        end = min(start + self._base_ns, session.close_ns)
        partial = _Partial(session, start, end, o, h, lo, c, v, n, bars.gap)
        bars.gap = False
        if bars.base and bars.base[-1].start == start:
            bars.base[-1].absorb(partial)
        else:
            bars.base.append(partial)

    def _roll_up(self, bars: _SymbolBars, base: _Partial) -> list[tuple[str, _Partial]]:
        """Add a closed base bar to the longer ones; those that it lies beyond are over and are returned."""
        session, over = base.session, []
        for length, name in self._longer:
            start = base.start - (base.start - session.open_ns) % length
            held = bars.rolled.get(name)
            if held is not None and held.start == start:
                held.absorb(base)
                continue
            if held is not None:
                over.append((name, held))
            bars.rolled[name] = msgspec.structs.replace(base, start=start, end=min(start + length, session.close_ns))
        return over


def _volumes(traded: NDArray[np.int64], starts: list[int]) -> list[int]:
    """Traded quantity of each stretch; −1 is unknown and adds nothing, a stretch that knows none has −1."""
    if traded.min() >= 0:
        sums = np.add.reduceat(traded, starts)
    else:
        known = np.maximum.reduceat(traded, starts) >= 0
        sums = np.where(known, np.add.reduceat(np.maximum(traded, 0), starts), -1)
    volumes: list[int] = sums.tolist()
    return volumes


def _bar(symbol: str, interval: str, partial: _Partial) -> Bar:
    return Bar(
        symbol=symbol,
        interval=interval,
        ts_open=partial.start,
        ts_close=partial.end,
        open=partial.open,
        high=partial.high,
        low=partial.low,
        close=partial.close,
        volume=partial.volume,
        ticks=partial.ticks,
        gap=partial.gap,
    )


class BarsActor(Actor):
    """Feeds the builder and publishes the bars it closes."""

    name = "bars"

    def __init__(self, bus: Bus, builder: BarBuilder, overnight: Overnight | None = None) -> None:
        """`overnight` says what is to be known before a bar."""
        super().__init__(bus)
        self.builder = builder
        self._overnight = overnight
        self.inbox = bus.subscribe(self.name, (TickBatch, TimeAdvanced, FeedStatus))

    def remember(self, seen: Sequence[Event], interval: str, until: int) -> None:
        """What an earlier process saw before `until`, oldest first: longer bars go on from those of `interval`."""
        self.builder.seed([item for item in seen if isinstance(item, Bar) and item.interval == interval], until)
        if self._overnight is not None:
            self._overnight.remember(seen)

    def handle(self, event: Event) -> None:
        """Reduce ticks; at a moment in time, publish what is due."""
        if isinstance(event, TickBatch):
            self.builder.on_ticks(event)
        elif isinstance(event, TimeAdvanced):
            self.publish(self.builder.on_time(event.ts))
        elif isinstance(event, FeedStatus) and event.state is FeedState.STALE:
            self.builder.mark_gap(event.symbol, event.ts)

    def publish(self, bars: Sequence[Bar]) -> None:
        """Put closed bars on the bus."""
        for bar in bars:
            jump = self._overnight.before(bar) if self._overnight is not None else None
            if jump is not None:
                self.bus.publish(jump)
            self.bus.publish(bar)
