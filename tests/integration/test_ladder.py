"""The ladder looks after itself: starts without a model, strategies that are unwell, locks over restarts, verify."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    Decision,
    EaseStrategy,
    LockStrategy,
    Mitigation,
    MitigationTaken,
    StrategySwapped,
    SwapStrategy,
)
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.run.verifying import verify_journal
from strategies.base import NOT_FINITE, RAISED, Moment
from strategies.hrm import HRMStrategy
from strategies.rules import RulesStrategy
from tests.integration.daemons import MAIN, ROOT, running
from tests.integration.test_run import CALM
from tests.samples import HRM, LIVELY, MINUTE, OPEN, SBIN, journaled, settings_of, wave, write_tape

LADDER = "supervisor.ladder=[hrm, ppo, rules, flat]"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session."""
    return write_tape(tmp_path_factory.mktemp("day") / "wave.parquet", *wave(375, every_s=1))


def test_a_damaged_model_starts_on_the_next_rung(day: Path, tmp_path: Path) -> None:
    """PPO is in charge, and log, status, health and journal say why; a lock and its reason survive a restart."""
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(b"nothing")
    changes = (*CALM, "strategy.name=hrm", LADDER, f"model_management.artifact={damaged}", "feed.speed=20")
    with running(tmp_path, day, *changes) as daemon:
        daemon.until("it has recovered", lambda: daemon.status()["strategy_reason"])
        status = daemon.status()
        assert status["strategy"] == "ppo"
        assert status["strategy_reason"].startswith(f"hrm can't be built: {damaged}")
        assert status["strategies"] == ["ppo", "rules", "flat"]
        assert set(status["strategies_missing"]) == {"hrm"}
        code, health = daemon.get("/healthz")
        assert (code, health["state"]) == (200, "degraded")
        assert "hrm can't be built, ppo is in charge" in health["warnings"]
        assert any(str(damaged) in warning for warning in status["warnings"])
        assert [line["rung"] for line in daemon.log if line["level"] == "error"] == ["hrm"]
        assert "rollback to rules accepted" in daemon.ctl("rollback", "--reason", "odd")
        daemon.until("the rules", lambda: daemon.status()["strategy"] == "rules")
        daemon.ctl("lock", "--reason", "I watch it")
        daemon.until("locked", lambda: daemon.status()["strategy_lock"] == "I watch it")
        daemon.until("decisions", lambda: daemon.status()["decisions"])
        assert daemon.terminate() == 0
    (tmp_path / "notify").unlink()
    assert [event.reason for event in journaled(daemon.journal, SwapStrategy)] == ["rollback: odd"]
    with running(tmp_path, day, *changes) as daemon:
        daemon.until("locked", lambda: daemon.status()["strategy_lock"] == "as before the restart: I watch it")
        assert daemon.status()["strategy"] == "rules"
        assert daemon.status()["strategy_reason"] == "as before the restart: rollback: odd"
        daemon.ctl("unlock")
        daemon.until("unlocked", lambda: daemon.status()["strategy_lock"] == "")
        assert daemon.terminate() == 0
    assert [event.locked for event in journaled(daemon.journal, LockStrategy)] == [True, False]


def test_a_strict_start_ends_with_one_line(day: Path, tmp_path: Path) -> None:
    """Exit 2, the file named."""
    changes = ("strategy.name=hrm", f"model_management.artifact={tmp_path / 'none.safetensors'}", f"feed.tape=[{day}]",
               f"journal.path={tmp_path / 'j.sqlite'}", f"control.token_file={tmp_path / 'token'}")  # fmt: skip
    options = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-c", MAIN, "run", "--strict", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "none.safetensors" in line]
    assert "no such file" in line


def test_a_mended_model_is_in_charge_again(day: Path, tmp_path: Path) -> None:
    """A rung that was taken only because the better one couldn't be built is left when it can."""
    journal, artifact = tmp_path / "j.sqlite", tmp_path / "m.safetensors"
    for content, wanted in ((b"nothing", "rules"), (None, "hrm")):
        if content is None:
            HRMStrategy.load(
                None, 1, settings_of(*HRM).hierarchical_reasoning_model, ReplayClock()
            ).agent.save_model(artifact)  # fmt: skip
        else:
            artifact.write_bytes(content)
        settings = settings_of(*LIVELY, *HRM, "strategy.interval=1m", f"model_management.artifact={artifact}")
        app = App(settings, plan_of(day, journal, "A" if content else "B"))
        run(app, 10)
        assert app.supervisor.ladder.active == wanted
        assert {one.strategy for one in journaled(journal, Decision)} == {wanted}
        assert verify_journal(journal).decisions > 0


