"""The whole of one run: from its start to every kind of end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from daemon.app import App
from daemon.assembly.market import MarketOfRun
from daemon.core.actor import Actor
from daemon.core.clock import ReplayClock
from daemon.core.errors import ArtifactError, Fault, JournalError, UsageError
from daemon.core.events import (
    ActorRestarted,
    Decision,
    Event,
    Fill,
    Flatten,
    Halt,
    OrderCancelled,
    OrderIntent,
    PositionChanged,
    StrategySwapped,
    TickBatch,
    TradingState,
    TradingStateChanged,
)
from daemon.core.latency import FixedLatency
from daemon.journal.reader import JournalReader
from daemon.market.calendar import CalendarRangeError
from daemon.plan import RunPlan
from daemon.report.text import ist
from models.agent import HRMAgent
from tests.samples import DAY, LIVELY, MINUTE, OPEN, SBIN, journaled, play, settings_of, wave, write_tape
from tests.unit.market.masters import put


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of a swinging price."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(60))


def plan_of(tape: Path, journal: Path | None = None, **changes: Any) -> RunPlan:
    """A replay's plan, with restarts."""
    values: dict[str, Any] = {
        "tapes": [tape], "symbols": [], "clock": ReplayClock(), "latency": FixedLatency(0), "journal": journal,
        "durable": False, "restarts": True, "order_prefix": "T",
    }  # fmt: skip
    return RunPlan(**(values | changes))


class Sick(Actor):
    """Crashes on every batch of ticks."""

    name = "sick"

    def __init__(self, app: App, error: type[Exception] = ValueError) -> None:
        super().__init__(app.bus)
        self._error = error
        self.inbox = app.bus.subscribe(self.name, (TickBatch,))

    def handle(self, event: Event) -> None:
        """Crash."""
        raise self._error("as asked")


