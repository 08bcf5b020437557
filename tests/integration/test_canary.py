"""A candidate that decides for real on a share: who decides what, how it ends, and what a restart makes of it."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.app import App
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    Action,
    BeginCanary,
    CanaryChanged,
    CanaryState,
    Complexity,
    Decision,
    EndCanary,
    Event,
    Fill,
    Halt,
    MitigationTaken,
    OrderIntent,
    ShadowResult,
    StrategySwapped,
    SwapStrategy,
    TimeAdvanced,
)
from daemon.core.latency import FixedLatency
from daemon.journal.reader import JournalReader
from daemon.plan import RunPlan
from daemon.run.verifying import verify_journal
from daemon.shadow.agents import Agent, build_agents
from strategies.base import Moment, Strategy, decision
from strategies.rules import RulesStrategy
from tests.integration.own_strategies import Own
from tests.samples import LIVELY, MINUTE, OPEN, journaled, settings_of, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000", "market.max_overnight_percent=20")
SBIN, INFY = "NSE:SBIN-EQ", "NSE:INFY-EQ"
ON_INFY = f"canary.symbols=[{INFY}]"
EAGER = "shadow.agents=[{name: eager, strategy: rules, rules: {fast: 3}}]"


class Buying(Own):
    """Always buys 1,000."""

    def decide(self, moment: Moment) -> Decision:
        """As much as it may."""
        super().decide(moment)
        return decision(moment, self.name, Action.BUY_LONG, 1000, 0.9, "up")


class Breaking(Buying):
    """Buys until a close, and raises from it on."""

    def __init__(self, until: int, how: str = "raise") -> None:
        super().__init__()
        self.until = until
        self.how = how

    def decide(self, moment: Moment) -> Decision:
        """Buy, or break."""
        bought = super().decide(moment)
        if moment.ts < self.until:
            return bought
        if self.how == "raise":
            raise ArithmeticError("of no use")
        return decision(moment, self.name, Action.BUY_LONG, 100, math.nan, "sure")


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty minutes of two instruments."""
    return of_both(tmp_path_factory.mktemp("tapes"), *wave(20))


def of_both(directory: Path, times: list[int], prices: list[float]) -> list[Path]:
    """A tape each."""
    return [write_tape(directory / f"{symbol[4:8]}.parquet", times, prices, symbol) for symbol in (SBIN, INFY)]


def begin(minute: int, agent: str = "own") -> BeginCanary:
    """So many minutes after the open."""
    return BeginCanary(ts=OPEN + minute * MINUTE, agent=agent, who="anna", reason="a test")


def end(minute: int, *, promote: bool) -> EndCanary:
    """So many minutes after the open."""
    return EndCanary(ts=OPEN + minute * MINUTE, promote=promote, who="anna", reason="seen enough")


def play(
    tapes: list[Path], journal: Path, candidate: Strategy | None, commands: Sequence[Event], *overrides: str,
    look: Callable[[App, Event], None] | None = None, **changes: Any,
) -> App:  # fmt: skip
    """The rules in charge on the whole path, a candidate called own (or the settings' agents), and commands."""
    settings = settings_of(*CALM, ON_INFY, *overrides)
    values: dict[str, Any] = {
        "tapes": tapes, "symbols": [], "clock": ReplayClock(), "latency": FixedLatency(0), "journal": journal,
        "durable": False, "restarts": True, "order_prefix": "T",
    }  # fmt: skip
    clock = ReplayClock()
    agents = build_agents(settings, clock) if candidate is None else [Agent("own", candidate, settings)]
    app = App(settings, RunPlan(**(values | changes)), {"rules": RulesStrategy(settings.strategy.rules)}, agents)
    waiting = list(commands)

    def give(event: TimeAdvanced) -> None:
        while waiting and event.ts >= waiting[0].ts:  # type: ignore[attr-defined]
            app.bus.publish(waiting.pop(0))
        if look is not None:
            look(app, event)

    app.bus.tap((TimeAdvanced,), give)

    async def timed() -> None:
        async with asyncio.timeout(120):
            await app.run()

    asyncio.run(timed())
    return app


