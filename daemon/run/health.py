"""The stations of an `App` → what the health monitor asks them. Invariant: nothing here changes the daemon or waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from daemon.app import App
from daemon.core.events import ITSELF, TradingState
from daemon.feed.live.feed import LiveFeed
from daemon.market.calendar import ist_date
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.token_watch import TokenState
from daemon.run.canary_row import canary_words
from daemon.run.memory import free_memory
from daemon.run.process import memory_allowed, memory_in_use
from daemon.settings.tree import Settings
from daemon.strategy.artifacts import hash_on_disk
from daemon.strategy.build import artifact_of
from daemon.supervision.health import Limits
from daemon.supervision.health_checks import FLAT, SharedLimits
from daemon.supervision.health_monitor import HealthMonitor, LoadedModel, Sources
from daemon.supervision.health_readings import (
    AlertsReading,
    BaselineReading,
    BrokerReading,
    BudgetReading,
    JournalReading,
    Readings,
    StageReading,
    TokenReading,
)
from daemon.supervision.memory import GB, MemoryLimits
from daemon.tape.recorder import Recorder
from strategies.base import model_hash_of

ROOM = 0.9
"""Of what the system allows."""


def monitor_of(
    app: App,
    recorder: Recorder | None,
    ended: Callable[[], bool],
    silent_s: Callable[[], float | None],
    alerts: Callable[[], AlertsReading] | None = None,
) -> HealthMonitor:
    """Of a whole daemon; `ended` says whether its feed has, `silent_s` for how long no tick has come.

    `alerts` says how those fare who are told of them.
    """
    settings = app.settings
    health, interval = settings.supervisor.health, settings.strategy.interval
    deadline_s = settings.hierarchical_reasoning_model.act.deadline_ms / 1000
    journaled = [settings.journal.path.resolve().parent] if app.journal is not None else []
    files = _files(app)
    shared = shared_limits(settings)
    app.supervisor.care.memory.lower_to(shared.memory.fail_gb)
    app.supervisor.free = partial(free_memory, app)
    recorded = [settings.feed.record.path.resolve()] if recorder is not None else []
    return HealthMonitor(
        app.bus,
        app.plan.clock,
        health,
        shared,
        deadline_s + health.owed_grace_s,
        Sources(
            readings=lambda: _readings(
                app,
                recorder,
                alerts() if alerts is not None else None,
                ended=ended(),
                silent_s=silent_s(),
            ),
            memory_bytes=memory_in_use,
            models=lambda: _models(app, files),
            places=[*journaled, *recorded],
        ),
        decided=lambda bar: bar.interval == interval and not app.strategy.legs.holds(bar.symbol),
        thread=app.plan.machine.thread,
    )


def memory_limits(warn_gb: float, limit_gb: float, allowed: int | None) -> MemoryLimits:
    """Those of the settings, or lower ones where the system ends the process before: time is left to do something."""
    most_gb = limit_gb if allowed is None else ROOM * allowed / GB
    return (
        MemoryLimits(warn_gb, limit_gb) if limit_gb <= most_gb else MemoryLimits(min(warn_gb, 0.75 * most_gb), most_gb)
    )


def shared_limits(settings: Settings) -> SharedLimits:
    """What is told in health and acted on elsewhere, by the same numbers."""
    performance, triggers = settings.performance, settings.supervisor.triggers
    return SharedLimits(
        memory_limits(performance.memory_warn_gb, performance.memory_limit_gb, memory_allowed()),
        Limits(triggers.error_warn_percent, triggers.error_trip_percent),
        Limits(*triggers.latency_limits_ms(settings.hierarchical_reasoning_model.act.deadline_ms)),
    )


def _readings(
    app: App, recorder: Recorder | None, alerts: AlertsReading | None, *, ended: bool, silent_s: float | None
) -> Readings:
    book, ladder, now = app.risk.book, app.supervisor.ladder, app.plan.clock.now_ns()
    watch = app.feed.clock_watch if isinstance(app.feed, LiveFeed) else None
    today, barred = ist_date(now), book.state is not TradingState.ACTIVE
    return Readings(
        idle=app.why_idle,
        ended=ended,
        barred=f"trading is {book.state.value}: {app.account.state_reason}" if barred else "",
        barred_by_itself=app.account.state_who in ("", ITSELF),
        journal=_journal(app),
        calls=app.calls_trouble,
        stages=[StageReading(actor.name, len(actor.inbox), actor.inbox.taken) for actor in app.actors],
        restarted=app.supervisor.restarted,
        strategy=ladder.active,
        first=ladder.within_reach[0],
        why=app.supervisor.reason,
        ladder_trouble=app.supervisor.trouble,
        canary=canary_words(app),
        own=ladder.own,
        unbuilt=app.supervisor.unbuilt,
        closing=len(app.supervisor.held) if ladder.active == FLAT else 0,
        loaded=ladder.active == FLAT or ladder.active in app.strategy.strategies,
        baseline=_baseline(app),
        unknown=len(book.unknown),
        halted=len(book.halted),
        unsettled=book.unsettled,
        exits=app.risk.wanted_exits(),
        budget=_budget(app),
        cash_differs=app.risk.funds is not None and app.risk.funds.differs,
        broker=_broker(app),
        token=_token(app),
        recorder=recorder.trouble if recorder is not None else None,
        stale=book.stale,
        silent_s=silent_s,
        silent_limit_s=app.settings.risk.stale_after_s,
        clock_trouble=watch.trouble if watch is not None else "",
        clock_held=watch.held if watch is not None else "",
        doubts=app.calendar.doubts([today]) if now else [],
        confirmed_days=(app.calendar.confirmed_to - today).days if now else None,
        alerts=alerts,
    )


def _budget(app: App) -> BudgetReading | None:
    lease = app.risk.book.lease
    return None if lease is None else BudgetReading(lease.leased, lease.trouble, lease.unanswered)


def _baseline(app: App) -> BaselineReading | None:
    care, active = app.supervisor.care.baseline, app.supervisor.ladder.active
    strategy = app.strategy.strategies.get(active)
    standing = care.standing(active, model_hash_of(strategy))
    if standing is None or care.rival is None:
        return None
    name = care.rival.agent
    dropped = next((desk.dropped for desk in app.shadows.desks if desk.agent.name == name), "")
    return BaselineReading(name, dropped, standing)


def _journal(app: App) -> JournalReading | None:
    journal = app.journal
    if journal is None:
        return None
    committed = journal.committed
    return JournalReading(journal.trouble or journal.doubt, max(0, journal.appended - committed), committed)


def _broker(app: App) -> BrokerReading | None:
    execution = app.execution
    if not isinstance(execution, LiveExecutionActor):
        return None
    return BrokerReading(execution.sight.trouble, execution.sight.missing, execution.sight.age_s)


def _token(app: App) -> TokenReading | None:
    keeper = app.token
    if keeper is None:
        return None
    state = keeper.state
    return TokenReading(state.value, state.holds, state is TokenState.EXPIRING, keeper.text, keeper.left_s, keeper.do)


def _files(app: App) -> dict[str, Path]:
    """Where the models that strategies think with come from, by strategy."""
    thinking = [rung for rung, strategy in app.strategy.strategies.items() if model_hash_of(strategy)]
    named = {rung: artifact_of(rung, app.settings) for rung in thinking}
    return {rung: path for rung, path in named.items() if path is not None}


def _models(app: App, files: Mapping[str, Path]) -> list[LoadedModel]:
    """Each by the file that it was loaded from: another one may have been loaded since the start."""
    strategies, found = app.strategy.strategies, []
    for rung, named in files.items():
        path = getattr(strategies[rung], "artifact", None) or named
        found.append(LoadedModel(rung, path.name, model_hash_of(strategies[rung]), partial(hash_on_disk, rung, path)))
    return found
