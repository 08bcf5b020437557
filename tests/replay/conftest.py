"""A simulated tape, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.tape.simulator import SimulatedSymbol
from tests.samples import RELIANCE, SBIN, write_simulated

COLUMNS = ("ts_recv", "last_qty", "volume", "bid", "ask", "bid_qty", "ask_qty")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols over two sessions with faulty ticks among them."""
    path = tmp_path_factory.mktemp("simulated") / "sim.parquet"
    return write_simulated(
        path, [SimulatedSymbol(SBIN, 820.0), SimulatedSymbol(RELIANCE, 1450.0)], COLUMNS, days=(0, 1)
    )
