"""Whatever happens in whatever order: one canary at most, each ends once, and every symbol has one decider."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.app import App
from daemon.core.actor import Actor
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    Action,
    BeginCanary,
    CanaryChanged,
    CanaryState,
    EndCanary,
    Event,
    Halt,
    ModelLoaded,
    Resume,
    SwapStrategy,
    TimeAdvanced,
    TradingState,
)
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.shadow.agents import Agent
from strategies.base import HUNG, NOT_FINITE
from strategies.rules import RulesStrategy
from tests.integration.own_strategies import Own
from tests.samples import LIVELY, OPEN, RELIANCE, SBIN, decide, settings_of, wave, write_tape

SETTINGS = settings_of(*LIVELY, "strategy.name=hrm", f"canary.symbols=[{SBIN}]", "canary.promote=ask")
HAPPENINGS = (
    *["begin rules"] * 4, *["begin other"] * 3, "begin nobody", "promote", "roll back", "fail", "no number", "succeed",
    "down", "up", "up", "model", "drop", "halt", "resume", "resume", "time",
)  # fmt: skip
"""What lets one begin comes more often than what ends it."""


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two instruments."""
    folder = tmp_path_factory.mktemp("tapes")
    return [write_tape(folder / f"{symbol[4:8]}", *wave(2), symbol) for symbol in (SBIN, RELIANCE)]


def app_of(tapes: list[Path]) -> App:
    """The hrm in charge, the rules below it, and as agents the same rules and another strategy."""
    plan = RunPlan(
        tapes=tapes, symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=None, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    rules = RulesStrategy(SETTINGS.strategy.rules)
    agents = [Agent("rules", rules, SETTINGS), Agent("other", Own(), SETTINGS)]
    return App(SETTINGS, plan, {"hrm": Own(), "rules": rules}, agents)


def event_of(what: str, app: App, ts: int) -> Event | None:
    """What is published for it."""
    agent = what.removeprefix("begin ")
    if agent != what:
        return BeginCanary(ts=ts, agent=agent, who="anna", reason="a test")
    running = app.canary.running
    name = running.strategy if running is not None else "canary:rules"
    match what:
        case "promote" | "roll back":
            return EndCanary(ts=ts, promote=what == "promote", who="anna", reason="seen")
        case "fail" | "no number":
            halt_reason = HUNG if what == "fail" else NOT_FINITE
            return decide(Action.HOLD, ts_bar=ts, strategy=name, halt_reason=halt_reason, failed=True)
        case "succeed":
            return decide(Action.HOLD, ts_bar=ts, strategy=name)
        case "down" | "up":
            return SwapStrategy(ts=ts, name="rules" if what == "down" else "hrm", reason="by hand")
        case "model":
            return ModelLoaded(ts=ts, key="k", name="n", model_hash="b", before="", after_bar=ts, runtime="", file="",
                               closes=False, reason="by hand")  # fmt: skip
        case "halt":
            return Halt(ts=ts, reason="by hand")
        case "resume":
            return Resume(ts=ts, reason="by hand")
        case "drop":
            app.shadows.desks[0].drop("a test")
    return TimeAdvanced(ts=ts)


def handle_all(actors: tuple[Actor, ...]) -> None:
    """What is in their inboxes, until nothing is."""
    while any(len(actor.inbox) for actor in actors):
        for actor in actors:
            event = actor.inbox.take()
            if event is not None:
                assert actor.handle(event) is None
                actor.inbox.done()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=st.lists(st.sampled_from(HAPPENINGS), min_size=12, max_size=40))
def test_any_sequence_of_events(tapes: list[Path], happenings: list[str]) -> None:
    """The words that are said of canaries make sense, and who decides is who they say."""
    app = app_of(tapes)
    said: list[CanaryChanged] = []
    app.bus.tap((CanaryChanged,), said.append)
    for number, what in enumerate(happenings):
        event = event_of(what, app, OPEN + number)
        assert event is not None
        app.bus.publish(event)
        handle_all((app.risk, app.supervisor, app.strategy, app.canary))
        check_who_decides(app)
    check_words(said)
    app.close()


def check_who_decides(app: App) -> None:
    """The candidate on its share while it runs and the hrm is in charge; nobody else anywhere else."""
    running, active = app.canary.running, app.supervisor.ladder.active
    assert app.strategy.active == active
    assert app.strategy.sharing.decider(RELIANCE, active) == active
    expected = active if running is None else running.strategy
    assert app.strategy.sharing.decider(SBIN, active) == expected
    assert app.strategy.sharing.decider(SBIN, active) in (*app.strategy.strategies, "flat")
    assert running is None or active == "hrm"
    assert app.risk.book.candidate == (("", 0.0) if running is None else (running.strategy, 0.5))
    assert app.risk.book.state in (TradingState.ACTIVE, TradingState.HALTED)


def check_words(said: list[CanaryChanged]) -> None:
    """Each begins, is spoken of, and ends once before another begins."""
    runs: CanaryChanged | None = None
    for one in said:
        if runs is not None:
            assert (one.agent, one.began_ts, one.symbols) == (runs.agent, runs.began_ts, runs.symbols)
        elif one.state is not CanaryState.RUNNING:
            assert one.reason.startswith("not begun: ")
            continue
        runs = one if one.state is CanaryState.RUNNING else None
