"""What the venue tells (book, trades, positions) → the events that bring our orders and positions in line with it.

Loop-free. Fills come from trades only, each once by its id, and of one order never more than its rows hold, however a
venue merges trades into rows; a finished order's state waits for its last trade. An order that the venue never answered
for is written off only after the book, asked for long enough, has never shown it.
Invariant: after `compare` with a quiet venue, our orders and fills are the venue's, and whatever differs is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from daemon.core.clock import NS_PER_S, Clock, day_number, india_day
from daemon.core.events import (
    EXTERNAL,
    ITSELF,
    Event,
    Fill,
    Halt,
    OrderAccepted,
    OrderAmended,
    OrderCancelFailed,
    OrderCancelled,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderType,
    PositionRestated,
    PriceAdjusted,
    SymbolHalted,
    SymbolResumed,
)
from daemon.core.ids import IN_NO_JOURNAL, is_order_of_ours
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.market.overnight import shares_after
from daemon.orders.book import FOREIGN, Order, OrderBook, OrderState
from daemon.orders.orphans import Orphans
from daemon.orders.terms import UNCHANGED, Terms
from daemon.orders.venue import OrderStatus, VenueOrder, VenueTrade
from daemon.settings.orders import LiveBrokerSettings

log = structlog.get_logger("execution")

LEAST_PRICE = Decimal("0.0001")
READINGS_OF_A_CHANGE: Final = 3
"""So many readings must differ by as much before two positions that both changed in between are said to differ."""
READS_TO_WRITE_OFF = 3
"""So many times at least the book must have been read without the order."""


class _Suspect(msgspec.Struct, frozen=True):
    """What both sides held of a symbol at a reading at which they differed, and at how many by as much."""

    ours: int
    theirs: int
    readings: int = 1


class LiveBook:
    """Our orders, and what the venue says of them."""

    def __init__(
        self,
        orders: OrderBook,
        positions: Mapping[str, int],
        instruments: InstrumentBook,
        costs: CostSchedule,
        clock: Clock,
        settings: LiveBrokerSettings,
        publish: Callable[[Event], None],
        opened: Mapping[str, int] | None = None,
    ) -> None:
        """`opened`: since when what is held has been, by symbol (UTC ns)."""
        self.orders = orders
        self.positions: Counter[str] = Counter(positions)
        self.sending: set[str] = set()
        """Orders that are approved and on their way, until the venue has answered or they never left."""
        self.cancelling: set[str] = set()
        """Orders whose cancellation is under way: the book may still show them working."""
        self.revenants: dict[str, str] = {}
        """Orders that were written off and then came alive: venue id → client id; they are to be cancelled."""
        self.orphans = Orphans()
        self.unrecorded: list[str] = []
        """Orders by ids of ours that were adopted because this journal didn't know them, by their venue ids."""
        self.taken_in: list[str] = []
        """All orders that this journal didn't know, likewise."""
        self.halted: dict[str, str] = {}
        self.incomplete = False
        """Whether the venue speaks of fills whose trades it hasn't shown yet."""
        self.changed = False
        """Whether a push speaks of a change to an order that the book hasn't told yet."""
        self.booked = 0
        """Fills so far."""
        self.cash_elsewhere = Decimal(0)
        """Rupees that today's trades of orders which are left alone brought in, less what they cost."""
        self._instruments = instruments
        self._costs = costs
        self._clock = clock
        self._settings = settings
        self._publish = publish
        self._missing: dict[str, tuple[int, int]] = {}
        self._opened = dict(opened or {})
        self._foreign: dict[str, str] = {}
        self._other_product: set[str] = set()
        self._elsewhere: Counter[str] = Counter()
        self._suspects: dict[str, _Suspect] = {}
        self._actions: dict[str, list[PriceAdjusted]] = {}
        """What the broker has yet to make of what is held, each with how much of it that was."""
        self._terms = Terms()

    # -- one thing said -----------------------------------------------------------------------------------------------

    def say(self, event: Event) -> bool:
        """Apply an event of an order and, where it is news, publish it."""
        if self.orders.apply(event) is None:
            return False
        if isinstance(event, Fill):
            change = event.side.sign * event.quantity
            self.positions[event.symbol] += change
            self._carry(event.symbol, india_day(event.of_ts), change)
            self.booked += 1
        self._publish(event)
        return True

    def find(self, tag: str, venue_id: str) -> Order | None:
        """Our order behind a tag and a venue id; a second order under one tag is somebody else's."""
        order = self.orders.find(tag) if tag else None
        if order is not None and order.venue_id in ("", venue_id):
            return order
        return self.orders.find(f"{FOREIGN}{venue_id}")

    def trade(self, trade: VenueTrade) -> bool:
        """Book a trade of one of our orders; False where it is known or not ours."""
        order = self.find(trade.tag, trade.venue_id)
        instrument = self._instruments.resolve(trade.symbol)
        fill_id = _fill_id(trade)
        if order is None or instrument is None or fill_id in order.fill_ids:
            return False
        if trade.quantity > order.remaining:  # somebody made the order larger: the book will say so
            self.incomplete = self.incomplete or order.state.amendable
            return False
        order.venue_id = order.venue_id or trade.venue_id
        charges = self._costs.charges(instrument, trade.side, trade.quantity, trade.price, trade.ts, order.turnover)
        now = self._clock.now_ns() or trade.ts
        if not self.positions[trade.symbol]:
            self._opened[trade.symbol] = trade.ts or now
        return self.say(
            Fill(
                ts=now, fill_id=fill_id, order_id=order.intent.order_id, symbol=trade.symbol, side=trade.side,
                quantity=trade.quantity, price=trade.price, costs=charges.total,
                traded_ts=trade.ts if 0 < india_day(trade.ts) < india_day(now) else 0,
            )
        )  # fmt: skip

    def report(self, report: VenueOrder) -> bool:
        """What the venue says of one order; False where the order is nobody's that we know."""
        order = self.find(report.tag, report.venue_id)
        if order is None:
            return report.venue_id in self._foreign
        order.venue_id = order.venue_id or report.venue_id
        if report.filled > order.filled and not order.state.done:
            self.incomplete = True
        if not order.state.done and not report.status.final:
            self.changed = self.changed or self._terms.differ(order, report)
        if order.state.done:
            if report.status.final:
                self.revenants.pop(report.venue_id, None)
            else:
                self._on_revenant(order, report)
        elif report.status.final:
            self._end(order, report)
        elif order.state in (OrderState.SENT, OrderState.UNKNOWN):
            self.say(OrderAccepted(ts=self._now, order_id=order.intent.order_id, venue_id=report.venue_id))
        return True

    # -- the whole book -----------------------------------------------------------------------------------------------

    def compare(self, orders: Sequence[VenueOrder], trades: Sequence[VenueTrade]) -> int:
        """Bring ours in line with the book of the day, read before the tradebook; how many fills were missed."""
        self.incomplete = self.changed = False
        unknown = []
        for report in orders:
            order = self.find(report.tag, report.venue_id)
            if order is not None:
                self._amend(order, report)
            elif report.venue_id not in self._foreign:
                unknown.append(report)
        missed = self._book_trades(trades)
        for report in unknown:  # what others did is judged by what is held
            self._take_in(report)
        missed += self._book_trades(trades) if unknown else 0
        self._elsewhere, self.cash_elsewhere = Counter(), Decimal(0)
        for trade in trades:
            if self.find(trade.tag, trade.venue_id) is None and trade.venue_id not in self._other_product:
                self._elsewhere[trade.symbol] += trade.side.sign * trade.quantity
                self.cash_elsewhere -= trade.side.sign * trade.quantity * trade.price
        for report in orders:
            self.report(report)
            self._check_cancelling(report)
        found = [(row, order) for row in orders if (order := self.find(row.tag, row.venue_id)) is not None]
        shown = {id(order) for _, order in found}
        self.orphans.ids |= {it.intent.order_id for row, it in found if it.foreign and is_order_of_ours(row.tag)}
        for order in list(self.orders.working.values()):
            if id(order) in shown:
                self._missing.pop(order.intent.order_id, None)
            else:
                self._on_absence(order)
        return missed

    def _book_trades(self, trades: Sequence[VenueTrade]) -> int:
        """Book what is new in a tradebook; how many fills that was."""
        of_order: dict[str, list[VenueTrade]] = {}
        for trade in dict.fromkeys(trades):
            of_order.setdefault(trade.venue_id, []).append(trade)
        merged = {place for place, rows in of_order.items() if self._is_merged(rows)}
        apart = sum(self.trade(trade) for trade in trades if trade.venue_id not in merged)
        return apart + sum(self._book_rest(of_order[place]) for place in of_order if place in merged)

    def _is_merged(self, rows: Sequence[VenueTrade]) -> bool:
        """Whether rows of an order hold another quantity than what is booked and what is new: several trades in one."""
        order = self.find(rows[0].tag, rows[0].venue_id)
        if order is None or not order.filled:
            return False
        new = sum(row.quantity for row in rows if _fill_id(row) not in order.fill_ids)
        return sum(row.quantity for row in rows) != order.filled + new

    def _book_rest(self, rows: Sequence[VenueTrade]) -> bool:
        """Book what all rows of an order hold beyond what is booked, at what is left of their turnover."""
        order, whole = self.find(rows[0].tag, rows[0].venue_id), sum(row.quantity for row in rows)
        if order is None or whole <= order.filled:
            return False
        left = whole - order.filled
        price = (sum(row.quantity * row.price for row in rows) - order.turnover) / left
        last = next((row for row in reversed(rows) if _fill_id(row) not in order.fill_ids), None)
        name = last.trade_id if last is not None else f"{rows[-1].trade_id}+{whole}"
        rest = msgspec.structs.replace(
            rows[-1], trade_id=name, quantity=left, price=max(price, LEAST_PRICE).quantize(LEAST_PRICE)
        )
        return self.trade(rest)

    def compare_positions(self, held: Mapping[str, int]) -> bool:
        """Halt every symbol that differs twice in a row, resume those that agree; whether all agree.

        Where both changed in between by as much, as where it is traded on, thrice: a reading may cross a fill.
        """
        suspects: dict[str, _Suspect] = {}
        for symbol in {*held, *self.positions, *self.halted}:
            self._count_anew(symbol, held.get(symbol, 0))
            ours, theirs = self.positions[symbol] + self._elsewhere[symbol], held.get(symbol, 0)
            if ours == theirs:
                if self.halted.pop(symbol, None) is not None:
                    self._publish(SymbolResumed(ts=self._now, symbol=symbol, reason=f"both hold {ours}"))
                continue
            reason = f"position: the broker holds {theirs}, the journal {ours}"
            before = self._suspects.get(symbol)
            by_as_much = before is not None and before.theirs - before.ours == theirs - ours
            now = _Suspect(ours, theirs, before.readings + 1 if before is not None and by_as_much else 1)
            suspects[symbol] = now
            unchanged = before is not None and (before.ours, before.theirs) == (ours, theirs)
            again = unchanged or now.readings >= READINGS_OF_A_CHANGE
            if again and self.halted.get(symbol) != reason:
                self.halted[symbol] = reason
                log.error("positions differ", symbol=symbol, broker=theirs, journal=ours)
                at_broker = theirs - self._elsewhere[symbol]
                self._publish(SymbolHalted(ts=self._now, symbol=symbol, reason=reason, held=at_broker))
        self._suspects = suspects
        return not suspects

    def expect(self, action: PriceAdjusted) -> None:
        """The broker is to change what we hold: when it shows what that comes to, ours follows."""
        carried = self.positions[action.symbol] if action.carried is None else action.carried
        if action.shares and carried:
            action = msgspec.structs.replace(action, carried=carried)
            self._actions.setdefault(action.symbol, []).append(action)

    def _carry(self, symbol: str, day: int, change: int) -> None:
        """A trade of before an action that the broker has yet to make, told after it was said."""
        if symbol in self._actions:
            self._actions[symbol] = [
                msgspec.structs.replace(it, carried=it.carried + change) if day < day_number(it.date) else it
                for it in self._actions[symbol]
                if it.carried is not None
            ]

    def _count_anew(self, symbol: str, theirs: int) -> None:
        """Ours becomes what the broker shows where that is what comes of the actions that were said."""
        said: list[PositionRestated] = []
        more = 0
        for action in self._actions.get(symbol, ()):
            carried = (action.carried or 0) + more
            whole, _ = shares_after(carried, action.numerator, action.denominator)
            more += whole - carried
            said.append(
                PositionRestated(
                    ts=self._now, symbol=symbol, date=action.date, kind=action.kind, numerator=action.numerator,
                    denominator=action.denominator, carried=carried,
                )
            )  # fmt: skip
        quantity = self.positions[symbol] + more
        if not said or quantity + self._elsewhere[symbol] != theirs:
            return
        log.warning("the broker has made a corporate action of it", symbol=symbol, held=quantity)
        self.positions[symbol] = quantity
        del self._actions[symbol]
        for event in said:
            self._publish(event)

    @property
    def held(self) -> Mapping[str, int]:
        """What an order would open or close: our positions, the broker's where both are known to differ."""
        theirs = {symbol: self._suspects[symbol].theirs - self._elsewhere[symbol] for symbol in self.halted}
        return {**self.positions, **theirs}

    @property
    def unresolved(self) -> int:
        """Orders of which nobody knows whether the venue has them."""
        return sum(order.state is OrderState.UNKNOWN for order in self.orders.working.values())

    @property
    def _now(self) -> int:
        return self._clock.now_ns()

    def _end(self, order: Order, report: VenueOrder) -> None:
        """The venue is done with the order; we are when its fills are complete."""
        if report.filled > order.filled or (report.status is OrderStatus.FILLED and order.remaining):
            self.incomplete = True
            return
        order_id, filled = order.intent.order_id, order.filled
        match report.status:
            case OrderStatus.REJECTED:
                self.say(OrderRejected(ts=self._now, order_id=order_id, code=0, reason=report.message or "rejected"))
            case OrderStatus.EXPIRED:
                self.say(OrderExpired(ts=self._now, order_id=order_id, filled=filled, reason="its day has ended"))
            case OrderStatus.CANCELLED:
                reason = order.reason or report.message or "cancelled at the venue"
                self.say(OrderCancelled(ts=self._now, order_id=order_id, filled=filled, reason=reason))

    def _amend(self, order: Order, report: VenueOrder) -> None:
        """Somebody may have changed our order at the venue; 0 is no quantity but a row that doesn't tell.

        One that we took for filled works on where it was made larger before its last fill and isn't over there.
        """
        change = report.quantity - order.intent.quantity
        over = order.state is OrderState.FILLED and report.status.final and report.filled <= order.filled
        if not order.state.amendable or over or report.quantity < max(1, order.filled):
            return
        terms = None if order.state.done else self._terms.changed(order, report)
        if change or terms is not None:
            order_id, (kind, limit, stop) = order.intent.order_id, terms or UNCHANGED
            log.warning(
                "an order was changed at the venue", order=order_id, decision=order.intent.decision,
                symbol=order.intent.symbol, quantity=report.quantity, change=change,
                **({"type": kind, "limit_price": limit, "stop_price": stop} if kind is not None else {}),
            )  # fmt: skip
            self.say(
                OrderAmended(
                    ts=self._now, order_id=order_id, quantity=report.quantity, change=change, type=kind,
                    limit_price=limit, stop_price=stop,
                )
            )  # fmt: skip

    def _check_cancelling(self, report: VenueOrder) -> None:
        order = self.find(report.tag, report.venue_id)
        if order is None or order.state is not OrderState.CANCEL_PENDING or report.status.final:
            return
        if order.intent.order_id not in self.cancelling:
            reason = "the book shows it working"
            self.say(OrderCancelFailed(ts=self._now, order_id=order.intent.order_id, reason=reason))

    def _on_revenant(self, order: Order, report: VenueOrder) -> None:
        ours = order.state is OrderState.REJECTED and not order.foreign
        if ours and report.venue_id not in self.revenants:
            log.error(
                "an order that was written off came alive", order=order.intent.order_id,
                decision=order.intent.decision, symbol=order.intent.symbol, venue=report.venue_id,
            )  # fmt: skip
            self.revenants[report.venue_id] = order.intent.order_id

    def _on_absence(self, order: Order) -> None:
        """The book doesn't show a working order."""
        order_id, now = order.intent.order_id, self._clock.monotonic_ns()
        if order.venue_id:
            if self._now and india_day(self._now) > india_day(order.intent.ts):
                reason = "its day has ended"
                self.say(OrderExpired(ts=self._now, order_id=order_id, filled=order.filled, reason=reason))
            return
        if order.state is not OrderState.UNKNOWN:
            return
        since, reads = self._missing.get(order_id, (now, 0))
        self._missing[order_id] = (since, reads + 1)
        if reads + 1 >= READS_TO_WRITE_OFF and now - since >= self._settings.unknown_settle_s * NS_PER_S:
            del self._missing[order_id]
            seconds = (now - since) / NS_PER_S
            reason = f"never arrived: the venue's book did not show it for {seconds:.1f} s"
            self.say(OrderRejected(ts=self._now, order_id=order_id, code=0, reason=reason))

    def _take_in(self, report: VenueOrder) -> None:
        """An order in our account that we know nothing of."""
        if report.product not in ("", self._settings.product):
            self._foreign[report.venue_id] = report.symbol  # its position isn't among those that we compare
            self._other_product.add(report.venue_id)
            return
        ours = is_order_of_ours(report.tag)  # nobody else looks after it, whatever is to become of others'
        wish, closes = self._settings.external_orders, self._closes(report)
        halts = wish == "halt" and not ours
        if ours or closes:
            wish = "adopt"
        instrument = self._instruments.resolve(report.symbol)
        if wish == "adopt" and (instrument is None or not instrument.tradeable):
            wish = "ignore"  # nobody could price its fills, and no exit of it would pass
        whose = "an order of ours that is in no journal" if ours else "an order of somebody else"
        log.warning(whose, venue=report.venue_id, symbol=report.symbol, done=wish, closes=closes)
        self.taken_in.append(report.venue_id)
        if wish == "adopt":
            self._adopt(report)
        else:
            self._foreign[report.venue_id] = report.symbol
        if halts:
            reason = f"external order {report.venue_id}: {report.side} {report.quantity} {report.symbol}"
            self._publish(Halt(ts=self._now, reason=reason, automatic=True, who=ITSELF))

    def _closes(self, report: VenueOrder) -> bool:
        """Whether it closes what is held by us: the broker knows one position, so that is no longer there to close.

        Stamps are whole seconds: one of the second in which a position was opened is taken for a later one, for then
        no exit can open the opposite position.
        """
        since = self._opened.get(report.symbol, 0) // NS_PER_S * NS_PER_S
        return report.side.sign * self.positions[report.symbol] < 0 and (not report.ts or report.ts >= since)

    def _adopt(self, report: VenueOrder) -> None:
        """It is at the venue already: nobody approves it or sends it. `reduces` tells nothing: `openers` is asked."""
        lost = is_order_of_ours(report.tag) and self.orders.find(report.tag) is None
        order_id, whose = f"{FOREIGN}{report.venue_id}", IN_NO_JOURNAL if lost else ""
        if lost:
            self.unrecorded.append(report.venue_id)
        price = report.limit_price or report.average_price or report.stop_price or Decimal(0)
        self.say(
            OrderIntent(
                ts=self._now or report.ts, order_id=order_id, symbol=report.symbol, side=report.side,
                quantity=report.quantity, type=report.type or OrderType.LIMIT,
                limit_price=report.limit_price or None, stop_price=report.stop_price or None, reduces=False,
                strategy=EXTERNAL,
                reason=f"external order {report.venue_id}{whose}", reference_price=price,
            )
        )  # fmt: skip
        self.say(OrderAccepted(ts=self._now, order_id=order_id, venue_id=report.venue_id))


def _fill_id(trade: VenueTrade) -> str:
    return f"{trade.venue_id}:{trade.trade_id}"
