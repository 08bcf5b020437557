"""Strategies that hang, raise or are slow, in the whole daemon: what becomes of the day, and of the process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from daemon.app import App
from daemon.core.clock import PacedClock, ReplayClock
from daemon.core.errors import Fault
from daemon.core.events import ActorRestarted, Decision, Flatten, Halt, StrategySwapped, SwapStrategy, TimeAdvanced
from daemon.core.latency import FixedLatency, MeasuredLatency
from daemon.plan import RunPlan
from daemon.run.verifying import verify_journal
from daemon.run.view import DaemonView
from strategies.base import HUNG, LATE, RAISED, UNFIT, Moment, Strategy
from strategies.hrm import HRMStrategy
from strategies.rules import RulesStrategy
from tests.integration.daemons import running
from tests.integration.own_strategies import Hanging, Raising
from tests.integration.test_run import CALM, pending
from tests.samples import HRM, LIVELY, MINUTE, OPEN, journaled, settings_of, wave, write_tape

OURS = (*LIVELY, "strategy.name=hrm", "risk.stale_after_s=100000", "model_management.artifact=null")
SYMBOLS = ("NSE:SBIN-EQ", "NSE:INFY-EQ", "NSE:TCS-EQ", "NSE:ITC-EQ", "NSE:ONGC-EQ", "NSE:NTPC-EQ")


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve minutes of six instruments that swing together."""
    directory = tmp_path_factory.mktemp("tapes")
    times, prices = wave(12)
    return [write_tape(directory / f"{n}.parquet", times, prices, symbol) for n, symbol in enumerate(SYMBOLS)]


def app_of(tapes: list[Path], journal: Path, own: Strategy, *overrides: str, **changes: Any) -> App:
    """The whole path with a strategy of ours in the HRM's place."""
    settings = settings_of(*OURS, *overrides)
    values: dict[str, Any] = {
        "tapes": tapes, "symbols": [], "clock": ReplayClock(), "latency": FixedLatency(0), "journal": journal,
        "durable": False, "restarts": True, "order_prefix": "T",
    }  # fmt: skip
    strategies: dict[str, Strategy] = {"hrm": own, "rules": RulesStrategy(settings.strategy.rules)}
    return App(settings, RunPlan(**(values | changes)), strategies)


def paced(speed: float) -> dict[str, Any]:
    """A run whose tape's time goes on with the machine's."""
    return {"clock": PacedClock(speed), "latency": MeasuredLatency()}


def run(app: App, minutes: int = 13) -> None:
    """So long on the tape, past its last tick unless told, but not for ever."""

    def stop(event: TimeAdvanced) -> None:
        if event.ts > OPEN + minutes * MINUTE:
            app.stop("enough")

    app.bus.tap((TimeAdvanced,), stop)

    async def timed() -> None:
        async with asyncio.timeout(120):
            await app.run()

    asyncio.run(timed())


def test_an_exception_is_a_failure_of_who_raised_it(tapes: list[Path], tmp_path: Path) -> None:
    """Three closes of six instruments, and the rules take over; they trade on, nothing is closed, nothing restarted."""
    path, own = tmp_path / "j.sqlite", Raising()
    run(app_of(tapes, path, own))
    failed = [decision for decision in journaled(path, Decision) if decision.failed]
    assert {(decision.strategy, decision.halt_reason) for decision in failed} == {("hrm", RAISED)}
    assert failed[0].reason == "ArithmeticError: of no use"
    assert len({decision.ts_bar for decision in failed}) == 3
    assert set(own.asked) == set(SYMBOLS)
    (swap,) = journaled(path, StrategySwapped)
    assert (swap.old, swap.new) == ("hrm", "rules")
    assert swap.reason == "3 failed decisions in a row: ArithmeticError: of no use"
    assert journaled(path, Flatten, ActorRestarted) == []
    later = [decision for decision in journaled(path, Decision) if decision.ts_bar > failed[-1].ts_bar]
    assert {decision.strategy for decision in later} == {"rules"}
    assert len(later) == 6 * len({decision.ts_bar for decision in later}) > 0


def test_one_bad_close_changes_nothing(tapes: list[Path], tmp_path: Path) -> None:
    """All six fail at two closes, and the third is fine: the model stays in charge."""
    path, own = tmp_path / "j.sqlite", Raising(until=OPEN + 3 * MINUTE)
    run(app_of(tapes, path, own))
    assert sum(decision.failed for decision in journaled(path, Decision)) == 12
    assert journaled(path, StrategySwapped) == []
    assert {decision.strategy for decision in journaled(path, Decision)} == {"hrm"}


