"""What a strategy sees and what it is asked: a `Moment` in, a `Decision` out.

`MarketView` remembers bars and positions from the bus and makes a `Moment`, an immutable snapshot at the close of a
bar; a `Strategy` is then one pure method, `decide(moment)`. Invariant: a decision is a function of its moment and of
the strategy's own weights and settings alone, so the same events give the same decisions, live, in replay and when
verified.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_S
from daemon.core.events import (
    Action,
    Bar,
    Complexity,
    Decision,
    EntriesRecord,
    MarketRemembered,
    PositionChanged,
    PriceAdjusted,
    PriceJumped,
    SessionsRecord,
)
from models.config import EntrySettings
from models.conformal import after_bar, after_wanting, begun
from models.past import LEFT, MOST, known, left_by

NS_PER_MINUTE = 60 * NS_PER_S
ATR_BARS = 14

LATE = "late"
"""Halt reason of a decision whose time had passed when its turn came: nothing was thought, and nobody failed."""
HUNG = "hung"
"""Halt reason of a decision whose strategy gave no answer within the limit and was left behind."""
RAISED = "raised"
"""Halt reason of a decision whose strategy raised instead of answering."""
UNFIT = "unfit"
"""Halt reason of a decision whose strategy has hung so often that it isn't asked any more."""
NOT_FINITE = "not_finite"
"""Halt reason of a decision whose strategy answered with a figure that is none."""
INVALID = "invalid"
"""Halt reason of a decision whose model said something that can't be used; asked again it says so again."""
UNTHOUGHT = (LATE, HUNG, RAISED, UNFIT, NOT_FINITE)
"""Halt reasons of decisions that no strategy made: machine and clock did, so that they can't be made again."""
SINGLE_CYCLE = "single_cycle"
"""Halt reason of a decision that had time for one cycle and not for a segment."""

OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
"""Columns of the arrays of bars."""


class Costs(Protocol):
    """What trading costs."""

    def bp(self, symbol: str, price: float, ts: int, share: float = 1.0) -> float:
        """Of trading one unit of `symbol` once at `price` rupees, basis points; `ts` in UTC nanoseconds.

        `share`: of what the limits on size allow, that are in the order; a small order may cost more.
        """


class FixedCosts(msgspec.Struct, frozen=True):
    """The same for everything."""

    cost_bp: float = 3.0

    def bp(self, symbol: str, price: float, ts: int, share: float = 1.0) -> float:
        """Whatever is asked."""
        return self.cost_bp


class PastSession:
    """A session that is over: its bars until somebody asks what it left (`models.past.left_by`), then that."""

    __slots__ = ("_bars", "_sums")

    def __init__(self, bars: NDArray[np.float64] | None, sums: tuple[float, ...] = ()) -> None:
        self._bars = bars
        self._sums = sums

    @property
    def sums(self) -> tuple[float, ...]:
        """Forty-one numbers."""
        bars = self._bars
        if bars is not None:
            self._sums = tuple(left_by(bars).tolist())
            self._bars = None
        return self._sums


