"""The risk stage: decisions and commands in; intents, approvals, denials and trading states out.

Squares off before a session ends, whatever a strategy thinks, and closes what an earlier session left. What is held
with a stop or a target has them on the market, and an exit waits until they are off it. Invariant: every intent it
publishes is answered, in the same step, by an approval or a denial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import inf
from typing import Final

import msgspec
import structlog

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import OWN_TIME, Clock, ReplayClock, VenueTime, india_day
from daemon.core.events import (
    CANDIDATE,
    EXTERNAL,
    ITSELF,
    PROTECTION,
    SETTLEMENT,
    Action,
    BrokerStatus,
    CanaryChanged,
    CanaryState,
    CancelOrder,
    DayProfitPeaked,
    Decision,
    Event,
    ExitOwed,
    FeedState,
    FeedStatus,
    Fill,
    Flatten,
    FundsDiffer,
    FundsReported,
    Halt,
    ManualOrder,
    ModelLoaded,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderType,
    OrderUnknown,
    PositionChanged,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    Reduce,
    Resume,
    SettingChanged,
    Side,
    SymbolHalted,
    SymbolResumed,
    TickBatch,
    TimeAdvanced,
    TradingState,
    TradingStateChanged,
)
from daemon.core.ids import decision_id
from daemon.market.calendar import Session
from daemon.market.overnight import OvernightLimit
from daemon.risk.book import RiskBook
from daemon.risk.closing import CARRIED_OVER, Closing, Means
from daemon.risk.funds import FundsCheck
from daemon.risk.gate import MINUTE_NS, RiskGate, Sessions
from daemon.risk.held_over import HeldOver
from daemon.risk.intents import IntentBuilder
from daemon.risk.lots import LotWatch
from daemon.risk.owed import takes_back
from daemon.risk.protecting import Hands, Protector
from daemon.risk.submitting import Submitting
from daemon.risk.unsettled import Unsettled
from daemon.settings.risk import RiskSettings

log = structlog.get_logger("risk")

SQUARE_OFF: Final = "square-off time"
"""Why everything is closed at the end of a session."""
ENTRIES: Final = {Action.BUY_LONG: Side.BUY, Action.SELL_SHORT: Side.SELL}
EXITS: Final = {Action.CLOSE_LONG: Side.SELL, Action.CLOSE_SHORT: Side.BUY}
"""What decisions ask the venue for."""


class RiskActor(Actor):
    """See the module."""

    name = "risk"

    def __init__(
        self,
        bus: Bus,
        book: RiskBook,
        builder: IntentBuilder,
        gate: RiskGate,
        clock: Clock,
        sessions: Sessions,
        square_off_minutes: float,
        funds: FundsCheck | None = None,
        limit: OvernightLimit | None = None,
        venue_time: VenueTime = OWN_TIME,
    ) -> None:
        """`limit`: beyond which a position held over a night is not touched until somebody has looked at it.

        `venue_time`: by which days and sessions begin and end; before it knows the day none does.
        """
        super().__init__(bus)
        self.book = book
        self._builder = builder
        self._gate = gate
        self._clock = clock
        self._sessions = sessions
        self._venue_time = venue_time
        self._square_off_ns = int(square_off_minutes * MINUTE_NS)
        self._session: Session | None = None
        self.funds = funds
        self._told_high = Decimal(0)
        self._ends = False
        """Whether the process is ending: no time advances any more, and no exit is tried again."""
        self._submitting = Submitting(book, builder, gate, clock, bus.publish, venue_time)
        self._lots = LotWatch(gate.instruments)
        self.held_over = HeldOver(limit)
        self._unsettled = Unsettled(book, self.held_over, clock, bus.publish)
        means = Means(bus.publish, self._submitting.submit, self._take_off, lambda: self._exits_pass)
        self.closing = Closing(book, builder, gate.guard, self._unsettled, clock, means)
        hands = Hands(bus.publish, self._submitting.submit, self.closing.close_unprotected)
        self._protector = Protector(book, builder, hands, gathers=not isinstance(clock, ReplayClock))
        self.inbox = bus.subscribe(
            self.name,
            (
                TickBatch, TimeAdvanced, Decision, PositionChanged, Fill, OrderCancelled, OrderRejected,
                OrderExpired, OrderAccepted, OrderAmended, OrderUnknown, SymbolHalted, SymbolResumed, FundsReported,
                Halt, Resume, Reduce, Flatten, CancelOrder, ManualOrder, FeedStatus, BrokerStatus, PriceAdjusted,
                PriceJumped, PositionRestated, ModelLoaded, CanaryChanged,
            ),
        )  # fmt: skip
        bus.subscribe(
            self.name, (SettingChanged,), where=lambda it: it.key.startswith("risk."), inbox=self.inbox
        )  # fmt: skip
        bus.subscribe(
            self.name, (OrderIntent,), where=lambda it: it.strategy in (EXTERNAL, SETTLEMENT), inbox=self.inbox
        )

    @property
    def limits(self) -> RiskSettings:
        """Those that the gate checks by now."""
        return self._gate.limits

    @property
    def free(self) -> Decimal | None:
        """Rupees for new margin; None where nobody says."""
        return self._gate.free(self.book)

    @property
    def least_left(self) -> Decimal | None:
        """What entries left of the free margin, at the least; see `RiskGate`."""
        return self._gate.least_left

    def wanted_exits(self) -> dict[str, str]:
        """By symbol what is held and is to be closed, and why it is held yet, as far as somebody said.

        What a corporate action or the broker's book keeps from being closed is told by itself; what waits for the day's
        first price and wasn't tried yet is no failure.
        """
        now, found = self._clock.now_ns(), dict[str, str]()
        if not self._in_session(now):
            return found
        sent = {intent.symbol: intent.reason for intent in self.book.exits_at_market()}
        wanted = sent | {symbol: owed.reason for symbol, owed in self.closing.owed.of.items()}
        wanted |= {symbol: why for symbol in self.book.symbols if (why := self._why_closing(symbol, now))}
        for symbol, why in wanted.items():
            closable, said = self.book.closable(symbol), self.closing.retries.said(symbol)
            tried = symbol in sent or said or not self._unsettled.held_over.is_unseen(symbol, now)
            if closable and tried and symbol not in self.book.unsettled:
                found[symbol] = f"{closable} held ({why})" + (f", the last answer was: {said}" if said else "")
        return found

    def handle(self, event: Event) -> None:
        """One event, synchronously."""
        book = self.book
        if isinstance(event, TickBatch):
            book.on_ticks(event)
            for line in self._lots.look(event.symbols, book, self.limits):
                log.warning(line)
            self._unsettled.look()
        elif isinstance(event, TimeAdvanced):
            self._on_time(event.ts)
        elif isinstance(event, Decision):
            if event.action is not Action.HOLD:
                self._on_decision(event)
        elif isinstance(event, PositionChanged):
            book.on_position(event)
            self._unsettled.watch(event.symbol)
        elif isinstance(event, Fill):
            intent = book.open_intent(event.order_id)
            book.on_fill(event)
            self.closing.on_fill(event)
            self._protector.on_fill(event, intent)
            self._unsettled.on_fill(event)
            self._protect(event.symbol, event.ts)
        elif isinstance(event, PriceAdjusted | PriceJumped | PositionRestated):
            self._unsettled.on_action(event)
        elif isinstance(event, OrderCancelled | OrderRejected | OrderExpired):
            if isinstance(event, OrderRejected):
                self.closing.on_refusal(event)
            elif isinstance(event, OrderCancelled) and not self._is_over(event.ts):
                self.closing.on_cancelled(event)
            self._on_gone(event)
        elif isinstance(event, OrderAccepted | OrderAmended | OrderUnknown | OrderIntent):
            self._on_order(event)
        elif isinstance(event, CancelOrder):
            self._on_asked_off(event)
        elif isinstance(event, SymbolHalted | SymbolResumed):
            self._on_halted(event)
        elif isinstance(event, FundsReported):
            self._on_funds(event)
        elif isinstance(event, BrokerStatus):
            book.unread = "" if event.readable else event.reason
        elif isinstance(event, ManualOrder):
            self._on_manual(event)
        elif isinstance(event, FeedStatus):
            self._on_feed(event)
        elif isinstance(event, SettingChanged):
            self._builder.retune(self._gate.retune(event))
        elif isinstance(event, ModelLoaded):
            if event.closes:
                self.closing.close_each(filter(self.closing.is_left, self.book.symbols), event.reason)
        elif isinstance(event, CanaryChanged):
            self._on_canary(event)
        else:
            self._command(event)

    def restore(
        self, state: TradingState, flatten_reason: str, unsettled: Mapping[str, str] | None = None,
        closing: Mapping[str, str] | None = None, owed: Iterable[ExitOwed] = (), *, flattened: str = "",
    ) -> None:  # fmt: skip
        """Go on as an earlier process left it: the kill switch and an unfinished flattening survive."""
        self.book.state = state
        self.closing.restore(flatten_reason, flattened, closing or {}, owed)
        self._told_high = self.book.day_high
        for symbol, reason in (unsettled or {}).items():
            self.book.unsettle(symbol, reason, self.book.of(symbol).price)

    def _on_canary(self, event: CanaryChanged) -> None:
        """How large its entries may be, and what is to be closed now that it has ended."""
        runs = event.state is CanaryState.RUNNING
        self.book.candidate = (f"{CANDIDATE}{event.agent}", event.size) if runs else ("", 0.0)
        self.closing.close_each(filter(self.closing.is_open, event.closes), event.reason)

    def _on_halted(self, event: SymbolHalted | SymbolResumed) -> None:
        """The broker's positions differ from ours, or don't any more; what is held over a night was said from here."""
        if isinstance(event, SymbolHalted) and not event.overnight:
            self.book.halt(event.symbol, event.reason, event.held)
        elif not event.overnight:
            self.book.resume(event.symbol)

    def _on_feed(self, event: FeedStatus) -> None:
        """No new risk on ticks that can't be relied on; exits are not held up."""
        if event.state is FeedState.STALE:
            self.book.stale[event.symbol] = event.reason
        else:
            self.book.stale.pop(event.symbol, None)

    def _on_decision(self, decision: Decision) -> None:
        """What it wants, unless stop and target have to make room first."""
        self._submitting.look_at_lease()
        self._take_off_rest(decision)
        self._take_back(decision)
        waits = self._waits_for_agreement(decision)
        if self._waits_for_room(decision):
            return
        intent = self._builder.build(decision, self.book)
        if intent is not None and self._submitting.submit_wish(intent) and intent.reduces and not waits:
            self.closing.owed.settle(intent.symbol)

    def _take_back(self, decision: Decision) -> None:
        """An entry on the side of what is held: the exit that is owed of it, or on its way, isn't wanted any more."""
        side = ENTRIES.get(decision.action)
        if side is None:
            return
        symbol, closing = self._gate.instruments.traded_as(decision.symbol), self.closing
        owed = closing.owed.of.get(symbol)
        if owed is not None and owed.side is not side:
            closing.owed.settle(symbol)
        closing.retries.take_back(
            it.order_id for it in self.book.exits_at_market() if it.symbol == symbol and it.side is not side
        )

    def _waits_for_agreement(self, decision: Decision) -> bool:
        """Whether the broker holds less than an exit is to close: the rest is owed until it and the journal agree."""
        side, symbol = EXITS.get(decision.action), self._gate.instruments.traded_as(decision.symbol)
        held, closable = self.book.of(symbol).position, self.book.closable(symbol)
        if side is None or held * side.sign >= 0 or self._is_agreed(symbol):
            return False
        if symbol not in self.closing.owed:
            log.error(
                "an exit waits until broker and journal agree", symbol=symbol, held=held, closable=closable,
                why=self.book.halted.get(symbol, ""), decision=decision_id(decision.symbol, decision.ts_bar),
                reason=decision.reason,
            )  # fmt: skip
        self.closing.owed.owe(symbol, side, decision.reason)
        return True

    def _is_agreed(self, symbol: str) -> bool:
        """Whether the broker holds as much as an exit is to close; where it holds less, the rest is owed."""
        return self.book.closable(symbol) == self.book.of(symbol).position

    def _take_off_rest(self, decision: Decision) -> None:
        """What still waits of the entry of a position would open it again after it is closed."""
        side = EXITS.get(decision.action)
        if side is not None:
            symbol = self._gate.instruments.traded_as(decision.symbol)
            entry = Side.BUY if side is Side.SELL else Side.SELL
            reason = f"what it opened is closed: {decision.reason}"
            self._protector.take_off_entries(symbol, entry, reason, self._clock.now_ns())

    def asked_off(self, order_ids: Iterable[str]) -> None:
        """An earlier process asked for these orders to leave the market: their end is no failure."""
        for order_id in order_ids:
            self.closing.retries.asked_off(order_id)
            self._protector.asked_off(order_id)

    def _take_off(self, order_id: str, reason: str) -> None:
        self._protector.asked_off(order_id)
        self.bus.publish(CancelOrder(ts=self._clock.now_ns(), order_id=order_id, reason=reason, who=ITSELF))

    def _on_asked_off(self, event: CancelOrder) -> None:
        self.closing.retries.asked_off(event.order_id)
        self._protector.asked_off(event.order_id)
        intent = self.book.open_intent(event.order_id)
        if intent is not None:
            self.book.brackets.on_cancel(intent, event.who)
            if takes_back(event, intent):
                self.closing.owed.settle(intent.symbol)
            elif event.who == ITSELF and intent.reduces and intent.type is OrderType.MARKET:  # nobody takes it back
                self.closing.retries.owe(intent)

    def _on_gone(self, event: OrderCancelled | OrderRejected | OrderExpired) -> None:
        """An order is off the market; whoever waited for a stop or a target to be so goes on."""
        intent, symbol = self.book.open_intent(event.order_id), self.book.order_gone(event.order_id)
        if intent is None or symbol is None:
            return
        why = self._why_closing(symbol, event.ts)
        by_itself = not isinstance(event, OrderExpired) and not why and self._in_session(event.ts)
        self._protector.on_end(intent, event.ts, event.reason, by_itself=by_itself)
        now, closing = self._clock.now_ns(), self.closing
        if why and intent.strategy == PROTECTION and self.book.of(symbol).position and closing.retries.due(symbol, now):
            closing.close(symbol, why, now)
        self._protect(symbol, event.ts)
        if intent.strategy == PROTECTION and not why:
            closing.close_owed()

    # -- stop and target --------------------------------------------------------------------------------------------

    def _protect(self, symbol: str, ts: int) -> None:
        """Stop and target of what is held are on the market, or make room for an exit."""
        if not self._in_session(ts) or self._unsettled.is_in_doubt(symbol, ts) or not self._exits_pass:
            return
        protector = self._protector
        if protector.waits(symbol) and not protector.holds_up(symbol):
            self._go_on(symbol)
        retries = self.closing.retries
        puts_off = retries.puts_off(symbol, self._clock.now_ns()) or not self.book.closable(symbol)
        owed = symbol in self.closing.owed and not puts_off and not self._ends
        closing = bool(self._why_closing(symbol, ts)) or protector.waits(symbol) or owed
        protector.look(symbol, ts, closing=closing)

    def unfinished(self) -> list[str]:
        """Symbols that want an order which was refused and is asked for again as time advances: an exit, or a stop."""
        ts, said = self._clock.now_ns(), self.closing.retries.said
        at_work = {intent.symbol for intent in self.book.exits_at_market()}
        found = []
        for symbol in self.book.symbols if self._exits_pass and self._in_session(ts) else ():
            if not self.book.closable(symbol) or self._unsettled.is_in_doubt(symbol, ts):
                continue
            if self._why_closing(symbol, ts):
                found += [symbol] if said(symbol) and symbol not in at_work else []
            elif self._protector.lacks_stop(symbol):
                found.append(symbol)
        return found

    def _protect_all(self, ts: int) -> None:
        for symbol in self.book.protected():
            if not self._why_closing(symbol, ts) and not self._unsettled.is_in_doubt(symbol, ts):
                self._protector.watch(symbol, ts)
            self._protect(symbol, ts)

    def _go_on(self, symbol: str) -> None:
        """Stop and target are off the market: what waited for that is done, as far as there is still anything held."""
        decision, orders = self._protector.exits.pop(symbol, None), self._protector.by_hand.pop(symbol, [])
        for order in orders:
            self._submitting.submit_by_hand(order, msgspec.structs.replace(order, reduce_only=True))
        if decision is not None:
            ts, price = max(decision.ts, self._clock.now_ns()), self.book.of(symbol).price or decision.price
            exit_ = self._builder.build(msgspec.structs.replace(decision, ts=ts, price=price), self.book)
            if self._submitting.submit(exit_) is None and self._is_agreed(symbol):
                self.closing.owed.settle(symbol)

    def _waits_for_room(self, decision: Decision) -> bool:
        """Whether a decision to close has to wait for stop and target to leave the market."""
        symbol = self._gate.instruments.traded_as(decision.symbol)
        if decision.action in (Action.BUY_LONG, Action.SELL_SHORT):
            self._protector.exits.pop(symbol, None)  # taken back
            return False
        held = self.book.closable(symbol) * (1 if decision.action is Action.CLOSE_LONG else -1)
        if held <= 0 or not self._protector.holds_up(symbol) or not self._may_exit(symbol):
            return False
        self.closing.owed.owe(symbol, EXITS[decision.action], decision.reason)
        self._protector.make_room(decision, symbol, self._clock.now_ns())
        return True

    def _may_exit(self, symbol: str) -> bool:
        """Whether the gate would let an exit through: else stop and target stay where they are."""
        return self._exits_pass and symbol not in self.book.unsettled

    @property
    def _exits_pass(self) -> bool:
        """Whether the state of trading lets exits through: else what protects a position isn't touched."""
        return self.book.state is not TradingState.HALTED or self.limits.exits_when_halted

    def _why_closing(self, symbol: str, ts: int) -> str:
        """Why all that is held of a symbol is being closed, "" where it isn't."""
        return SQUARE_OFF if self._squares_off(ts) else self.closing.why(symbol)

    def _squares_off(self, ts: int) -> bool:
        return self._left_ns(ts) <= self._square_off_ns

    def _is_over(self, ts: int) -> bool:
        return self._left_ns(ts) <= 0

    def _in_session(self, ts: int) -> bool:
        return self._session is not None and self._left_ns(ts) > 0

    def _left_ns(self, ts: int) -> float:
        """How long the session lasts yet, by the venue's time; for ever where none has begun."""
        return inf if self._session is None else self._session.close_ns - self._venue_time.at(ts)

    def _on_order(self, event: OrderAccepted | OrderAmended | OrderUnknown | OrderIntent) -> None:
        """An order whose fate is unknown, one that is known again, or one that somebody else placed or changed."""
        if isinstance(event, OrderIntent):
            self.book.order_opened(event)
        elif isinstance(event, OrderAccepted):
            self.book.unknown.pop(event.order_id, None)
            self.book.acknowledged(event.order_id)
        elif isinstance(event, OrderAmended):
            self.book.order_amended(event)
        else:
            self.book.order_unknown(event.order_id)

    def _on_time(self, ts: int) -> None:
        if self._venue_time.undated():
            return
        session, venue_ts = self._session, self._venue_time.at(ts)
        if session is None or venue_ts >= session.close_ns:
            session = self._sessions.session_at(venue_ts)
            if session is None:
                return
            resumed = self._session is None and self.book.day == india_day(session.open_ns)
            self._session = session
            if not resumed:
                self.book.start_day(india_day(session.open_ns))
                self._told_high = Decimal(0)
                self._submitting.start_day()
                self.closing.retries.forget()
                self.closing.close_ending(venue_ts)
                self.closing.close_each(self.closing.held(), CARRIED_OVER)
        self._note_high(ts)
        self.closing.close_ending(venue_ts)
        self.closing.free_left_behind(everything=self._squares_off(ts))
        if self._squares_off(ts):
            self.closing.close_all(SQUARE_OFF)
        else:
            self.closing.go_on()
        self._protect_all(ts)

    def _note_high(self, ts: int) -> None:
        book, step = self.book, self._gate.peak_step
        book.note_high()
        if step is not None and book.day_high - self._told_high >= step:
            self._told_high = book.day_high
            self.bus.publish(DayProfitPeaked(ts=ts, day=book.day, high=book.day_high))

    def _on_funds(self, event: FundsReported) -> None:
        """What is free bounds new risk; cash that differs from the journal's is told, and halts by setting."""
        self.book.on_funds(event.available)
        cash = self.book.cash
        if self.funds is None or event.cash is None or cash is None:
            return
        words = self.funds.compare(event.cash, cash, settled=event.settled)
        if words is None:
            return
        if words:
            log.error("funds differ", reason=words)
        self.bus.publish(FundsDiffer(ts=event.ts, broker=event.cash, journal=cash, reason=words))
        if words and self.funds.halts:
            self.bus.publish(Halt(ts=event.ts, reason=words, automatic=True, who=ITSELF))

    def _on_manual(self, order: ManualOrder) -> None:
        """An order by hand takes the way of all orders; its answer is on disk before the order leaves."""
        if self._protector.frees(order) and self._may_exit(order.symbol):
            self._protector.make_room(order, order.symbol, self._clock.now_ns())
        else:
            self._submitting.submit_by_hand(order, order)

    def _command(self, event: Event) -> None:
        if isinstance(event, Halt) and event.shutdown:
            self._end(event)
            return
        self.closing.retries.forget()
        if isinstance(event, Halt):
            self._set_state(TradingState.HALTED, event)
        elif isinstance(event, Resume):
            if not event.automatic:
                self.closing.call_off()
            self._unsettled.settle_all(event)
            self._set_state(TradingState.ACTIVE, event)
        elif isinstance(event, Reduce):
            self._set_state(TradingState.REDUCING, event)
        elif isinstance(event, Flatten):
            self.closing.flatten_reason = self.closing.flattened = event.reason
            self._unsettled.settle_all(event)
            withheld = not self._exits_pass and not event.automatic  # a person wants what his halt held up
            if self.book.state is TradingState.ACTIVE or withheld:
                self._set_state(TradingState.REDUCING, event)
            self.closing.close_all(event.reason, knowing=event.automatic)

    def _end(self, event: Halt) -> None:
        """The process ends: what was refused is tried soon, what a strategy is owed is left to the next."""
        self._ends = True
        self._set_state(TradingState.HALTED, event)
        for symbol in list(self.book.symbols):
            self.closing.retries.hasten(symbol)
            if symbol in self.closing.owed:
                self._protect(symbol, event.ts)

    def _set_state(self, state: TradingState, command: Halt | Resume | Reduce | Flatten) -> None:
        if state is not self.book.state:
            self.book.state = state
            self.bus.publish(
                TradingStateChanged(ts=self._clock.now_ns(), state=state, reason=command.reason, who=command.who)
            )
