"""Orders and prices → trades, and the news of them: the sandbox's market and its book, without any network.

Matching is plain on purpose: an order meets the latest quote when it arrives and every later one. A market order (and a
limit order on arrival) trades at the quote's other side, a resting limit order at its limit, a triggered stop like the
order that it becomes; at most what the quote shows, where it shows a quantity. Where the other side is empty (price 0)
nothing trades, and nothing ever outside the day's price band. Market hours aren't looked at.
As at Fyers two orders with one tag are two orders. Invariant: an order's `filled` is the sum of its trades, and nothing
is ever forgotten.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from daemon.core.clock import Clock
from daemon.core.events import OrderType, Side
from daemon.market.calendar import ist_date
from daemon.market.costs import CostSchedule
from daemon.market.instruments import Instrument, InstrumentBook
from daemon.sandbox.ledger import ZERO, Ledger, Position, Trade

BAD_PARAMETERS: Final = -50
BAD_ORDER_ID: Final = -51
REFUSED: Final = -99
BAD_SYMBOL: Final = -300
STOPS: Final = (OrderType.SL_MARKET, OrderType.SL_LIMIT)
LIMITS: Final = (OrderType.LIMIT, OrderType.SL_LIMIT)
TYPE_OF_CODE: Final = {1: OrderType.LIMIT, 2: OrderType.MARKET, 3: OrderType.SL_MARKET, 4: OrderType.SL_LIMIT}
CODE_OF_TYPE: Final = {order_type: code for code, order_type in TYPE_OF_CODE.items()}


class Status(IntEnum):
    """Fyers' numbers."""

    CANCELLED = 1
    FILLED = 2
    TRANSIT = 4
    REJECTED = 5
    PENDING = 6
    EXPIRED = 7


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A price, and the best bid and ask with their quantities where they are known: 0 is a side on which nobody is.

    The rest is what the data socket tells and orders don't meet: the day's volume, the last trade's quantity, open
    interest, and the exchange's own time of the quote (UTC ns; when it arrives, where it isn't known).
    """

    last: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_quantity: int | None = None
    ask_quantity: int | None = None
    lower_band: Decimal | None = None
    upper_band: Decimal | None = None
    volume: int | None = None
    last_quantity: int | None = None
    open_interest: int | None = None
    stamp_ns: int | None = None


class Print(msgspec.Struct, frozen=True, gc=False):
    """A quote of one symbol as the market got it, at `ts` (UTC ns)."""

    symbol: str
    quote: Quote
    ts: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it was asked for."""

    tag: str
    symbol: str
    side: Side
    type: OrderType
    quantity: int
    limit_price: Decimal = ZERO
    stop_price: Decimal = ZERO
    product: str = "INTRADAY"
    validity: str = "DAY"


class Order(msgspec.Struct, kw_only=True):
    """An order in the book; `wanted` follows modifications, times are UTC ns."""

    order_id: str
    wanted: Wanted
    status: Status
    placed_ts: int
    filled: int = 0
    turnover: Decimal = ZERO
    armed: bool = True
    message: str = ""

    @property
    def remaining(self) -> int:
        """Units not yet traded."""
        return self.wanted.quantity - self.filled

    @property
    def average_price(self) -> Decimal:
        """Of its trades, 0 before the first."""
        return self.turnover / self.filled if self.filled else ZERO


class Refusal(msgspec.Struct, frozen=True):
    """A no, with Fyers' code; `order_id` where the refused order stands in the book all the same."""

    code: int
    message: str
    order_id: str = ""


News: TypeAlias = Order | Trade | Position