def check_each_bar_once(journal: Path) -> list[Decision]:
    """No bar undecided, none twice."""
    decisions = journaled(journal, Decision)
    asked = Counter((event.symbol, event.ts) for event in journaled(journal, Complexity))
    assert Counter((one.symbol, one.ts_bar) for one in decisions) == asked
    assert set(asked.values()) == {1}
    return decisions


def test_it_decides_on_its_share_and_on_nothing_else(tapes: list[Path], tmp_path: Path) -> None:
    """From its beginning to its end; its entries stay within their share of the limits; the journal verifies."""
    limits = ("risk.max_position_quantity=400", "risk.max_order_quantity=400", "canary.size=0.5")
    commands = [begin(5), end(12, promote=False)]
    app = play(tapes, tmp_path / "j", Buying(), commands, *limits, "canary.max_loss_bp=1000")
    decisions = check_each_bar_once(tmp_path / "j")
    for one in decisions:
        minute = (one.ts_bar - OPEN) // MINUTE
        share = one.symbol == INFY and 5 <= minute < 12
        if minute not in (5, 12):  # on the very bar either may decide
            assert one.strategy == ("canary:own" if share else "rules")
    bought = [intent for intent in journaled(tmp_path / "j", OrderIntent) if intent.strategy == "canary:own"]
    assert sum(fill.quantity for fill in journaled(tmp_path / "j", Fill) if fill.order_id == bought[0].order_id) == 200
    first, last = journaled(tmp_path / "j", CanaryChanged)
    assert (first.state, first.symbols, first.size, first.who) == (CanaryState.RUNNING, (INFY,), 0.5, "anna")
    assert (last.state, last.who, last.reason) == (CanaryState.ROLLED_BACK, "anna", "seen enough")
    assert app.supervisor.restarts == {}


@pytest.mark.parametrize("how", ["raise", "NaN"])
def test_one_that_breaks_is_rolled_back_and_its_position_is_the_others(
    tapes: list[Path], tmp_path: Path, how: str
) -> None:
    """Within so many closes, or at once; the ladder stays, and the rules take over what it holds."""
    sick = Breaking(OPEN + 9 * MINUTE, how)
    limits = ("supervisor.max_failed_decisions=2", "canary.max_loss_bp=1000")
    app = play(tapes, tmp_path / "j", sick, [begin(5)], *limits)
    decisions = check_each_bar_once(tmp_path / "j")
    failed = [one for one in decisions if one.strategy == "canary:own" and one.failed]
    assert 1 <= len(failed) <= (2 if how == "raise" else 1)  # its paper account may be the first to be dropped
    assert all(one.action is Action.HOLD for one in failed)
    last = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert (last.state, last.who, last.closes) == (CanaryState.ROLLED_BACK, "hrmd", ())
    assert ("ArithmeticError" if how == "raise" else "not finite") in last.reason
    assert {one.strategy for one in decisions if one.ts_bar > failed[-1].ts_bar} == {"rules"}
    assert not journaled(tmp_path / "j", StrategySwapped, MitigationTaken)
    assert app.supervisor.ladder.active == "rules"
    closed = [it for it in journaled(tmp_path / "j", OrderIntent) if it.symbol == INFY and it.reduces]
    assert closed
    assert closed[0].strategy == "rules"


def test_on_swap_close_closes_what_it_holds_and_nothing_else(tapes: list[Path], tmp_path: Path) -> None:
    """Of its symbols alone, at once."""
    play(tapes, tmp_path / "j", Buying(), [begin(5), end(9, promote=False)], "model_management.on_swap=close")
    last = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert last.closes == (INFY,)
    intents = journaled(tmp_path / "j", OrderIntent)
    by_risk = [it for it in intents if it.strategy == "risk" and it.ts < OPEN + 10 * MINUTE]
    assert [(it.symbol, it.reduces, it.reason) for it in by_risk] == [(INFY, True, "seen enough")]


