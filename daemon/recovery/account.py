"""A journal → the account as it stood when its last process ended: orders, positions, cash, trading state.

All runs of the file count, from the newest snapshot on. Invariant: folding the events of a journal gives what the
process that wrote them held in memory, and an order that may have left the machine is never taken for one that didn't.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import msgspec
import structlog

from daemon.core.clock import india_day
from daemon.core.errors import IllegalTransition
from daemon.core.events import (
    ITSELF,
    AccountSnapshot,
    Bar,
    CanaryChanged,
    CancelOrder,
    DayProfitPeaked,
    Event,
    ExitOwed,
    Fill,
    Flatten,
    Halt,
    ManualOrderAnswered,
    ModelLoaded,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderUnknown,
    PositionRestated,
    ProtectionFailed,
    Reduce,
    Resume,
    SettingChanged,
    SymbolHalted,
    SymbolResumed,
    TradingState,
    TradingStateChanged,
)
from daemon.journal.reader import JournalReader, is_blank
from daemon.market.overnight import action_key
from daemon.orders.book import Order, OrderBook, OrderState
from daemon.portfolio.book import Portfolio
from daemon.risk.brackets import Brackets
from daemon.risk.closing import CARRIED_OVER, comes_late, is_open
from daemon.risk.owed import takes_back

log = structlog.get_logger("recovery")

ORDER_EVENTS: tuple[type[Event], ...] = (
    OrderIntent, OrderApproved, OrderDenied, OrderSent, OrderAccepted, OrderRejected, OrderCancelRequested,
    OrderCancelFailed, OrderCancelled, OrderExpired, OrderUnknown, OrderAmended, Fill, CancelOrder,
)  # fmt: skip
FOLDED: tuple[type[Event], ...] = (
    *ORDER_EVENTS, AccountSnapshot, TradingStateChanged, Halt, Resume, Reduce, Flatten, CancelOrder, DayProfitPeaked,
    ManualOrderAnswered, Bar, SymbolHalted, SymbolResumed, PositionRestated, ModelLoaded, SettingChanged,
    CanaryChanged, ProtectionFailed, ExitOwed,
)  # fmt: skip
COMMANDS: tuple[type[Event], ...] = (TradingStateChanged, Halt, Resume, Reduce, Flatten, SettingChanged)
"""What a process that moves orders and portfolio by itself tells its account of (`Account.follow`)."""


KEPT_FILLS = 50_000
"""Fill ids that are remembered in memory; more than a day has."""


KEPT_FINISHED = 10_000
"""Finished orders in a snapshot: a venue's book is of one day, and a day has fewer."""

KEPT_ANSWERS = 1000
"""Manual orders that are remembered by their keys."""


