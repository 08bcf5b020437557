"""Stop and target at the venue: they outlive the daemon, and what was done meanwhile is put in order by the next."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from daemon.app import App
from daemon.core.clock import NS_PER_S
from daemon.core.errors import Fault
from daemon.core.events import Action, Flatten, ProtectionFailed, Side, TimeAdvanced
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.orders import Order, Status
from tests.integration.test_live_app import START, app_of, running, want
from tests.samples import SBIN, decide, journaled, write_tape
from tests.unit.orders.live import until
from tests.unit.sandbox.desk import Desk, opened


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of one price, ten ticks a second."""
    times = [START + tenth * NS_PER_S // 10 for tenth in range(6000)]
    return write_tape(tmp_path_factory.mktemp("tape") / "t.parquet", times, [820.5] * len(times))


def enter(app: App, quantity: int = 10) -> None:
    """Long, with a stop and a target, as a strategy would want it."""
    ts = app.plan.clock.now_ns()
    app.bus.publish(
        decide(Action.BUY_LONG, quantity, ts=ts, ts_bar=ts, price=820.5, stop_price=810.0, target_price=830.0)
    )


def legs(desk: Desk) -> list[tuple[str, int, str]]:
    """(type, what is left, price) of what works at the exchange."""
    return sorted(
        (it.wanted.type.value, it.remaining, str(it.wanted.stop_price or it.wanted.limit_price)) for it in works(desk)
    )


def works(desk: Desk) -> list[Order]:
    """Orders that work at the exchange."""
    return [order for order in desk.book if order.status is Status.PENDING]


BOTH = [("LIMIT", 10, "830.0"), ("SL_MARKET", 10, "810.0")]


async def test_they_outlive_the_daemon_and_one_cancels_the_other(tape: Path, tmp_path: Path) -> None:
    """An orderly end leaves them; what was done meanwhile leaves no orphan; both done leaves no position."""
    async with opened() as desk:
        net = desk.server.exchange.ledger.net
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            enter(app)
            await until(lambda: len(works(desk)) == 2)
        assert legs(desk) == BOTH
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 10 and app.risk._session is not None)
            assert len(desk.book) == 3  # found, not placed again
            desk.price("809")
            await until(lambda: net(SBIN) == 0 and not works(desk))
            desk.price("820.5")
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0)
            enter(app, 11)
            await until(lambda: len(works(desk)) == 2)
        desk.price("831")
        assert (net(SBIN), len(works(desk))) == (0, 1)
        desk.price("820.5")
        async with running(app_of(desk, tape, tmp_path, "C")) as app:
            await until(lambda: not works(desk))
            enter(app, 12)
            await until(lambda: len(works(desk)) == 2)
        desk.price("831")
        desk.price("809")
        desk.price("820.5")
        assert net(SBIN) == -12
        async with running(app_of(desk, tape, tmp_path, "D")):
            await until(lambda: net(SBIN) == 0)
        assert works(desk) == []
        (failed,) = journaled(tmp_path / "j.sqlite", ProtectionFailed)
        assert failed.quantity == -12


async def test_a_stop_that_an_old_one_held_up_is_placed_before_the_end(
    tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue takes its time to let the old one go, and the process ends meanwhile: the position isn't left bare."""
    monkeypatch.setattr("daemon.orders.live_execution.SHORTEST_PAUSE_S", 0.0)  # the end looks at each turn of the loop
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            enter(app)
            await until(lambda: len(works(desk)) == 2)
        desk.price("831")
        desk.price("820.5")
        desk.trouble(FaultKind.DELAY, on=Route.CANCEL, seconds=0.25, times=3)
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            enter(app, 12)
            await until(lambda: ("LIMIT", 12, "830.0") in legs(desk))
            assert ("SL_MARKET", 10, "810.0") in legs(desk)
        assert legs(desk) == [("LIMIT", 12, "830.0"), ("SL_MARKET", 2, "810.0"), ("SL_MARKET", 10, "810.0")]


async def test_an_exit_that_rests_as_the_daemon_ends_is_had_by_the_next(tape: Path, tmp_path: Path) -> None:
    """At a locked circuit: the orderly end takes it off the market, the next one sends it again by itself."""
    async with opened() as desk:
        exchange = desk.server.exchange
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            want(app, Action.BUY_LONG)
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 10)
            exchange.lock(SBIN, Side.SELL)
            want(app, Action.CLOSE_LONG)
            await until(lambda: works(desk))
        assert (works(desk), exchange.ledger.net(SBIN)) == ([], 10)
        exchange.lock(SBIN, None)
        desk.price("820.5")
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            app.bus.publish(TimeAdvanced(ts=app.plan.clock.now_ns()))  # on a tape time goes on by bars
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0)
            assert not app.risk.closing.owed.of
        assert (works(desk), exchange.ledger.net(SBIN), len(desk.book)) == ([], 0, 3)