def test_a_loss_ends_it(tapes: list[Path], tmp_path: Path) -> None:
    """Of its symbols since it began, of the starting cash."""
    play(tapes, tmp_path / "j", Buying(), [begin(5)], "canary.max_loss_bp=1")
    last = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert last.state is CanaryState.ROLLED_BACK
    assert "bp) on its instruments, the limit (canary.max_loss_bp) is 1" in last.reason


def test_a_step_down_the_ladder_ends_it(tapes: list[Path], tmp_path: Path) -> None:
    """Whoever takes it."""
    away = SwapStrategy(ts=OPEN + 9 * MINUTE, name="flat", reason="by hand")
    play(tapes, tmp_path / "j", Buying(), [begin(5), away])
    decisions = check_each_bar_once(tmp_path / "j")
    last = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert (last.state, last.reason) == (CanaryState.ROLLED_BACK, "flat is in charge instead of rules: by hand")
    assert {one.strategy for one in decisions if one.ts_bar > OPEN + 10 * MINUTE} == {"flat"}
    assert app_is_flat(tmp_path / "j")


def app_is_flat(journal: Path) -> bool:
    """Whether fills add up to nothing."""
    held: Counter[str] = Counter()
    for fill in journaled(journal, Fill):
        held[fill.symbol] += fill.side.sign * fill.quantity
    return not any(held.values())


@pytest.mark.parametrize(
    ("agent", "overrides", "before", "why"),
    [
        ("nobody", (), (), "agent: expected one of own, got 'nobody'"),
        ("own", (), (Halt(ts=OPEN + MINUTE, reason="x"),), "trading is HALTED; resume first"),
        ("own", (f"canary.symbols=[{SBIN}, {INFY}]", "canary.size=1"), (), "canary.size: expected below 1"),
        ("own", ("canary.symbols=[NSE:TCS-EQ]",), (), "canary.symbols: expected some of"),
    ],
)
def test_one_that_cannot_be_begun_changes_nothing(
    tapes: list[Path], tmp_path: Path, agent: str, overrides: tuple[str, ...], before: tuple[Event, ...], why: str
) -> None:
    """It is answered in a line."""
    play(tapes, tmp_path / "j", Buying(), [*before, begin(5, agent)], *overrides)
    (said,) = journaled(tmp_path / "j", CanaryChanged)
    assert said.state is CanaryState.ROLLED_BACK
    assert why in said.reason
    assert not [one for one in journaled(tmp_path / "j", Decision) if one.strategy != "rules"]


def test_a_second_one_is_refused_while_one_runs(tapes: list[Path], tmp_path: Path) -> None:
    """And the first goes on."""
    play(tapes, tmp_path / "j", Buying(), [begin(5), begin(7)], "canary.max_loss_bp=1000")
    (said,) = journaled(tmp_path / "j", CanaryChanged)
    assert said.state is CanaryState.RUNNING


def test_without_agents_there_is_none(tapes: list[Path], tmp_path: Path) -> None:
    """The line says where they are configured."""
    play(tapes, tmp_path / "j", None, [begin(5)])
    (said,) = journaled(tmp_path / "j", CanaryChanged)
    assert said.reason == "not begun: no shadow agent is configured (shadow.agents)"


@pytest.mark.parametrize("symbol", [SBIN, INFY])
def test_it_decides_after_the_one_in_charge(tapes: list[Path], tmp_path: Path, symbol: str) -> None:
    """Of a close, so that however long it takes, or hangs, the one in charge has decided by then."""
    order: list[tuple[int, str]] = []

    class Noting(Own):
        """Notes when it was asked."""

        def __init__(self, who: str) -> None:
            super().__init__()
            self.who = who

        def renewed(self) -> Noting:
            """Who decides for real."""
            return Noting(f"{self.who} for real")

        def decide(self, moment: Moment) -> Decision:
            """As asked."""
            order.append((moment.ts, self.who))
            return super().decide(moment)

    settings = settings_of(*CALM, "strategy.name=hrm", f"canary.symbols=[{symbol}]")
    plan = RunPlan(
        tapes=tapes, symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=tmp_path / "j", durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings, plan, {"hrm": Own()}, [Agent("own", Noting("b"), settings)])
    app.strategy.strategies["hrm"] = Noting("a")
    app.bus.tap((TimeAdvanced,), once(app, begin(5)))
    asyncio.run(app.run())
    for_real = [(ts, who) for ts, who in order if who in ("a", "b for real")]
    assert for_real == sorted(for_real)
    assert Counter(who for _, who in for_real)["b for real"] >= 14


