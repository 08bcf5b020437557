"""A risk stage over a venue of two dictionaries, whose every answer comes when a test lets it come."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    EXTERNAL,
    PROTECTION,
    Action,
    CancelOrder,
    Event,
    ExitOwed,
    Fill,
    Flatten,
    Halt,
    ManualOrder,
    ManualOrderAnswered,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderType,
    ProtectionFailed,
    Resume,
    Side,
    SymbolHalted,
    SymbolResumed,
    TimeAdvanced,
    TradingStateChanged,
)
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.recovery.account import Account
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.settings.market import MarketSettings
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings
from tests.samples import MINUTE, OPEN, SBIN, decide, intend, tick

NOON = OPEN + 60 * MINUTE
CALENDAR = MarketCalendar()
INSTRUMENTS = InstrumentBook(MarketSettings())
SAID = (
    OrderIntent, OrderApproved, OrderDenied, CancelOrder, ProtectionFailed, ManualOrderAnswered, TradingStateChanged,
    ExitOwed,
)  # fmt: skip


class HandClock:
    """Time goes on when it is told to; not a replay's, in which orders cost nothing."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now_ns(self) -> int:
        """The time."""
        return self._now

    def monotonic_ns(self) -> int:
        """The same."""
        return self._now

    def advance(self, ts: int) -> None:
        """Go on to `ts`."""
        self._now = max(ts, self._now)


