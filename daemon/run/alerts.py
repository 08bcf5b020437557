"""The stations of an `App` → what its alert desk looks at. Invariant: nothing here changes the daemon or waits."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.alerting.conditions import Condition, condition, of_checks, of_state
from daemon.alerting.desk import AlertDesk, Watched, earlier
from daemon.alerting.digest import Stands
from daemon.alerting.sender import Sender
from daemon.app import App
from daemon.core.errors import UsageError
from daemon.core.events import Severity
from daemon.market.calendar import ist_date
from daemon.run.risk_gauges import loss_reached
from daemon.run.view import DaemonView
from daemon.settings.alerts import AlertKind

RECOVERING_S = 60.0
"""A start that takes longer is told of."""
RUNNING = "running"
"""The check that fails when a feed ends, and with it the run, by itself."""


def alert_desk(app: App, view: DaemonView, sender: Sender) -> AlertDesk:
    """Of a whole daemon. Raises `UsageError` for a journal that can't be read."""
    journal = app.plan.journal
    live = not app.plan.tapes
    watched = Watched(
        conditions=lambda: _conditions(app, view),
        trades=lambda: app.desk.open,
        stands=lambda: _stands(app, view),
        close_ns=lambda ts: _close_ns(app, ts),
        first=app.supervisor.ladder.within_reach[0],
    )
    before = earlier(journal, live=live, run=app.journal.run if app.journal is not None else 0)
    return AlertDesk(
        app.bus, app.plan.clock, app.settings.alerts, sender, watched, before, journal, live=live,
        thread=app.plan.machine.thread,
    )  # fmt: skip


def _conditions(app: App, view: DaemonView) -> Sequence[Condition] | None:
    """None while it ends, and in the first minute of its recovering."""
    if app.ending:
        return None
    if app.why_idle:
        long = app.age_s > RECOVERING_S
        return [condition(AlertKind.RUNNING, Severity.CRITICAL, app.why_idle)] if long else None
    account = app.account
    return [
        *of_checks((check for check in view.monitor.recent() if check.name != RUNNING), app.settings.alerts.muted),
        *of_state(app.risk.book.state, account.state_reason, account.state_who),
        *loss_reached(app.risk.book, app.risk.limits),
    ]


def _close_ns(app: App, ts: int) -> int | None:
    try:
        session = app.calendar.session(ist_date(ts))
    except UsageError:  # beyond the calendar
        return None
    return None if session is None else session.close_ns


def _stands(app: App, view: DaemonView) -> Stands:
    status = view.status()
    return Stands(
        date=str(ist_date(status.ts)),
        mode=status.mode + (" · simulated ticks" if status.simulated else ""),
        day_pnl=app.risk.book.day_pnl(),
        net_pnl=status.net_pnl,
        strategy=status.strategy,
        rung=status.strategy_rung,
        state=status.trading_state.value,
        health=status.health.value,
        open_positions=status.open_positions,
    )
