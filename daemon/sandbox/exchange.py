"""Orders and prices → trades, and the news of them: the sandbox's market and its book, without any network.

Matching is plain on purpose: an order meets the latest quote when it arrives and every later one. A market order (and a
limit order on arrival) trades at the quote's other side, a resting limit order at its limit, a triggered stop like the
order that it becomes; at most what the quote shows, where it shows a quantity. Where the other side is empty (price 0)
nothing trades, and nothing ever outside the day's price band. An order that would meet one of its own account is
cancelled instead, as NSE does. The market is open unless it is told otherwise: `session` by hand, `hours` by the
calendar; an auction trades what it collected at one price, the last one, when it ends.
As at Fyers two orders with one tag are two orders. Invariant: an order's `filled` is the sum of its trades, and nothing
is ever forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from daemon.core.clock import Clock
from daemon.core.errors import UsageError
from daemon.core.events import OrderType, Side
from daemon.market.calendar import ist_date
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook, Kind
from daemon.sandbox.checks import Checks
from daemon.sandbox.hours import REFUSALS, Hours, Phase
from daemon.sandbox.ledger import Ledger, Trade
from daemon.sandbox.orders import (
    BAD_ORDER_ID,
    BAD_PARAMETERS,
    CODE_OF_TYPE,
    LIMITS,
    REFUSED,
    STOPS,
    News,
    Order,
    Print,
    Quote,
    Refusal,
    Status,
    Wanted,
    one_sided,
)
from daemon.sandbox.past import Past
from daemon.sandbox.trading_day import TradingDay, Turn

__all__ = ["Exchange", "Order", "Print", "Quote", "Refusal", "Status", "Wanted"]

INTRADAY: Final = "INTRADAY"
SELF_TRADE: Final = "cancelled by the exchange to prevent a self-trade"
SQUARED_OFF: Final = "RMS: INTRADAY orders are not accepted after the square-off"


class Exchange:
    """One account's orders, and the market they meet. Its time is the tape's while there is one, else the clock's."""

    def __init__(
        self,
        instruments: InstrumentBook,
        costs: CostSchedule,
        clock: Clock,
        starting_cash: Decimal,
        margin_rate: Decimal = Decimal("0.2"),
        hours: Hours | None = None,
        square_off_at: str = "",
    ) -> None:
        """`square_off_at`: when the broker closes INTRADAY positions, "HH:MM" in India; "" never by itself."""
        self.ledger = Ledger(starting_cash)
        self.orders: dict[str, Order] = {}
        self.quotes: dict[str, Quote] = {}
        self.past = Past(clock)
        self.checks = Checks(instruments, self.quotes, self.ledger, margin_rate)
        self._costs = costs
        self._clock = clock
        self.day = TradingDay(hours, square_off_at)
        self._locked: dict[str, Side] = {}
        self._tape_ns = 0
        self._working: dict[str, Order] = {}
        self._left: dict[tuple[str, Side], int | None] = {}
        self._news: list[News] = []
        self._prints: list[Print] = []

    @property
    def now_ns(self) -> int:
        """The exchange's time, UTC ns."""
        return self._tape_ns or self._clock.now_ns()

    def take_news(self) -> list[News]:
        """What happened since the last call, in order, as copies."""
        news, self._news = self._news, []
        return news

    def take_prints(self) -> list[Print]:
        """The quotes since the last call, in order."""
        prints, self._prints = self._prints, []
        return prints

    # -- orders -------------------------------------------------------------------------------------------------------

    def place(self, wanted: Wanted, *, at_most: int | None = None, rejected: str = "") -> Order | Refusal:
        """Take an order into the book, or refuse it.

        `at_most` caps what trades on arrival; `rejected` is why the exchange throws the accepted order out at once.
        """
        self.advance()
        problem = self.checks.problem(wanted)
        if problem is not None:
            return problem
        order = Order(
            order_id=f"{ist_date(self.now_ns):%y%m%d}{len(self.orders) + 1:08d}", wanted=wanted, status=Status.TRANSIT,
            placed_ts=self.now_ns, armed=wanted.type not in STOPS,
        )  # fmt: skip
        self.orders[order.order_id] = order
        message = self._objection(wanted)
        if message:
            self._settle(order, Status.REJECTED, message)
            return Refusal(REFUSED, message, order.order_id)
        self._tell(order)
        if rejected:
            self._settle(order, Status.REJECTED, rejected)
            return order
        order.status = Status.PENDING
        self._working[order.order_id] = order
        self._tell(order)
        self._match(order, arriving=True, at_most=at_most)
        if order.status is Status.PENDING and wanted.validity == "IOC":
            self._settle(order, Status.CANCELLED, "IOC: the rest was cancelled")
        return order

    def modify(
        self, order_id: str, order_type: OrderType, quantity: int | None, limit: Decimal | None, stop: Decimal | None
    ) -> Order | Refusal:
        """Change a working order; what is None stays."""
        order = self._changeable(order_id)
        if isinstance(order, Refusal):
            return order
        old = order.wanted
        wanted = msgspec.structs.replace(
            old,
            type=order_type,
            quantity=old.quantity if quantity is None else quantity,
            limit_price=old.limit_price if limit is None else limit,
            stop_price=old.stop_price if stop is None else stop,
        )
        problem = self.checks.problem(wanted)
        if problem is not None:
            return problem
        objection = self.checks.ruled_out(wanted)
        if objection:
            return Refusal(REFUSED, objection, order_id)
        if wanted.quantity <= order.filled:
            return Refusal(BAD_PARAMETERS, f"qty: {order.filled} of it are traded already")
        order.wanted = wanted
        order.armed = order.armed or wanted.type not in STOPS
        self._tell(order)
        self._match(order, arriving=True)
        return order

    def cancel(self, order_id: str) -> Order | Refusal:
        """Take the rest of an order off the market."""
        order = self._changeable(order_id)
        if isinstance(order, Refusal):
            return order
        self._settle(order, Status.CANCELLED, "cancelled by the user")
        return order

    def expire(self) -> int:
        """The day ends: whatever still works expires; returns how many."""
        return self._end_all(lambda _: True, Status.EXPIRED, "expired at the end of the day")

    # -- the day ------------------------------------------------------------------------------------------------------

    def phase(self, symbol: str) -> Phase:
        """What is done now with orders for a symbol that is known."""
        return self.day.phase(self.now_ns, derivative=self._is_derivative(symbol))

    def session(self, phase: Phase | None) -> None:
        """From now on the market is in this phase; None: by the calendar, or open where there is none.

        An early close, a halt, a special session: whatever the calendar doesn't know. A halt cancels what works.
        """
        self.day.rule(phase)
        self.advance()

    def advance(self) -> None:
        """Do what is due by now: the ends of auctions and of the day, and the broker's square-off."""
        for turn in self.day.turns(self.now_ns):
            for order in list(self._working.values()):
                if self._is_derivative(order.wanted.symbol) is turn.derivative:
                    self._turn(order, turn)
        if self.day.square_off_due(self.now_ns):
            self.square_off()

    def _turn(self, order: Order, turn: Turn) -> None:
        """What a new phase does to a working order."""
        if turn.phase is Phase.HALTED:
            self._settle(order, Status.CANCELLED, f"cancelled by the exchange: {REFUSALS[turn.phase]}")
            return
        if turn.before.collects:
            self._cross(order, opening=turn.before is Phase.PRE_OPEN)
        if order.status is Status.PENDING and turn.phase is Phase.CLOSED:
            self._settle(order, Status.EXPIRED, "expired at the end of the day")
        elif order.status is Status.PENDING and turn.phase is Phase.OPEN:
            self._match(order, arriving=True)

    def _cross(self, order: Order, *, opening: bool) -> None:
        """An auction ends: at its price trades whatever would. A market order that is left becomes a limit there."""
        wanted, quote = order.wanted, self.quotes[order.wanted.symbol]
        if not order.armed:
            return
        self._take(order, quote.last, quote.last)
        if opening and order.status is Status.PENDING and wanted.type not in LIMITS:
            order.wanted = msgspec.structs.replace(wanted, type=OrderType.LIMIT, limit_price=quote.last)
            self._tell(order)

    def square_off(self) -> int:
        """The broker cancels INTRADAY orders and closes INTRADAY positions at market; how many orders it placed.

        No further one is taken today that opens a position.
        """
        self._end_all(lambda it: it.wanted.product == INTRADAY, Status.CANCELLED, "RMS: auto square-off")
        self.day.note_square_off(self.now_ns)
        held = [item for item in self.ledger.positions.values() if item.product == INTRADAY and item.net]
        for item in held:
            self.place(
                Wanted(
                    tag="", symbol=item.symbol, side=Side.SELL if item.net > 0 else Side.BUY, type=OrderType.MARKET,
                    quantity=abs(item.net),
                )
            )  # fmt: skip
        return len(held)

    def corporate_action(self, symbol: str, numerator: int, denominator: int) -> None:
        """Overnight a price counts `numerator` / `denominator`: what is held is counted anew, what works is cancelled.

        A split of one share into five is 1 / 5. Parts of a share are paid for. Raises `UsageError`.
        """
        if symbol not in self.quotes or numerator < 1 or denominator < 1:
            raise UsageError(
                f"{symbol} {numerator}/{denominator}: expected a symbol with a price, and numbers from 1 on"
            )
        self._end_all(lambda it: it.wanted.symbol == symbol, Status.CANCELLED, "cancelled for a corporate action")
        last = self.quotes[symbol].last * numerator / denominator
        last = self.checks.instrument(symbol).round_price(last)
        for item, part in self.ledger.restate(symbol, numerator, denominator):
            self.ledger.carried += part.numerator * last / part.denominator
            self._say(msgspec.structs.replace(item))
        self.on_quote(symbol, Quote(last=last))

    def lock(self, symbol: str, side: Side | None) -> None:
        """Only buyers are left, at the upper end of the band, or only sellers at the lower; None: both again.

        Where the band isn't known the last price is its end. Raises `UsageError`.
        """
        quote = self.quotes.get(symbol)
        if quote is None:
            raise UsageError(f"{symbol}: expected a symbol with a price")
        if side is None:
            self._locked.pop(symbol, None)
            quote = msgspec.structs.replace(quote, bid=None, ask=None, bid_quantity=None, ask_quantity=None)
        else:
            self._locked[symbol] = side
        self.on_quote(symbol, quote)

    # -- the market ---------------------------------------------------------------------------------------------------

    def on_quote(self, symbol: str, quote: Quote, ts: int | None = None) -> None:
        """A new price, at the tape's time `ts` (UTC ns) where it comes from a tape; working orders meet it."""
        if ts is not None:
            self._tape_ns = max(self._tape_ns, ts)
        if symbol in self._locked:
            quote = one_sided(quote, self._locked[symbol])
        self.quotes[symbol] = quote
        self._prints.append(Print(symbol, quote, self.now_ns if ts is None else ts))
        self.refresh(symbol)

    def refresh(self, symbol: str) -> None:
        """Let the present quote show its quantities anew."""
        quote = self.quotes[symbol]
        self._left[symbol, Side.BUY], self._left[symbol, Side.SELL] = quote.ask_quantity, quote.bid_quantity
        self.advance()
        for order in [order for order in self._working.values() if order.wanted.symbol == symbol]:
            self._match(order, arriving=False)

    @property
    def utilised(self) -> Decimal:
        """Margin held by open positions, rupees."""
        return self.checks.utilised

    @property
    def balance(self) -> Decimal:
        """What the account is worth with open positions at cost, rupees."""
        return self.ledger.balance

    def _match(self, order: Order, *, arriving: bool, at_most: int | None = None) -> None:
        wanted, quote = order.wanted, self.quotes[order.wanted.symbol]
        sign = wanted.side.sign
        if self.phase(wanted.symbol) is not Phase.OPEN:
            return
        if not order.armed:
            if sign * (quote.last - wanted.stop_price) < 0:
                return
            order.armed = arriving = True
        other_side = quote.ask if wanted.side is Side.BUY else quote.bid
        if arriving and self._meets_own(order, other_side):
            self._settle(order, Status.CANCELLED, SELF_TRADE)
            return
        if other_side == 0:
            return
        price = quote.last if other_side is None else other_side
        end = quote.upper_band if wanted.side is Side.BUY else quote.lower_band
        if end is not None and (sign * (price - end) > 0 or (other_side is None and price == end)):
            return
        self._take(order, price, price if wanted.type not in LIMITS or arriving else wanted.limit_price, at_most)

    def _meets_own(self, order: Order, other_side: Decimal | None) -> bool:
        """Whether the best that an arriving order would trade with is an order of its own account."""
        wanted, sign = order.wanted, order.wanted.side.sign
        for other in self._working.values():
            theirs = other.wanted
            if theirs.symbol != wanted.symbol or theirs.side is wanted.side or not other.armed or not other.remaining:
                continue
            price = theirs.limit_price if theirs.type in LIMITS else None
            best = price is None or not other_side or sign * (price - other_side) <= 0
            reached = price is None or wanted.type not in LIMITS or sign * (price - wanted.limit_price) <= 0
            if best and reached:
                return True
        return False

    def _take(self, order: Order, market: Decimal, price: Decimal, at_most: int | None = None) -> None:
        """Trade at `price` what the market at `market` gives an order, and its limit allows."""
        wanted = order.wanted
        if wanted.type in LIMITS and wanted.side.sign * (market - wanted.limit_price) > 0:
            return
        left = self._left.get((wanted.symbol, wanted.side))
        quantity = min(cap for cap in (order.remaining, left, at_most) if cap is not None)
        quantity -= quantity % self.checks.instrument(wanted.symbol).lot_size  # an exchange trades whole lots
        if quantity <= 0:
            return
        if left is not None:
            self._left[wanted.symbol, wanted.side] = left - quantity
        self._trade(order, quantity, price)

    def _trade(self, order: Order, quantity: int, price: Decimal) -> None:
        wanted = order.wanted
        instrument = self.checks.instrument(wanted.symbol)
        charges = self._costs.charges(instrument, wanted.side, quantity, price, self.now_ns, order.turnover)
        trade = Trade(
            trade_id=f"{order.order_id}-{len(self.ledger.trades) + 1}", order_id=order.order_id, tag=wanted.tag,
            symbol=wanted.symbol, product=wanted.product, type_code=CODE_OF_TYPE[wanted.type], side=wanted.side,
            quantity=quantity, price=price, charges=charges.total, ts=self.now_ns,
        )  # fmt: skip
        order.filled += quantity
        order.turnover += quantity * price
        position = self.ledger.book(trade)
        self._say(trade)
        if order.remaining == 0:
            self._settle(order, Status.FILLED, "")
        else:
            self._tell(order)
        self._say(msgspec.structs.replace(position))

    def _settle(self, order: Order, status: Status, message: str) -> None:
        order.status, order.message = status, message
        self._working.pop(order.order_id, None)
        self._tell(order)

    def _tell(self, order: Order) -> None:
        self._say(msgspec.structs.replace(order))

    def _say(self, news: News) -> None:
        self._news.append(news)
        self.past.note(news, self.now_ns)

    # -- small things -------------------------------------------------------------------------------------------------

    def _objection(self, wanted: Wanted) -> str:
        closed = wanted.product == INTRADAY and self.day.squared_off(self.now_ns)
        if closed and not self.checks.only_closes(wanted):
            return SQUARED_OFF
        return self.checks.objection(wanted, self.phase(wanted.symbol))

    def _end_all(self, which: Callable[[Order], bool], status: Status, message: str) -> int:
        """End working orders; how many."""
        ended = [order for order in self._working.values() if which(order)]
        for order in ended:
            self._settle(order, status, message)
        return len(ended)

    def _changeable(self, order_id: str) -> Order | Refusal:
        """A working order, in a phase in which orders may be changed and cancelled."""
        self.advance()
        order = self.orders.get(order_id)
        if order is None:
            return Refusal(BAD_ORDER_ID, "Invalid order ID provided")
        if order_id not in self._working:
            return Refusal(REFUSED, f"Order is already {order.status.name.lower()}", order_id)
        phase = self.phase(order.wanted.symbol)
        return order if phase.takes_orders else Refusal(REFUSED, REFUSALS[phase], order_id)

    def _is_derivative(self, symbol: str) -> bool:
        return self.checks.instrument(symbol).kind in (Kind.FUTURE, Kind.OPTION)
