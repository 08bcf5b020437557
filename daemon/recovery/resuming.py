"""An account and a market as earlier runs left them → stations that stand so again, before the first tick.

What was published by the process before is not published again, but for the positions and the trading state that
everybody in this one has to hear. Invariant: what an earlier process was told to take off the market is asked for
again, and an order that worked on the simulated venue works no more.
"""

from __future__ import annotations

import structlog

from daemon.bars.builder import BarsActor
from daemon.core.bus import Bus
from daemon.core.events import ITSELF, Halt, OrderCancelled, TradingState, TradingStateChanged
from daemon.journal.writer import Journal
from daemon.orders.book import OrderState
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.paper_execution import ExecutionActor
from daemon.recovery.account import Account
from daemon.recovery.market import Recalled
from daemon.risk.actor import RiskActor
from daemon.strategy.switching import ModelSwitch
from daemon.supervision.supervisor import MISSING, Supervisor

log = structlog.get_logger("app")

UNWRITTEN_RECORD = (
    "the process before could not write its journal to the end: compare orders and positions with the broker's, then "
    "hrmd ctl resume"
)
"""What a start after that is halted for."""


def halt_if_unwritten(bus: Bus, journal: Journal | None, account: Account, ts: int) -> None:
    """Halted as the process before was when it could not write its journal: that it was may not be on record.

    Said whatever state is on record: a halt that ends by itself, as one for a refused token, would end this one, too.
    """
    if journal is None or not journal.unwritten:
        return
    if account.state is not TradingState.HALTED or account.state_who == ITSELF:
        bus.publish(Halt(ts=ts, reason=UNWRITTEN_RECORD, automatic=True, who=ITSELF))
    journal.halted()


def resume_in_charge(recalled: Recalled, models: ModelSwitch, supervisor: Supervisor, own: str, ts: int) -> None:
    """Who was in charge is so again; `own` is the strategy that the settings name."""
    models.compare(recalled.model)
    rung = recalled.rung
    mended = rung is not None and MISSING in rung.reason and own not in supervisor.traits.missing
    if rung is not None and rung.name in supervisor.ladder.within_reach and not mended:
        supervisor.resume(rung.name, rung.reason, ts, rung.before, rung.who)
    else:
        supervisor.start(ts)
    supervisor.recall(recalled.steps, recalled.lock, ts)


def resume_account(
    bus: Bus, account: Account, risk: RiskActor, execution: ExecutionActor | LiveExecutionActor, bars: BarsActor,
    ts: int,
) -> None:  # fmt: skip
    """Risk and execution know what is held, works and is forbidden, and everybody hears of it."""
    standing = account.portfolio.standing(ts)
    working = list(account.orders.working.values())
    unknown = [order.intent for order in working if order.state is OrderState.UNKNOWN]
    remaining = [(order.intent, order.remaining) for order in working if order.state is not OrderState.INTENT]
    risk.book.restore(
        standing, remaining, unknown, account.day, account.day_start_net, account.day_high, account.approved(), ts,
        {item.symbol: float(item.mark) for item in account.portfolio.positions()},
    )  # fmt: skip
    risk.book.brackets = account.brackets
    risk.asked_off(order.intent.order_id for order in working if order.unwanted)
    risk.restore(
        account.state, account.flatten_reason, account.unsettled, account.closing, account.owed.values(),
        flattened=account.flattened,
    )  # fmt: skip
    risk.held_over.restore(account.portfolio.closes())
    _await_actions(risk, execution, bars)
    for position in standing:
        bus.publish(position)
    if account.state is not TradingState.ACTIVE:
        bus.publish(TradingStateChanged(ts=ts, state=account.state, reason=account.state_reason, who=account.state_who))
    _take_off(account, execution)
    log.info("recovered", records=account.records, working=len(working), state=account.state)


def _await_actions(risk: RiskActor, execution: ExecutionActor | LiveExecutionActor, bars: BarsActor) -> None:
    """A broker that has yet to show what a corporate action makes of a position is still watched for it."""
    if isinstance(execution, LiveExecutionActor):
        for action in bars.awaited:
            risk.held_over.adjust(action)
            execution.book.expect(action)


def _take_off(account: Account, execution: ExecutionActor | LiveExecutionActor) -> None:
    """What an earlier process was told to take off the market, and may not have: it is asked for again."""
    if account.flatten_reason:
        execution.cancel_resting(account.flatten_reason, account.barred_ts)
    elif account.state is not TradingState.ACTIVE:
        execution.cancel_entries(account.state_reason, account.barred_ts)


def forget_paper_orders(bus: Bus, account: Account, ts: int) -> None:
    """The simulated venue lives in the process: what worked there ended with the earlier one."""
    for order in list(account.orders.working.values()):
        reason = "the simulated venue ended with the earlier process"
        cancelled = OrderCancelled(ts=ts, order_id=order.intent.order_id, filled=order.filled, reason=reason)
        account.orders.apply(cancelled)
        bus.publish(cancelled)
