"""A replay → the same one under dearer markets and later orders: what is left of its result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from daemon.report.chance import SensitivityRow
from daemon.run.many import Job, Processes, play_all
from daemon.settings.tree import Settings

MARKET_COSTS = (1.0, 2.0, 4.0)
"""Times spread and slippage."""
LATENCIES = ("fixed:500", "fixed:2000")
"""Beside the replay's own."""


def sensitivity(
    settings: Settings, tapes: Sequence[Path], symbols: Sequence[str], latency: str, pool: Processes | None = None
) -> list[SensitivityRow]:
    """Every pair of costs and latency, the replay's own first, by the processes of `pool` or by this one.

    Raises what a replay raises.
    """
    grid = list(product(MARKET_COSTS, dict.fromkeys((latency, *LATENCIES))))
    jobs = [
        Job(
            settings=_dearer(settings, factor).model_dump_json(), tapes=[str(tape) for tape in tapes],
            symbols=list(symbols), latency=late,
        )
        for factor, late in grid
    ]  # fmt: skip
    return [
        SensitivityRow(
            market_costs=factor, latency=late, trades=found.trades, net_pnl=found.net_pnl, costs=found.costs,
            total_return=found.total_return, sharpe=found.sharpe, max_drawdown=found.max_drawdown,
            ruined=found.ruined_ts is not None,
        )
        for (factor, late), found in zip(grid, play_all(jobs, pool), strict=True)
    ]  # fmt: skip


def _dearer(settings: Settings, factor: float) -> Settings:
    paper = settings.broker.paper
    changed = {"spread_times": paper.spread_times * factor, "slippage_bp": paper.slippage_bp * factor}
    broker = settings.broker.model_copy(update={"paper": paper.model_copy(update=changed)})
    return settings.model_copy(update={"broker": broker})