class Past(tuple[PastSession, ...]):
    """The sessions of a symbol that are over, oldest first; what they tell is worked out once."""

    def known(self, most: int) -> NDArray[np.float64]:
        """What the newest `most` of them tell (`models.past.known`), (41,), not to be written to."""
        told: dict[int, NDArray[np.float64]] = self.__dict__.setdefault("told", {})
        found = told.get(most)
        if found is None:
            found = told[most] = known([session.sums for session in self[-most:]], most)
            found.flags.writeable = False
        return found


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Everything a strategy may know at the close of a bar.

    `bars` is (n, 5) float64, open/high/low/close/volume, oldest first, the newest closed at `ts` (UTC ns); volume is
    NaN where the instrument has none. `coarse` is the same for the coarser interval, closed bars only; the newest
    `session_bars` and `session_coarse` of them are of the present session. `position` is signed; `unrealised_atr` is
    the open profit of one unit in average bar ranges; `minute_of_session` counts from the open. `past`: the symbol's
    sessions that are over, oldest first. `entries`: what the entries that its model wanted came to.
    """

    symbol: str
    interval: str
    ts: int
    bars: NDArray[np.float64]
    coarse: NDArray[np.float64]
    complexity: Complexity
    position: int
    position_share: float
    unrealised_atr: float
    bars_held: int
    session_bars: int
    session_coarse: int
    minute_of_session: float
    minutes_to_close: float
    weekday: int
    may_enter: bool
    past: Past = Past()
    costs: Costs = FixedCosts()
    entries: EntriesRecord | None = None

    @property
    def cost_bp(self) -> float:
        """What trading one unit once costs here and now in the largest order that the limits allow, basis points."""
        return self.cost_of(1.0)

    def cost_of(self, share: float) -> float:
        """The same in an order for that share of it."""
        return self.costs.bp(self.symbol, self.price, self.ts, share)

    def known(self, most: int) -> NDArray[np.float64]:
        """What the newest `most` sessions that are over tell (`models.past.known`), (41,)."""
        return self.past.known(most)

    @property
    def price(self) -> float:
        """The close of the newest bar."""
        return float(self.bars[-1, CLOSE])


class Strategy(Protocol):
    """A decider. `in_thread` says that `decide` takes long enough to belong on the inference thread."""

    name: str
    in_thread: bool

    def decide(self, moment: Moment) -> Decision:
        """What to do now; expected trouble is a HOLD with its reason (`failed=True` where the model is at fault)."""


def model_hash_of(strategy: object) -> str:
    """Of the weights that a strategy decides with, "" where none do."""
    return str(getattr(strategy, "model_hash", ""))


@runtime_checkable
class Easeable(Protocol):
    """A strategy that can think less, and forget."""

    @property
    def depth(self) -> int:
        """Segments that a decision may take when nothing is eased."""

    def ease(self, *, most_segments: int | None, single_cycle: bool) -> None:
        """Take at most so many segments (None: as many as it likes), or one cycle, from the next decision on."""

    def forget(self) -> None:
        """Let go of decisions that were remembered and of what is carried from bar to bar."""


@runtime_checkable
class Renewable(Protocol):
    """A strategy that keeps something while it thinks, so that a thread left behind may still be at it."""

    def renewed(self) -> Strategy:
        """The same decider, sharing nothing with this one that either writes."""


class Foreseeing(Strategy, Protocol):
    """A strategy that may know its decisions before it is asked; what it knows is what `decide` would say."""

    @property
    def known_ahead(self) -> int:
        """Decisions that were known before they were asked for."""

    def is_ahead_due(self, moment: Moment) -> bool:
        """Whether it has come to the end of what it has thought ahead of."""

    def look_ahead(self, moment: Moment) -> int:
        """Think ahead from `moment` on, and say of how many. May take long."""

    def foreseen(self, moment: Moment) -> tuple[Decision, int] | None:
        """The decision, and what thinking it took, ns; None where it isn't known ahead."""


class Span(Protocol):
    """A session as far as a strategy needs it."""

    @property
    def open_ns(self) -> int:
        """First nanosecond."""

    @property
    def close_ns(self) -> int:
        """First nanosecond after it."""


class SessionSource(Protocol):
    """What the view needs of a calendar."""

    def session_at(self, ts_ns: int) -> Span | None:
        """The session that contains `ts_ns`."""


def hold(moment: Moment, strategy: str, reason: str, *, failed: bool = False, model_hash: str = "") -> Decision:
    """The safe decision."""
    return decision(moment, strategy, Action.HOLD, 1, 0.0, reason, failed=failed, model_hash=model_hash)


def unthought(
    moment: Moment, strategy: str, halt_reason: str, reason: str, *, failed: bool = False, model_hash: str = ""
) -> Decision:
    """The safe decision where `strategy` gave none; `halt_reason` is one of `UNTHOUGHT`."""
    safe = hold(moment, strategy, reason, failed=failed, model_hash=model_hash)
    return msgspec.structs.replace(safe, halt_reason=halt_reason)