class SickApp(App):
    """An app with one more station, which crashes."""

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The path, and the sick one."""
        if not hasattr(self, "sick"):
            self.sick = Sick(self)
        return (*super().actors, self.sick)


def timed_run(app: App, *alongside: Any) -> None:
    """Run to the end, but not for ever."""

    async def run() -> None:
        async with asyncio.timeout(100):
            await app.run(alongside)

    asyncio.run(run())


def test_a_station_that_keeps_crashing_ends_the_run_with_a_fault(tape: Path, tmp_path: Path) -> None:
    """Restarted three times, each in the journal, then the fault, with the journal closed and readable."""
    path = tmp_path / "j.sqlite"
    app = SickApp(settings_of(*LIVELY, "supervisor.restart_window_s=86400"), plan_of(tape, path))
    with pytest.raises(Fault, match="actor 'sick' crashed 4 times, last with ValueError: as asked") as fault:
        timed_run(app)
    assert fault.value.exit_code == 3
    assert [event.restarts for event in journaled(path, ActorRestarted)] == [1, 2, 3]
    assert app.journal is not None
    with pytest.raises(JournalError, match="closed"):
        app.journal.append(Halt(ts=1, reason=""))


@pytest.mark.parametrize("pumped", [True, False])
def test_a_replay_ends_at_the_first_crash(tape: Path, tmp_path: Path, pumped: bool) -> None:
    """What a crash swallowed would make its figures false; whoever runs the stations."""
    path = tmp_path / "j.sqlite"
    with pytest.raises(Fault, match="actor 'sick' crashed 1 times, last with ValueError: as asked"):
        timed_run(SickApp(settings_of(*LIVELY), plan_of(tape, path, restarts=False, pumped=pumped)))
    assert journaled(path, ActorRestarted) == []


def test_a_service_that_fails_ends_the_run(tape: Path, tmp_path: Path) -> None:
    """Its own error comes out, and the journal is whole."""
    path = tmp_path / "j.sqlite"

    async def fail() -> None:
        raise UsageError("no such port")

    with pytest.raises(UsageError, match="no such port"):
        timed_run(App(settings_of(*LIVELY), plan_of(tape, path)), fail)
    assert journaled(path) is not None


def test_a_run_to_the_end_leaves_nothing_open(tape: Path, tmp_path: Path) -> None:
    """No pending order, no thread, and a closed app closes again."""
    threads = threading.active_count()
    path = tmp_path / "j.sqlite"
    app = App(settings_of(*LIVELY), plan_of(tape, path))
    timed_run(app)
    reader = JournalReader(path)
    assert reader.pending() == []
    assert set(reader.metadata()) >= {"version", "settings", "settings_sha256", "tapes", "symbols", "latency", "model"}
    reader.close()
    app.close()
    assert threading.active_count() == threads
    assert len(journaled(path, Fill)) > 4


def test_without_a_journal_it_runs_as_well(tape: Path) -> None:
    """The journal is optional for a replay."""
    app = App(settings_of(*LIVELY), plan_of(tape))
    timed_run(app)
    assert app.portfolio.portfolio.realised_pnl


def stop_at_first_fill(app: App) -> None:
    """Ask the run to end as soon as something is held."""
    app.bus.tap((Fill,), lambda _: app.stop("enough"))


@pytest.mark.parametrize("cancel", [True, False])
def test_stopping_halts_cancels_and_drains(tape: Path, tmp_path: Path, cancel: bool) -> None:
    """The reason is in the journal, working orders are cancelled or left by setting, the position stays as it is."""
    path = tmp_path / "j.sqlite"
    settings = settings_of(
        *LIVELY, "strategy.rules.min_bars=8", f"execution.cancel_on_shutdown={cancel}", "execution.order_type=LIMIT",
        "execution.limit_offset_bp=0",
    )  # fmt: skip
    app = App(settings, plan_of(tape, path))
    app.bus.tap((OrderIntent,), lambda _: app.stop("enough"))
    timed_run(app)
    app.stop("again")
    assert [event.reason for event in journaled(path, Halt)] == ["enough"]
    assert journaled(path, TradingStateChanged)[-1].state is TradingState.HALTED
    cancelled = [event.reason for event in journaled(path, OrderCancelled)]
    reader = JournalReader(path)
    assert (cancelled, len(reader.pending())) == ((["shutdown"], 0) if cancel else ([], 1))
    reader.close()


def test_a_position_at_the_stop_is_right_in_the_journal(tape: Path, tmp_path: Path) -> None:
    """Held, not closed by the stop; the last position is the sum of the fills."""
    path = tmp_path / "j.sqlite"
    app = App(settings_of(*LIVELY), plan_of(tape, path))
    stop_at_first_fill(app)
    timed_run(app)
    fills = journaled(path, Fill)
    assert journaled(path, PositionChanged)[-1].quantity == sum(fill.side.sign * fill.quantity for fill in fills) != 0


class Stuck(Actor):
    """Never finishes with its first event."""

    name = "stuck"

    def __init__(self, app: App) -> None:
        super().__init__(app.bus)
        self.inbox = app.bus.subscribe(self.name, (Halt,))

    async def _wait(self) -> None:
        await asyncio.Event().wait()

    def handle(self, event: Event) -> Any:
        """Wait for ever."""
        return self._wait()


class StuckApp(App):
    """An app with a station that can't be drained, and little patience."""

    drain_s = 0.05

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The path, and the stuck one."""
        if not hasattr(self, "stuck"):
            self.stuck = Stuck(self)
        return (*super().actors, self.stuck)


def test_a_stuck_station_delays_the_end_but_does_not_prevent_it(tape: Path, tmp_path: Path) -> None:
    """After the time-outs the run ends in order all the same."""
    path = tmp_path / "j.sqlite"
    app = StuckApp(settings_of(*LIVELY), plan_of(tape, path))
    stop_at_first_fill(app)
    timed_run(app)
    assert journaled(path, Halt)


def test_a_model_that_can_not_be_used_leaves_no_journal(tape: Path, tmp_path: Path) -> None:
    """The artifact is looked at before anything is opened."""
    settings = settings_of(
        "strategy.name=hrm", "supervisor.strict=true", f"model_management.artifact={tmp_path / 'none.safetensors'}"
    )  # fmt: skip
    with pytest.raises(ArtifactError):
        App(settings, plan_of(tape, tmp_path / "j.sqlite"))
    assert not (tmp_path / "j.sqlite").exists()


def test_a_tape_before_the_calendar_is_refused(tmp_path: Path) -> None:
    """The calendar's first day is named."""
    tape = write_tape(tmp_path / "old.parquet", [MINUTE * 60 * 24 * 365 * 35], [800.0])
    with pytest.raises(CalendarRangeError, match="market calendar begins on 2010-01-01"):
        App(settings_of(*LIVELY), plan_of(tape))


def test_a_tape_without_a_valid_time_is_built_and_says_so(tmp_path: Path) -> None:
    """There is no first date; no tick can be used, and the replay says which reasons."""
    tape = write_tape(tmp_path / "bad.parquet", [0, 1], [800.0, 801.0])
    with pytest.raises(UsageError, match=r"bad\.parquet: no tick could be used \(2 bad_time\)"):
        play(tape, *LIVELY)


# -- the ladder, with real weights -------------------------------------------------------------------------------------

