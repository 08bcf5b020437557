"""Signals on an index, orders on its front future: the whole daemon on the sandbox with a symbol master."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from daemon.core.clock import NS_PER_S
from daemon.core.events import Action, Bar, Complexity, Decision, Regime
from daemon.sandbox.exchange import Quote
from daemon.tape.format import TapeWriter
from tests.integration.test_live_app import START, app_of, running
from tests.samples import MINUTE, decide, ticks
from tests.unit.market.masters import put
from tests.unit.orders.live import until
from tests.unit.sandbox.desk import opened

INDEX, FUTURE = "NSE:NIFTY50-INDEX", "NSE:NIFTY26JANFUT"


def tape_of_both(path: Path) -> Path:
    """Five minutes of an index at 800 and of its future at 804."""
    times = [START + tenth * NS_PER_S // 10 for tenth in range(3000)]
    with TapeWriter(path, columns=()) as writer:
        code = [number % 2 for number in range(len(times))]
        writer.write(ticks(times, [800.0 + 4 * which for which in code], (INDEX, FUTURE), code))
    return path


async def test_a_signal_on_the_index_trades_the_future(tmp_path: Path) -> None:
    """The order goes to the contract of the day, in its lots, and the index's decider sees the position as its own."""
    put(tmp_path / "symbols")
    tape = tape_of_both(tmp_path / "t.parquet")
    async with opened() as desk:
        desk.server.exchange.on_quote(FUTURE, Quote(last=Decimal(804)))
        app = app_of(
            desk, tape, tmp_path, "A", "market.symbol_master.use=always", "market.symbol_master.min_rows=1",
            f"market.symbol_master.directory={tmp_path}/symbols",
        )  # fmt: skip
        decisions: list[Decision] = []
        app.bus.tap((Decision,), decisions.append)
        async with running(app, INDEX):
            await until(lambda: app.risk.book.of(FUTURE).last_price)
            now = app.plan.clock.now_ns()
            for symbol, close in ((INDEX, 800.0), (FUTURE, 804.0)):
                app.bus.publish(Bar(symbol, "5m", now - 5 * MINUTE, now, close, close, close, close, -1, 1))
            app.bus.publish(decide(Action.BUY_LONG, 100, symbol=INDEX, ts=now, price=800.0))
            await until(lambda: app.portfolio.portfolio.quantity(FUTURE) == 65)
            assert app.portfolio.portfolio.quantity(INDEX) == 0
            assert [(item.wanted.symbol, item.wanted.quantity) for item in desk.book] == [(FUTURE, 65)]
            scores = [0.0] * 7
            complexity = Complexity(INDEX, "5m", now, *scores, Regime.RANGING)
            await until(lambda: app.strategy.view.moment(complexity).position == 65)
            seen = app.strategy.view.moment(complexity)
            assert (seen.position, seen.unrealised_atr) == (65, 0.0)
            app.bus.publish(Complexity(FUTURE, "5m", now, *scores, Regime.RANGING))
            app.bus.publish(decide(Action.CLOSE_LONG, 0, symbol=INDEX, ts=now + 1, price=800.0))
            await until(lambda: desk.server.exchange.ledger.net(FUTURE) == 0)
    assert {decision.symbol for decision in decisions} == {INDEX}
