"""The monitor beside the path: what it hears, what it reads, and when it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import ArtifactError, Fault
from daemon.core.events import Action, ActorRestarted, Bar, HealthReport, StrategySwapped
from daemon.core.threads import ThreadWorker, Worker
from daemon.settings.health import HealthSettings
from daemon.settings.run import SupervisorSettings
from daemon.supervision.health import Check, CheckStatus, Limits
from daemon.supervision.health_checks import SharedLimits
from daemon.supervision.health_monitor import HealthMonitor, LoadedModel, Sources
from daemon.supervision.health_readings import JournalReading, Readings, StageReading
from daemon.supervision.memory import MemoryLimits
from daemon.supervision.supervisor import Kept, Ladder, Supervisor
from tests.samples import MINUTE, OPEN, RELIANCE, SBIN, decide
from tests.threads import Hung
from tests.unit.orders.live import until

SHARED = SharedLimits(MemoryLimits(3, 4), Limits(1, 5), Limits(50, 100))
OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL


def bar(symbol: str = SBIN, ts_close: int = OPEN + MINUTE, interval: str = "1m") -> Bar:
    """One that closed."""
    return Bar(
        symbol=symbol, interval=interval, ts_open=ts_close - MINUTE, ts_close=ts_close, open=1.0, high=1.0, low=1.0,
        close=1.0, volume=1, ticks=1,
    )  # fmt: skip


class Bench:
    """A monitor over readings, memory and models that a test changes."""

    def __init__(self, now: int = OPEN, thread: Callable[[str], Worker] = ThreadWorker, **settings: Any) -> None:
        self.clock = ReplayClock(now)
        self.bus = Bus()
        self.readings = Readings(strategy="hrm", first="hrm", confirmed_days=300)
        self.memory = 10**9
        self.models: list[LoadedModel] = []
        self.places: list[Path] = []
        self.reports: list[HealthReport] = []
        self.bus.tap((HealthReport,), self.reports.append)
        sources = Sources(lambda: self.readings, lambda: self.memory, lambda: self.models, self.places)
        self.monitor = HealthMonitor(
            self.bus, self.clock, HealthSettings(**settings), SHARED, 5.05, sources,
            decided=lambda bar: bar.interval == "1m", thread=thread,
        )  # fmt: skip

    def is_now(self, **changes: Any) -> None:
        """The stations say something else."""
        self.readings = msgspec.structs.replace(self.readings, **changes)

    def check(self, name: str) -> Check:
        """One of them, as of now."""
        return next(check for check in self.monitor.look() if check.name == name)


def test_only_what_changes_is_told() -> None:
    """Once each way, with the old and the new status; in the log as grave as it is."""
    bench = Bench()
    with capture_logs() as logs:
        bench.monitor.tell()
        assert (bench.reports, logs) == ([], [])
        bench.is_now(unknown=1, stale={None: "mute"})
        for _ in range(3):
            bench.monitor.tell()
        bench.is_now(unknown=2)
        bench.monitor.tell()
        bench.is_now(unknown=0, strategy="rules", why="3 failed")
        bench.monitor.tell()
    first, second = bench.reports
    assert (first.ts, first.healthy, first.state) == (OPEN, False, "unhealthy")
    assert first.reasons == ("orders whose fate is unknown: 1", "the feed is stale: mute")
    assert [(one.check, one.before, one.now) for one in first.changes] == [
        ("orders", "ok", "fail"), ("feed", "ok", "fail"),
    ]  # fmt: skip
    assert [(one.check, one.before, one.now) for one in second.changes] == [
        ("ladder", "ok", "warn"), ("orders", "fail", "ok"),
    ]  # fmt: skip
    assert second.reasons == ("the feed is stale: mute",)
    assert [(line["check"], line["log_level"]) for line in logs] == [
        ("orders", "error"), ("feed", "error"), ("ladder", "warning"), ("orders", "info"),
    ]  # fmt: skip
    assert "hrmd ctl strategy hrm" in logs[2]["do"]


def test_a_degraded_daemon_is_told_as_healthy_enough() -> None:
    """The word says that there is something to look at."""
    bench = Bench()
    bench.is_now(clock_held="the venue has not yet said what time it is")
    bench.monitor.tell()
    assert [(one.healthy, one.state, one.reasons) for one in bench.reports] == [(True, "degraded", ())]


def test_an_exit_is_wanted_since_it_is_without_a_break() -> None:
    """Of each symbol by itself; what was closed meanwhile begins anew."""
    bench = Bench()
    wanted = []
    for held in ((SBIN,), (SBIN, RELIANCE), (RELIANCE,), (SBIN, RELIANCE)):
        bench.is_now(exits=dict.fromkeys(held, "10 held (enough)"))
        bench.monitor.tell()
        bench.clock.advance(bench.clock.now_ns() + 20 * NS_PER_S)
        wanted.append((bench.check("exits").status, bench.check("exits").value))
    assert wanted == [(WARN, 20.0), (WARN, 40.0), (WARN, 40.0), (FAIL, 60.0)]


def test_a_value_at_its_limit_is_told_once() -> None:
    """Memory that wavers around three GB."""
    bench = Bench()
    for memory in (31, 29, 31, 28, 30, 26):
        bench.memory = memory * 10**8
        bench.monitor.tell()
    assert [report.changes[0].now for report in bench.reports] == ["warn", "ok"]


def test_nothing_is_told_before_it_trades_nor_after() -> None:
    """A run that recovers, that ends, or that has no time yet; whoever asks is told all the same."""
    bench = Bench(now=0)
    bench.is_now(unknown=1)
    bench.monitor.tell()
    bench.clock.advance(OPEN)
    bench.is_now(idle="stopping: enough")
    bench.monitor.tell()
    assert bench.reports == []
    assert (bench.check("running").status, bench.check("orders").status) == (FAIL, FAIL)


def test_a_decision_is_owed_from_its_bar_on() -> None:
    """Of bars that are decided on; not while it doesn't trade, when nothing is asked for."""
    bench = Bench()
    bench.bus.publish(bar())
    bench.bus.publish(bar(RELIANCE, interval="5m"))
    bench.clock.advance(OPEN + 5 * NS_PER_S)
    assert bench.monitor.overdue is None
    bench.clock.advance(OPEN + 6 * NS_PER_S)
    assert bench.monitor.overdue is not None
    assert (bench.monitor.overdue.count, bench.monitor.overdue.symbol) == (1, SBIN)
    assert bench.check("owed").status is FAIL
    bench.is_now(idle="stopping: enough")
    assert (bench.monitor.overdue, bench.check("owed").status) == (None, OK)
    bench.is_now(idle="")
    bench.bus.publish(decide(Action.HOLD, ts_bar=OPEN + MINUTE))
    assert (bench.monitor.overdue, bench.check("owed").status) == (None, OK)