def unusable(moment: Moment, strategy: str, reason: str, model_hash: str) -> Decision:
    """The safe decision where a model said something that can't be used."""
    safe = hold(moment, strategy, reason, failed=True, model_hash=model_hash)
    return msgspec.structs.replace(safe, halt_reason=INVALID)


def decision(
    moment: Moment,
    strategy: str,
    action: Action,
    quantity: int,
    confidence: float,
    reason: str,
    *,
    failed: bool = False,
    model_hash: str = "",
) -> Decision:
    """A decision about `moment` without reasoning figures; its `ts` is the bar's close until the actor stamps it."""
    return Decision(
        ts=moment.ts,
        ts_bar=moment.ts,
        symbol=moment.symbol,
        interval=moment.interval,
        strategy=strategy,
        action=action,
        quantity=quantity,
        confidence=confidence,
        reason=reason,
        price=moment.price,
        complexity=moment.complexity.score,
        regime=moment.complexity.regime.value,
        model_hash=model_hash,
        failed=failed,
    )


class _Ring:
    """The newest `length` bars of one symbol and interval; a row that was written once is never written again."""

    __slots__ = ("_day", "_end", "_length", "_rows", "_today")

    def __init__(self, length: int) -> None:
        self._length = length
        self._rows = np.empty((4 * length, 5))
        self._end = 0
        self._day = -1  # of the newest bar
        self._today = 0  # bars of that day

    def append(self, bar: Bar) -> None:
        day = bar.ts_open // DAY_NS
        self._today = self._today + 1 if day == self._day else 1
        self._day = day
        if self._end == len(self._rows):
            self._begin_anew()
        volume = bar.volume if bar.volume >= 0 else np.nan
        self._rows[self._end] = (bar.open, bar.high, bar.low, bar.close, volume)
        self._end += 1

    def rescale(self, event: PriceAdjusted) -> None:
        self._begin_anew()
        rows = self._rows[: self._end]
        rows[:, :VOLUME] *= event.numerator
        rows[:, :VOLUME] /= event.denominator
        if event.shares:
            rows[:, VOLUME] *= event.denominator
            rows[:, VOLUME] /= event.numerator

    def snapshot(self) -> NDArray[np.float64]:
        """A view, which can't be written to and doesn't change."""
        rows = self._rows[max(0, self._end - self._length) : self._end]
        rows.flags.writeable = False
        return rows

    def _begin_anew(self) -> None:
        """In other memory: what was shown of this one stays."""
        kept = self.snapshot()
        self._rows = np.empty((4 * self._length, 5))
        self._rows[: len(kept)] = kept
        self._end = len(kept)

    def of_day(self, ts: int) -> int:
        """How many of the snapshot's newest bars are of the day of `ts`; a session lies within one UTC day."""
        return min(self._today, self._length) if ts // DAY_NS == self._day else 0


