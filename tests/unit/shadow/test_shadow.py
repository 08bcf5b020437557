"""What an agent is made of, what it counts, and when it may think."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.core.clock import NS_PER_MS, NS_PER_S, ReplayClock
from daemon.core.errors import ArtifactError, SettingsError
from daemon.core.events import (
    ITSELF,
    Action,
    Complexity,
    Decision,
    Event,
    Halt,
    InferenceMeasured,
    Reduce,
    Regime,
    SettingChanged,
    ShadowResult,
    Side,
    TradingState,
)
from daemon.journal.writer import Journal
from daemon.shadow.agents import OnThread, build_agents
from daemon.shadow.board import PATIENCE_S, Board
from daemon.shadow.shadows import HEARD, earlier_results
from daemon.shadow.tally import Tally
from strategies.base import LATE, RAISED, Moment, hold
from strategies.rules import RulesStrategy
from tests.samples import OPEN, SBIN, decide, fill_of, intend, settings_of, wave, write_tape
from tests.unit.run.test_service import service

RESULT = ShadowResult(
    ts=OPEN, agent="fast", strategy="rules", model_hash="", day=20458, since_ts=OPEN, whole=True, dropped="",
    decisions=75, skipped=0, failed=0, compared=75, agreed=60, depth=0.0, latency_ms=1.0, orders=4, fills=4, trades=2,
    net_pnl=Decimal(100), real_net_pnl=Decimal(50), real_decisions=75, real_trades=2,
)  # fmt: skip


def asked(ts: int, symbol: str = SBIN) -> Complexity:
    """A bar that closed at `ts` asks for a decision."""
    return Complexity(
        symbol=symbol, interval="5m", ts=ts, volatility=0.0, trend_strength=0.0, momentum=0.0, regime_change=0.0,
        correlation_breakdown=0.0, event_impact=0.0, score=0.0, regime=Regime.RANGING,
    )  # fmt: skip


# -- settings -------------------------------------------------------------------------------------------------------


def test_an_agent_is_built_with_its_own_values_over_those_in_charge() -> None:
    """What it doesn't say is as `strategy.rules` has it."""
    settings = settings_of(
        "strategy.rules.min_bars=40", "shadow.agents=[{name: fast, strategy: rules, rules: {fast: 3, quantity: 7}}]"
    )
    (agent,) = build_agents(settings, ReplayClock())
    rules = agent.settings.strategy.rules
    assert (agent.name, agent.strategy.name) == ("fast", "rules")
    assert (rules.fast, rules.quantity, rules.min_bars, rules.slow) == (3, 7, 40, 34)
    assert settings.strategy.rules.fast == 8
    assert agent.settings.supervisor.ladder == ["flat"]


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ("[{name: a, strategy: rules}, {name: a, strategy: hrm}]", "each name once, a stands 2 times"),
        ("[{name: A b, strategy: rules}]", "shadow.agents"),
        ("[{name: a, strategy: magic}]", "shadow.agents"),
        ("[{name: a, strategy: rules, artifact: x}]", "no artifact for agent a: rules have none"),
        ("[{name: a, strategy: hrm, rules: {fast: 3}}]", "no rules for agent a: an hrm has an artifact"),
        ("[{name: a, strategy: rules, rules: {fats: 3}}]", "agent a: rules.fats"),
        ("[{name: a, strategy: rules, rules: {fast: 99}}]", "agent a: rules: "),
    ],
)
def test_an_agent_that_cannot_be_meant_is_refused(agents: str, message: str) -> None:
    """In one line that names it."""
    with pytest.raises(SettingsError) as refused:
        settings_of(f"shadow.agents={agents}")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("strategy", ["hrm", "ppo"])
def test_a_missing_artifact_names_the_agent(strategy: str, tmp_path: Path) -> None:
    """And the file."""
    place = tmp_path / "no.safetensors"
    settings = settings_of(f"shadow.agents=[{{name: next, strategy: {strategy}, artifact: {place}}}]")
    with pytest.raises(ArtifactError, match=r"shadow\.agents, next: .*no\.safetensors"):
        build_agents(settings, ReplayClock())


# -- the board ------------------------------------------------------------------------------------------------------


