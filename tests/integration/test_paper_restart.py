"""`hrmd run` on paper, stopped and started again: positions, cash and trading state come from the journal."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import ReplayClock
from daemon.core.events import (
    PROTECTION,
    AccountSnapshot,
    Bar,
    Decision,
    Fill,
    Flatten,
    Halt,
    OrderApproved,
    OrderCancelled,
    OrderIntent,
    PositionChanged,
    PositionRestated,
    PriceJumped,
    Resume,
    TradingState,
    TradingStateChanged,
)
from daemon.core.latency import FixedLatency
from daemon.plan import RunPlan
from daemon.run.view import DaemonView
from tests.own_classes import own, sick, write_class
from tests.replay.test_corporate import held_over
from tests.samples import DAY, LIVELY, SBIN, journaled, settings_of, wave, write_tape


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


def test_stop_and_target_outlive_a_restart_on_paper(tape: Path, tmp_path: Path) -> None:
    """The simulated venue ends with the process: the next one places both again, and the stop closes it."""
    path = tmp_path / "j.sqlite"
    write_class(tmp_path, sick("return hold('x') if seen.position or seen.minute_of_session > 1 else "
                               "buy(10, 'in', stop=seen.price - 1.5, target=seen.price + 40)"))  # fmt: skip
    first = app_of(tape, path, "A", *own(tmp_path))
    first.bus.tap((Fill,), lambda _: first.stop("enough"))
    run(first)
    second = app_of(tape, path, "B", *own(tmp_path))
    run(second)
    gone, *_ = journaled(path, OrderCancelled)
    assert gone.reason == "the simulated venue ended with the earlier process"
    stop, target, *_ = [it for it in journaled(path, OrderIntent) if it.strategy == PROTECTION]
    assert [(leg.reason, leg.quantity, leg.order_id) for leg in (stop, target)] == [
        ("stop", 10, "B0000001"), ("target", 10, "B0000002"),
    ]  # fmt: skip
    assert journaled(path, Fill)[0].order_id == stop.order_id
    assert journaled(path, PositionChanged)[1].quantity == 0


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


def next_day(folder: Path, ratio: float = 0.2) -> Path:
    """The same hour a day later, at a fraction of the price."""
    times, prices = wave(60)
    return write_tape(folder / "next.parquet", [ts + DAY for ts in times], [ratio * price for price in prices])


def leave_a_position(tape: Path, path: Path) -> int:
    """A run that ends with one, so much of it."""
    first = app_of(tape, path, "A")
    first.bus.tap((PositionChanged,), lambda _: first.stop("enough"))
    run(first)
    held = first.portfolio.portfolio.quantity(SBIN)
    assert held
    return held


def test_what_was_held_over_a_split_is_left_alone_until_a_person_has_looked(tape: Path, tmp_path: Path) -> None:
    """The process of the next morning knows yesterday's price; what is in doubt outlives yet another restart."""
    path = tmp_path / "j.sqlite"
    held = leave_a_position(tape, path)
    morning = app_of(next_day(tmp_path), path, "B")
    run(morning)
    assert morning.portfolio.portfolio.quantity(SBIN) == held
    assert list(morning.risk.book.unsettled) == [SBIN]
    assert len(journaled(path, PriceJumped)) == 1
    reasons = DaemonView(morning, "paper").health().reasons
    assert any("overnight (×0.198" in reason and f"with {held} held" in reason for reason in reasons)
    again = app_of(tmp_path / "next.parquet", path, "C")
    run(again)
    assert list(again.risk.book.unsettled) == [SBIN]
    looked = app_of(tmp_path / "next.parquet", path, "D")
    looked.bus.tap((Decision,), lambda event: looked.bus.publish(Resume(ts=event.ts, reason="looked")))
    run(looked)
    assert looked.risk.book.unsettled == {}
    assert journaled(path, Fill)


def test_what_was_held_over_a_split_is_counted_anew_once(tape: Path, tmp_path: Path) -> None:
    """The next morning's process counts five times the shares before the first tick; a second one doesn't again."""
    path = tmp_path / "j.sqlite"
    held = leave_a_position(tape, path)
    split = f"market.adjustments=[{{date: 2026-01-06, symbol: '{SBIN}', ratio: 1/5}}]"
    morning = app_of(next_day(tmp_path), path, "B", split)
    changes: list[PositionChanged] = []
    morning.bus.tap((PositionChanged,), changes.append)
    morning.bus.tap((PositionRestated,), lambda _: morning.stop("killed right after it"))
    run(morning)
    assert [change.quantity for change in changes] == [held, 5 * held]
    again = app_of(tmp_path / "next.parquet", path, "C", split)
    assert again.portfolio.portfolio.quantity(SBIN) == 5 * held
    restated: list[PositionRestated] = []
    again.bus.tap((PositionRestated,), restated.append)
    run(again)
    assert restated == []
    assert again.risk.book.unsettled == {}
    assert again.portfolio.portfolio.quantity(SBIN) != 5 * held  # and was closed


def test_what_is_in_doubt_is_no_profit_of_the_day_after_a_restart(tmp_path: Path) -> None:
    """It counts at yesterday's close, not at what was paid for it, and is said to be in doubt once."""
    path, split = tmp_path / "j.sqlite", held_over(tmp_path / "t.parquet", 0.2)
    run(app_of(split, path, "A"))
    second = app_of(split, path, "B")
    second.bus.tap((PositionChanged,), lambda _: second.stop("enough"))
    run(second)
    assert second.risk.book.unsettled
    (held,) = [it for it in second.portfolio.portfolio.positions() if it.quantity]
    assert held.mark != held.average_price
    assert second.risk.book.net() == second.account.net
    assert DaemonView(second, "a test").status().equity == second.portfolio.portfolio.equity


def test_a_loss_counts_before_the_first_tick_after_a_restart(tape: Path, tmp_path: Path) -> None:
    """What is held is worth its last price before, not what was paid for it: a limit on the day's loss knows of it."""
    path = tmp_path / "j.sqlite"
    first = app_of(tape, path, "A")
    book = first.portfolio.portfolio

    def leave(bar: Bar) -> None:
        if book.quantity(SBIN) and abs(book.unrealised(SBIN)) > 100:
            first.stop("enough")

    first.bus.tap((Bar,), leave)
    run(first)
    second, found = app_of(tape, path, "B"), list[tuple[Decimal, Decimal]]()
    worth = second.account.net

    def look(_: PositionChanged) -> None:
        found.append((second.risk.book.net(), second.risk.book.day_pnl()))
        second.stop("enough")

    second.bus.tap((PositionChanged,), look)
    assert abs(second.portfolio.portfolio.unrealised(SBIN)) > 100
    run(second)
    assert found[0] == (worth, worth)
