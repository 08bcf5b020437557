"""A simulated tape, made once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from daemon.market.calendar import MarketCalendar, Session
from daemon.tape.format import TapeWriter
from daemon.tape.simulator import SimulatedSymbol, simulate
from tests.samples import RELIANCE, SBIN

COLUMNS = ("ts_recv", "last_qty", "volume", "bid", "ask", "bid_qty", "ask_qty")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols over two sessions with faulty ticks among them."""
    path = tmp_path_factory.mktemp("simulated") / "sim.parquet"
    calendar = MarketCalendar()
    days = [calendar.session(dt.date(2026, 1, 5)), calendar.session(dt.date(2026, 1, 6))]
    sessions = [day for day in days if isinstance(day, Session)]
    symbols = [SimulatedSymbol(SBIN, 820.0), SimulatedSymbol(RELIANCE, 1450.0)]
    with TapeWriter(path, columns=COLUMNS, notes={"simulated": "true"}) as writer:
        for batch in simulate(symbols, sessions, 4000, 11, 0.01):
            writer.write(batch)
    return path
