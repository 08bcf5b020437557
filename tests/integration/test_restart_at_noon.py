"""A daemon that is killed in the middle of the day and started again: it decides as one that never stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.app import App
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import Action, Bar, Decision, MarketRemembered, StrategySwapped, SwapStrategy
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.run.verifying import verify_journal
from daemon.tape.format import TapeReader
from daemon.tape.reel import ReelWriter
from tests.samples import DAY, HRM, LIVELY, OPEN, SBIN, journaled, settings_of, write_tape

SETTINGS = {
    "rules": LIVELY,
    "hrm": (
        *HRM,
        "hierarchical_reasoning_model.features.history=rolling",
        "strategy.interval=1m",
        "model_management.seed=2",  # a network that wants something, and now and then nothing
        "bars.intervals=[1m, 5m, 30m]",
        "supervisor.triggers.flaps_per_hour=1000",  # a seeded network changes sides as it likes
    ),
}
HELD = "hierarchical_reasoning_model.entries"
SETTINGS["entries"] = (
    *SETTINGS["hrm"], f"{HELD}.adaptive=true", f"{HELD}.bars=2", f"{HELD}.fewest=5", f"{HELD}.newest=10",
    f"{HELD}.rate=0.1",
)  # fmt: skip
BEFORE = 70
"""Decisions before the kill."""


def market() -> tuple[list[int], list[float]]:
    """(times, prices): two days of an hour of a swinging price, ticks 3 to 58 s into every minute; 3 after 15:16."""
    seconds = np.array([*(second for second in range(3600) if second % 5 == 3), 21663, 21668, 21673])
    prices = np.round(800 + 8 * np.sin(seconds / 1200 * 2 * np.pi) + np.cos(seconds / 77), 1).tolist()
    times = [OPEN + day * DAY + int(second) * NS_PER_S for day in range(2) for second in seconds]
    return times, prices * 2


def app_of(tape: Path, journal: Path, prefix: str, settings: tuple[str, ...], reels: tuple[Path, ...] = ()) -> App:
    """A process that goes on where the journal ends."""
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=journal, durable=True,
        restarts=True, order_prefix=prefix, recover=True, reels=list(reels),
    )  # fmt: skip
    return App(settings_of(*settings), plan)


def run(app: App) -> None:
    """To its end."""

    async def timed() -> None:
        async with asyncio.timeout(100):
            await app.run()

    asyncio.run(timed())


def killed(tape: Path, journal: Path, settings: tuple[str, ...]) -> int:
    """A process that ends in the second day, after a decision that asks for nothing; the bar's close."""
    app, ended = app_of(tape, journal, "A", settings), [0]

    def end(decision: Decision) -> None:
        if app.portfolio.portfolio.positions() and app.orders.working:
            return
        if len(decisions) >= BEFORE and decision.action.name == "HOLD" and not app.orders.working and not ended[0]:
            ended[0] = decision.ts_bar
            app.stop("killed")

    decisions: list[Decision] = []
    app.bus.tap((Decision,), decisions.append)
    app.bus.tap((Decision,), end)
    run(app)
    assert ended[0]
    return ended[0]


def comparable(decisions: list[Decision], after: int) -> list[Decision]:
    """Those on bars that closed later than `after`, without what differs between two processes."""
    return [msgspec.structs.replace(one, latency_ns=0) for one in decisions if one.ts_bar > after]


@pytest.mark.parametrize(
    ("lost_s", "strategy"),
    [
        (0, "rules"), (28, "rules"), (0, "entries"), (28, "entries"), (28, "hrm"),
        pytest.param(0, "hrm", marks=pytest.mark.nightly),
    ],
)  # fmt: skip
def test_the_next_decisions_are_those_of_a_daemon_that_never_stopped(
    tmp_path: Path, strategy: str, lost_s: int
) -> None:
    """All of them, bit for bit; where it ended within a bar, the recording has that bar's ticks."""
    settings = SETTINGS[strategy]
    times, prices = market()
    whole = write_tape(tmp_path / "whole.parquet", times, prices)
    run(app_of(whole, tmp_path / "reference.sqlite", "A", settings))
    journal = tmp_path / "j.sqlite"
    closed = killed(whole, journal, settings)
    first = next(place for place, ts in enumerate(times) if ts > closed + lost_s * NS_PER_S)
    rest = write_tape(tmp_path / "rest.parquet", times[first:], prices[first:])
    reels = (recorded(tmp_path, times[:first], prices[:first]),) if lost_s else ()
    run(app_of(rest, journal, "B", settings, reels))
    wanted = comparable(journaled(tmp_path / "reference.sqlite", Decision), closed)
    assert len(wanted) > 30
    assert comparable(journaled(journal, Decision), closed) == wanted
    assert len({decision.confidence for decision in wanted}) > 3
    refused = {decision.wanted is not None and decision.action is Action.HOLD for decision in wanted}
    assert refused == ({True, False} if strategy == "entries" else {False})
    assert verify_journal(journal).decisions == len(wanted)


