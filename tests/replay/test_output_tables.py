"""What `hrmd replay` writes for notebooks says the same as its summary and its journal."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from daemon.core.events import Decision, Fill, Side
from daemon.run.output_tables import fills_table
from tests.samples import LIVELY, journaled, play, wave, write_tape


def test_the_tables_agree_with_the_summary_and_the_journal(tmp_path: Path) -> None:
    """Every fill, round trip, decision and session, to the paisa and the nanosecond."""
    tape = write_tape(tmp_path / "t.parquet", *wave(60, days=2))
    paths = {name: tmp_path / f"{name}.parquet" for name in ("bars", "fills", "trades", "decisions", "equity")}
    replay, summary = play(tape, *LIVELY, journal=tmp_path / "j.sqlite", **paths)
    rows = {name: pq.read_table(path).to_pylist() for name, path in paths.items()}
    fills, decisions = journaled(tmp_path / "j.sqlite", Fill), journaled(tmp_path / "j.sqlite", Decision)
    assert [(row["fill_id"], row["price"], row["costs"]) for row in rows["fills"]] == [
        (fill.fill_id, fill.price, fill.costs) for fill in fills
    ]
    assert [(row["ts"].value, row["action"], row["confidence"]) for row in rows["decisions"]] == [
        (one.ts, one.action.name, one.confidence) for one in decisions
    ]
    assert len(rows["trades"]) == summary.trades > 2
    assert [row["net_pnl"] for row in rows["trades"]] == [trade.net_pnl for trade in replay.tally.trades]
    assert [row["equity"] for row in rows["equity"]] == [point.equity for point in summary.equity]
    assert len(rows["bars"]) == summary.bars


def test_what_nobody_did_is_an_empty_table(tmp_path: Path) -> None:
    """With its columns."""
    tape = write_tape(tmp_path / "t.parquet", *wave(3))
    paths = {name: tmp_path / f"{name}.parquet" for name in ("fills", "trades")}
    play(tape, *LIVELY, **paths)
    assert [(len(table), len(table.columns)) for table in map(pq.read_table, paths.values())] == [(0, 8), (0, 10)]


@pytest.mark.parametrize(
    "prices",
    [
        pytest.param(lambda price: float(np.float32(price)), id="prices of 32 bits"),
        pytest.param(lambda price: price + 1e-12, id="what binary fractions left"),
    ],
)
def test_an_account_has_no_tail_of_digits(tmp_path: Path, prices: Callable[[float], float]) -> None:
    """What is held over a night is worth a price of four digits at most; table, summary and months say the same."""
    times, walk = wave(60, days=2)
    tape = write_tape(tmp_path / "t.parquet", times[:-900], [prices(price) for price in walk[:-900]])
    paths = {name: tmp_path / f"{name}.parquet" for name in ("trades", "equity")}
    replay, summary = play(tape, *LIVELY, **paths)
    assert summary.open_trades
    told = [point.equity for point in summary.equity]
    assert pq.read_table(paths["equity"])["equity"].to_pylist() == told
    exponents = [amount.as_tuple().exponent for amount in (*told, summary.net_pnl, summary.by_month[0].net_pnl)]
    assert min(int(exponent) for exponent in exponents) >= -4
    still = sum((trade.net_pnl for trade in replay.tally.open_trades), Decimal())
    assert sum(pq.read_table(paths["trades"])["net_pnl"].to_pylist(), still) == summary.net_pnl


def test_a_price_with_more_digits_than_its_column_is_rounded() -> None:
    """As a broker tells an average, or a carried position has one."""
    fill = Fill(
        ts=1, fill_id="f", order_id="o", symbol="A", side=Side.BUY, quantity=3, price=Decimal(2) / 3,
        costs=Decimal("0.01"),
    )  # fmt: skip
    assert fills_table([fill])["price"].to_pylist() == [Decimal("0.6667")]
