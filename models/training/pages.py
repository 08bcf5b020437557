"""An evaluation → tables on the terminal, a JSON document, and the texts that a page of it shows.

Invariant: all of them show the same cells, and none leaves one out.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from models.training.evaluate import Cell, Evaluation, Spread, finite
from models.training.regimes import RegimeRow

HEADS = ("trader", "round trip bp", "bp a session", "Sharpe", "95 %", "PSR", "DSR", "trades", "permuted p")
RATIO_HEADS = ("regime", "round trip bp", "sessions", "bp a session", "Sharpe", "Sortino", "Calmar", "information")
_WORDS = ("trader", "regime")
"""Columns of words; the others hold figures."""


def tables(evaluation: Evaluation) -> Group:
    """Return the figures as rich tables."""
    main = _ruled(*HEADS, title=headline(evaluation))
    for cell in evaluation.cells:
        main.add_row(*texts(cell))
    parts: list[Table] = [main]
    if evaluation.shares:
        title = "Expected profit against the best possible trader"
        shares = _ruled("trader", "share of the best", "by market seed: mean ± deviation", "least", title=title)
        for name, share in evaluation.shares.items():
            shares.add_row(name, f"{100 * share:.1f} %", *spread_texts(evaluation.spread.get(name)))
        parts.insert(0, shares)
    depth = _ruled("regime", "sessions", "segments", "‖Δz‖", title=f"Depth; {100 * evaluation.saved:.0f} % saved")
    for row in evaluation.depth:
        depth.add_row(row.regime, str(row.sessions), f"{row.segments:.2f}", f"{row.change:.3f}")
    profit = _ruled("regime", "sessions", "bp a session", "± error", "Sharpe", title="The model's profit by regime")
    for group in evaluation.regimes:
        profit.add_row(
            group.group, str(group.sessions), f"{group.mean_bp:.2f}", f"{group.error_bp:.2f}", f"{group.sharpe:.2f}"
        )
    ratios = _ruled(*RATIO_HEADS, title="The model in rising, falling, sideways and volatile markets")
    for one in evaluation.ratios:
        ratios.add_row(*ratio_texts(one))
    return Group(*parts, depth, profit, ratios)


def headline(evaluation: Evaluation) -> str:
    """What it was scored on."""
    count = f"{evaluation.sessions} sessions"
    return f"{count}, on training data: {evaluation.on_training_data}" if evaluation.on_training_data else count


def spread_texts(spread: Spread | None) -> tuple[str, str]:
    """Mean and deviation over market seeds, and the least."""
    if spread is None or spread.sets < 2:
        return "", ""
    return f"{100 * spread.mean:.1f} ± {100 * spread.deviation:.1f} % ({spread.sets})", f"{100 * spread.least:.1f} %"


def ratio_texts(row: RegimeRow) -> tuple[str, ...]:
    """One row under `RATIO_HEADS`."""
    figures = (row.mean_bp, row.sharpe, row.sortino, row.calmar, row.information)
    return row.regime, f"{row.cost_bp:g}", str(row.sessions), *(f"{figure:.2f}" for figure in figures)


def _ruled(*heads: str, title: str) -> Table:
    """Looks as those of `daemon.report.tables`, which this package doesn't know."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head in _WORDS else "right", no_wrap=head not in _WORDS)
    return table


def texts(cell: Cell) -> tuple[str, ...]:
    """One cell's figures as they are read, under `HEADS`."""
    figures = cell.figures
    return (
        cell.trader,
        f"{cell.cost_bp:g}",
        f"{figures['mean_bp']:.2f}",
        f"{figures['sharpe']:.2f}",
        f"{figures['sharpe_low']:.2f} … {figures['sharpe_high']:.2f}",
        f"{figures['psr']:.3f}",
        f"{figures['dsr']:.3f}",
        f"{cell.trades:.2f}",
        f"{cell.control.p_value:.3f}",
    )


def document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures as one JSON document; what is not a number is null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [clean(inner) for inner in value]
        return finite(value) if isinstance(value, float) else value

    result: dict[str, Any] = clean(asdict(evaluation))
    return result