def test_only_the_strategy_in_charge_is_judged() -> None:
    """With a clean record from the moment in which it takes over."""
    bench = Bench(min_decisions=4)
    for number in range(5):
        bench.bus.publish(decide(Action.HOLD, strategy="hrm", failed=number == 0))
    assert bench.check("errors").status is FAIL
    bench.bus.publish(StrategySwapped(ts=OPEN, old="hrm", new="rules", reason="x"))
    assert bench.check("errors").text == "too few decisions to say (0 of 4)"
    for strategy in ("hrm", "rules", "hrm", "rules", "rules", "rules"):
        bench.bus.publish(decide(Action.HOLD, strategy=strategy, failed=strategy == "hrm"))
    assert bench.check("errors").text == "0 of 4 decisions failed (0.0 %)"


def test_a_journal_that_takes_nothing() -> None:
    """What waits has a lag from the look on at which nothing more was taken."""
    bench = Bench()
    for second, committed, status in ((0, 5, OK), (3, 5, WARN), (11, 5, FAIL), (12, 9, OK)):
        bench.clock.advance(OPEN + second * NS_PER_S)
        bench.is_now(journal=JournalReading("", 4, committed))
        assert bench.check("journal").status is status


def test_a_stage_that_stands_still() -> None:
    """The one that handles nothing while something waits is named; not while nothing runs yet."""
    bench = Bench()
    idle, busy = StageReading("portfolio", 0, 7), StageReading("risk", 3, 50)
    for second, taken, status in ((0, 9, OK), (6, 9, WARN), (16, 9, FAIL), (17, 10, OK)):
        bench.clock.advance(OPEN + second * NS_PER_S)
        moving = msgspec.structs.replace(busy, taken=50 + second)
        bench.is_now(stages=[idle, moving, StageReading("execution", 2, taken)])
        assert bench.check("stages").status is status
        if status is FAIL:
            said = "execution has handled nothing for 16 s; events that wait for it: 2"
            assert bench.check("stages").text == said
            bench.is_now(idle="recovering: not done yet")
            assert bench.check("stages").status is OK
            bench.is_now(idle="")