class _Sessions:
    """What earlier sessions of one symbol left, the bars of the one that goes on, and what wanted entries came to."""

    __slots__ = ("_day", "_rule", "_today", "entries", "past")

    def __init__(self, rule: EntrySettings) -> None:
        self.past = Past()
        self.entries: EntriesRecord | None = None
        self._rule = rule
        self._day = -1
        self._today: list[tuple[float, float, float, float, float]] = []

    def append(self, bar: Bar) -> None:
        day = bar.ts_open // DAY_NS
        if day != self._day:
            self.end()
            self._day = day
        self._today.append((bar.open, bar.high, bar.low, bar.close, bar.volume))
        if self.entries is not None:
            self.entries = after_bar(self.entries, day, (bar.open, bar.close), self._rule)

    def want(self, decision: Decision) -> None:
        """Keep an eye on the entry that it wanted, made or not; another model's entries tell nothing of this one's."""
        if self.entries is None or self.entries.model != decision.model_hash:
            self.entries = begun(decision.model_hash, self._rule)
        side = 1 if decision.wanted is Action.BUY_LONG else -1
        today = [(open_, close) for open_, _, _, close, _ in self._today]
        self.entries = after_wanting(self.entries, side, decision.cost_bp, self._day, today, self._rule)

    def record(self) -> SessionsRecord:
        over = tuple(session.sums for session in self.past)
        return SessionsRecord(over, tuple(self._today), self._day, self.entries)

    def restore(self, record: SessionsRecord) -> None:
        self.know(record.over)
        self._today, self._day, self.entries = list(record.today), record.day, record.entries

    def end(self) -> None:
        """What there is of a session is all there will be."""
        if self._today:
            bars = np.array(self._today, np.float64)
            self.past = Past([*self.past, PastSession(np.where(bars < 0, np.nan, bars))][-MOST:])
            self._today = []

    def know(self, sums: Sequence[tuple[float, ...]]) -> None:
        """What the sessions that are over left, oldest first; what an earlier version recorded has no evidence."""
        whole = [(*one, *(0.0,) * (LEFT - len(one))) for one in sums]
        self.past = Past([PastSession(None, one) for one in whole][-MOST:])


class _Held:
    """The position of one symbol and the bars since it was opened."""

    __slots__ = ("average", "bars", "quantity")

    def __init__(self) -> None:
        self.quantity = 0
        self.average = 0.0
        self.bars = 0


class ViewSettings(msgspec.Struct, frozen=True):
    """How much a view remembers and how it describes a moment.

    `max_position` is what a `position_share` of 1 means; entries end `no_entries_minutes` before a session does.
    """

    interval: str
    coarse_interval: str
    window: int
    coarse_window: int
    max_position: int
    no_entries_minutes: float
    keeps_sessions: bool = True
    """Whether anybody asks what earlier sessions left: what they leave is worked out at a cost."""
    entries: EntrySettings = EntrySettings()