def recorded(directory: Path, times: list[int], prices: list[float], ahead_s: int = 0) -> Path:
    """A recording of the second day's ticks, by a machine whose clock is so far ahead."""
    today = [place for place, ts in enumerate(times) if ts >= OPEN + DAY]
    tape = write_tape(directory / "recorded.parquet", [times[i] for i in today], [prices[i] for i in today])
    reel = ReelWriter(directory / "2026-01-06.1.ticks")
    for batch in TapeReader([tape]).batches(1000):
        reel.append([msgspec.structs.replace(batch, ts_recv=batch.ts_recv + ahead_s * NS_PER_S)])
    reel.abandon()
    return reel.path


@pytest.mark.parametrize("ahead_s", [0, 7200])
def test_bars_in_the_making_go_on_with_a_gap(tmp_path: Path, ahead_s: int) -> None:
    """What the recording held is in the bar, and the bar says that something may be missing.

    Ticks that were received in an hour still to come are in none; were bars closed by that hour, all until then were
    late.
    """
    times, prices = market()
    whole = write_tape(tmp_path / "whole.parquet", times, prices)
    journal = tmp_path / "j.sqlite"
    closed = killed(whole, journal, LIVELY)
    first = next(place for place, ts in enumerate(times) if ts > closed + 28 * NS_PER_S)
    rest = write_tape(tmp_path / "rest.parquet", times[first:], prices[first:])
    run(app_of(rest, journal, "B", LIVELY, (recorded(tmp_path, times[:first], prices[:first], ahead_s),)))
    bar = next(bar for bar in journaled(journal, Bar) if bar.interval == "1m" and bar.ts_open == closed)
    assert (bar.ticks, bar.gap) == (6 if ahead_s else 12, True)


def test_a_tape_that_is_played_again_has_no_past(tmp_path: Path) -> None:
    """A second rehearsal on the same tape starts as the first did: what comes later isn't remembered."""
    times, prices = market()
    tape, journal = write_tape(tmp_path / "t.parquet", times, prices), tmp_path / "j.sqlite"
    run(app_of(tape, journal, "A", LIVELY))
    first = journaled(journal, Decision)
    run(app_of(tape, journal, "B", LIVELY))
    assert journaled(journal, MarketRemembered) == []
    assert [one.complexity for one in journaled(journal, Decision)] == [one.complexity for one in first]


def test_who_was_in_charge_is_so_again(tmp_path: Path) -> None:
    """After a step down, with the reason, through two starts; not where the settings name another ladder."""
    times, prices = market()
    tape, journal = write_tape(tmp_path / "t.parquet", times, prices), tmp_path / "j.sqlite"
    app = app_of(tape, journal, "A", LIVELY)
    app.bus.tap((Decision,), lambda one: app.bus.publish(SwapStrategy(ts=one.ts, name="flat", reason="enough")))
    run(app)
    for prefix in "BC":
        app = app_of(tape, journal, prefix, LIVELY)
        run(app)
        assert (app.supervisor.ladder.active, app.strategy.active) == ("flat", "flat")
        assert app.supervisor.reason == "as before the restart: enough"
        assert [swap.new for swap in journaled(journal, StrategySwapped)] == ["flat"]
    other = app_of(tape, journal, "D", (*LIVELY, "supervisor.ladder=[rules, flat]"))
    run(other)
    assert other.supervisor.ladder.active == "rules"
    assert SBIN in other.symbols


@pytest.mark.parametrize("strategy", ["rules", "hrm"])
@pytest.mark.parametrize("named", [True, False])
def test_a_split_while_nobody_ran(tmp_path: Path, strategy: str, named: bool) -> None:
    """The process of the second day begins after a split: adjusted or left out, as by one that never stopped."""
    action = 'market.adjustments=[{date: 2026-01-06, symbol: "NSE:SBIN-EQ", ratio: 1/5, kind: split}]'
    settings = (*SETTINGS[strategy], *([action] if named else []))
    times, prices = market()
    half = len(times) // 2
    prices = prices[:half] + [round(price / 5, 2) for price in prices[half:]]
    whole = write_tape(tmp_path / "whole.parquet", times, prices)
    run(app_of(whole, tmp_path / "reference.sqlite", "A", settings))
    journal = tmp_path / "j.sqlite"
    run(app_of(write_tape(tmp_path / "one.parquet", times[:half], prices[:half]), journal, "A", settings))
    run(app_of(write_tape(tmp_path / "two.parquet", times[half:], prices[half:]), journal, "B", settings))
    wanted = comparable(journaled(tmp_path / "reference.sqlite", Decision), OPEN + DAY)
    assert comparable(journaled(journal, Decision), OPEN + DAY) == wanted
    assert verify_journal(journal).decisions == len(wanted)
    run(
        app_of(
            write_tape(tmp_path / "three.parquet", [ts + DAY for ts in times[half:]], prices[half:]),
            journal,
            "C",
            settings,
        )
    )
    assert verify_journal(journal).decisions