def test_the_loop_is_judged_after_a_while() -> None:
    """Not from the stalls of the start."""
    bench = Bench()
    for _ in range(99):
        bench.monitor.loop_lag(2.0)
    assert bench.check("loop").value is None
    bench.monitor.loop_lag(2.0)
    assert (bench.check("loop").status, bench.check("loop").value) == (FAIL, 2000)


def test_a_loop_that_stood_still_once_is_told_for_a_minute() -> None:
    """Though the others were in time; a stall of the start isn't one."""
    bench = Bench()
    for lag in (2.0, *[0.0] * 30):
        bench.monitor.loop_lag(lag)
    assert bench.check("loop").status is OK
    for lag in (2.0, *[0.0] * 238):
        bench.monitor.loop_lag(lag)
    assert (bench.check("loop").status, bench.check("loop").text) == (
        WARN,
        "the event loop stood still for 2.0 s within the last minute",
    )
    for _ in range(2):
        bench.monitor.loop_lag(0.0)
    assert bench.check("loop").status is OK


async def test_models_are_compared_with_their_files() -> None:
    """The same, another one, one that can't be read; how long ago that was."""
    bench = Bench()
    holds = {"hash": "a" * 64}

    def read() -> str:
        if not holds["hash"]:
            raise ArtifactError("m.safetensors: not a readable safetensors file")
        return holds["hash"]

    bench.models = [LoadedModel("hrm", "m.safetensors", "a" * 64, read)]
    assert bench.check("model").text == "no file was looked at yet"
    for found, status in (("a" * 64, OK), ("b" * 64, WARN), ("", WARN), ("a" * 64, OK)):
        holds["hash"] = found
        await bench.monitor.read_models()
        assert bench.check("model").status is status
    bench.clock.advance(OPEN + 90 * NS_PER_S)
    assert bench.check("model").age_s == 90


async def test_room_is_asked_of_the_disk(tmp_path: Path) -> None:
    """Also for a directory that isn't there yet."""
    bench = Bench(disk_warn_gb=0, disk_fail_gb=0)
    bench.places += [tmp_path / "not" / "yet"]
    await bench.monitor.read_place(bench.places[0])
    found = bench.check("disk")
    assert found.value is not None
    assert found.value > 0
    assert found.text.endswith(str(tmp_path / "not" / "yet"))


async def test_a_disk_that_hangs_is_said_and_holds_up_nothing(tmp_path: Path) -> None:
    """Looks go on, the finding names the place and gets worse; it is over once the disk answers."""
    hung = Hung()
    bench = Bench(thread=hung.thread, every_s=0.001, disk_check_s=0.001, disk_answer_warn_s=0.1, disk_answer_fail_s=0.3,
                  disk_warn_gb=0, disk_fail_gb=0)  # fmt: skip
    bench.places.append(tmp_path)
    task = asyncio.create_task(bench.monitor.run())
    said = lambda: [(one.check, one.now, one.text) for report in bench.reports for one in report.changes]  # noqa: E731
    await until(lambda: len(said()) == 3)
    told = {(check, now): text for check, now, text in said()}
    assert next(iter(told)) == ("disk", "warn")
    assert told["disk", "fail"] == f"the disk under {tmp_path} has given no answer for 0 s"
    assert told["model", "warn"].startswith("the files of models can't be read: their disk has given no answer")
    assert hung.begun == 2
    hung.goes_on.set()
    await until(lambda: bench.check("disk").text.endswith(f"GB free under {tmp_path}"))
    await until(lambda: bench.check("model").status is OK)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disk_that_hangs_hides_no_other(tmp_path: Path) -> None:
    """Each is asked by itself."""
    hung, begun = Hung(), []

    def thread(name: str) -> Worker:
        begun.append(name)
        return hung.thread(name) if len(begun) == 1 else ThreadWorker(name)

    bench = Bench(thread=thread, disk_answer_fail_s=0.3, disk_answer_warn_s=0.01, disk_warn_gb=0, disk_fail_gb=0)
    stuck, well = tmp_path / "a", tmp_path / "b"
    for place in (stuck, well):
        await bench.monitor.read_place(place)
    assert bench.check("disk").text.startswith(f"the disk under {stuck} has given no answer for ")
    hung.goes_on.set()
    await until(lambda: bench.check("disk").text.endswith(f"GB free under {well}"))