async def test_an_exit_that_is_refused_before_the_end_gives_the_stop_its_place_back(tape: Path, tmp_path: Path) -> None:
    """Nobody is there to try it again, and a stop is better than none; the next process has the exit."""
    async with opened() as desk:
        net = desk.server.exchange.ledger.net
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            enter(app)
            await until(lambda: len(works(desk)) == 2)
            desk.trouble(FaultKind.REJECT, on=Route.PLACE)
            want(app, Action.CLOSE_LONG)
            await until(lambda: app.risk.closing.retries.said(SBIN))
            assert works(desk) == []
        assert (legs(desk), net(SBIN)) == (BOTH, 10)
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            app.bus.publish(TimeAdvanced(ts=app.plan.clock.now_ns()))  # on a tape time goes on by bars
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0)
            assert not app.risk.closing.owed.of
        assert (works(desk), net(SBIN)) == ([], 0)


@pytest.mark.parametrize("trouble", [None, FaultKind.DROP, FaultKind.LIMITED])
async def test_a_stop_that_could_not_be_had_just_before_the_end_is_placed(
    tape: Path, tmp_path: Path, trouble: FaultKind | None
) -> None:
    """The end waits for the next try, and for its answer, as no time advances any more; else it says what is bare."""
    limited = trouble is FaultKind.LIMITED
    async with opened() as desk:
        app = app_of(desk, tape, tmp_path, "A")
        with pytest.raises(Fault, match=f"held, and an exit or a stop .*: {SBIN}; the") if limited else nullcontext():
            async with running(app):
                enter(app)
                await until(lambda: len(works(desk)) == 2)
                desk.server.exchange.cancel(next(it.order_id for it in works(desk) if it.wanted.stop_price))
                desk.server.publish()
                await until(lambda: len(app.risk.book.legs(SBIN)) == 1)
                app.drain_s = 1.5 if limited else 15
                if trouble is not None:
                    desk.trouble(trouble, times=1000 if limited else 1)
        assert legs(desk) == (BOTH[:1] if limited else BOTH)
        desk.server.plan.clear()
        async with running(app_of(desk, tape, tmp_path, "B")) as app:
            await until(lambda: app.risk._session is not None and legs(desk) == BOTH)


async def test_an_exit_of_a_flatten_that_is_refused_just_before_the_end_is_tried_again(
    tape: Path, tmp_path: Path
) -> None:
    """Who flattens and stops the daemon isn't left with a position, and without its stop."""
    async with opened() as desk:
        async with running(app_of(desk, tape, tmp_path, "A")) as app:
            enter(app)
            await until(lambda: len(works(desk)) == 2)
            desk.trouble(FaultKind.REJECT, on=Route.PLACE, times=2)
            app.bus.publish(Flatten(ts=app.plan.clock.now_ns(), reason="out", who="asha"))
            await until(lambda: app.risk.closing.retries.said(SBIN))
        assert (works(desk), desk.server.exchange.ledger.net(SBIN)) == ([], 0)


async def test_a_market_stop_is_protected_where_it_has_to_be(tape: Path, tmp_path: Path) -> None:
    """As a stop with a limit, so far beyond its own price."""
    async with opened() as desk:
        protected = "broker.live.market_orders=protected"
        async with running(app_of(desk, tape, tmp_path, "A", protected)) as app:
            enter(app)
            await until(lambda: len(works(desk)) == 2)
            stop = next(order.wanted for order in works(desk) if order.wanted.stop_price)
            assert (stop.type.value, str(stop.stop_price), str(stop.limit_price)) == ("SL_LIMIT", "810.0", "805.95")
            desk.price("809")
            await until(lambda: app.portfolio.portfolio.quantity(SBIN) == 0 and not works(desk))