# -- evidence ---------------------------------------------------------------------------------------------------------


SLOW = "strategy.interval=5m"
NEVER = ("canary.alpha=0.0001", "canary.max_sessions=99", "canary.max_loss_bp=1000", "canary.bound_bp=1")


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four sessions for bars of five minutes: their first two hours, and the last minutes."""
    seconds = np.r_[np.arange(1, 120 * 60, 50), np.arange(355 * 60 + 1, 375 * 60, 50)]
    return swinging(tmp_path_factory.mktemp("days"), seconds)


def swinging(directory: Path, seconds: NDArray[np.int64]) -> list[Path]:
    """Four sessions of a price that swings slowly, a tick at each of these seconds after the open."""
    prices = np.round(800 + 8 * np.sin(seconds / 6000 * 2 * np.pi), 1).tolist()
    times = [OPEN + day * 1440 * MINUTE + int(second) * NS_PER_S for day in range(4) for second in seconds]
    return of_both(directory, times, prices * 4)


def test_sessions_are_judged_by_two_virtual_accounts(days: list[Path], tmp_path: Path) -> None:
    """The candidate's own less that of the one in charge alone, whole sessions since it began; verified after it."""
    play(days, tmp_path / "j", None, [begin(5, "eager")], EAGER, *NEVER, SLOW)
    results = {(one.agent, one.day): one for one in journaled(tmp_path / "j", ShadowResult)}
    said = journaled(tmp_path / "j", CanaryChanged)
    champions = {day for agent, day in results if agent == "in charge"}
    assert len(champions) == 3
    judged = dict(said[-1].judged)
    assert set(judged) == champions
    cash = settings_of(*CALM).broker.starting_cash
    for day, difference in judged.items():
        of_two = results["eager", day].net_pnl - results["in charge", day].net_pnl
        assert difference == pytest.approx(float(of_two / cash) * 10_000)
        assert results["eager", day].mixed
    assert any(judged.values())
    verified = verify_journal(tmp_path / "j")
    assert verified.canary == ""
    assert verified.decisions == len(journaled(tmp_path / "j", Decision))


def test_the_virtual_account_of_the_one_in_charge_is_what_it_earns_alone(days: list[Path], tmp_path: Path) -> None:
    """To the paisa: no share that a candidate took is missing from it."""
    play(days, tmp_path / "alone", None, [], EAGER, SLOW)
    alone = {one.day: one.real_net_pnl for one in journaled(tmp_path / "alone", ShadowResult)}
    play(days, tmp_path / "j", None, [begin(5, "eager")], EAGER, *NEVER, SLOW)
    beside = {one.day: one for one in journaled(tmp_path / "j", ShadowResult) if one.agent == "in charge"}
    assert len(beside) == 3
    assert {day: one.net_pnl for day, one in beside.items()} == {day: alone[day] for day in beside}
    assert any(one.real_net_pnl != one.net_pnl for one in beside.values())


def test_a_canary_changes_no_decision_before_it(days: list[Path], tmp_path: Path) -> None:
    """And none after it that its positions don't change: with none, all are as without it."""
    play(days, tmp_path / "alone", None, [], EAGER, SLOW)
    play(days, tmp_path / "j", Own(), [begin(5)], "canary.max_loss_bp=1000", SLOW)
    alone = [one for one in journaled(tmp_path / "alone", Decision) if one.symbol == SBIN]
    assert [one for one in journaled(tmp_path / "j", Decision) if one.symbol == SBIN] == alone


