"""`hrmd run` on paper, stopped and started again: positions, cash and trading state come from the journal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon.app import App, RunPlan
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    AccountSnapshot,
    Fill,
    Flatten,
    Halt,
    OrderApproved,
    OrderCancelled,
    OrderIntent,
    PositionChanged,
    TradingState,
    TradingStateChanged,
)
from daemon.core.latency import FixedLatency
from tests.samples import LIVELY, SBIN, journaled, settings_of, wave, write_tape


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of a swinging price."""
    return write_tape(tmp_path_factory.mktemp("tape") / "wave.parquet", *wave(60))


def app_of(tape: Path, journal: Path, prefix: str, *overrides: str) -> App:
    """A run that goes on where the journal ends."""
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(0), journal=journal, durable=True,
        restarts=True, order_prefix=prefix, recover=True,
    )  # fmt: skip
    return App(settings_of(*LIVELY, *overrides), plan)


def run(app: App) -> None:
    """To its end."""

    async def timed() -> None:
        async with asyncio.timeout(100):
            await app.run()

    asyncio.run(timed())


def test_a_position_outlives_a_restart(tape: Path, tmp_path: Path) -> None:
    """Stopped with a position: the next run holds it at its price, with its cash, and trades on; the sums agree."""
    path = tmp_path / "j.sqlite"
    first = app_of(tape, path, "A")
    first.bus.tap((Fill,), lambda _: first.stop("enough"))
    run(first)
    held, cash = first.portfolio.portfolio.quantity(SBIN), first.portfolio.portfolio.cash
    assert held != 0
    second = app_of(tape, path, "B")
    assert (second.portfolio.portfolio.quantity(SBIN), second.portfolio.portfolio.cash) == (held, cash)
    fills: list[Fill] = []
    second.bus.tap((Fill,), fills.append)
    run(second)
    standing = journaled(path, PositionChanged)[0]
    assert (standing.quantity, standing.cash) == (held, cash)
    assert second.risk.book.state is TradingState.HALTED or fills
    total = held + sum(fill.side.sign * fill.quantity for fill in fills)
    assert second.portfolio.portfolio.quantity(SBIN) == second.risk.book.of(SBIN).position == total
    third = app_of(tape, path, "C")
    assert third.portfolio.portfolio.cash == second.portfolio.portfolio.cash
    third.close()


def test_a_halt_outlives_a_restart(tape: Path, tmp_path: Path) -> None:
    """The kill switch was thrown: the next run starts halted, says so, and opens nothing."""
    path = tmp_path / "j.sqlite"
    first = app_of(tape, path, "A")
    first.bus.tap((Fill,), lambda fill: first.bus.publish(Halt(ts=fill.ts, reason="kill switch")))
    run(first)
    second = app_of(tape, path, "B")
    run(second)
    assert journaled(path, TradingStateChanged)[0].reason == "kill switch"
    assert second.risk.book.state is TradingState.HALTED
    approved = {event.order_id for event in journaled(path, OrderApproved)}
    assert all(intent.reduces for intent in journaled(path, OrderIntent) if intent.order_id in approved)


def test_flattening_goes_on_after_a_restart(tape: Path, tmp_path: Path) -> None:
    """Asked to flatten in the very moment of the end: the next run closes what is held."""
    path = tmp_path / "j.sqlite"
    first = app_of(tape, path, "A")

    def leave(fill: Fill) -> None:
        first.stop("enough")
        first.bus.publish(Flatten(ts=fill.ts, reason="out of here"))

    first.bus.tap((Fill,), leave)
    run(first)
    second = app_of(tape, path, "B")
    run(second)
    assert second.portfolio.portfolio.quantity(SBIN) == 0


def test_what_worked_at_the_simulated_venue_is_over(tape: Path, tmp_path: Path) -> None:
    """The venue ended with its process: the order is cancelled in the journal, and counts no more."""
    path = tmp_path / "j.sqlite"
    resting = ("execution.order_type=LIMIT", "execution.limit_offset_bp=0", "execution.cancel_on_shutdown=false")
    first = app_of(tape, path, "A", *resting, "strategy.rules.min_bars=8")
    first.bus.tap((OrderIntent,), lambda _: first.stop("enough"))
    run(first)
    assert first.orders.working
    second = app_of(tape, path, "B", "journal.snapshot_every=100")
    run(second)
    assert "ended with the earlier process" in journaled(path, OrderCancelled)[0].reason
    assert second.risk.book.of(SBIN).working_buys == second.risk.book.of(SBIN).working_sells == 0


def test_a_start_that_read_much_writes_a_snapshot(tape: Path, tmp_path: Path) -> None:
    """So that the next one reads less, and finds the same."""
    path = tmp_path / "j.sqlite"
    every = "journal.snapshot_every=100"
    for prefix in "ABC":
        run(app_of(tape, path, prefix))
    assert journaled(path, AccountSnapshot) == []
    much = app_of(tape, path, "D", every)
    records = much.account.records
    run(much)
    snapshots = journaled(path, AccountSnapshot)
    after = app_of(tape, path, "Z", every)
    assert after.account.records < 100 <= records
    assert after.portfolio.portfolio.starting_cash == snapshots[0].starting_cash
    after.close()
