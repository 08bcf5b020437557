"""Shadow agents that crash, hang or answer nonsense, and a daemon as a process with agents beside it."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from daemon.app import App
from daemon.core.clock import PacedClock, ReplayClock
from daemon.core.events import Action, ActorRestarted, Decision, Halt, ShadowResult, TimeAdvanced
from daemon.core.latency import FixedLatency, MeasuredLatency
from daemon.plan import RunPlan
from daemon.report.side_by_side import ShadowRow
from daemon.shadow.agents import Agent
from strategies.base import Moment, Strategy, decision
from strategies.rules import RulesStrategy
from tests.integration.daemons import running
from tests.integration.own_strategies import Hanging, Own, Raising
from tests.samples import LIVELY, MINUTE, OPEN, journaled, settings_of, wave, write_tape

CALM = (*LIVELY, "risk.stale_after_s=100000")
SECOND = "NSE:INFY-EQ"


class NoConfidence(Own):
    """Buys, and doesn't know how sure it is."""

    def decide(self, moment: Moment) -> Decision:
        """A share, and belief in it that is no number."""
        return decision(moment, self.name, Action.BUY_LONG, 100, math.nan, "nonsense")


class NoQuantity(Own):
    """Gives a quantity that is no number."""

    def decide(self, moment: Moment) -> Decision:
        """A NaN where units belong."""
        return decision(moment, self.name, Action.BUY_LONG, math.nan, 0.5, "nonsense")  # type: ignore[arg-type]


class Garbage(Own):
    """Answers with what is no decision."""

    def decide(self, moment: Moment) -> Decision:
        """None of the vocabulary."""
        return None  # type: ignore[return-value]


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve minutes of two instruments that swing together."""
    directory = tmp_path_factory.mktemp("tapes")
    times, prices = wave(12)
    return [
        write_tape(directory / f"{symbol[4:8]}.parquet", times, prices, symbol) for symbol in ("NSE:SBIN-EQ", SECOND)
    ]


def play_beside(
    tapes: list[Path], journal: Path, shadows: Sequence[Strategy], *overrides: str, minutes: int = 13, **changes: Any
) -> tuple[App, list[ShadowRow]]:
    """The rules in charge on the whole path, and strategies of ours beside them."""
    settings = settings_of(*CALM, *overrides)
    values: dict[str, Any] = {
        "tapes": tapes, "symbols": [], "clock": ReplayClock(), "latency": FixedLatency(0), "journal": journal,
        "durable": False, "restarts": True, "order_prefix": "T",
    }  # fmt: skip
    agents = [Agent(f"own{number}", strategy, settings) for number, strategy in enumerate(shadows)]
    in_charge: dict[str, Strategy] = {"rules": RulesStrategy(settings.strategy.rules)}
    app = App(settings, RunPlan(**(values | changes)), in_charge, agents)

    def stop(event: TimeAdvanced) -> None:
        if event.ts > OPEN + minutes * MINUTE:
            app.stop("enough")

    if "clock" in changes:
        app.bus.tap((TimeAdvanced,), stop)

    async def timed() -> None:
        async with asyncio.timeout(30):
            await app.run()

    asyncio.run(timed())
    return app, app.shadows.rows()


def real_part(journal: Path) -> list[tuple[Any, ...]]:
    """What is journaled, but for what shadows came to."""
    db = sqlite3.connect(journal)
    rows = db.execute(
        "SELECT ts, type, body FROM events WHERE type NOT IN ('ShadowResult', 'RunCounted') ORDER BY seq"
    ).fetchall()
    db.close()
    return rows


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Raising, "3 failed decisions in a row: ArithmeticError"),
        (NoConfidence, "expected a finite confidence"),
        (NoQuantity, "expected whole units, got nan"),
        (Garbage, "expected a decision, got NoneType"),
    ],
    ids=["raises", "NaN", "NaN units", "garbage"],
)
def test_a_sick_shadow_is_dropped_and_nobody_else_notices(
    tapes: list[Path], tmp_path: Path, kind: type[Own], reason: str
) -> None:
    """The run is that without it, the well one beside it goes on, and what became of it is journaled."""
    well = RulesStrategy(settings_of(*CALM).strategy.rules)
    play_beside(tapes, tmp_path / "alone", [])
    app, (real, sick, other) = play_beside(tapes, tmp_path / "j", [kind(), well])
    assert real_part(tmp_path / "j") == real_part(tmp_path / "alone")
    assert sick.dropped
    assert reason in sick.dropped
    assert sick.fills == 0
    assert (other.dropped, other.agreement, other.net_pnl) == ("", 1.0, real.net_pnl)
    assert app.supervisor.restarts == {}
    results = {one.agent: one for one in journaled(tmp_path / "j", ShadowResult)}
    assert results["own0"].dropped == sick.dropped
    assert results["own1"].dropped == ""


def test_a_shadow_that_hangs_is_left_behind(tapes: list[Path], tmp_path: Path) -> None:
    """On a paced tape: the one in charge decides every bar, is never halted, and the other is dropped at its limit."""
    own = Hanging()
    overrides = ("shadow.budget_ms=100", "supervisor.max_hangs_per_day=1")
    clock = {"clock": PacedClock(120.0), "latency": MeasuredLatency()}
    app, (real, hung) = play_beside(tapes, tmp_path / "j", [own], *overrides, **clock)
    own.for_ever.set()
    assert real.decisions == 24
    assert real.failed == 0
    assert hung.failed >= 2
    assert "hung" in hung.dropped
    assert app.supervisor.restarts == {}
    assert not journaled(tmp_path / "j", ActorRestarted)
    assert {event.shutdown for event in journaled(tmp_path / "j", Halt)} <= {True}


def test_a_replay_leaves_a_shadow_that_hangs(tapes: list[Path], tmp_path: Path) -> None:
    """It waits as long as for the one in charge, once, and goes on without it."""
    own = Hanging("SBIN-EQ")
    _, (real, hung) = play_beside(tapes, tmp_path / "j", [own], "supervisor.replay_hang_s=0.5")
    own.for_ever.set()
    assert real.decisions == 24
    assert "StrategyHung" in hung.dropped


def test_what_there_is_no_time_for_is_skipped_and_counted(tapes: list[Path], tmp_path: Path) -> None:
    """Two instruments close together: the budget is gone with one of them, and the other isn't asked."""
    overrides = ("shadow.budget_ms=300", "supervisor.max_hangs_per_day=1000", "supervisor.max_failed_decisions=1000")
    clock = {"clock": PacedClock(60.0), "latency": MeasuredLatency()}
    own = Hanging("INFY-EQ")
    _, (real, slow) = play_beside(tapes, tmp_path / "j", [own], *overrides, **clock)
    own.for_ever.set()
    assert real.decisions == 24
    assert slow.decisions == 24
    assert slow.failed >= 6
    assert slow.skipped >= 6
    assert slow.dropped == ""