def test_a_stepped_down_strategy_can_be_put_in_charge_again(tapes: list[Path], tmp_path: Path) -> None:
    """By command, with a clean record."""
    path, own = tmp_path / "j.sqlite", Raising(until=OPEN + 4 * MINUTE)
    app = app_of(tapes, path, own)

    def back(event: TimeAdvanced) -> None:
        if event.ts == OPEN + 6 * MINUTE + app.settings.bars.grace_ms * 1_000_000:
            app.bus.publish(SwapStrategy(ts=event.ts, name="hrm", reason="mended"))

    app.bus.tap((TimeAdvanced,), back)
    run(app)
    assert [(swap.old, swap.new) for swap in journaled(path, StrategySwapped)] == [("hrm", "rules"), ("rules", "hrm")]
    assert journaled(path, Decision)[-1].strategy == "hrm"


def test_a_hang_steps_down_while_the_tape_goes_on(tapes: list[Path], tmp_path: Path) -> None:
    """Each hang is a failed HOLD and health says so; the rules decide the next bars, and are well."""
    path, own, ill = tmp_path / "j.sqlite", Hanging(), []
    app = app_of(tapes, path, own, "supervisor.hang_grace_s=0.2", "supervisor.max_hangs_per_day=1", **paced(60))
    view = DaemonView(app, "a test")
    app.bus.tap((StrategySwapped,), lambda _: ill.append(view.health().reasons))
    before = threading.active_count()
    run(app, 6)
    decisions = journaled(path, Decision)
    hung = [decision for decision in decisions if decision.failed]
    assert [decision.halt_reason for decision in hung][:2] == [HUNG, UNFIT]
    assert {decision.halt_reason for decision in hung[2:]} <= {UNFIT}
    assert all(decision.action.name == "HOLD" and "hung" in decision.reason for decision in hung)
    assert {decision.halt_reason for decision in decisions if decision.strategy == "hrm"} >= {HUNG, UNFIT, LATE}
    (swap,) = journaled(path, StrategySwapped)
    assert (swap.new, "2 times today" in swap.reason) == ("rules", True)
    assert ill[0][0].startswith("symbols whose last decision failed: ")
    assert "hrm hung" in ill[0][0]
    assert decisions[-1].strategy == "rules"
    assert view.health().reasons == ["stopping: enough"]
    assert decisions[-1].ts_bar >= OPEN + 5 * MINUTE
    assert threading.active_count() <= before + 2  # those that hang, and nothing more
    assert len(own.asked) == 2


def test_one_instrument_that_hangs_takes_nothing_from_the_others_for_long(tapes: list[Path], tmp_path: Path) -> None:
    """At the next close it comes last, and the others have their decisions."""
    path = tmp_path / "j.sqlite"
    app = app_of(
        tapes, path, Hanging("INFY-EQ"), "supervisor.hang_grace_s=0.3", "supervisor.max_hangs_per_day=9",
        "supervisor.max_failed_decisions=2", **paced(40)
    )  # fmt: skip
    run(app, 4)
    decisions = journaled(path, Decision)
    first, second = ([d for d in decisions if d.ts_bar == OPEN + n * MINUTE] for n in (1, 2))
    place = next(n for n, decision in enumerate(first) if decision.failed)
    assert [d.halt_reason for d in first] == [*[""] * place, HUNG, *[LATE] * (5 - place)]
    assert [d.halt_reason for d in second] == [*[""] * 5, HUNG]
    (swap,) = journaled(path, StrategySwapped)  # what is held of it would never be looked after
    assert swap.reason.startswith("2 failed decisions in a row: hung")


def test_a_replay_of_a_hang_ends_with_a_fault(tapes: list[Path], tmp_path: Path) -> None:
    """Which names the strategy, the instrument and the limit."""
    path = tmp_path / "j.sqlite"
    app = app_of(tapes, path, Hanging(), "supervisor.replay_hang_s=0.3", restarts=False)
    with pytest.raises(
        Fault, match=r"StrategyHung: strategy hrm, NSE:[A-Z]+-EQ@[-\dT:]+: hung: no answer within 0.3 s"
    ):
        run(app)
    assert journaled(path, Decision) == []