class Exchange:
    """One account's orders, and the market they meet. Its time is the tape's while there is one, else the clock's."""

    def __init__(
        self,
        instruments: InstrumentBook,
        costs: CostSchedule,
        clock: Clock,
        starting_cash: Decimal,
        margin_rate: Decimal = Decimal("0.2"),
    ) -> None:
        self.ledger = Ledger(starting_cash)
        self.orders: dict[str, Order] = {}
        self.quotes: dict[str, Quote] = {}
        self._instruments = instruments
        self._costs = costs
        self._clock = clock
        self._margin_rate = margin_rate
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
        problem = self._problem(wanted)
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
        order = self._working.get(order_id)
        if order is None:
            return self._not_working(order_id)
        old = order.wanted
        wanted = msgspec.structs.replace(
            old,
            type=order_type,
            quantity=old.quantity if quantity is None else quantity,
            limit_price=old.limit_price if limit is None else limit,
            stop_price=old.stop_price if stop is None else stop,
        )
        problem = self._problem(wanted)
        if problem is not None:
            return problem
        objection = self._frozen(wanted) or self._outside_band(wanted)
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
        order = self._working.get(order_id)
        if order is None:
            return self._not_working(order_id)
        self._settle(order, Status.CANCELLED, "cancelled by the user")
        return order

    def expire(self) -> int:
        """The day ends: whatever still works expires; returns how many."""
        expired = list(self._working.values())
        for order in expired:
            self._settle(order, Status.EXPIRED, "expired at the end of the day")
        return len(expired)

    # -- the market ---------------------------------------------------------------------------------------------------

    def on_quote(self, symbol: str, quote: Quote, ts: int | None = None) -> None:
        """A new price, at the tape's time `ts` (UTC ns) where it comes from a tape; working orders meet it."""
        if ts is not None:
            self._tape_ns = max(self._tape_ns, ts)
        self.quotes[symbol] = quote
        self._prints.append(Print(symbol, quote, self.now_ns if ts is None else ts))
        self.refresh(symbol)

    def refresh(self, symbol: str) -> None:
        """Let the present quote show its quantities anew."""
        quote = self.quotes[symbol]
        self._left[symbol, Side.BUY], self._left[symbol, Side.SELL] = quote.ask_quantity, quote.bid_quantity
        for order in [order for order in self._working.values() if order.wanted.symbol == symbol]:
            self._match(order, arriving=False)

    @property
    def utilised(self) -> Decimal:
        """Margin held by open positions, rupees."""
        held = (abs(item.net) * self.quotes[item.symbol].last for item in self.ledger.positions.values())
        return sum(held, ZERO) * self._margin_rate

    @property
    def balance(self) -> Decimal:
        """What the account is worth with open positions at cost, rupees."""
        return self.ledger.starting_cash + self.ledger.realised - self.ledger.charges

    def _match(self, order: Order, *, arriving: bool, at_most: int | None = None) -> None:
        wanted, quote = order.wanted, self.quotes[order.wanted.symbol]
        sign = wanted.side.sign
        if not order.armed:
            if sign * (quote.last - wanted.stop_price) < 0:
                return
            order.armed = arriving = True
        other_side = quote.ask if wanted.side is Side.BUY else quote.bid
        if other_side == 0:
            return
        price = quote.last if other_side is None else other_side
        end = quote.upper_band if wanted.side is Side.BUY else quote.lower_band
        if end is not None and (sign * (price - end) > 0 or (other_side is None and price == end)):
            return
        if wanted.type in LIMITS and sign * (price - wanted.limit_price) > 0:
            return
        left = self._left.get((wanted.symbol, wanted.side))
        quantity = min(cap for cap in (order.remaining, left, at_most) if cap is not None)
        if quantity <= 0:
            return
        if left is not None:
            self._left[wanted.symbol, wanted.side] = left - quantity
        self._trade(order, quantity, wanted.limit_price if wanted.type in LIMITS and not arriving else price)

    def _trade(self, order: Order, quantity: int, price: Decimal) -> None:
        wanted = order.wanted
        instrument = self._instrument(wanted.symbol)
        charges = self._costs.charges(instrument, wanted.side, quantity, price, self.now_ns, order.turnover)
        trade = Trade(
            trade_id=f"{order.order_id}-{len(self.ledger.trades) + 1}", order_id=order.order_id, tag=wanted.tag,
            symbol=wanted.symbol, product=wanted.product, type_code=CODE_OF_TYPE[wanted.type], side=wanted.side,
            quantity=quantity, price=price, charges=charges.total, ts=self.now_ns,
        )  # fmt: skip
        order.filled += quantity
        order.turnover += quantity * price
        position = self.ledger.book(trade)
        self._news.append(trade)
        if order.remaining == 0:
            self._settle(order, Status.FILLED, "")
        else:
            self._tell(order)
        self._news.append(msgspec.structs.replace(position))

    def _settle(self, order: Order, status: Status, message: str) -> None:
        order.status, order.message = status, message
        self._working.pop(order.order_id, None)
        self._tell(order)

    def _tell(self, order: Order) -> None:
        self._news.append(msgspec.structs.replace(order))

    # -- checks -------------------------------------------------------------------------------------------------------

    def _problem(self, wanted: Wanted) -> Refusal | None:
        instrument = self._instruments.resolve(wanted.symbol)
        known = instrument is not None and instrument.tradeable and not instrument.missing_lot
        if instrument is None or not known or wanted.symbol not in self.quotes:
            return Refusal(BAD_SYMBOL, "Invalid symbol provided")
        if wanted.quantity <= 0 or wanted.quantity % instrument.lot_size:
            return Refusal(BAD_PARAMETERS, f"qty: expected a positive multiple of {instrument.lot_size}")
        for name, price, needed in (
            ("limitPrice", wanted.limit_price, wanted.type in LIMITS),
            ("stopPrice", wanted.stop_price, wanted.type in STOPS),
        ):
            if needed and not instrument.on_grid(price):
                return Refusal(BAD_PARAMETERS, f"{name}: expected a positive multiple of {instrument.tick_size}")
        return None

    def _objection(self, wanted: Wanted) -> str:
        """Why an order that is in the book is thrown out at once, "" where it isn't."""
        outside = self._outside_band(wanted)
        frozen = self._frozen(wanted)
        if frozen or outside:
            return frozen or outside
        shortfall = self._shortfall(wanted)
        return f"RMS: Margin Exceeds, Required: {shortfall:.2f} more" if shortfall > 0 else ""

    def _outside_band(self, wanted: Wanted) -> str:
        """Whether a price of the order is one that the day doesn't allow."""
        quote = self.quotes[wanted.symbol]
        prices = (
            wanted.limit_price if wanted.type in LIMITS else None,
            wanted.stop_price if wanted.type in STOPS else None,
        )
        for price in prices:
            low = quote.lower_band is not None and price is not None and price < quote.lower_band
            high = quote.upper_band is not None and price is not None and price > quote.upper_band
            if low or high:
                return f"Order price {price} is outside the circuit limits of {quote.lower_band} to {quote.upper_band}"
        return ""

    def _frozen(self, wanted: Wanted) -> str:
        """Whether the order is for more units than the exchange takes in one."""
        most = self._instrument(wanted.symbol).freeze_quantity
        if most is None or wanted.quantity <= most:
            return ""
        return f"Order quantity {wanted.quantity} exceeds the freeze quantity of {most}"

    def _shortfall(self, wanted: Wanted) -> Decimal:
        """Rupees of margin that are missing for an order; what only reduces a position needs none."""
        held = self.ledger.net(wanted.symbol)
        if held * wanted.side.sign < 0 and wanted.quantity <= abs(held):
            return ZERO
        price = wanted.limit_price if wanted.type in LIMITS else self.quotes[wanted.symbol].last
        return wanted.quantity * price * self._margin_rate + self.utilised - self.balance

    def _not_working(self, order_id: str) -> Refusal:
        order = self.orders.get(order_id)
        if order is None:
            return Refusal(BAD_ORDER_ID, "Invalid order ID provided")
        return Refusal(REFUSED, f"Order is already {order.status.name.lower()}", order_id)

    def _instrument(self, symbol: str) -> Instrument:
        instrument = self._instruments.resolve(symbol)
        assert instrument is not None  # `place` took no order for a symbol that isn't known
        return instrument