def test_nobody_goes_while_a_decision_in_charge_is_owed() -> None:
    """Not after the first of two, only after both."""
    board = Board(ReplayClock(OPEN))
    assert board.clear
    board.ask(asked(OPEN))
    board.ask(asked(OPEN, "NSE:INFY-EQ"))
    board.decide(decide(Action.HOLD, ts_bar=OPEN))
    assert not board.clear
    assert not board.free.is_set()
    board.decide(decide(Action.HOLD, ts_bar=OPEN, symbol="NSE:INFY-EQ"))
    assert board.clear
    assert board.free.is_set()


def test_a_newer_bar_supersedes_and_an_older_decision_pays_nothing() -> None:
    """The newest of a symbol is what is owed."""
    board = Board(ReplayClock(OPEN))
    board.ask(asked(OPEN))
    board.ask(asked(OPEN + 1))
    board.decide(decide(Action.HOLD, ts_bar=OPEN))
    assert not board.clear
    board.decide(decide(Action.HOLD, ts_bar=OPEN + 1))
    assert board.clear


def test_a_decision_that_was_lost_is_not_waited_for_for_ever() -> None:
    """Its stage crashed with it."""
    clock = ReplayClock(OPEN)
    board = Board(clock)
    board.ask(asked(OPEN))
    clock.advance(OPEN + int(PATIENCE_S * NS_PER_S))
    assert not board.clear
    clock.advance(OPEN + int(PATIENCE_S * NS_PER_S) + 1)
    assert board.clear
    assert board.free.is_set()


def test_only_what_was_thought_about_is_compared() -> None:
    """A HOLD that the clock or a crash made, or nobody in charge, is no opinion."""
    board = Board(ReplayClock(OPEN))
    for halt_reason, strategy, found in (
        ("", "rules", Action.HOLD), (LATE, "rules", None), (RAISED, "rules", None), ("", "flat", None),
    ):  # fmt: skip
        made = decide(Action.HOLD, halt_reason=halt_reason, strategy=strategy)
        board.decide(made)
        assert board.action(made) is found


# -- the tally ------------------------------------------------------------------------------------------------------


def test_figures_of_the_run_and_of_the_session() -> None:
    """The session's begin anew; means are over what they are of."""
    tally = Tally()
    assert (tally.total.agreement, tally.total.depth, tally.total.latency_ms) == (None, None, None)
    for segments, ms in ((2, 10), (4, 30), (0, 20)):
        tally.record(decide(Action.HOLD, segments=segments, latency_ns=ms * NS_PER_MS))
    tally.record(decide(Action.HOLD, halt_reason=LATE, latency_ns=NS_PER_S))
    tally.record(InferenceMeasured(ts=OPEN, symbol=SBIN, elapsed_ns=5 * NS_PER_MS))
    tally.begin()
    entry, close = intend("A"), intend("B", Side.SELL, reduces=True)
    for event in (entry, fill_of(entry), close, fill_of(close), decide(Action.HOLD, failed=True)):
        tally.record(event)
    total, session = tally.total, tally.session
    assert (total["decisions"], total["late"], total["failed"]) == (5, 1, 1)
    assert (total.depth, total.thinking_ms) == (3.0, 5.0)
    assert total.latency_ms == 15.0
    assert (session["decisions"], session["orders"], session["fills"], session["trades"]) == (1, 2, 2, 1)
    assert session.depth is None


# -- thinking -------------------------------------------------------------------------------------------------------


class Fixed:
    """Answers with what a test gives it."""

    name = "rules"
    in_thread = False

    def __init__(self, **changes: object) -> None:
        self.changes = changes

    def decide(self, moment: Moment) -> Decision:
        """The same, whatever the moment."""
        return msgspec.structs.replace(decide(Action.HOLD), **self.changes)


def moment_of() -> Moment:
    """Any."""
    return Moment(
        symbol=SBIN, interval="5m", ts=OPEN, bars=np.full((3, 5), 800.0), coarse=np.empty((0, 5)),
        complexity=asked(OPEN), position=0, position_share=0.0, unrealised_atr=0.0, bars_held=0, session_bars=3,
        session_coarse=0, minute_of_session=15.0, minutes_to_close=360.0, weekday=0, may_enter=True,
    )  # fmt: skip


def test_every_agent_thinks_on_the_thread_and_only_when_it_may() -> None:
    """Rules too; while the one in charge is busy nothing is thought, and that is no failure."""
    board = Board(ReplayClock(OPEN))
    strategy = OnThread(Fixed(), board.free, 0.0)
    assert strategy.in_thread
    assert strategy.decide(moment_of()) == decide(Action.HOLD)
    board.ask(asked(OPEN))
    late = strategy.decide_since(moment_of(), 0, 1)
    assert (late.action, late.halt_reason, late.failed) == (Action.HOLD, LATE, False)