def test_a_daemon_with_shadows(tmp_path: Path) -> None:
    """As a process: `ctl shadow`, `/shadow`, `/metrics`, a result in the journal at the end."""
    tape = write_tape(tmp_path / "t.parquet", *wave(40))
    agents = "shadow.agents=[{name: twin, strategy: rules}, {name: net, strategy: hrm, artifact: shipped}]"
    with running(tmp_path, tape, *CALM, agents, "feed.speed=60", "market.symbol_master.use=never") as daemon:
        daemon.until("a decision of the shadows", lambda: daemon.get("/shadow")[1][1]["decisions"] >= 5)
        rows = json.loads(daemon.ctl("shadow", "--json"))
        assert [row["name"] for row in rows] == ["in charge", "twin", "net"]
        assert rows[1]["agreement"] == 1.0
        shown = daemon.ctl("shadow")
        assert "twin" in shown
        assert "100.0 %" in shown
        assert daemon.terminate() == 0
        assert not [line for line in daemon.log if line["level"] == "error"]
    results = journaled(daemon.journal, ShadowResult)
    assert Counter(one.agent for one in results) == {"twin": 1, "net": 1}
    assert not any(one.whole for one in results)
    assert all(one.decisions >= 5 for one in results)


async def test_a_time_before_the_calendar_is_passed_over(tapes: list[Path]) -> None:
    """Whoever publishes it doesn't hear of it: shadows have no say on the main bus."""
    settings = settings_of(*CALM, "shadow.agents=[{name: twin, strategy: rules}]")
    plan = RunPlan(
        tapes=tapes, symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=None, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings, plan)
    app.bus.publish(TimeAdvanced(ts=1))
    app.close()


def test_a_shadow_thinks_after_every_decision_in_charge_of_a_close(tapes: list[Path], tmp_path: Path) -> None:
    """Of two instruments that close together both are decided before a shadow begins with either."""
    order: list[tuple[int, str]] = []

    class Noting(Own):
        """Notes when it was asked."""

        def __init__(self, who: str) -> None:
            super().__init__()
            self.who = who

        def decide(self, moment: Moment) -> Decision:
            """As asked."""
            order.append((moment.ts, self.who))
            return super().decide(moment)

    settings = settings_of(*CALM, "strategy.name=hrm")
    plan = RunPlan(
        tapes=tapes, symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=None, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings, plan, {"hrm": Noting("in charge")}, [Agent("own", Noting("shadow"), settings)])
    asyncio.run(app.run())
    assert order == sorted(order)
    assert Counter(who for _, who in order) == {"in charge": 24, "shadow": 24}