class Account:
    """What an account holds and owes; `records` counts the events it was made of."""

    def __init__(self, starting_cash: Decimal) -> None:
        self.orders = OrderBook()
        self.portfolio = Portfolio(starting_cash, KEPT_FILLS)
        self.state = TradingState.ACTIVE
        self.state_reason = ""
        self.state_who = ""
        self.barred_ts = 0
        self.flatten_reason = ""
        self.flattened = ""
        """Why everything was to be closed last, "" where a person said since that trading goes on."""
        self.closing: dict[str, str] = {}
        """Symbols that are being closed, and why, while all others are not."""
        self.owed: dict[str, ExitOwed] = {}
        """Strategies' exits that have to wait, by symbol."""
        self.day = 0
        self.day_start_net = Decimal(0)
        self.day_high = Decimal(0)
        self.answered: dict[str, ManualOrderAnswered] = {}
        self.unsettled: dict[str, str] = {}
        self.restated: dict[str, None] = {}
        self.changed: dict[str, str] = {}
        self.brackets = Brackets()
        """Stop and target of what is held."""
        self.last_ts = 0
        self.records = 0
        self.lacking = False
        """Whether records are known to be missing: the journal was damaged, or is a copy from the middle of a run."""
        self._disputed: set[str] = set()
        """Symbols of which the broker holds another quantity."""
        self._shutdown = ("", "")
        """Why the newest orderly end halted trading, and who asked for it."""

    @property
    def held(self) -> dict[str, int]:
        """How many of each symbol that is or was held."""
        return {item.symbol: item.quantity for item in self.portfolio.positions()}

    @property
    def net(self) -> Decimal:
        """Profit less costs, what is held at its newest mark, rupees."""
        return self.portfolio.equity - self.portfolio.starting_cash

    def fold(self, events: Iterable[Event]) -> None:
        """Live through `events`, oldest first."""
        for event in events:
            self.records += 1
            try:
                self.apply(event)
            except IllegalTransition as error:  # the process that wrote it refused it just so
                log.error("a record that no order can follow is passed over", why=str(error))

    def known(self) -> list[Order]:
        """Orders that work and those of the latest day, oldest first."""
        finished, working = self.orders.finished.values(), self.orders.working.values()
        today = (order for order in finished if india_day(order.intent.ts) >= self.day)
        return sorted((*today, *working), key=lambda order: order.intent.ts)

    def approved(self) -> list[OrderIntent]:
        """Orders of the latest day that risk let through, oldest first."""
        passed = (it for it in self.known() if it.state not in (OrderState.INTENT, OrderState.DENIED))
        return [it.intent for it in passed if india_day(it.intent.ts) >= self.day]

    def settings_changed(self) -> dict[str, str | int | float | None]:
        """Settings that people changed while it ran, and that are not the file's."""
        return {key: msgspec.json.decode(text) for key, text in self.changed.items()}

    def snapshot(self, ts: int) -> AccountSnapshot:
        """All of it in one event; of finished orders the newest, more than a day has.

        No clock chooses them: an order that the venue's book still shows and that we had forgotten would be taken for
        somebody else's, and its fills be booked twice.
        """
        book = self.orders
        finished = list(book.finished.values())[-KEPT_FINISHED:]
        return AccountSnapshot(
            ts=ts,
            starting_cash=self.portfolio.starting_cash,
            cash=self.portfolio.cash,
            holdings=self.portfolio.holdings(),
            orders=tuple(order.record() for order in (*finished, *book.working.values())),
            state=self.state,
            state_reason=self.state_reason,
            state_who=self.state_who,
            barred_ts=self.barred_ts,
            flatten_reason=self.flatten_reason,
            flattened=self.flattened,
            closing=dict(self.closing),
            owed=tuple(self.owed.values()),
            day=self.day,
            day_start_net=self.day_start_net,
            day_high=self.day_high,
            answered=tuple(self.answered.values()),
            unsettled=dict(self.unsettled),
            restated=tuple(self.restated),
            changed=dict(self.changed),
            brackets=dict(self.brackets.of),
        )

    def apply(self, event: Event) -> None:
        """Live through one event. Raises `IllegalTransition` for a move that its order can't make."""
        match event:
            case AccountSnapshot():
                self._restore(event)
                return
            case TradingStateChanged() | Halt() | Resume() | Reduce() | Flatten() | SettingChanged():
                self.follow(event)
            case ManualOrderAnswered():
                self.remember(event)
            case DayProfitPeaked():
                self._roll(event.ts)
                self.day_high = event.high
            case Fill():
                self._roll(event.ts)
                self.orders.apply(event)
                self._book(event)
                held = self.portfolio.quantity(event.symbol)
                if self.flattened and comes_late(event, held, self.state):
                    self.closing[event.symbol] = self.flattened
                self._end_flattening()
                if not self._is_open(event.symbol):
                    self.closing.pop(event.symbol, None)
                owed = self.owed.get(event.symbol)
                if owed is not None and not owed.closes(self.portfolio.quantity(event.symbol)):
                    del self.owed[event.symbol]
            case CanaryChanged():
                self.closing |= {symbol: event.reason for symbol in event.closes if self._is_open(symbol)}
            case ModelLoaded():
                known = {*self.held, *(order.intent.symbol for order in self.orders.working.values())}
                self.closing |= {it: event.reason for it in sorted(known) if event.closes and self._is_open(it)}
            case Bar():
                self.portfolio.mark(event.symbol, event.close, event.ts_close)
                return
            case SymbolHalted() | SymbolResumed() | PositionRestated():
                self._over_a_night(event)
            case ExitOwed():
                self.owed.pop(event.symbol, None)
                if not event.over:
                    self.owed[event.symbol] = event
            case ProtectionFailed():
                self.brackets.give_up(event.symbol, event.reason)
            case OrderAmended() | CancelOrder():
                self._on_person(event)
                self.orders.apply(event)
            case OrderIntent():
                self._end_flattening()
                if not self._is_open(event.symbol):
                    self.closing.pop(event.symbol, None)
                self._roll(event.ts)
                self.orders.apply(event)
            case _:
                self.orders.apply(event)
                self._end_flattening()
        self.last_ts = max(self.last_ts, int(getattr(event, "ts")))  # noqa: B009 — every folded event has one

    def _book(self, fill: Fill) -> None:
        """Count a fill, and what it makes of the position's stop and target."""
        order, before = self.orders.find(fill.order_id), self.portfolio.quantity(fill.symbol)
        self.portfolio.apply(fill)
        after = self.portfolio.quantity(fill.symbol)
        self.brackets.on_fill(fill.symbol, order.intent if order is not None else None, before, after)

    def _on_person(self, event: OrderAmended | CancelOrder) -> None:
        """Somebody moved a stop or a target, or took it off, or an exit back."""
        order = self.orders.working.get(event.order_id)
        if order is not None and isinstance(event, OrderAmended):
            self.brackets.on_amended(order.intent, event)
        elif order is not None and isinstance(event, CancelOrder):
            self.brackets.on_cancel(order.intent, event.who)
            if takes_back(event, order.intent):
                self.owed.pop(order.intent.symbol, None)

    def _end_flattening(self) -> None:
        """Once all is closed what is held next, as by a person in the broker's app, isn't to be; as risk has it."""
        disputed = self._disputed and self.state is not TradingState.ACTIVE
        if not self.flatten_reason or disputed or self.orders.working:
            return
        if not any(one.quantity for one in self.portfolio.positions()):
            self.flatten_reason = ""

    def _is_open(self, symbol: str) -> bool:
        """As risk asks it of its own book."""
        working = (order.intent for order in self.orders.working.values())
        return is_open(self.portfolio.quantity(symbol), (it for it in working if it.symbol == symbol))

    def remember(self, answer: ManualOrderAnswered) -> None:
        """A manual order was answered: its key is used up."""
        self.answered[answer.order.key] = answer
        if len(self.answered) > KEPT_ANSWERS:
            del self.answered[next(iter(self.answered))]

    def _over_a_night(self, event: SymbolHalted | SymbolResumed | PositionRestated) -> None:
        """What a corporate action did to what is held, or may have done; or the broker holds another quantity."""
        if isinstance(event, PositionRestated):
            self.portfolio.restate(event)
            self.brackets.restate(event)
            self.remember_restated(event)
        elif not event.overnight:
            (self._disputed.add if isinstance(event, SymbolHalted) else self._disputed.discard)(event.symbol)
        elif isinstance(event, SymbolHalted):
            self.unsettled[event.symbol] = event.reason
            self.portfolio.unsettle(event.symbol)
        else:
            self._looked_at(event.symbol)

    def _looked_at(self, symbol: str) -> None:
        """Nobody doubts any more what is held, and yesterday's price is no reason to."""
        if self.unsettled.pop(symbol, None) is not None:
            self.portfolio.settle(symbol)
            self.portfolio.unmark(symbol)

    def remember_restated(self, event: PositionRestated) -> None:
        """An action was counted: never again."""
        self.restated[action_key(event.symbol, event.date, event.kind)] = None

    def follow(self, event: Event) -> None:
        """Take note of one of `COMMANDS`; it counts from when it was given, though risk may never have got to it."""
        match event:
            case SettingChanged():
                self.changed.pop(event.key, None)
                if not event.as_in_file:
                    self.changed[event.key] = event.after
                return
            case TradingStateChanged():
                if (event.reason, event.who) != self._shutdown:  # whatever risk still did before it heard of the end
                    self._enter(event.state, event, 0)
            case Halt() if event.shutdown:
                self._shutdown = (event.reason, event.who)
            case Halt():
                self._enter(TradingState.HALTED, event, 0 if event.automatic else event.ts)
            case Resume():
                self._on_word(event)
                if not event.automatic:
                    self.flatten_reason, self.flattened, self.closing = "", "", {}
                self._enter(TradingState.ACTIVE, event, 0)
            case Reduce():
                self._enter(TradingState.REDUCING, event, event.ts)
            case Flatten():
                self._on_word(event)
                self.flatten_reason = self.flattened = event.reason
                active = self.state is TradingState.ACTIVE
                self._enter(TradingState.REDUCING if active else self.state, event, event.ts)

    def _on_word(self, event: Resume | Flatten) -> None:
        """A person has said what is to become of what is held, though risk may not have got to it."""
        for symbol in [] if event.automatic else list(self.unsettled):
            self._looked_at(symbol)

    def _enter(
        self, state: TradingState, why: TradingStateChanged | Halt | Resume | Reduce | Flatten, barred_ts: int
    ) -> None:
        if state is not self.state:
            self.state, self.state_reason, self.state_who, self.barred_ts = state, why.reason, why.who, 0
        elif self.state_who == ITSELF and state is not TradingState.ACTIVE:
            # a process that goes on, or an impatient operator, says it again; but what stopped by itself might go on
            # by itself, and mustn't where something else wants it stopped as well
            self.state_reason, self.state_who = why.reason, why.who
        if state is not TradingState.ACTIVE:
            self.barred_ts = self.barred_ts or barred_ts

    def _roll(self, ts: int) -> None:
        """The day's profit counts from the first order of the day; one of no time, before a clock began, is of none."""
        day = india_day(ts)
        if ts and day != self.day:
            if day > self.day:  # as risk does when the session begins; a restart in it must not forget that
                held = [it.symbol for it in self.portfolio.positions() if it.quantity]
                self.closing = dict.fromkeys(held, CARRIED_OVER) | self.closing
            self.day, self.day_start_net, self.day_high = day, self.net, Decimal(0)

    def _restore(self, snapshot: AccountSnapshot) -> None:
        self.orders = OrderBook()
        self.portfolio = Portfolio(snapshot.starting_cash, KEPT_FILLS)
        fill_ids: list[str] = []
        for record in snapshot.orders:
            self.orders.restore(record)
            fill_ids += record.fill_ids
        self.portfolio.restore(snapshot.cash, snapshot.holdings, fill_ids)
        self.state, self.state_reason, self.state_who = snapshot.state, snapshot.state_reason, snapshot.state_who
        self.barred_ts = snapshot.barred_ts
        self.flatten_reason, self.closing = snapshot.flatten_reason, dict(snapshot.closing)
        self.flattened = snapshot.flattened
        self.owed = {owed.symbol: owed for owed in snapshot.owed}
        self.day, self.day_start_net, self.day_high = snapshot.day, snapshot.day_start_net, snapshot.day_high
        self.answered = {answer.order.key: answer for answer in snapshot.answered}
        self.unsettled, self.restated = dict(snapshot.unsettled), dict.fromkeys(snapshot.restated)
        for symbol in self.unsettled:
            self.portfolio.unsettle(symbol)
        self.changed = dict(snapshot.changed)
        self.last_ts = max(self.last_ts, snapshot.ts)


def recover(path: Path, starting_cash: Decimal) -> Account | None:
    """The account that the journal tells of; None where there is no journal yet. Raises `UsageError`."""
    if is_blank(path):
        return None
    account = Account(starting_cash)
    reader = JournalReader(path)
    try:
        account.fold(reader.since_snapshot(*FOLDED))
    finally:
        reader.close()
    return account
