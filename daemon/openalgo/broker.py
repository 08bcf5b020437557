"""An OpenAlgo account behind the `Broker` protocol: order intents → REST calls, its books and pushes → our records.

OpenAlgo keeps no ids of ours, names no trades, and tells an order's state as its broker's adapter reads it, now and
then wrongly while the order is on its way. So rows are given their owners (`daemon.orders.untagged`), an end that is
news is believed when two readings in a row tell it, and what an ended order filled is summed from its trades.
Invariant: without `real_money` no order is placed unless the server said just before that it only pretends to trade,
and one that did cost money all the same is taken back at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
import structlog

from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.http import CallTimes, OnDate
from daemon.calls.outcome import Done, KeptBack, NotSent, Outcome, Rejected, Unknown, may_go
from daemon.calls.records import ZERO, WireError
from daemon.calls.secret import Secret
from daemon.core.clock import Clock
from daemon.core.events import OrderIntent
from daemon.market.instruments import InstrumentBook
from daemon.openalgo import wire
from daemon.openalgo.access import access, check_addresses
from daemon.openalgo.answers import Placed
from daemon.openalgo.rest import OpenAlgoRest
from daemon.openalgo.socket import Connection, LostError, SocketTimes, connected
from daemon.openalgo.symbols import Names
from daemon.orders.book import FOREIGN, Order, OrderBook
from daemon.orders.broker import BoundsOf, Broker
from daemon.orders.protection import UNBOUNDED, limit_type, worst_price
from daemon.orders.pushes import Disconnected, Gap, OrderPush, SocketEvent
from daemon.orders.terms import LIMITS
from daemon.orders.untagged import Owners
from daemon.orders.venue import Acknowledged, Funds, OrderStatus, VenueOrder, VenuePosition, VenueTrade
from daemon.settings.orders import BrokerSettings

log = structlog.get_logger("broker")

T = TypeVar("T")

KNOWN: Final = "shares of NSE have one, and contracts whose expiry is known (market.symbol_master, market.instruments)"
WORKING_POLL_S: Final = 3.0
"""So often the book is asked for while an order of ours works: no broker's pushes are relied on."""
DOUBT_POLL_S: Final = 0.5
"""So soon after an end that was told for the first time."""
PENNY: Final = Decimal("0.01")
"""So far a mean that is written with two digits may lie beside the prices that it is of."""
ENDS: Final = (OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED)