def test_a_restart_goes_on_with_it(days: list[Path], tmp_path: Path) -> None:
    """State, symbols, evidence: as they were; what was judged is not judged again."""

    def stop(app: App, event: Event) -> None:
        if event.ts > OPEN + 2 * 1440 * MINUTE + 60 * MINUTE:  # type: ignore[attr-defined]
            app.stop("enough")

    play(days, tmp_path / "j", None, [begin(5, "eager")], EAGER, *NEVER, SLOW, look=stop, recover=True)
    before = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert before.sessions == 1
    app = play(days, tmp_path / "j", None, [], EAGER, *NEVER, SLOW, recover=True, order_prefix="U")
    first, *_, last = journaled(tmp_path / "j", CanaryChanged)
    assert (first.state, first.symbols, first.judged, first.better, first.worse, first.base_pnl) == (
        CanaryState.RUNNING, (INFY,), before.judged, before.better, before.worse, before.base_pnl,
    )  # fmt: skip
    assert first.reason == f"as before the restart: {before.reason}"
    assert dict(last.judged).keys() > dict(first.judged).keys()
    assert dict(last.judged).items() >= dict(first.judged).items()
    assert app.canary.running is not None
    assert {one.strategy for one in check_each_bar_once(tmp_path / "j") if one.symbol == INFY} == {"canary:eager"}


def test_a_restart_without_its_agent_ends_it(tapes: list[Path], tmp_path: Path) -> None:
    """In a line."""
    play(tapes, tmp_path / "j", None, [begin(5, "eager")], EAGER, recover=True)
    play(tapes, tmp_path / "j", None, [], recover=True, order_prefix="U")
    (said,) = journaled(tmp_path / "j", CanaryChanged)
    assert said.state is CanaryState.ROLLED_BACK
    assert said.reason == "can't go on after the restart: no shadow agent is called eager any more"


def test_a_candidate_that_verify_cannot_build_is_named_and_counted(tapes: list[Path], tmp_path: Path) -> None:
    """All others are made again."""
    play(tapes, tmp_path / "j", Buying(), [begin(5)])
    found = verify_journal(tmp_path / "j")
    decisions = journaled(tmp_path / "j", Decision)
    skipped = sum(one.strategy == "canary:own" for one in decisions)
    assert skipped > 3
    assert found.decisions == len(decisions) - skipped
    assert found.canary == f"{skipped} of canary:own can't be made again: the run's settings have no shadow agent own"


# -- verdicts ---------------------------------------------------------------------------------------------------------

SURE = ("canary.alpha=0.49", "canary.bound_bp=0.05", "canary.max_loss_bp=1000")
"""A session or two prove everything."""
IDLE = "shadow.agents=[{name: idle, strategy: rules, rules: {min_trend: 99}}]"
"""Never trades, and loses against one that earns on a wave."""
BUSY = ("strategy.rules.min_trend=99", "shadow.agents=[{name: busy, strategy: rules, rules: {min_trend: 0}}]")
"""The other way round."""


def test_one_that_proves_worse_is_rolled_back_by_itself(days: list[Path], tmp_path: Path) -> None:
    """The proof is in the words."""
    play(days, tmp_path / "j", None, [begin(5, "idle")], IDLE, *SURE, SLOW)
    last = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert (last.state, last.who) == (CanaryState.ROLLED_BACK, "hrmd")
    assert last.reason.startswith("worse by more than 0 bp a session")
    assert check_each_bar_once(tmp_path / "j")[-1].strategy == "rules"


@pytest.mark.parametrize("promote", ["ask", "auto"])
def test_one_that_proves_better_but_is_no_rung_waits_for_a_person(
    days: list[Path], tmp_path: Path, promote: str
) -> None:
    """Both say what has to be done, and it goes on."""
    app = play(days, tmp_path / "j", None, [begin(5, "busy")], *BUSY, *SURE, SLOW, f"canary.promote={promote}")
    last = journaled(tmp_path / "j", CanaryChanged)[-1]
    assert last.state is CanaryState.RUNNING
    assert last.better >= 1 / 0.49
    assert "to put busy in charge set strategy.name: rules and strategy.rules as its own" in last.reason
    assert app.canary.why_not_begin("busy").startswith("a canary of busy runs")


