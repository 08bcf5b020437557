"""The simulated venue: turns order intents and tick columns into acceptances, fills and cancellations.

It never flatters. An order is on the market from `active_from` (decision time plus injected latency) and each of its
steps (trigger, fill, next part) needs a tick received strictly later than the step before. A tick that was at the
exchange a second or more before `active_from` does nothing to it: what a feed that stalled catches up with is over. A
market order pays the quote, or the last price and half the spread, and slippage, rounded to the tick against us. A
limit order fills at its limit, only when a trade that is new (`traded` is not 0), or the opposite quote, goes through
it (or touches it, by setting). Where nobody is on the other side of the book nothing fills, whatever the type: the
order waits, as a market order does at NSE, and a warning says so once. Nothing is bought above or sold below the day's
price band where the feed tells one, and a limit or stop price outside it is refused. A quote that is further from the
last price than that may jump (`feed.max_jump_percent`) gives nobody a bargain: the last price counts. Nobody pays it
either: the order waits for a better one, but of an option, which may not have traded for long.

On a tape that is made of bars nobody knows what came first inside one (`daemon/tape/bar_ticks.py`). A market order that
was there before the bar's open fills at the open; what trades inside the bar, a stop too, pays the bar's worse extreme;
a limit order fills by an extreme only when it was on the market before the open, and at the bar's end, after the stops.
The price that went through its limit went on to the extreme: a stop beyond which that lies, placed for what was filled,
is reached, and pays no better than the extreme.

Limits of the model. Displayed quantity, where the tape has it, is all that one tick gives to all our orders, first come
first served; the rest waits until another price, or more, is displayed. Where the tape has none, or a trade went
through a limit, the whole order fills. Our orders move no price and wait in no queue. An index has no book: it fills
around its own last value, though its future trades beside it. Orders are DAY orders; a cancellation works the moment it
is asked for.

Of a position's stops and targets one cancels the other, tick by tick: what a stop trades the targets lose, and the
other way round; where a tick would do for both the stop comes first.

Invariant: how the ticks are cut into batches changes no fill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from daemon.core.clock import NS_PER_S
from daemon.core.columns import newest_rows
from daemon.core.events import (
    PROTECTION,
    Event,
    Fill,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderType,
    Side,
    TickBatch,
    joined,
)
from daemon.core.pairs import STOPS, is_stop
from daemon.market.calendar import MarketCalendar, Session
from daemon.market.costs import ZERO, CostSchedule
from daemon.market.instruments import FEW_TICKS, Instrument, InstrumentBook, Kind, jumps_by_kind
from daemon.orders.paper_book import (
    ANYWHERE,
    QUOTES_LAST_NS,
    WHOLE,
    BookTicks,
    Delays,
    Ints,
    SymbolBook,
    quoted_and_untold,
    tells_all,
)
from daemon.orders.terms import LIMITS
from daemon.settings.feed import FeedSettings
from daemon.settings.orders import PaperSettings
from daemon.tape.bar_ticks import certain_since, stands_at_the_end

log = structlog.get_logger("execution")

REJECTED_PARAMETERS: Final = -50
REJECTED_ORDER: Final = -99
REJECTED_SYMBOL: Final = -300
_REMEMBERED: Final = 20_000
"""Order ids by which a repetition is known, the newest: as many as the order book remembers."""

_STAMP_NS: Final = NS_PER_S
"""An exchange's stamp may be cut to whole seconds: what it tells of was less than that much later."""

UNREAD_ROWS: Final = 32_768
UNREAD_BATCHES: Final = 256
"""So many ticks, or batches, are put aside at most; bounds memory."""

_BP: Final = Decimal(10_000)
_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


class WorkingOrder(msgspec.Struct, frozen=True):
    """An order on the market; `filled` of `quantity` units are done."""

    order_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: int
    filled: int
    limit_price: Decimal | None
    stop_price: Decimal | None
    triggered: bool
    active_from: int


