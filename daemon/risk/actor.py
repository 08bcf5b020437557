"""The risk stage: decisions and commands in; intents, approvals, denials and trading states out.

Squares off before a session ends, whatever a strategy thinks, and closes what an earlier session left. Invariant:
every intent it publishes is answered, in the same step, by an approval or a denial.
"""

from __future__ import annotations

from daemon.actor import Actor
from daemon.bus import Bus
from daemon.clock import Clock, india_day
from daemon.events import (
    Action,
    Decision,
    Event,
    FeedState,
    FeedStatus,
    Fill,
    Flatten,
    FundsReported,
    Halt,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderUnknown,
    PositionChanged,
    Reduce,
    Resume,
    SymbolHalted,
    SymbolResumed,
    TickBatch,
    TimeAdvanced,
    TradingState,
    TradingStateChanged,
)
from daemon.market.calendar import Session
from daemon.risk.book import RiskBook
from daemon.risk.gate import MINUTE_NS, RiskGate, Sessions
from daemon.risk.intents import IntentBuilder

EXTERNAL = "external"
"""The strategy of orders that somebody else placed in our account."""


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
    ) -> None:
        super().__init__(bus)
        self.book = book
        self._builder = builder
        self._gate = gate
        self._clock = clock
        self._sessions = sessions
        self._square_off_ns = int(square_off_minutes * MINUTE_NS)
        self._session: Session | None = None
        self._flatten_reason = ""
        self.inbox = bus.subscribe(
            self.name,
            (
                TickBatch, TimeAdvanced, Decision, PositionChanged, Fill, OrderCancelled, OrderRejected,
                OrderExpired, OrderAccepted, OrderUnknown, SymbolHalted, SymbolResumed, FundsReported,
                Halt, Resume, Reduce, Flatten, FeedStatus,
            ),
        )  # fmt: skip
        bus.subscribe(self.name, (OrderIntent,), where=lambda it: it.strategy == EXTERNAL, inbox=self.inbox)

    def handle(self, event: Event) -> None:
        """One event, synchronously."""
        book = self.book
        if isinstance(event, TickBatch):
            book.on_ticks(event)
        elif isinstance(event, TimeAdvanced):
            self._on_time(event.ts)
        elif isinstance(event, Decision):
            if event.action is not Action.HOLD:
                self._submit(self._builder.build(event, book))
        elif isinstance(event, PositionChanged):
            book.on_position(event)
        elif isinstance(event, Fill):
            book.on_fill(event)
        elif isinstance(event, OrderCancelled | OrderRejected | OrderExpired):
            book.order_gone(event.order_id)
        elif isinstance(event, OrderAccepted | OrderUnknown | OrderIntent):
            self._on_order(event)
        elif isinstance(event, SymbolHalted):
            book.halted[event.symbol] = event.reason
        elif isinstance(event, SymbolResumed):
            book.halted.pop(event.symbol, None)
        elif isinstance(event, FundsReported):
            book.available = event.available
        elif isinstance(event, FeedStatus):
            self._on_feed(event)
        else:
            self._command(event)

    def restore(self, state: TradingState, flatten_reason: str) -> None:
        """Go on as an earlier process left it: the kill switch and an unfinished flattening survive."""
        self.book.state = state
        self._flatten_reason = flatten_reason

    def _on_feed(self, event: FeedStatus) -> None:
        """No new risk on ticks that can't be relied on; exits are not held up."""
        if event.state is FeedState.STALE:
            self.book.stale[event.symbol] = event.reason
        else:
            self.book.stale.pop(event.symbol, None)

    def _on_order(self, event: OrderAccepted | OrderUnknown | OrderIntent) -> None:
        """An order whose fate is unknown, one that is known again, or one that somebody else placed."""
        if isinstance(event, OrderIntent):
            self.book.order_opened(event)
        elif isinstance(event, OrderAccepted):
            self.book.unknown.pop(event.order_id, None)
        else:
            self.book.order_unknown(event.order_id)

    def _on_time(self, ts: int) -> None:
        session = self._session
        if session is None or ts >= session.close_ns:
            session = self._sessions.session_at(ts)
            if session is None:
                return
            resumed = self._session is None and self.book.day == india_day(session.open_ns)
            self._session = session
            if not resumed:
                self.book.start_day(india_day(session.open_ns))
                if self._held():
                    self._flatten_reason = "carried over from an earlier session"
        self.book.note_high()
        if session.close_ns - ts <= self._square_off_ns:
            self._close_all("square-off time")
        elif self._flatten_reason:
            self._close_all(self._flatten_reason)
            if not self._open():
                self._flatten_reason = ""

    def _held(self) -> bool:
        return any(entry.position for entry in self.book.symbols.values())

    def _open(self) -> bool:
        """Whether something is held, or works and may yet become a position."""
        entries = self.book.symbols.values()
        return any(entry.position or entry.working_buys or entry.working_sells for entry in entries)

    def _command(self, event: Event) -> None:
        if isinstance(event, Halt):
            self._set_state(TradingState.HALTED, event.reason)
        elif isinstance(event, Resume):
            self._flatten_reason = ""
            self._set_state(TradingState.ACTIVE, event.reason)
        elif isinstance(event, Reduce):
            self._set_state(TradingState.REDUCING, event.reason)
        elif isinstance(event, Flatten):
            self._flatten_reason = event.reason
            if self.book.state is TradingState.ACTIVE:
                self._set_state(TradingState.REDUCING, event.reason)
            self._close_all(event.reason)

    def _set_state(self, state: TradingState, reason: str) -> None:
        if state is not self.book.state:
            self.book.state = state
            self.bus.publish(TradingStateChanged(ts=self._clock.now_ns(), state=state, reason=reason))

    def _close_all(self, reason: str) -> None:
        for symbol, entry in self.book.symbols.items():
            if entry.position:
                self._submit(self._builder.closing(symbol, self.book, self._clock.now_ns(), reason))

    def _submit(self, intent: OrderIntent | None) -> None:
        if intent is None:
            return
        self.bus.publish(intent)
        denial = self._gate.check(intent, self.book, intent.ts)
        if denial is None:
            self.book.order_opened(intent)
            self.bus.publish(OrderApproved(ts=intent.ts, order_id=intent.order_id))
        else:
            check, limit, value = denial
            self.bus.publish(
                OrderDenied(
                    ts=intent.ts, order_id=intent.order_id, symbol=intent.symbol, check=check, limit=limit, value=value
                )
            )
