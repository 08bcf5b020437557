"""What the control server is told: the daemon's own state as plain structs, read from memory.

Invariant: nothing here changes the daemon or waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol, runtime_checkable

import msgspec

from daemon import __version__
from daemon.app import App
from daemon.control.migration_desk import view_of
from daemon.control.rows import Asked, HrmMetrics, Listing, Page, Ring, RiskView
from daemon.control.standing import Standing
from daemon.control.view import (
    CanaryDo,
    CanaryRow,
    CanaryTicket,
    Health,
    InferenceStatus,
    OrderRow,
    PositionRow,
    RecorderStatus,
    Status,
)
from daemon.core.clock import NS_PER_MS
from daemon.core.events import (
    Bar,
    Decision,
    Event,
    FeedState,
    FeedStatus,
    Fill,
    OrderAccepted,
    OrderAmended,
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
    TickBatch,
    TradingState,
    TradingStateChanged,
)
from daemon.feed.live.feed import LiveFeed
from daemon.market.calendar import ist_date
from daemon.market.opening import say_now
from daemon.orders.book import Order
from daemon.report.migration import MigrationView
from daemon.report.side_by_side import ShadowRow
from daemon.run.canary_row import canary_row
from daemon.run.health import monitor_of
from daemon.run.past import Past, reasoning
from daemon.run.risk_gauges import loss_reached, risk_view
from daemon.run.silence import Silence
from daemon.run.worth import equity_of
from daemon.supervision.health_readings import AlertsReading
from daemon.tape.recorder import Recorder

KEPT = 500
"""Orders and decisions that are remembered for the lists of the API."""

PAISA = Decimal("0.01")
NO_MONEY = Decimal(0)


@runtime_checkable
class Reasoner(Protocol):
    """A strategy that thinks with a model; told by its members, so that torch is not imported where none does."""

    runtime: str

    @property
    def model_hash(self) -> str:
        """Of the model that it thinks with."""

    @property
    def cache_hits(self) -> int:
        """Decisions that were remembered."""

    @property
    def cache_misses(self) -> int:
        """Decisions that were asked for and not remembered."""


class DaemonView:
    """Implements `daemon.control.view.ControlView` over a running `App`."""

    def __init__(
        self, app: App, mode: str, recorder: Recorder | None = None, alerts: Callable[[], AlertsReading] | None = None
    ) -> None:
        self._app = app
        self._mode = mode
        self._recorder = recorder
        self._deadline_ms = app.settings.hierarchical_reasoning_model.act.deadline_ms
        self._counts: Counter[str] = Counter()
        self._denied: Counter[str] = Counter()
        self._decisions: Ring[Decision] = Ring(KEPT)
        self._orders: dict[str, OrderRow] = {}
        self._wanted: dict[str, str] = {}
        """Why an order was wanted: what is said of it unless its state has a reason of its own."""
        self._order_ids: Ring[str] = Ring(KEPT)
        self._past = Past(app)
        self._trading_reason = self._trading_who = ""
        self._feed = "starting"
        self._last_tick_ts: int | None = None
        self._silence = Silence(app.calendar, app.plan.clock)
        types = (
            TickBatch, Decision, OrderIntent, OrderDenied, OrderSent, OrderAccepted, OrderRejected, OrderUnknown,
            OrderCancelRequested, OrderCancelFailed, OrderCancelled, OrderExpired, OrderAmended, Fill,
            TradingStateChanged, FeedStatus, Bar, PositionRestated,
        )  # fmt: skip
        for order in app.account.known():
            self._keep(_row_of(order), order.intent.reason)
        app.bus.tap(types, self._record)
        self.monitor = monitor_of(
            app, recorder, ended=lambda: self._feed == FeedState.ENDED, silent_s=self._silence.seconds, alerts=alerts
        )  # fmt: skip

    def standing(self) -> Standing:
        """What commands change."""
        by = f" ({self._trading_who})" if self._trading_who and self._trading_reason else ""
        return Standing(
            trading_state=self._app.risk.book.state,
            trading_reason=f"{self._trading_reason}{by}",
            strategy=self._app.supervisor.ladder.active,
            locked=bool(self._app.supervisor.care.stairs.locked),
        )

    def status(self) -> Status:
        """The daemon at a glance."""
        app, health, now = self._app, self.health(), self._app.plan.clock.now_ns()
        tick_filter, portfolio = app.feed.tick_filter, app.portfolio.portfolio
        equity, start = equity_of(app), portfolio.starting_cash
        ladder, care = app.supervisor.ladder, app.supervisor.care
        return Status(
            version=__version__,
            mode=self._mode,
            simulated=app.tapes.simulated,
            started_ts=app.started_ts,
            ts=now,
            last_tick_ts=self._last_tick_ts,
            feed=self._feed,
            trading_state=app.risk.book.state,
            trading_reason=self._trading_reason,
            trading_who=self._trading_who,
            strategy=ladder.active,
            strategy_rung=ladder.rung,
            strategy_reason=app.supervisor.reason,
            strategy_who=app.supervisor.who,
            strategies=ladder.within_reach,
            rollback_to=app.supervisor.rollback_to,
            strategy_left=app.supervisor.left,
            strategy_lock=care.stairs.locked,
            strategy_lock_who=app.supervisor.locked_by,
            strategy_steps=[step.value for step in care.stairs.taken],
            strategy_back=care.back(ladder.active, now),
            strategies_missing=dict(app.supervisor.traits.missing),
            model=app.model_of(ladder.active),
            symbols=list(app.symbols),
            healthy=health.healthy,
            reasons=health.reasons,
            health=health.state,
            warnings=health.warnings,
            ticks_accepted=self._counts["ticks"],
            ticks_rejected={reason: count for reason, count in tick_filter.rejected.items() if count},
            bars=app.bars.builder.built,
            decisions=self._counts["decisions"],
            orders=self._counts["orders"],
            fills=self._counts["fills"],
            denied=dict(self._denied),
            working_orders=len(app.orders.working),
            open_positions=sum(1 for row in self.positions() if row.quantity),
            equity=equity.quantize(PAISA),
            net_pnl=(equity - start).quantize(PAISA),
            costs=portfolio.costs,
            token=app.token.text if app.token is not None else "",
            token_left_s=app.token.left_s if app.token is not None else None,
            inference=self._inference(),
            recorder=self._recording(),
            session=say_now(app.calendar, now),
            notes=[
                *(reached.text for reached in loss_reached(app.risk.book, app.risk.limits)),
                *app.calendar.doubts([ist_date(now)]),
                *care.warnings.values(),
                *self._migration_notes(),
            ],
            model_simulated=bool(getattr(app.strategy.succession.newest(ladder.active), "simulated_only", False)),
            feed_counts=app.feed.totals() if isinstance(app.feed, LiveFeed) else {},
        )

    def _migration_notes(self) -> list[str]:
        """Where a migration goes on, its stage; and what has to be looked at."""
        keeper = self._app.migration
        if keeper is None or (not keeper.goes_on and not keeper.trouble):
            return []
        stage = f"migration: stage {keeper.migration.stage.value} (hrmd ctl migration status)"
        return [f"{stage}: {keeper.trouble}" if keeper.trouble else stage]

    @property
    def overruns(self) -> int:
        """Decisions of a model that were published after the deadline."""
        return self._counts["overruns"]

    def _inference(self) -> InferenceStatus | None:
        stage = self._app.strategy
        strategies: list[object] = [stage.succession.newest(rung) for rung in stage.strategies]
        reasoner = next((one for one in strategies if isinstance(one, Reasoner)), None)
        if reasoner is None:
            return None
        return InferenceStatus(
            runtime=reasoner.runtime,
            model_hash=reasoner.model_hash,
            deadline_ms=self._deadline_ms,
            overruns=self.overruns,
            superseded=self._app.strategy.superseded,
            cache_hits=reasoner.cache_hits,
            cache_misses=reasoner.cache_misses,
        )

    def _recording(self) -> RecorderStatus | None:
        recorder = self._recorder
        if recorder is None:
            return None
        return RecorderStatus(recorded=recorder.recorded, lost=recorder.lost, trouble=recorder.trouble)

    def positions(self) -> Sequence[PositionRow]:
        """Symbols held first, then those traded and flat again."""
        rows = []
        book = self._app.risk.book
        brackets, unsettled = book.brackets.of, book.unsettled
        for position in self._app.portfolio.portfolio.positions():
            last = book.of(position.symbol).last_price
            price = Decimal(str(last)) if last else None
            open_pnl = None
            if price is not None and position.symbol not in unsettled:
                open_pnl = position.quantity * (price - position.average_price)
            rows.append(
                PositionRow(
                    symbol=position.symbol,
                    quantity=position.quantity,
                    average_price=position.average_price,
                    last_price=price,
                    unrealised_pnl=None if open_pnl is None else open_pnl.quantize(PAISA),
                    realised_pnl=position.realised_pnl,
                    costs=position.costs,
                    stop=bracket.stop if (bracket := brackets.get(position.symbol)) is not None else None,
                    target=bracket.target if bracket is not None else None,
                )
            )
        return sorted(rows, key=lambda row: (row.quantity == 0, row.symbol))

    def orders(self) -> Sequence[OrderRow]:
        """Working and recent orders, newest first."""
        return list(reversed(self._orders.values()))

    def decisions(self, limit: int) -> Sequence[Decision]:
        """The newest decisions, newest first."""
        return self._decisions.page(Asked(limit=limit)).rows

    def order(self, order_id: str) -> OrderRow | None:
        """One order of `orders`."""
        return self._orders.get(order_id)

    def page(self, listing: Listing, asked: Asked) -> Page:
        """A page of rows, newest first."""
        of_symbol = (lambda row: row.symbol == asked.symbol) if asked.symbol else None
        match listing:
            case Listing.ORDERS:
                known = self._orders
                mine = (lambda key: key in known and known[key].symbol == asked.symbol) if asked.symbol else None
                page = self._order_ids.page(asked, mine or known.__contains__)
                return Page([known[key] for key in page.rows], page.before)
            case Listing.DECISIONS:
                return self._decisions.page(asked, of_symbol)
            case Listing.BARS:
                return self._past.bars_page(asked)
            case Listing.TRADES:
                return self._past.trades.page(asked, of_symbol)
            case Listing.EQUITY:
                return self._past.equity.page(asked)

    def hrm_metrics(self) -> HrmMetrics:
        """How the model reasons."""
        app = self._app
        return reasoning(self._decisions.rows, app.depth, app.plan.clock.now_ns())

    def risk(self) -> RiskView:
        """As the gate counts."""
        app, risk = self._app, self._app.risk
        return risk_view(risk.book, risk.limits, app.instruments, app.plan.clock.now_ns(), risk.free)

    def shadow(self) -> Sequence[ShadowRow]:
        """The agent in charge first."""
        return self._app.shadows.rows()

    def migration(self) -> MigrationView:
        """Of a run that goes on where the one before left off."""
        keeper = self._app.migration
        assert keeper is not None, "only such a run has a view"
        return view_of(keeper, self._app.plan.clock.now_ns())

    def canary(self) -> CanaryRow:
        """The newest canary run."""
        return canary_row(self._app)

    def why_not(self, ticket: CanaryTicket) -> str:
        """Why that can't be done now, in a line; "" where it can."""
        desk = self._app.canary
        if not self._app.desk.open:
            return "hrmd has not begun to trade, or is ending"
        if ticket.do is CanaryDo.BEGIN:
            return desk.why_not_begin(ticket.agent)
        return desk.why_not_end(promote=ticket.do is CanaryDo.PROMOTE)

    def health(self) -> Health:
        """Every check, and what they come to: unhealthy where one failed, such as before it trades."""
        return Health.of(self.monitor.look())

    def _record(self, event: Event) -> None:
        match event:
            case Bar() | PositionRestated():
                self._past.record(event)
            case TickBatch():
                self._counts["ticks"] += len(event)
                self._last_tick_ts = int(event.ts_recv[-1])
                self._silence.end()
            case Decision():
                self._counts["decisions"] += 1
                self._counts["overruns"] += bool(event.halt_reason) and event.latency_ns > self._deadline_ms * NS_PER_MS
                self._decisions.add(event)
            case FeedStatus():
                if event.symbol is None:
                    self._feed = event.state.value
            case TradingStateChanged():
                trades = event.state is TradingState.ACTIVE
                self._trading_reason, self._trading_who = ("", "") if trades else (event.reason, event.who)
            case _:
                self._record_order(event)

    def _record_order(self, event: Event) -> None:
        match event:
            case OrderIntent():
                self._counts["orders"] += 1
                self._keep(_row(event), event.reason)
            case OrderDenied():
                self._denied[event.check] += 1
                self._change(
                    event.order_id, state="DENIED", reason=f"{event.check}: {event.value}, limit {event.limit}"
                )
            case OrderSent():
                self._go_on(event.order_id, state="SENT")
            case OrderAccepted() | OrderCancelFailed():
                self._go_on(event.order_id, state="ACCEPTED")
            case OrderUnknown():
                self._change(event.order_id, state="UNKNOWN", reason=event.reason)
            case OrderCancelRequested():
                self._change(event.order_id, state="CANCEL_PENDING", reason=event.reason)
            case OrderAmended():
                self._amend(event)
            case OrderExpired():
                self._change(event.order_id, state="EXPIRED", reason=event.reason)
            case OrderRejected():
                self._change(event.order_id, state="REJECTED", reason=event.reason)
            case OrderCancelled():
                self._change(event.order_id, state="CANCELLED", reason=event.reason)
            case Fill():
                self._counts["fills"] += 1
                self._fill(event)
                self._past.record(event)

    def _keep(self, row: OrderRow, wanted: str) -> None:
        if row.order_id not in self._orders:
            self._order_ids.add(row.order_id)
        self._orders[row.order_id], self._wanted[row.order_id] = row, wanted
        while len(self._orders) > KEPT:
            oldest = next(iter(self._orders))
            del self._orders[oldest], self._wanted[oldest]

    def _amend(self, event: OrderAmended) -> None:
        row = self._orders.get(event.order_id)
        if row is not None:
            larger = row.state == "FILLED" and event.quantity > row.filled
            kind = {} if event.type is None else {
                "type": event.type.value, "limit_price": event.limit_price, "stop_price": event.stop_price,
            }  # fmt: skip
            state = "PARTIALLY_FILLED" if larger else row.state
            self._change(event.order_id, quantity=event.quantity, state=state, **kind)

    def _fill(self, fill: Fill) -> None:
        row = self._orders.get(fill.order_id)
        if row is None:
            return
        filled = row.filled + fill.quantity
        paid = (row.average_price or NO_MONEY) * row.filled + fill.price * fill.quantity
        state = "FILLED" if filled >= row.quantity else "PARTIALLY_FILLED"
        self._go_on(fill.order_id, filled=filled, average_price=paid / filled, state=state)

    def _go_on(self, order_id: str, **changes: object) -> None:
        """What was said meanwhile, of an answer that was missing or a cancellation, is over."""
        self._change(order_id, reason=self._wanted.get(order_id, ""), **changes)

    def _change(self, order_id: str, **changes: object) -> None:
        row = self._orders.get(order_id)
        if row is not None:
            self._orders[order_id] = msgspec.structs.replace(row, **changes)


def _row_of(order: Order) -> OrderRow:
    """An order that an earlier process left."""
    return msgspec.structs.replace(
        _row(order.intent),
        state=order.state.value,
        filled=order.filled,
        average_price=order.turnover / order.filled if order.filled else None,
        reason=order.reason or order.intent.reason,
    )


def _row(intent: OrderIntent) -> OrderRow:
    return OrderRow(
        ts=intent.ts,
        order_id=intent.order_id,
        symbol=intent.symbol,
        side=intent.side,
        type=intent.type.value,
        quantity=intent.quantity,
        filled=0,
        limit_price=intent.limit_price,
        average_price=None,
        state="INTENT",
        strategy=intent.strategy,
        reason=intent.reason,
        stop_price=intent.stop_price,
    )
