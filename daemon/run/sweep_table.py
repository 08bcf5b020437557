"""The trials of a sweep as an Arrow table: a column for each setting that was tried."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from daemon.report.sweep import TrialRow

_FIGURES = ("value", "worst", "sharpe", "deflated")


def trials_table(rows: Sequence[TrialRow]) -> pa.Table:
    """In the order given; money is exact, settings are what they are."""
    columns: dict[str, pa.Array] = {
        "rank": pa.array(range(1, len(rows) + 1), pa.int64()),
        "number": pa.array([row.number for row in rows], pa.int64()),
        "state": pa.array([row.state for row in rows], pa.string()),
    }
    for name in rows[0].params if rows else ():
        columns[name] = pa.array([row.params[name] for row in rows])
    for figure in _FIGURES:
        columns[figure] = pa.array([getattr(row, figure) for row in rows], pa.float64())
    for money in ("net_pnl", "costs"):
        columns[money] = pa.array([getattr(row, money) for row in rows], pa.decimal128(24, 4))
    columns["trades"] = pa.array([row.trades for row in rows], pa.int64())
    return pa.table(columns)