@pytest.mark.parametrize("promote", ["ask", "auto"])
def test_one_that_is_a_rung_of_the_ladder_is_put_in_charge_by_it(
    days: list[Path], tmp_path: Path, promote: str
) -> None:
    """By itself where the settings say so, else in the name of who said so; every bar is decided once."""
    hrm = ("strategy.name=hrm", "shadow.agents=[{name: idle, strategy: rules}]", "strategy.rules.min_trend=99")
    settings = settings_of(*CALM, ON_INFY, *hrm, *SURE, SLOW, f"canary.promote={promote}")
    rules = RulesStrategy(settings.strategy.rules)
    plan = RunPlan(
        tapes=days, symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=tmp_path / "j", durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings, plan, {"hrm": Churning(), "rules": rules}, build_agents(settings, ReplayClock()))
    app.bus.tap((TimeAdvanced,), once(app, begin(5, "idle")))
    if promote == "ask":
        app.bus.tap((TimeAdvanced,), once(app, end(12, promote=True)))
    asyncio.run(app.run())
    said, swaps = journaled(tmp_path / "j", CanaryChanged), journaled(tmp_path / "j", StrategySwapped)
    who, why = ("anna", "seen enough") if promote == "ask" else ("", "better by more than 0 bp")
    assert [(swap.new, swap.who) for swap in swaps] == [("rules", who)]
    assert (said[-1].state, said[-1].who) == (CanaryState.PROMOTED, who or "hrmd")
    assert said[-1].reason.startswith(f"canary idle: {why}")
    deciders = [one.strategy for one in check_each_bar_once(tmp_path / "j") if one.ts_bar > swaps[0].ts]
    assert set(deciders) == {"rules"}


class Churning(Own):
    """Buys and sells again at every other close, and pays for it."""

    def decide(self, moment: Moment) -> Decision:
        """The other side."""
        action = Action.CLOSE_LONG if moment.position else Action.BUY_LONG
        return decision(moment, self.name, action, 100, 0.5, "churn")


def once(app: App, command: BeginCanary | EndCanary) -> Callable[[TimeAdvanced], None]:
    """Gives a command at its time."""
    waiting = [command]

    def give(event: TimeAdvanced) -> None:
        if waiting and event.ts >= command.ts:
            app.bus.publish(waiting.pop())

    return give


def test_a_shortened_journal_verifies_and_goes_on(tmp_path: Path) -> None:
    """The run begins with a note of the canary that ran by then."""
    cut: list[int] = []
    days = swinging(tmp_path, np.arange(1, 375 * 60, 50))  # more bars than a decision sees

    def shorten(app: App, event: Event) -> None:
        ts = event.ts  # type: ignore[attr-defined]
        if ts > OPEN + 2 * 1440 * MINUTE + 60 * MINUTE and not cut:
            cut.append(ts)
            app.bus.when_idle(lambda: app.bus.publish(app.snapshot()))
        elif cut and ts > cut[0] + MINUTE and len(cut) == 1:
            cut.append(ts)
            assert app.journal is not None
            app.journal.shorten(0, ts)

    play(days, tmp_path / "j", None, [begin(5, "eager")], EAGER, *NEVER, SLOW, look=shorten, recover=True)
    reader = JournalReader(tmp_path / "j")
    noted = msgspec.json.decode(reader.metadata()["canary"], type=CanaryChanged)
    reader.close()
    assert (noted.state, noted.sessions) == (CanaryState.RUNNING, 1)
    assert not journaled(tmp_path / "j", BeginCanary)
    found = verify_journal(tmp_path / "j")
    assert (found.canary, found.decisions + found.passed_over) == ("", len(journaled(tmp_path / "j", Decision)))
    assert found.decisions > 0
    app = play(days, tmp_path / "j", None, [], EAGER, *NEVER, SLOW, recover=True, order_prefix="U")
    assert app.canary.newest is not None
    assert app.canary.newest.judged[:1] == noted.judged