@pytest.mark.parametrize("field", ["confidence", "price", "value", "q_halt"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_a_failure(field: str, value: float) -> None:
    """Wherever it stands."""
    strategy = OnThread(Fixed(**{field: value}), Board(ReplayClock()).free, 0.0)
    with pytest.raises(ValueError, match=f"expected a finite {field}"):
        strategy.decide(moment_of())


def test_a_renewed_one_is_the_same_decider() -> None:
    """Rules keep nothing, so that they may be shared."""
    strategy = OnThread(RulesStrategy(settings_of().strategy.rules), Board(ReplayClock()).free, 0.0)
    assert strategy.renewed().decide(moment_of()) == strategy.decide(moment_of())
    assert hold(moment_of(), "rules", "x").action is Action.HOLD


# -- what is heard, and what is kept --------------------------------------------------------------------------------


def test_shadows_hear_nothing_of_real_orders() -> None:
    """Nor of positions, decisions or money."""
    names = {kind.__name__ for kind in HEARD}
    private = ("Order", "Fill", "Position", "Decision", "Funds", "Manual", "Cancel", "Broker", "Account")
    assert {name for name in names if name.startswith(private)} == {"PositionRestated"}


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (Reduce(ts=OPEN, reason="careful", who="asha"), TradingState.REDUCING),
        (Halt(ts=OPEN, reason="stop", who="asha"), TradingState.HALTED),
        (Reduce(ts=OPEN, reason="a token that holds is there again", who=ITSELF), TradingState.ACTIVE),
        (Halt(ts=OPEN, reason="the token", automatic=True, who=ITSELF), TradingState.ACTIVE),
        (Halt(ts=OPEN, reason="SIGTERM", shutdown=True, who="SIGTERM"), TradingState.ACTIVE),
    ],
)
async def test_what_a_person_commands_holds_for_every_shadow(
    tmp_path: Path, command: Event, state: TradingState
) -> None:
    """What the daemon says to itself doesn't, whatever it says."""
    subject = service(
        write_tape(tmp_path / "t.parquet", *wave(5)), tmp_path, "shadow.agents=[{name: fast, strategy: rules}]"
    )
    (desk,) = subject.app.shadows.desks
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(desk.run())
        subject.app.bus.publish(command)
        await desk.settled()
        running.cancel()
    assert desk.risk.book.state is state
    subject.alerts.close()
    subject.app.close()


async def test_a_limit_that_changes_holds_for_every_shadow(tmp_path: Path) -> None:
    """Else the one in charge would be measured by accounts that may do more than it, or less."""
    agents = "shadow.agents=[{name: fast, strategy: rules}]"
    subject = service(write_tape(tmp_path / "t.parquet", *wave(5)), tmp_path, agents)
    desks = subject.app.shadows.everyone
    assert [desk.risk.limits.max_position_quantity for desk in desks] == [5000, 5000]
    tighter = SettingChanged(
        ts=OPEN, who="asha", key="risk.max_position_quantity", before="5000", after="7", reason="a test"
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(desk.run()) for desk in desks]
        subject.app.bus.publish(tighter)
        for desk in desks:
            await desk.settled()
        for task in running:
            task.cancel()
    assert [desk.risk.limits.max_position_quantity for desk in desks] == [7, 7]
    subject.alerts.close()
    subject.app.close()


def test_earlier_whole_sessions_are_evidence_once(tmp_path: Path) -> None:
    """Of the same kind of run; a session in part is none, one played twice counts as it was last."""
    path = tmp_path / "j.sqlite"
    assert earlier_results(path, live=True) == []
    played = [
        RESULT,
        msgspec.structs.replace(RESULT, day=20459, whole=False),
        msgspec.structs.replace(RESULT, net_pnl=Decimal(200)),
        msgspec.structs.replace(RESULT, day=20457),
    ]
    journal = Journal(path, safe=False, group_commit_ms=0)
    journal.describe({"tapes": "[]", "version": "1"})
    for result in played:
        journal.append(result)
    journal.close()
    assert [(one.day, one.net_pnl) for one in earlier_results(path, live=True)] == [
        (20457, Decimal(100)), (20458, Decimal(200)),
    ]  # fmt: skip
    assert earlier_results(path, live=False) == []