class OpenAlgoBroker:
    """Implements `daemon.orders.broker.Broker`."""

    name = "openalgo"

    def __init__(
        self, settings: BrokerSettings, clock: Clock, budget: RateBudget, instruments: InstrumentBook,
        orders: OrderBook, *, real_ticks: bool = False, on_date: OnDate | None = None,
        bounds_of: BoundsOf | None = None, times: SocketTimes | None = None,
    ) -> None:  # fmt: skip
        """Raises `SettingsError` for a key that can't be read, or an address that it would travel to in the clear."""
        openalgo, live = settings.openalgo, settings.live
        check_addresses(openalgo)
        self.refusal = ""
        """Why the server refuses the present key; "" while it takes it."""
        self.access = access(openalgo)
        self._key = self.access.read()
        self._may_cost = live.real_money and real_ticks
        self._why_not = "broker.live.real_money is not set" if not live.real_money else "its ticks aren't real ones"
        self._product = live.product
        self._protects, self._protection = live.market_orders == "protected", live.protection_percent
        self._instruments = instruments
        self._bounds_of = bounds_of or (lambda _: UNBOUNDED)
        self._names = Names(instruments.resolve)
        call_times = CallTimes(read_s=live.answer_s, total_s=live.answer_s + 3.0)
        self._rest = OpenAlgoRest(openalgo.url, self._key, budget, clock, call_times, on_date, self._names)
        self._socket_url = openalgo.socket_url
        self._times = times if times is not None else SocketTimes()
        self._ours = orders
        self._owners = Owners(orders, clock)
        self._said: set[str] = set()
        """Rows that may be ours and were spoken of."""
        self._endings: dict[str, OrderStatus] = {}
        self._filled: dict[str, int] = {}
        self._shown: dict[str, Decimal] = {}
        """Limits that aren't those that were asked for, as they were last shown, by the venue's id."""
        self._means: dict[str, Decimal] = {}
        """Of those, the ones that are the mean price of fills."""
        self._doubtful = False
        self._day_ns = 0
        """When the newest order was placed, by the venue: the day of its trades, which tell their time alone."""
        self._renewed = asyncio.Event()

    # -- orders -------------------------------------------------------------------------------------------------------

    async def submit(self, intent: OrderIntent, kept_back: KeptBack = may_go) -> Outcome[Acknowledged]:
        """Place the order, unless it is `kept_back`; OpenAlgo keeps no id of ours, so its own is all that names it."""
        kind, limit = intent.type, intent.limit_price
        instrument = self._instruments.resolve(intent.symbol)
        as_limit = None if instrument is None else limit_type(kind, instrument, protects=self._protects)
        if as_limit is not None and instrument is not None:
            kind, last = as_limit, intent.stop_price or intent.reference_price
            limit = worst_price(intent.side, last, self._protection, instrument, self._bounds_of(intent))
        fields = wire.place_body(intent, kind, limit, self._product, self._names)
        if fields is None:
            return NotSent(f"OpenAlgo's name of {intent.symbol} isn't known: {KNOWN}")
        forbidden = await self._forbidden()
        if forbidden is not None:
            return forbidden
        purpose = Purpose.EXIT if intent.reduces else Purpose.ORDINARY
        outcome = self._heed(await self._rest.place(fields, purpose, kept_back))
        if isinstance(outcome, Done) and isinstance(outcome.value, Placed):
            await self._check_cost(intent, outcome.value)
        return outcome

    async def _check_cost(self, intent: OrderIntent, placed: Placed) -> None:
        """Take back at once what costs money that nobody allowed: the mode was switched after it was asked for."""
        if placed.pretended is not self._may_cost:
            return
        if self._may_cost:
            log.warning("OpenAlgo only pretends to trade, though broker.live.real_money is set", order=intent.order_id)
            return
        taken = self._heed(await self._rest.cancel(placed.venue_id))
        log.error(
            "an order left for the market, for OpenAlgo was switched out of analyze mode just then: look at it there",
            order=intent.order_id, decision=intent.decision, symbol=intent.symbol, venue=placed.venue_id,
            cancelled=isinstance(taken, Done), why=self._why_not,
        )  # fmt: skip

    async def _forbidden(self) -> NotSent | Rejected | None:
        """Why no order may leave: it would cost money that nobody allowed to be spent."""
        if self._may_cost:
            return None
        mode = self._heed(await self._rest.analyzing())
        if isinstance(mode, Done):
            return None if mode.value else NotSent(f"OpenAlgo is not in analyze mode, and {self._why_not}")
        return NotSent(mode.reason) if isinstance(mode, Unknown) else mode

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Ask for a cancellation."""
        return self._heed(await self._rest.cancel(venue_id))

    # -- the books ----------------------------------------------------------------------------------------------------

    async def orders(self, *, urgent: bool) -> Outcome[list[VenueOrder]]:
        """All orders of the day that can be told whose they are."""
        outcome = self._heed(await self._rest.orders(_purpose(urgent)))
        if not isinstance(outcome, Done):
            return outcome
        self._day_ns = max((row.ts for row in outcome.value), default=0)
        found = outcome.value
        if any(not order.venue_id for order in self._ours.working.values()):
            traded = await self.trades(urgent=urgent)
            if not isinstance(traded, Done):
                return traded
            sums = _sums(traded.value)
            found = [_with_fills(row, sums) for row in found]  # by which a lost one may have to be told
        rows = self._believed(self._owners.orders(found))
        self._tell_look_alikes(rows)
        if any(self._is_moved(row) or (row.status in ENDS and row.venue_id not in self._filled) for row in rows):
            traded = await self.trades(urgent=urgent)
            if not isinstance(traded, Done):
                return traded
            sums = _sums(traded.value)
            self._filled |= {row.venue_id: sums[row.venue_id] for row in rows if row.status in ENDS}
            self._tell_means(rows, traded.value)
        return Done([self._whole(row) for row in rows])

    def _known(self, row: VenueOrder) -> Order | None:
        return self._ours.find(row.tag) or self._ours.find(f"{FOREIGN}{row.venue_id}")

    def _is_moved(self, row: VenueOrder) -> bool:
        """Whether the limit of an order that we know isn't what was shown before: somebody's change, or a mean."""
        order = self._known(row)
        if order is None or row.type not in LIMITS:
            return False
        return row.limit_price not in (order.intent.limit_price, self._shown.get(row.venue_id))

    def _tell_means(self, rows: Iterable[VenueOrder], trades: Sequence[VenueTrade]) -> None:
        """Adapters of some brokers show the mean price of an order's fills where its limit was."""
        for row in filter(self._is_moved, rows):
            prices = [it.price for it in trades if it.venue_id == row.venue_id]
            self._shown[row.venue_id] = row.limit_price
            if prices and min(prices) - PENNY <= row.limit_price <= max(prices) + PENNY:
                self._means[row.venue_id] = row.limit_price

    def _tell_look_alikes(self, rows: Iterable[VenueOrder]) -> None:
        """Nobody can tell whose they are, so they are left alone, and a person is told."""
        for row in rows:
            order_id = self._owners.look_alikes.get(row.venue_id)
            if order_id is None or row.venue_id in self._said:
                continue
            self._said.add(row.venue_id)
            log.error(
                "an order looks like one of ours that was written off: it is left alone, for nothing proves that it is "
                "ours; cancel it in the broker's app if nobody there placed it",
                venue=row.venue_id, order=order_id, symbol=row.symbol, side=row.side, quantity=row.quantity,
                status=row.status,
            )  # fmt: skip

    def _believed(self, rows: Iterable[VenueOrder]) -> list[VenueOrder]:
        """An end that is news counts as one when the reading before told it, too."""
        found, before, self._endings, self._doubtful = [], self._endings, {}, False
        for row in rows:
            if row.status in ENDS:
                self._endings[row.venue_id] = row.status
                order = self._ours.find(row.tag) if row.tag else None
                known = order is not None and order.state.done
                if not known and before.get(row.venue_id) is not row.status:
                    self._doubtful = True
                    row = msgspec.structs.replace(row, status=OrderStatus.OTHER)
            found.append(row)
        return found

    def _whole(self, row: VenueOrder) -> VenueOrder:
        """The row, with what its trades come to where it is over; without a mean as its limit or our key in its words.

        One that filled has no limit any more: what is shown there may be a mean whose trades aren't told yet.
        """
        filled = max(row.filled, self._filled.get(row.venue_id, 0)) if row.status in ENDS else row.filled
        mean = (
            self._known(row) is not None and row.status is OrderStatus.FILLED
        ) or row.limit_price == self._means.get(row.venue_id)
        return msgspec.structs.replace(
            row, filled=filled, remaining=row.quantity - filled, message=self._rest.hiding.line(row.message),
            limit_price=ZERO if mean else row.limit_price,
        )  # fmt: skip

    async def trades(self, *, urgent: bool) -> Outcome[list[VenueTrade]]:
        """All trades of the day."""
        outcome = self._heed(await self._rest.trades(_purpose(urgent), self._day_ns))
        if not isinstance(outcome, Done):
            return outcome
        return Done(self._owners.trades(trade for _, trade in outcome.value))

    async def positions(self) -> Outcome[list[VenuePosition]]:
        """What was bought and sold of each symbol, under the product that orders are placed under."""
        traded = self._heed(await self._rest.trades(day_ns=self._day_ns))
        if not isinstance(traded, Done):
            return traded
        outcome = self._heed(await self._rest.positions(traded.value))
        if not isinstance(outcome, Done):
            return outcome
        return Done([row for row in outcome.value if row.product == self._product])

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""
        return self._heed(await self._rest.funds())

    # -- pushes -------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[SocketEvent, None]:
        """Pushes of orders where the broker behind has them, and looks at the book while an order works."""
        pause_s = self._times.first_retry_s
        while True:
            self._renewed.clear()
            try:
                async with connected(self._socket_url, self._key, self._times) as (connection, _):
                    await connection.say({"action": "subscribe_orders"})
                    pause_s = self._times.first_retry_s
                    yield Gap("connected")
                    async with aclosing(self._listen(connection)) as pushes:
                        async for push in pushes:
                            yield push
            except LostError as error:
                yield Disconnected(str(error), error.key)
            if self._working:
                yield Gap("no pushes come: the book is read")
            try:
                async with asyncio.timeout(pause_s):
                    await self._renewed.wait()
            except TimeoutError:
                pause_s = min(pause_s * 2, WORKING_POLL_S if self._working else self._times.longest_retry_s)

    async def _listen(self, connection: Connection) -> AsyncGenerator[SocketEvent, None]:
        reading = asyncio.ensure_future(connection.next())
        try:
            while True:
                poll_s = DOUBT_POLL_S if self._doubtful else WORKING_POLL_S
                await asyncio.wait((reading,), timeout=poll_s)
                if not reading.done():
                    if self._working or self._doubtful:
                        yield Gap("the book is read while an order works")
                    continue
                message = reading.result()
                reading = asyncio.ensure_future(connection.next())
                if message.get("type") == "order_update":
                    yield self._push(message)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _push(self, message: dict[str, object]) -> SocketEvent:
        """What an order update tells; an end that it tells is left to the book."""
        try:
            row = wire.read_order(message, self._names)
        except WireError as error:
            return Gap(f"a push that can't be read: {self._rest.hiding.line(error)}")
        told = self._owners.order(row)
        if told is None or told.status in ENDS:
            return Gap("an order that only the book can tell")
        return OrderPush(self._whole(told))

    @property
    def _working(self) -> bool:
        return bool(self._ours.working)

    # -- the key ------------------------------------------------------------------------------------------------------

    def authorize(self, token: Secret) -> None:
        """Use another key from the next call on."""
        self.refusal = ""
        self._key = token
        self._rest.authorize(token)
        self._renewed.set()

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    def _heed(self, outcome: Outcome[T]) -> Outcome[T]:
        """Note whether the server takes our key."""
        if isinstance(outcome, Rejected) and outcome.token_refused:
            self.refusal = outcome.message or f"HTTP {outcome.code}"
        elif isinstance(outcome, Done):
            self.refusal = ""
        return outcome


def openalgo_broker(
    settings: BrokerSettings, clock: Clock, budget: RateBudget, instruments: InstrumentBook, orders: OrderBook, *,
    real_ticks: bool, on_date: OnDate | None, bounds_of: BoundsOf | None,
) -> Broker:  # fmt: skip
    """The account, its rows told apart by our own `orders`."""
    return OpenAlgoBroker(
        settings, clock, budget, instruments, orders, real_ticks=real_ticks, on_date=on_date, bounds_of=bounds_of
    )


def _sums(trades: Iterable[VenueTrade]) -> Counter[str]:
    """How much each order filled, by the venue's id."""
    sums = Counter[str]()
    for trade in trades:
        sums[trade.venue_id] += trade.quantity
    return sums


def _with_fills(row: VenueOrder, sums: Mapping[str, int]) -> VenueOrder:
    """The row, where the book doesn't tell what it filled, with what its trades come to."""
    return msgspec.structs.replace(row, filled=max(row.filled, min(row.quantity, sums.get(row.venue_id, 0))))


def _purpose(urgent: bool) -> Purpose:
    return Purpose.EXIT if urgent else Purpose.ORDINARY
