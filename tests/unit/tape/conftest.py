"""A tape for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.tape.format import TapeWriter
from tests.unit.feed.ticks import make_batch


@pytest.fixture
def small_tape(tmp_path: Path) -> Path:
    """Write a tape of three ticks of AAA and one of BBB."""
    path = tmp_path / "small.parquet"
    batch = make_batch(
        ("AAA", "BBB"), code=[0, 0, 1, 0], ltp=[1, 2, 3, 4], volume=[5, -1, 7, 8], bid=[0.5, np.nan, 2.5, 3.5],
        ask=[1.5, np.nan, 3.5, 4.5],
    )  # fmt: skip
    with TapeWriter(path, columns=["volume", "bid", "ask"], notes={"seed": "7"}) as writer:
        writer.write(batch)
    return path