class BracketDesk:
    """`working` is what the venue has of each order, `leaving` what it was asked to cancel and hasn't yet."""

    def __init__(self, **limits: Any) -> None:
        self._limits = RiskSettings(**{"max_orders_per_minute": 10_000, "max_orders_per_second": 10_000, **limits})
        self.clock = HandClock(NOON)
        self.journal: list[Event] = []
        self.intents: dict[str, OrderIntent] = {}
        self.working: dict[str, int] = {}
        self.leaving: set[str] = set()
        self.position = 0
        self.fills = self.lives = 0
        self._start()

    def _start(self) -> None:
        self.lives += 1
        self.bus = Bus()
        self.bus.tap(SAID, self._hear)
        builder = IntentBuilder(self._limits, ExecutionSettings(), INSTRUMENTS, f"P{self.lives}")
        self.actor = RiskActor(
            self.bus, RiskBook(), builder, RiskGate(self._limits, INSTRUMENTS, CALENDAR, 30), self.clock, CALENDAR, 15
        )

    def _hear(self, event: Event) -> None:
        self.journal.append(event)
        if isinstance(event, OrderIntent):
            self.intents[event.order_id] = event
        elif isinstance(event, OrderApproved):
            intent = self.intents[event.order_id]
            self.working[event.order_id] = intent.quantity
            self.journal += [
                OrderSent(ts=intent.ts, order_id=event.order_id),
                OrderAccepted(ts=intent.ts, order_id=event.order_id, venue_id=f"V{event.order_id}"),
            ]
        elif isinstance(event, CancelOrder) and event.order_id in self.working:
            self.leaving.add(event.order_id)

    def _tell(self, event: Event, *, told: bool = True) -> None:
        """As the bus does it: what the stage says to itself comes to it afterwards."""
        if told:
            self.journal.append(event)
        self.actor.handle(event)
        while (own := self.actor.inbox.take()) is not None:
            self.actor.handle(own)
            self.actor.inbox.done()

    # -- what happens -----------------------------------------------------------------------------------------------

    def at(self, price: float) -> None:
        """A tick."""
        self._tell(tick(self.clock.now_ns(), price), told=False)

    def pass_s(self, seconds: float = 1.0) -> None:
        """Time advances."""
        self.clock.advance(self.clock.now_ns() + int(seconds * NS_PER_S))
        self._tell(TimeAdvanced(ts=self.clock.now_ns()), told=False)

    def decide(self, action: Action, quantity: int = 100, **prices: float) -> None:
        """A strategy has decided."""
        now = self.clock.now_ns()
        last = self.actor.book.of(SBIN).last_price
        self._tell(decide(action, quantity, ts=now, ts_bar=now, price=last, **prices), told=False)

    def by_hand(self, side: Side, quantity: int, kind: OrderType = OrderType.MARKET, limit: int | None = None) -> None:
        """A person has placed an order."""
        self._tell(
            ManualOrder(
                ts=self.clock.now_ns(), key=f"key{len(self.journal)}", symbol=SBIN, side=side, quantity=quantity,
                type=kind, limit_price=None if limit is None else Decimal(limit), reason="by hand", who="asha",
            )
        )  # fmt: skip

    def fill(self, order_id: str, quantity: int | None = None, price: int = 800) -> None:
        """The venue trades a part of an order, or what is left of it."""
        intent, left = self.intents[order_id], self.working[order_id]
        done = left if quantity is None else min(quantity, left)
        self.fills += 1
        self.position += intent.side.sign * done
        self.working[order_id] -= done
        if not self.working[order_id]:
            self._forget(order_id)
        self._tell(
            Fill(
                ts=self.clock.now_ns(), fill_id=f"F{self.fills}", order_id=order_id, symbol=SBIN, side=intent.side,
                quantity=done, price=Decimal(price), costs=Decimal(1),
            )
        )  # fmt: skip

    def let_go(self, order_id: str) -> None:
        """The venue takes an order off, asked or by itself."""
        intent, left = self.intents[order_id], self.working[order_id]
        self._forget(order_id)
        now = self.clock.now_ns()
        self._tell(OrderCancelled(ts=now, order_id=order_id, filled=intent.quantity - left, reason="cancelled"))

    def reject(self, order_id: str, reason: str = "no") -> None:
        """The venue refuses an order."""
        self._forget(order_id)
        self._tell(OrderRejected(ts=self.clock.now_ns(), order_id=order_id, code=-99, reason=reason))

    def halt(self) -> None:
        """A person halts trading."""
        self._tell(Halt(ts=self.clock.now_ns(), reason="enough", who="asha"))

    def end(self) -> None:
        """The process is asked to end."""
        self._tell(Halt(ts=self.clock.now_ns(), reason="SIGTERM", shutdown=True))

    def flatten(self, *, automatic: bool = False) -> None:
        """All is to be closed, as a person says, or the daemon itself."""
        self._tell(Flatten(ts=self.clock.now_ns(), reason="out", automatic=automatic))

    def resume(self) -> None:
        """And lets it go on."""
        self._tell(Resume(ts=self.clock.now_ns(), reason="well again", who="asha"))

    def differ(self, held: int) -> None:
        """The broker says that it holds so many."""
        self._tell(SymbolHalted(ts=self.clock.now_ns(), symbol=SBIN, reason="positions differ", held=held))

    def agree(self) -> None:
        """And now as many as we do."""
        self._tell(SymbolResumed(ts=self.clock.now_ns(), symbol=SBIN, reason="they agree"))

    def ask_off(self, order_id: str, who: str = "asha") -> None:
        """Somebody wants an order off the market; the venue has yet to answer."""
        self.leaving.add(order_id)
        self._tell(CancelOrder(ts=self.clock.now_ns(), order_id=order_id, reason="mine", who=who))

    def cancel_by_hand(self, order_id: str) -> None:
        """A person takes an order off the market."""
        self.ask_off(order_id)
        self.let_go(order_id)

    def amend(self, event: OrderAmended) -> None:
        """Somebody has changed an order at the venue."""
        self.working[event.order_id] += event.change
        self._tell(event)

    def adopt(self, side: Side, quantity: int, limit: int, whose: str = "") -> None:
        """Somebody has placed an order in the broker's app; `whose`: what its id tells."""
        intent = intend(
            "Xapp", side, quantity, ts=self.clock.now_ns(), type=OrderType.LIMIT, limit_price=Decimal(limit),
            strategy=EXTERNAL, reason=f"external order 7{whose}",
        )  # fmt: skip
        self.intents["Xapp"], self.working["Xapp"] = intent, quantity
        self._tell(intent)

    def restart(self) -> None:
        """The process is killed, and another one goes on with its journal, as `daemon.app` does it."""
        account = Account(Decimal(1_000_000))
        account.fold(self.journal)
        last = self.actor.book.of(SBIN).last_price
        self._start()
        account.fold([account.snapshot(self.clock.now_ns())])
        working = [(order.intent, order.remaining) for order in account.orders.working.values()]
        book = self.actor.book
        book.restore(
            account.portfolio.standing(self.clock.now_ns()), working, [], account.day, account.day_start_net,
            approved=account.approved(),
        )  # fmt: skip
        book.brackets = account.brackets
        self.actor.restore(
            account.state, account.flatten_reason, account.unsettled, account.closing, account.owed.values(),
            flattened=account.flattened,
        )  # fmt: skip
        self.leaving.clear()
        self.at(last)
        self.pass_s(0.001)

    def settle(self, rounds: int = 12) -> None:
        """Let everything come to an end that was asked for, and time pass."""
        for _ in range(rounds):
            for order_id in sorted(self.leaving):
                self.let_go(order_id)
            for order_id in [it for it in self.working if self.intents[it].type is OrderType.MARKET]:
                self.fill(order_id)
            self.pass_s(1.5)

    def _forget(self, order_id: str) -> None:
        self.working.pop(order_id, None)
        self.leaving.discard(order_id)

    # -- what there is ----------------------------------------------------------------------------------------------

    def orders(self, **fields: Any) -> list[str]:
        """Ids of working orders whose intents have these fields, those that are leaving left out."""
        return [
            order_id
            for order_id in self.working
            if order_id not in self.leaving
            and all(getattr(self.intents[order_id], name) == value for name, value in fields.items())
        ]

    def legs(self) -> list[tuple[str, str, int, str]]:
        """(kind, side, what is left in all, price) of stops and targets that stay, stops first."""
        found: Counter[tuple[str, str, str]] = Counter()
        for order_id in self.orders(strategy=PROTECTION):
            intent = self.intents[order_id]
            price = intent.stop_price if intent.reason == "stop" else intent.limit_price
            found[intent.reason, intent.side.value, f"{float(price or 0):g}"] += self.working[order_id]
        return sorted((kind, side, left, price) for (kind, side, price), left in found.items())

    def leg(self, kind: str) -> str:
        """The only stop, or target."""
        (order_id,) = self.orders(strategy=PROTECTION, reason=kind)
        return order_id

    def leg_leaving(self, kind: str) -> str:
        """The only stop, or target, that the venue was asked to cancel."""
        (order_id,) = (it for it in self.leaving if self.intents[it].reason == kind)
        return order_id

    def said(self, kind: type[Event]) -> list[Any]:
        """What was said of a kind, over all lives."""
        return [event for event in self.journal if isinstance(event, kind)]