class MarketView:
    """Bars and positions of every symbol; loop-free."""

    def __init__(self, settings: ViewSettings, calendar: SessionSource, costs: Costs | None = None) -> None:
        self._settings = settings
        self._costs = costs if costs is not None else FixedCosts()
        self._sessions: dict[str, _Sessions] = {}
        self._calendar = calendar
        self._bars: dict[str, _Ring] = {}
        self._coarse: dict[str, _Ring] = {}
        self._held: dict[str, _Held] = {}

    def on_bar(self, bar: Bar) -> None:
        """Remember a bar of the decision or of the coarse interval; others are ignored."""
        settings = self._settings
        if bar.interval == settings.interval:
            self._ring(self._bars, bar.symbol, settings.window).append(bar)
            if settings.keeps_sessions:
                self._sessions_of(bar.symbol).append(bar)
            held = self._held.get(bar.symbol)
            if held is not None and held.quantity:
                held.bars += 1
        if bar.interval == settings.coarse_interval:
            self._ring(self._coarse, bar.symbol, settings.coarse_window).append(bar)

    def on_adjusted(self, event: PriceAdjusted) -> None:
        """Count the bars so far in the new price (and in new shares), so that windows run through."""
        for rings in (self._bars, self._coarse):
            if event.symbol in rings:
                rings[event.symbol].rescale(event)

    def on_jumped(self, event: PriceJumped) -> None:
        """Leave the bars so far out of every window, and forget earlier sessions."""
        self._bars.pop(event.symbol, None)
        self._coarse.pop(event.symbol, None)
        self._sessions.pop(event.symbol, None)

    def on_decision(self, decision: Decision) -> None:
        """Remember the entry that was wanted, where entries are held to what such ones earned."""
        if decision.wanted is not None and self._settings.keeps_sessions:
            self._sessions_of(decision.symbol).want(decision)

    def on_position(self, event: PositionChanged) -> None:
        """Remember a position."""
        held = self._held.setdefault(event.symbol, _Held())
        if not held.quantity or held.quantity * event.quantity <= 0:
            held.bars = 0
        held.quantity = event.quantity
        held.average = float(event.average_price)

    def held(self, symbol: str) -> tuple[int, int]:
        """The position, signed, and the bars of the decision interval since it was opened."""
        held = self._held.get(symbol)
        return (held.quantity, held.bars) if held is not None and held.quantity else (0, 0)

    def on_remembered(self, event: MarketRemembered) -> None:
        """See again what an earlier process saw; the position's average price comes with its `PositionChanged`."""
        due = list(event.adjusted)
        for bar in event.bars:
            while due and due[0].ts < bar.ts_close:
                self.on_adjusted(due.pop(0))
            self.on_bar(bar)
        for action in due:
            self.on_adjusted(action)
        sessions = self._sessions_of(event.symbol)
        sessions.know(event.past)
        sessions.entries = event.entries
        held = self._held.setdefault(event.symbol, _Held())
        held.quantity, held.bars = event.quantity, event.bars_held

    def past(self, symbol: str) -> Past:
        """The symbol's sessions that are over, oldest first."""
        return self._sessions_of(symbol).past

    def entries(self, symbol: str) -> EntriesRecord | None:
        """What the entries that its model wanted of a symbol came to, None where none was."""
        return self._sessions_of(symbol).entries

    def sessions(self) -> dict[str, SessionsRecord]:
        """All that is known of sessions, for `restore_sessions` of another view."""
        return {symbol: sessions.record() for symbol, sessions in self._sessions.items()}

    def restore_sessions(self, records: Mapping[str, SessionsRecord]) -> None:
        """Know what another view knew."""
        for symbol, record in records.items():
            self._sessions_of(symbol).restore(record)

    def moment(self, complexity: Complexity) -> Moment:
        """The snapshot at the bar that `complexity` speaks of, which `on_bar` has seen."""
        settings, symbol, ts = self._settings, complexity.symbol, complexity.ts
        bars = self._bars[symbol].snapshot()
        coarse = self._coarse.get(symbol)
        held = self._held.get(symbol)
        quantity = held.quantity if held else 0
        session = self._calendar.session_at(ts - 1)
        opened, closes = (session.open_ns, session.close_ns) if session else (ts, ts)
        local = ts + IST_OFFSET_NS
        return Moment(
            symbol=symbol,
            interval=settings.interval,
            ts=ts,
            bars=bars,
            coarse=coarse.snapshot() if coarse else np.empty((0, 5)),
            complexity=complexity,
            position=quantity,
            position_share=min(1.0, abs(quantity) / settings.max_position),
            unrealised_atr=_unrealised_atr(bars, held) if held and quantity else 0.0,
            bars_held=held.bars if held and quantity else 0,
            session_bars=self._bars[symbol].of_day(opened),
            session_coarse=coarse.of_day(opened) if coarse else 0,
            minute_of_session=(ts - opened) / NS_PER_MINUTE,
            minutes_to_close=(closes - ts) / NS_PER_MINUTE,
            weekday=(local // DAY_NS + 3) % 7,
            may_enter=(closes - ts) / NS_PER_MINUTE > settings.no_entries_minutes,
            past=self.past(symbol),
            costs=self._costs,
            entries=self.entries(symbol),
        )

    def _sessions_of(self, symbol: str) -> _Sessions:
        found = self._sessions.get(symbol)
        if found is None:
            found = self._sessions[symbol] = _Sessions(self._settings.entries)
        return found

    def _ring(self, rings: dict[str, _Ring], symbol: str, length: int) -> _Ring:
        ring = rings.get(symbol)
        if ring is None:
            ring = rings[symbol] = _Ring(length)
        return ring


def _unrealised_atr(bars: NDArray[np.float64], held: _Held) -> float:
    highs, lows = bars[-ATR_BARS:, HIGH].tolist(), bars[-ATR_BARS:, LOW].tolist()
    atr = (math.fsum(highs) - math.fsum(lows)) / len(highs)
    sign = 1.0 if held.quantity > 0 else -1.0
    return sign * (float(bars[-1, CLOSE]) - held.average) / atr if atr > 0.0 else 0.0