HRM = (
    "strategy.name=hrm", "strategy.interval=1m", "hierarchical_reasoning_model.features.min_bars=5",
    "hierarchical_reasoning_model.act.max_segments=2", "hierarchical_reasoning_model.act.complexity_steps=[]",
    "supervisor.ladder=[hrm, rules, flat]", *LIVELY[3:],
)  # fmt: skip


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model artifact whose weights are numbers, and so large that its answers are none."""
    path = tmp_path_factory.mktemp("model") / "huge.safetensors"
    agent = HRMAgent.untrained(settings_of(*HRM).hierarchical_reasoning_model, 7)
    with torch.no_grad():
        for parameter in agent.model.parameters():
            parameter.fill_(1e38)
    agent._weights_changed()
    agent.save_model(path, dtype="float32")
    return path


def test_three_failed_decisions_step_from_hrm_to_rules(tape: Path, tmp_path: Path, poisoned: Path) -> None:
    """A model whose answers are not finite holds three times and is replaced; the rules trade on."""
    path = tmp_path / "j.sqlite"
    _, summary = play(tape, *HRM, f"model_management.artifact={poisoned}", journal=path)
    decisions = journaled(path, Decision)
    failed = [decision for decision in decisions if decision.failed]
    assert [decision.strategy for decision in failed] == ["hrm"] * 3
    assert all(decision.action.name == "HOLD" for decision in failed)
    (swap,) = journaled(path, StrategySwapped)
    assert (swap.old, swap.new) == ("hrm", "rules")
    assert swap.reason.startswith("3 failed decisions in a row")
    later = decisions[decisions.index(failed[-1]) + 1 :]
    assert {decision.strategy for decision in later} == {"rules"}
    assert summary.fills > 0
    assert summary.failed_decisions == 3
    assert summary.deciders == {"hrm": len(decisions) - len(later), "rules": len(later)}
    assert summary.notes[0] == (
        f"{len(later)} of {len(decisions)} decisions were not hrm's (rules {len(later)} from "
        f"{ist(later[0].ts_bar):%Y-%m-%d %H:%M} on): the result is not its own"
    )


def test_the_last_step_closes_everything(tape: Path, tmp_path: Path) -> None:
    """With flat in charge the position goes, nothing is decided, and nothing new is opened."""
    path = tmp_path / "j.sqlite"
    app = App(settings_of(*LIVELY), plan_of(tape, path))
    seen: list[Fill] = []

    def swap(fill: Fill) -> None:
        seen.append(fill)
        if len(seen) == 1:
            app.supervisor._swap("flat", "a test")

    app.bus.tap((Fill,), swap)
    timed_run(app)
    assert [(event.old, event.new) for event in journaled(path, StrategySwapped)] == [("rules", "flat")]
    assert [event.reason for event in journaled(path, Flatten)] == ["no strategy is left"]
    assert [event.state for event in journaled(path, TradingStateChanged)] == [TradingState.REDUCING]
    positions = journaled(path, PositionChanged)
    assert [position.quantity for position in positions][-1] == 0
    assert len(journaled(path, Fill)) == 2
    later = [event for event in journaled(path, Decision) if event.ts > seen[0].ts + MINUTE]
    assert {(event.strategy, event.reason) for event in later} == {("flat", "no strategy is in charge")}
    assert len(later) > 10


def test_the_symbol_of_the_tape_is_what_is_traded(tape: Path) -> None:
    """A sanity check of the sample itself: one session, one symbol."""
    app = App(settings_of(*LIVELY), plan_of(tape))
    assert app.tapes.symbols == (SBIN,)
    assert OPEN <= (app.tapes.opening_ts or 0) < OPEN + DAY
    app.close()


def test_a_symbol_that_the_master_does_not_have_is_named_as_it_starts(tape: Path, tmp_path: Path) -> None:
    """In one line, of a live start; the others are traded, and what may be held of it is looked after."""
    put(tmp_path)
    settings = settings_of(
        "market.symbol_master.use=always", f"market.symbol_master.directory={tmp_path}",
        "market.symbol_master.min_rows=1", "feed.symbols=['NSE:SBIN-EQ', 'NSE:SBINN-EQ']",
    )  # fmt: skip
    plan = plan_of(tape, tapes=[], clock=ReplayClock(OPEN))
    with capture_logs() as lines:
        market = MarketOfRun(settings, plan, DAY)
    said = (
        "feed.symbols: NSE:SBINN-EQ: not in the symbol master of 2026-01-05: no tick of it comes, and nothing is "
        "opened in it; correct the name (hrmd instruments show NAME), or take it out"
    )
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [said]
    assert "NSE:SBIN-EQ" in market.symbols