@pytest.mark.parametrize(
    ("kind", "most", "trigger"),
    [("two_of_three", 11, "error_rate"), ("slow", 11, "latency"), ("no_number", 4, "failed_in_a_row")],
)
def test_a_strategy_that_is_unwell_is_replaced(day: Path, tmp_path: Path, kind: str, most: int, trigger: str) -> None:
    """66 % failures, ten times the deadline, answers that are no numbers: the rules, within so many decisions."""
    changes = ("strategy.name=hrm", "feed.speed=60")
    with running(tmp_path, day, *CALM, *changes, program=("-m", "tests.integration.own_strategies", kind)) as daemon:
        daemon.until("the rules", lambda: daemon.status()["strategy"] == "rules")
        daemon.until("a decision of theirs", lambda: daemon.get("/decisions")[1][0]["strategy"] == "rules")
        assert daemon.terminate() == 0
    decisions = [one for one in journaled(daemon.journal, Decision) if one.strategy == "hrm"]
    assert len(decisions) <= most
    assert {one.action.name for one in decisions} == {"HOLD"}
    if kind == "no_number":
        assert decisions[0].halt_reason == NOT_FINITE
    (taken,) = journaled(daemon.journal, MitigationTaken)
    assert (taken.step, taken.trigger, taken.strategy) == (Mitigation.STEP_DOWN, trigger, "hrm")
    (swap,) = journaled(daemon.journal, StrategySwapped)
    assert swap.reason == taken.evidence


# -- the HRM in a replay ----------------------------------------------------------------------------------------------

CARRIED = (
    *LIVELY, *HRM, "strategy.interval=1m", "hierarchical_reasoning_model.carry_state=session",
    "hierarchical_reasoning_model.act.max_segments=4", "performance.runtime=torch",
)  # fmt: skip


def plan_of(tape: Path, journal: Path, prefix: str = "T", *, restarts: bool = True) -> RunPlan:
    """A run on a tape."""
    return RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=journal, durable=False,
        restarts=restarts, order_prefix=prefix, recover=restarts,
    )  # fmt: skip


def run(app: App, minutes: int) -> None:
    """So long on the tape."""

    def stop(event: Any) -> None:
        if event.ts_bar >= OPEN + minutes * MINUTE:
            app.stop("enough")

    app.bus.tap((Decision,), stop)

    async def timed() -> None:
        async with asyncio.timeout(120):
            await app.run()

    asyncio.run(timed())


class Unwell(HRMStrategy):
    """The real one, but that it raises at two closes of three, from the tenth on; one made anew is no better."""

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Raise or reason."""
        close = (moment.ts - OPEN) // MINUTE
        if close >= 10 and close % 3:
            raise ArithmeticError("of no use")
        return super().decide_since(moment, asked_ns, waiting)

    def renewed(self) -> HRMStrategy:
        """As bad as this one."""
        fresh = super().renewed()
        fresh.__class__ = Unwell
        return fresh


def own(kind: type[HRMStrategy], clock: ReplayClock) -> HRMStrategy:
    """An untrained one of ours."""
    settings = settings_of(*CARRIED)
    return kind.load(None, settings.model_management.seed, settings.hierarchical_reasoning_model, clock)


@pytest.mark.nightly
def test_caches_renewal_and_the_step_down_verify(day: Path, tmp_path: Path) -> None:
    """With what the model carries from bar to bar, twice the same, and made again bit for bit."""
    heard = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.sqlite"
        plan = plan_of(day, path, restarts=False)
        settings = settings_of(*CARRIED)
        app = App(settings, plan, {"hrm": own(Unwell, plan.clock), "rules": RulesStrategy(settings.strategy.rules)})  # type: ignore[arg-type]
        run(app, 60)
        steps = [taken.step for taken in journaled(path, MitigationTaken)]
        assert steps == [Mitigation.CLEAR_CACHES, Mitigation.RENEW, Mitigation.STEP_DOWN]
        decisions = journaled(path, Decision)
        assert sum(one.strategy == "hrm" for one in decisions) <= 42
        assert sum(one.segments > 0 for one in decisions) > 10
        assert {one.halt_reason for one in decisions} >= {RAISED}
        assert verify_journal(path).decisions == len(decisions)
        heard.append(decisions)
    assert heard[0] == heard[1]


def test_less_depth_and_one_cycle_verify(day: Path, tmp_path: Path) -> None:
    """From the next close on; put in charge anew it has all its depth."""
    path = tmp_path / "j.sqlite"
    app = App(settings_of(*CARRIED), plan_of(day, path, restarts=False))
    asked = {15: Mitigation.LESS_DEPTH, 25: Mitigation.SINGLE_CYCLE}

    def disturb(decision: Any) -> None:
        close = (decision.ts_bar - OPEN) // MINUTE
        if close in asked and decision.symbol == SBIN:
            app.bus.publish(EaseStrategy(decision.ts, asked[close], "hrm", "a test", ""))
        if close == 35:
            for name in ("rules", "hrm"):
                app.bus.publish(SwapStrategy(ts=decision.ts, name=name, reason="a test"))

    app.bus.tap((Decision,), disturb)
    run(app, 45)
    depth = {(one.ts_bar - OPEN) // MINUTE: (one.segments, one.halt_reason) for one in journaled(path, Decision)}
    assert {depth[n][0] for n in range(8, 16)} <= {1, 2, 3, 4}
    assert max(depth[n][0] for n in range(8, 16)) > 2
    assert {depth[n] for n in range(16, 26)} == {(2, "limited")}
    assert {depth[n] for n in range(26, 36)} == {(1, "single_cycle")}
    assert max(depth[n][0] for n in range(36, 45)) > 2
    assert [taken.step for taken in journaled(path, MitigationTaken)] == list(asked.values())
    assert verify_journal(path).decisions == len(depth)