class Unwell(HRMStrategy):
    """The real one, but for its first closes: then it raises, then it hangs; made anew it is the real one."""

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """Raise, hang, or reason."""
        close = (moment.ts - OPEN) // MINUTE
        if close == 7:
            raise ArithmeticError("of no use")
        if close == 8:
            threading.Event().wait()
        return super().decide_since(moment, asked_ns, waiting)


def test_a_journal_with_failures_verifies(tapes: list[Path], tmp_path: Path) -> None:
    """What the model reasoned before and after, with what it remembers from bar to bar, is made again bit for bit."""
    path = tmp_path / "j.sqlite"
    changes = (
        *HRM, "strategy.interval=1m", "hierarchical_reasoning_model.carry_state=session", "supervisor.hang_grace_s=0.5",
        "hierarchical_reasoning_model.act.deadline_ms=2000", "performance.runtime=torch",
    )  # fmt: skip
    settings, clock = settings_of(*OURS, *changes), PacedClock(60)
    seed = settings.model_management.seed
    own = Unwell.load(None, seed, settings.hierarchical_reasoning_model, clock)
    app = app_of(tapes[:1], path, own, *changes, clock=clock, latency=MeasuredLatency())
    run(app)
    decisions = journaled(path, Decision)
    assert [d.halt_reason for d in decisions[6:8]] == [RAISED, HUNG]
    assert [bool(d.segments) for d in decisions] == [
        *[False] * 4,
        True,
        True,
        False,
        False,
        *[True] * (len(decisions) - 8),
    ]
    assert len(decisions) >= 11
    assert type(app.strategy.strategies["hrm"]) is HRMStrategy
    assert verify_journal(path).decisions == len(decisions)


# -- the process -------------------------------------------------------------------------------------------------------

HANGING = ("-m", "tests.integration.own_strategies", "hanging")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole session."""
    return write_tape(tmp_path_factory.mktemp("day") / "wave.parquet", *wave(375, every_s=1))


def test_a_daemon_whose_model_hangs_is_told_and_steps_down(day: Path, tmp_path: Path) -> None:
    """Time goes on, `/healthz` says why it is ill, the rules take over, `hrmd ctl strategy` puts it back, exit 0."""
    changes = ("strategy.name=hrm", "supervisor.hang_grace_s=0.5", "supervisor.max_hangs_per_day=0", "feed.speed=20")
    with running(tmp_path, day, *CALM, *changes, program=HANGING) as daemon:
        ill = "symbols whose last decision failed: 1 (hrm hung too often)"
        code, _ = daemon.until("ill", lambda: ill in (got := daemon.get("/healthz"))[1].get("reasons", [])[:1] and got)
        assert code == 503
        daemon.until("the rules", lambda: daemon.status()["strategy"] == "rules")
        assert daemon.status()["strategies"] == ["hrm", "rules", "flat"]
        daemon.until("well again", lambda: daemon.get("/healthz")[0] == 200)
        assert "strategy accepted" in daemon.ctl("strategy", "hrm", "--reason", "again")
        daemon.until("the second step", lambda: len(swaps(daemon.log)) == 3)
        assert daemon.terminate() == 0
    assert swaps(daemon.log) == [("hrm", "rules"), ("rules", "hrm"), ("hrm", "rules")]
    ended_in_order(daemon.journal)
    assert [event.reason for event in journaled(daemon.journal, SwapStrategy)] == ["again"]


def test_sigterm_while_a_model_hangs(day: Path, tmp_path: Path) -> None:
    """With hours of grace nobody steps in: the end is in order all the same, within its time-outs."""
    with running(
        tmp_path, day, *CALM, "strategy.name=hrm", "supervisor.hang_grace_s=36000", "feed.speed=60", program=HANGING
    ) as daemon:
        daemon.until("the first bar", lambda: daemon.status()["bars"])
        assert daemon.terminate() == 0
    assert any(line["event"] == "not everything was handled before the end" for line in daemon.log)
    assert any(line["event"] == "stopped" for line in daemon.log)
    ended_in_order(daemon.journal)
    assert journaled(daemon.journal, Decision) == []


def swaps(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Who followed whom."""
    return [(line["old"], line["new"]) for line in log if line["event"] == "strategy swapped"]


def ended_in_order(journal: Path) -> None:
    """The journal is closed, its last word the signal's halt, and nothing is pending."""
    assert not journal.with_name(journal.name + "-wal").exists()
    assert [event.reason for event in journaled(journal, Halt)] == ["SIGTERM received"]
    assert pending(journal) == []
