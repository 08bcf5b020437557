"""Corporate actions: those that the settings name, and jumps between sessions that only one can explain.

A named one is said before the first tick of the session of its date (or of the first session after it), to everybody
at once, so that nobody values yesterday's shares at today's price. A jump is said before the first bar of its session:
that bar opens and closes beyond the limit, for a single false price at the open is no split; or it closes beyond the
limit from its open, too, which was yesterday's price told once more, for no trading goes so far in a bar. A bar of
nothing but yesterday's last price is none of the session yet: nobody traded. Invariant: what is said of a session
depends on the ticks and the settings alone, and each action is said once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
import structlog

from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, day_number, india_day
from daemon.core.events import Bar, Event, PositionRestated, PriceAdjusted, PriceJumped, TickBatch
from daemon.market.calendar import ist_date
from daemon.market.overnight import OvernightLimit, action_key
from daemon.settings.market import AdjustmentSettings

log = structlog.get_logger("market")


class _Close(msgspec.Struct, frozen=True, gc=False):
    """The last price (rupees) of a session's day: as the feed told it, and as actions since then count it."""

    day: int
    price: float
    told: float


class Overnight:
    """Listens to ticks on `bus` and says what is due; is asked about bars by whoever publishes them.

    `adjustments`: by symbol, oldest first. `by_broker`: who changes what is held is the broker; on paper it is changed
    here. Of symbols that an earlier process held, `closes` has when (UTC ns) and at what price it last saw them.
    `held_at` tells how many of a symbol (signed) were held as a day (counted from 1970) began: actions of such days are
    due to an earlier process's positions, but for those `done` (by `action_key`).
    """

    def __init__(
        self,
        bus: Bus,
        limit: OvernightLimit,
        adjustments: Mapping[str, Iterable[AdjustmentSettings]],
        *,
        by_broker: bool = False,
        closes: Mapping[str, tuple[int, float]] | None = None,
        held_at: Callable[[str, int], int] | None = None,
        done: Iterable[str] = (),
        silent: bool = False,
    ) -> None:
        """`silent`: the log hears it from somebody else."""
        self._bus = bus
        self._silent = silent
        self._limit = limit
        self._by_broker = by_broker
        self._adjustments = [(symbol, item) for symbol, items in adjustments.items() for item in items]
        self._held_at = held_at
        self._restated = self._done = frozenset(done)
        self.awaited: list[PriceAdjusted] = []
        """Actions that an earlier process said, but by its end what is held was not counted anew."""
        self._day = -1
        self._date: dt.date | None = None
        self._begun = False
        self._closes = {symbol: _Close(ts // DAY_NS, price, price) for symbol, (ts, price) in (closes or {}).items()}
        bus.tap((TickBatch,), self.on_ticks)

    def on_ticks(self, batch: Event) -> None:
        """The first ticks of a session: what is due by its date."""
        assert isinstance(batch, TickBatch)
        day = india_day(int(batch.ts_event[-1]))
        if day <= self._day:
            return
        self._day = day
        date, ts = ist_date(int(batch.ts_event[-1])), int(batch.ts_recv[0])
        for said in self.awaited if not self._begun and not self._by_broker else ():
            self._restate(said, ts)
        for symbol, item in self._adjustments:
            if item.date <= date and self._is_due(symbol, item):
                self._adjust(symbol, item, ts)
        self._date, self._begun = date, True

    def remember(self, seen: Iterable[Event]) -> None:
        """What an earlier process saw, oldest first: where its bars closed, and what it said already."""
        done = set(self._done)
        for event in seen:
            if isinstance(event, Bar):
                self._see(event)
                self._date = ist_date(event.ts_open)
            elif isinstance(event, PriceAdjusted):
                done.add(action_key(event.symbol, event.date, event.kind))
                self._scale(event.symbol, event.numerator, event.denominator)
                event = msgspec.structs.replace(event, carried=self._carried(event.symbol, event.date))
                if self._is_awaited(event):
                    self.awaited.append(event)
        self._done = frozenset(done)

    def before(self, bar: Bar) -> PriceJumped | None:
        """What is to be said before `bar`, None where it is nothing."""
        close = self._see(bar)
        if close is None:
            return None
        broken = partial(self._limit.broken, bar.symbol)
        from_before = broken(close, bar.open)
        if not broken(close, bar.close) or not (from_before or broken(bar.open, bar.close)):
            return None
        after = bar.open if from_before else bar.close
        jump = PriceJumped(ts=bar.ts_close, symbol=bar.symbol, before=close, after=after)
        if not self._silent:
            log.warning(jump.words)
        return jump

    def _see(self, bar: Bar) -> float | None:
        """Take note of its close; the last price of an earlier session where `bar` may be the first since then."""
        day, known = bar.ts_open // DAY_NS, self._closes.get(bar.symbol)
        is_old = known is not None and known.day < day and bar.low == bar.high == known.told
        self._closes[bar.symbol] = _Close(known.day if known is not None and is_old else day, bar.close, bar.close)
        return known.price if known is not None and known.day != day else None

    def _is_due(self, symbol: str, item: AdjustmentSettings) -> bool:
        if action_key(symbol, item.date.isoformat(), item.kind) in self._done:
            return False
        if self._date is not None and item.date > self._date:
            return True
        return not self._begun and bool(self._carried(symbol, item.date.isoformat()))

    def _is_awaited(self, said: PriceAdjusted) -> bool:
        """Whether something was held when its day began and is counted as it was then."""
        known = action_key(said.symbol, said.date, said.kind) in self._restated
        return said.shares and not known and bool(said.carried)

    def _carried(self, symbol: str, date: str) -> int | None:
        return None if self._held_at is None else self._held_at(symbol, day_number(date))

    def _scale(self, symbol: str, numerator: int, denominator: int) -> None:
        if symbol in self._closes:
            close = self._closes[symbol]
            self._closes[symbol] = msgspec.structs.replace(close, price=close.price * numerator / denominator)

    def _adjust(self, symbol: str, item: AdjustmentSettings, ts: int) -> None:
        numerator, denominator, date = item.fraction.numerator, item.fraction.denominator, item.date.isoformat()
        adjusted = PriceAdjusted(
            ts=ts, symbol=symbol, date=date, kind=item.kind, numerator=numerator, denominator=denominator,
            shares=item.shares, by_broker=self._by_broker, carried=self._carried(symbol, date),
        )  # fmt: skip
        if not self._silent:
            log.info(adjusted.words)
        self._scale(symbol, numerator, denominator)
        self._bus.publish(adjusted)
        if item.shares and not self._by_broker:
            self._restate(adjusted, ts)

    def _restate(self, said: PriceAdjusted, ts: int) -> None:
        self._bus.publish(
            PositionRestated(
                ts=ts, symbol=said.symbol, date=said.date, kind=said.kind, numerator=said.numerator,
                denominator=said.denominator, carried=said.carried,
            )
        )  # fmt: skip