class _Order:
    """The venue's own record of a working order."""

    def __init__(
        self, intent: OrderIntent, instrument: Instrument, sequence: int, after: int, session: Session, apart_ns: int
    ) -> None:
        """`apart_ns`: by how much the session's time is ahead of the clock's."""
        self.intent = intent
        self.instrument = instrument
        self.sequence = sequence
        self.active_from = after
        self.after = after
        self.opened = session.open_ns - apart_ns
        self.expires = session.close_ns - apart_ns
        self.armed = intent.type not in STOPS
        self.filled = 0
        self.fills = 0
        self.turnover = ZERO
        self.told = False
        """Whether it was said that it waits for somebody to trade with."""
        self.worst = np.nan
        """Of a stop that was reached before it was here: the price that it does no better than."""

    @property
    def remaining(self) -> int:
        return self.intent.quantity - self.filled


class PaperVenue:
    """All working orders, the last prices, and the rules by which orders become fills."""

    def __init__(
        self,
        settings: PaperSettings,
        instruments: InstrumentBook,
        costs: CostSchedule,
        calendar: MarketCalendar,
        bar_s: int = 0,
        *,
        feed: FeedSettings | None = None,
        venue_time: Callable[[int], int] = lambda ts: ts,
    ) -> None:
        """`bar_s`: the length of the bars of which the ticks are made, 0 where they are ticks.

        `feed`: what is believed of ticks; None: as it ships. `venue_time`: by which sessions begin and end, at a moment
        of the clock's.
        """
        feed = FeedSettings() if feed is None else feed
        self._jumps = jumps_by_kind(feed.max_jump_percent, feed.max_option_jump_percent)
        self._instruments = instruments
        self._costs = costs
        self._calendar = calendar
        self._venue_time = venue_time
        self._bar_ns = bar_s * NS_PER_S
        self._touch = settings.limit_fill == "touch"
        self._slippage = Decimal(str(settings.slippage_bp)) / _BP
        self._half_spread = Decimal(str(settings.spread_bp * settings.spread_times)) / 2 / _BP
        self._spread_times = 1.0 if bar_s else settings.spread_times  # the quotes of bars are their extremes
        self._orders: dict[str, _Order] = {}
        self._seen: dict[str, None] = {}
        self._accepted = 0
        self._last_price: dict[str, float] = {}
        self._books: dict[str, SymbolBook] = {}
        self._delays = Delays()
        self._went_on: dict[tuple[str, Side], tuple[int, float]] = {}
        """By symbol and the side that closes it: when a bar filled a limit order, and how far that bar went on."""
        self._unread: list[TickBatch] = []
        """Ticks that no order has had to do with yet: what they leave behind is looked up when somebody asks."""
        self._unread_rows = 0

    def submit(self, intent: OrderIntent, active_from: int) -> OrderAccepted | OrderRejected:
        """Put an order on the market from `active_from` (UTC nanoseconds), or say why not (Fyers' codes).

        Raises `CalendarRangeError` before the market calendar begins.
        """
        self._read()
        instrument = self._instruments.resolve(intent.symbol)
        venue_ts = self._venue_time(active_from)
        session = self._calendar.session_at(venue_ts)
        if instrument is None:
            return _rejected(intent, active_from, REJECTED_SYMBOL, "no such instrument")
        if session is None:
            return _rejected(intent, active_from, REJECTED_ORDER, "the market is closed when the order arrives")
        if intent.order_id in self._seen or intent.order_id in self._orders:
            return _rejected(intent, active_from, REJECTED_ORDER, f"an order {intent.order_id} was sent before")
        if instrument.missing_lot and not intent.reduces:
            return _rejected(intent, active_from, REJECTED_SYMBOL, "its lot is not known")
        if not instrument.tradeable:
            return _rejected(intent, active_from, REJECTED_SYMBOL, f"the {instrument.kind.value} can't be traded")
        problem = _problem(intent, instrument)
        if problem is not None:
            return _rejected(intent, active_from, REJECTED_PARAMETERS, problem)
        if instrument.freeze_quantity is not None and intent.quantity > instrument.freeze_quantity:
            reason = f"quantity {intent.quantity} is above the freeze quantity of {instrument.freeze_quantity}"
            return _rejected(intent, active_from, REJECTED_ORDER, reason)
        outside = self._outside_band(intent, active_from)
        if outside:
            return _rejected(intent, active_from, REJECTED_ORDER, outside)
        self._seen[intent.order_id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._accepted += 1
        order = _Order(intent, instrument, self._accepted, active_from, session, venue_ts - active_from)
        if _is_leg(intent) and is_stop(intent):
            self._reach(order)
        self._orders[intent.order_id] = order
        return OrderAccepted(ts=active_from, order_id=intent.order_id, venue_id=f"PAPER-{order.sequence}")

    def cancel(self, order_id: str, ts: int) -> OrderCancelled | None:
        """Take an order off the market at `ts`; None where it is not on it (done, cancelled or never accepted)."""
        return self._remove(order_id, ts, "cancelled")

    def on_ticks(self, batch: TickBatch) -> list[Event]:
        """What the ticks of `batch` bring, in the order of the ticks; remembers the last prices.

        Fills, and before (a part) or after (all of it) each of a stop or target what it takes from the other.
        """
        events: list[Event] = []
        while len(batch):
            quiet = self.quiet_rows(batch, _is_leg)
            if quiet == len(batch):
                return events + self._on_part(batch)
            events += self._on_part(batch.slice(0, quiet))
            batch = batch.slice(quiet, len(batch))
        return events

    def quiet_rows(self, batch: TickBatch, which: Callable[[OrderIntent], bool]) -> int:
        """How many ticks can be taken at once: up to the first that may do something to an order of `which`."""
        orders = [order for order in self._orders.values() if which(order.intent)]
        if not orders:
            return len(batch)
        self._read()
        quiet, sent_ts = len(batch), self._delays.sent_ts(batch)
        for symbol in {order.intent.symbol: None for order in orders}:
            if symbol in batch.symbols:
                ticks = self._ticks(symbol, batch, sent_ts)
                steps = (self._next(order, ticks, 0) for order in orders if order.intent.symbol == symbol)
                quiet = min([quiet, *(int(ticks.rows[step]) + 1 for step, _ in steps if step is not None)])
        return quiet

    def _on_part(self, batch: TickBatch) -> list[Event]:
        found: list[tuple[int, int, list[Event]]] = []
        taken: dict[str, dict[Side, tuple[float, int]]] = {}
        if self._orders:
            self._read()
            sent_ts = self._delays.sent_ts(batch)
        for symbol in {order.intent.symbol: None for order in self._orders.values()}:
            if symbol in batch.symbols:
                ticks = self._ticks(symbol, batch, sent_ts)
                found += self._match(symbol, ticks)
                if len(ticks.ts):
                    taken[symbol] = ticks.taken_at_end()
        self._leave_unread(batch)
        if any(taken.values()):
            self._read()
            for symbol, by_side in taken.items():
                self._book(symbol).taken = by_side
        found.sort(key=lambda item: item[:2])
        return [event for _, _, events in found for event in events]

    def on_time(self, ts: int) -> list[OrderCancelled]:
        """DAY orders whose session has closed by `ts` expire, at the close."""
        due = [(order.expires, order_id) for order_id, order in self._orders.items() if order.expires <= ts]
        events = [self._remove(order_id, expires, "expired at the close of the session") for expires, order_id in due]
        return [event for event in events if event is not None]

    def working(self) -> list[WorkingOrder]:
        """Orders on the market (or on their way to it), oldest first."""
        return [
            WorkingOrder(
                order.intent.order_id, order.intent.symbol, order.intent.side, order.intent.type, order.intent.quantity,
                order.filled, order.intent.limit_price, order.intent.stop_price,
                order.armed and order.intent.type in STOPS, order.active_from,
            )
            for order in self._orders.values()
        ]  # fmt: skip

    def last_price(self, symbol: str) -> float | None:
        """The last price seen of `symbol`, rupees; None before its first tick."""
        self._read()
        return self._last_price.get(symbol)

    def _remove(self, order_id: str, ts: int, reason: str) -> OrderCancelled | None:
        order = self._orders.pop(order_id, None)
        if order is None:
            return None
        return OrderCancelled(ts=ts, order_id=order_id, filled=order.filled, reason=reason)

    def _outside_band(self, intent: OrderIntent, ts: int) -> str:
        """What is wrong with an order's prices by the day's band, "" where nothing is or none is known."""
        book = self._books.get(intent.symbol)
        lower, upper = book.band(ts) if book is not None else (np.nan, np.nan)
        for label, price in (("limit price", intent.limit_price), ("stop price", intent.stop_price)):
            if price is not None and (float(price) > upper or float(price) < lower):
                return f"{label} {price} is outside the day's price band, {lower:g} to {upper:g}"
        return ""

    def _leave_unread(self, batch: TickBatch) -> None:
        """Put a batch aside, until there are enough of them for one look at all."""
        self._delays.remember(batch)
        if self._unread and self._unread[0].symbols != batch.symbols:
            self._read()
        self._unread.append(batch)
        self._unread_rows += len(batch)
        if self._unread_rows >= UNREAD_ROWS or len(self._unread) >= UNREAD_BATCHES:
            self._read()

    def _read(self) -> None:
        """Remember what the batches that were put aside leave behind."""
        if not self._unread:
            return
        unread, self._unread, self._unread_rows = self._unread, [], 0
        newest = unread[-1]
        if len(newest.symbols) == 1 and tells_all(unread) and not self._book(newest.symbols[0]).taken:
            self._book(newest.symbols[0]).remember_quoted(int(newest.ts_recv[-1]))
            self._last_price[newest.symbols[0]] = float(newest.ltp[-1])
        else:
            self._remember(joined(unread))

    def _book(self, symbol: str) -> SymbolBook:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = SymbolBook()
        return book

    def _remember(self, batch: TickBatch) -> None:
        if len(batch.symbols) == 1:
            self._book(batch.symbols[0]).remember(batch, slice(None))
            self._last_price[batch.symbols[0]] = float(batch.ltp[-1])
            return
        last_of = newest_rows(batch.code, len(batch.symbols))
        codes = np.flatnonzero(last_of >= 0)
        newest = last_of[codes]
        columns = (codes, batch.ts_recv[newest], batch.ltp[newest], quoted_and_untold(batch, newest))
        for code, ts, price, alone in zip(*(column.tolist() for column in columns), strict=True):
            symbol = batch.symbols[code]
            if alone and not self._book(symbol).taken:
                self._book(symbol).remember_quoted(ts)
            else:
                self._book(symbol).remember(batch, np.flatnonzero(batch.code == code))
            self._last_price[symbol] = price

    def _ticks(self, symbol: str, batch: TickBatch, sent_ts: Ints) -> BookTicks:
        """What a batch, whose ticks were sent at `sent_ts`, offers to the orders of one symbol."""
        instrument = self._instruments.resolve(symbol)
        rows: NDArray[np.intp] | slice = slice(None)
        if len(batch.symbols) > 1:
            rows = np.flatnonzero(batch.code == batch.symbols.index(symbol))
        has_book = self._bar_ns > 0 or instrument is None or instrument.kind is not Kind.INDEX
        book = (self._books.get(symbol) if has_book else None) or SymbolBook()
        lasts_ns = 0 if self._bar_ns else QUOTES_LAST_NS
        reach, few = ANYWHERE, 0.0
        last_price = self._last_price.get(symbol, np.nan)
        if instrument is not None and not self._bar_ns:
            jump = self._jumps[instrument.kind]
            reach = jump, ANYWHERE[1] if instrument.kind is Kind.OPTION else jump
            few = FEW_TICKS * float(instrument.tick_size)
        return BookTicks(
            batch, rows, book, has_book=has_book, quotes_last_ns=lasts_ns, reach=reach, least_reach=few,
            sent_ts=sent_ts,
            price_before=None if instrument is None or instrument.kind is Kind.INDEX else last_price,
        )  # fmt: skip

    def _match(self, symbol: str, ticks: BookTicks) -> list[tuple[int, int, list[Event]]]:
        """(row, sequence, events) of every order of one symbol: targets last, the others oldest first."""
        orders = [order for order in self._orders.values() if order.intent.symbol == symbol]
        orders.sort(key=lambda it: _is_leg(it.intent) and not is_stop(it.intent))
        found: list[tuple[int, int, list[Event]]] = []
        for order in orders:
            if order.intent.order_id in self._orders:  # else another has cancelled it
                found += self._work(order, ticks)
            if order.remaining == 0:
                self._orders.pop(order.intent.order_id, None)
        return found

    def _next(self, order: _Order, ticks: BookTicks, start: int) -> tuple[int | None, int]:
        """The first tick from `start` on that does something to an order, and how many units it trades then.

        No units: a stop is reached, and works from then on.
        """
        on_market = (ticks.ts > order.after) & (ticks.ts < order.expires) & (ticks.ltp > 0)
        on_market &= ticks.sent_ts > order.active_from - _STAMP_NS
        on_market[:start] = False
        if not order.armed:
            reached = np.flatnonzero(on_market & _crosses_stop(order, ticks.ltp))
            return (int(reached[0]) if len(reached) else None), 0
        available = np.where(on_market, self._available(order, ticks), 0)
        possible = np.flatnonzero(available >= min(order.instrument.lot_size, order.remaining))
        if len(possible):
            row = int(possible[0])
            there = int(available[row])
            return row, order.remaining if there >= order.remaining else order.instrument.round_quantity(there)
        if not order.told:
            self._tell_waiting(order, ticks, on_market)
        return None, 0

    def _work(self, order: _Order, ticks: BookTicks) -> list[tuple[int, int, list[Event]]]:
        """Walk one order over its ticks, step by step, until it is done or the ticks are."""
        found: list[tuple[int, int, list[Event]]] = []
        start = 0
        while order.remaining:
            row, quantity = self._next(order, ticks, start)
            if row is None:
                break
            if order.armed:
                ticks.take(order.intent.side, row, quantity)
                fill = self._fill(order, quantity, self._price(order, ticks, row), int(ticks.ts[row]))
                self._note_went_on(order, ticks, row)
                events: list[Event] = self._with_others(order, fill) if _is_leg(order.intent) else [fill]
                found.append((int(ticks.rows[row]), order.sequence, events))
            order.armed = True
            order.after = int(ticks.ts[row])
            start = row + 1
        return found

    def _note_went_on(self, order: _Order, ticks: BookTicks, row: int) -> None:
        """A bar's end filled a limit order: how far against it the bar went."""
        ts, side = int(ticks.ts[row]), Side.SELL if order.intent.side is Side.BUY else Side.BUY
        if self._bar_ns and order.intent.type in LIMITS and stands_at_the_end(ts):
            self._went_on[order.intent.symbol, side] = ts, float(ticks.quote(side)[row])

    def _reach(self, order: _Order) -> None:
        """A stop for what a bar filled in its midst is reached where that bar went on to it."""
        intent = order.intent
        ts, worst = self._went_on.get((intent.symbol, intent.side), (0, np.nan))
        if intent.ts // NS_PER_S == ts // NS_PER_S and _crosses_stop(order, np.array([worst]))[0]:
            order.armed, order.worst = True, worst

    def _with_others(self, order: _Order, fill: Fill) -> list[Event]:
        """A fill of a stop takes as much from the targets of the position, and the other way round, newest first."""
        intent, left = order.intent, fill.quantity
        others = [
            it
            for it in self._orders.values()
            if _is_leg(it.intent)
            and (it.intent.symbol, it.intent.side) == (intent.symbol, intent.side)
            and is_stop(it.intent) is not is_stop(intent)
        ]
        amended: list[Event] = []
        cancelled: list[Event] = []
        for other in reversed(others):
            less = min(left, other.remaining)
            left -= less
            if less == other.remaining:
                cancelled += self._ended(other, fill.ts, f"the {intent.reason} is done")
            elif less:
                wanted = other.intent.quantity - less
                other.intent = msgspec.structs.replace(other.intent, quantity=wanted)
                amended.append(OrderAmended(ts=fill.ts, order_id=other.intent.order_id, quantity=wanted, change=-less))
        return [*amended, fill, *cancelled]

    def _ended(self, order: _Order, ts: int, reason: str) -> Iterable[Event]:
        event = self._remove(order.intent.order_id, ts, reason)
        return () if event is None else (event,)

    def _tell_waiting(self, order: _Order, ticks: BookTicks, on_market: NDArray[np.bool_]) -> None:
        """Nobody trades with the order, or nobody who can be believed: it waits, which is said once."""
        if (on_market & ticks.nobody(order.intent.side)).any():
            why = "nobody is on the other side"
        elif (on_market & ticks.out_of_reach(order.intent.side)).any():
            why = "the quotes are too far from the last price"
        else:
            return
        order.told = True
        log.warning(
            f"{why}: the order waits", order=order.intent.order_id,
            decision=order.intent.decision, symbol=order.intent.symbol,
            side=order.intent.side, quantity=order.remaining, exit=order.intent.reduces,
        )  # fmt: skip

    def _available(self, order: _Order, ticks: BookTicks) -> _Ints:
        """(n,): units that each tick would give to an armed order."""
        side = order.intent.side
        displayed = ticks.displayed(side)
        if order.intent.type not in LIMITS:
            return np.where(ticks.beyond_band(side) | ticks.out_of_reach(side), 0, displayed)
        limit, hair = float(_given(order.intent.limit_price)), float(order.instrument.tick_size) / 1000
        reach = limit - side.sign * (-hair if self._touch else hair)
        by_trade = ticks.new_trade & (side.sign * (ticks.ltp - reach) < 0)
        if self._bar_ns:
            sure = certain_since(ticks.ts, order.opened, self._bar_ns) > order.after
            return np.where(by_trade & sure, WHOLE, 0)
        by_quote = side.sign * (ticks.wider(side, self._spread_times) - reach) < 0
        beyond = ticks.nobody(side) | (side.sign * (limit - ticks.end_of_band(side)) > 0)
        return np.where(beyond, 0, np.where(by_trade, WHOLE, np.where(by_quote, displayed, 0)))

    def _price(self, order: _Order, ticks: BookTicks, row: int) -> Decimal:
        """What an armed order trades at, on the tick grid, rounded against us."""
        side = order.intent.side
        if order.intent.type in LIMITS:
            return _given(order.intent.limit_price)
        quote = float(ticks.wider(side, self._spread_times)[row])
        base, cost = (ticks.ltp[row], self._half_spread) if np.isnan(quote) else (quote, ZERO)
        if not np.isnan(order.worst):
            base = side.sign * max(side.sign * base, side.sign * order.worst)
        exact = Decimal(repr(float(base))) * (1 + side.sign * (cost + self._slippage))
        price, end = order.instrument.round_price(exact, side), float(ticks.end_of_band(side)[row])
        if np.isnan(end):
            return price
        worst = order.instrument.round_price(end, Side.SELL if side is Side.BUY else Side.BUY)
        return side.sign * min(side.sign * price, side.sign * worst)

    def _fill(self, order: _Order, quantity: int, price: Decimal, ts: int) -> Fill:
        intent = order.intent
        charges = self._costs.charges(order.instrument, intent.side, quantity, price, ts, order.turnover)
        order.filled += quantity
        order.fills += 1
        order.turnover += price * quantity
        return Fill(
            ts=ts, fill_id=f"{intent.order_id}-{order.fills}", order_id=intent.order_id, symbol=intent.symbol,
            side=intent.side, quantity=quantity, price=price, costs=charges.total,
        )  # fmt: skip


def _is_leg(intent: OrderIntent) -> bool:
    """Whether an order is one of a position's stops and targets."""
    return intent.strategy == PROTECTION


def _rejected(intent: OrderIntent, ts: int, code: int, reason: str) -> OrderRejected:
    return OrderRejected(ts=ts, order_id=intent.order_id, code=code, reason=f"{intent.symbol}: {reason}")


def _problem(intent: OrderIntent, instrument: Instrument) -> str | None:
    """What is wrong with an order's quantity or prices; None where nothing is."""
    if intent.quantity <= 0 or (intent.quantity % instrument.lot_size and not intent.reduces):
        return f"quantity {intent.quantity} is no positive multiple of the lot of {instrument.lot_size}"
    for label, price, needed in (
        ("limit price", intent.limit_price, intent.type in LIMITS),
        ("stop price", intent.stop_price, intent.type in STOPS),
    ):
        if needed and (price is None or not instrument.on_grid(price)):
            return f"{label} {price} is no positive multiple of the tick of {instrument.tick_size}"
    if intent.type is OrderType.SL_LIMIT:
        limit, stop = _given(intent.limit_price), _given(intent.stop_price)
        if intent.side.sign * (limit - stop) < 0:
            return f"limit {limit} of a {intent.side.value} lies on the wrong side of its stop {stop}"
    return None


def _crosses_stop(order: _Order, ltp: _Floats) -> NDArray[np.bool_]:
    """(n,): whether each last price reaches the stop, from below for a BUY, from above for a SELL."""
    hair = float(order.instrument.tick_size) / 1000
    return order.intent.side.sign * (ltp - float(_given(order.intent.stop_price))) >= -hair


def _given(price: Decimal | None) -> Decimal:
    """A price that `submit` has checked to be there."""
    assert price is not None
    return price