async def test_it_runs_until_it_is_cancelled(tmp_path: Path) -> None:
    """It reads at the start, looks again and again, and leaves nothing running."""
    bench = Bench(every_s=0.001)
    bench.places.append(tmp_path)
    task = asyncio.create_task(bench.monitor.run())
    await until(lambda: bench.check("disk").value is not None)
    await until(lambda: bench.check("model").text == "no model of a file is loaded")
    bench.is_now(unknown=1)
    await until(lambda: bench.reports)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


class Watched(Bench):
    """A monitor that a supervisor keeps, and whose next looks crash: as many as a test says."""

    def __init__(self, crashes: int) -> None:
        super().__init__(every_s=0.01)
        settings = SupervisorSettings()
        self.supervisor = Supervisor(self.bus, Ladder(["hrm"], "hrm", 3), settings, self.clock)
        self.crashes = crashes
        self.restarts: list[ActorRestarted] = []
        self.bus.tap((ActorRestarted,), self.restarts.append)
        sources = Sources(self.read, lambda: self.memory, lambda: self.models, self.places)
        self.monitor = HealthMonitor(
            self.bus, self.clock, HealthSettings(every_s=0.01), SHARED, 5.05, sources, decided=lambda bar: True
        )
        self.breaks = True

    def read(self) -> Readings:
        """What the stations say, or a crash."""
        if self.crashes and getattr(self, "breaks", False):
            self.crashes -= 1
            raise ZeroDivisionError("a check of ours")
        return msgspec.structs.replace(self.readings, restarted=self.supervisor.restarted)

    async def keep(self) -> None:
        """Until cancelled, or a fault."""
        await self.supervisor.keep(Kept("health", self.monitor.run))


async def test_a_check_that_raises_is_a_restart_that_is_said() -> None:
    """An event with its cause, and health itself says so afterwards: a warning for an hour."""
    bench = Watched(crashes=2)
    kept = asyncio.create_task(bench.keep())
    await until(lambda: bench.reports)
    kept.cancel()
    assert [(one.actor, one.error, one.restarts) for one in bench.restarts] == [
        ("health", "ZeroDivisionError: a check of ours", 1), ("health", "ZeroDivisionError: a check of ours", 2),
    ]  # fmt: skip
    (change,) = bench.reports[0].changes
    assert (change.check, change.now) == ("restarts", "warn")
    assert change.text == ("health crashed and was started again, 2 times so far: ZeroDivisionError: a check of ours")
    assert bench.check("restarts").said_to_all == "crashed and started again: health"
    bench.clock.advance(OPEN + 3601 * NS_PER_S)
    assert bench.check("restarts").status is OK


async def test_a_check_that_always_raises_ends_the_daemon() -> None:
    """Beyond the budget it is a fault, as of any stage: nothing goes on unwatched."""
    bench = Watched(crashes=10**6)
    async with asyncio.timeout(60):
        with pytest.raises(Fault, match=r"'health' crashed 4 times, last with ZeroDivisionError: a check of ours"):
            await bench.keep()


def test_a_look_serves_until_the_next_one_is_due() -> None:
    """Who only wants to know how it stands doesn't have everything measured anew; a look as of now always is."""
    bench = Bench(every_s=5)

    def unknown() -> str:
        return next(check.status.value for check in bench.monitor.recent() if check.name == "orders")

    assert unknown() == "ok"
    bench.is_now(unknown=1)
    assert unknown() == "ok"
    bench.clock.advance(OPEN + 5 * NS_PER_S)
    assert unknown() == "fail"
    bench.is_now(unknown=0)
    assert bench.check("orders").status.value == "ok"
    assert unknown() == "ok"
