"""An evaluation → a table on the terminal, a JSON document, or an HTML page that needs nothing else.

Invariant: all three show the same cells, and none leaves one out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from rich import box
from rich.console import Group
from rich.table import Table

from models.training.evaluate import Cell, Evaluation, finite

HEADS = ("trader", "round trip bp", "bp a session", "Sharpe", "95 %", "PSR", "DSR", "trades", "permuted p")
_WORDS = ("trader", "regime")
"""Columns of words; the others hold figures."""


def tables(evaluation: Evaluation) -> Group:
    """Return the figures as rich tables."""
    main = _ruled(*HEADS, title=f"{evaluation.sessions} sessions")
    for cell in evaluation.cells:
        main.add_row(*_texts(cell))
    parts: list[Table] = [main]
    if evaluation.shares:
        shares = _ruled("trader", "share of the best", title="Expected profit against the best possible trader")
        for name, share in evaluation.shares.items():
            shares.add_row(name, f"{100 * share:.1f} %")
        parts.insert(0, shares)
    depth = _ruled("regime", "sessions", "segments", "‖Δz‖", title=f"Depth; {100 * evaluation.saved:.0f} % saved")
    for row in evaluation.depth:
        depth.add_row(row.regime, str(row.sessions), f"{row.segments:.2f}", f"{row.change:.3f}")
    profit = _ruled("regime", "sessions", "bp a session", "± error", "Sharpe", title="The model's profit by regime")
    for group in evaluation.regimes:
        profit.add_row(
            group.group, str(group.sessions), f"{group.mean_bp:.2f}", f"{group.error_bp:.2f}", f"{group.sharpe:.2f}"
        )
    return Group(*parts, depth, profit)


def _ruled(*heads: str, title: str) -> Table:
    """Looks as those of `daemon.report.tables`, which this package doesn't know."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head in _WORDS else "right", no_wrap=head not in _WORDS)
    return table


def _texts(cell: Cell) -> tuple[str, ...]:
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


def write_page(evaluation: Evaluation, path: Path) -> None:
    """Write an HTML page with all cells and two pictures; plotly's script is inside it."""
    figures = [_sharpe_figure(evaluation)]
    if evaluation.shares:
        figures.insert(0, _share_figure(evaluation))
    pictures = "".join(figure.to_html(full_html=False, include_plotlyjs=False) for figure in figures)
    depth = [(row.regime, str(row.sessions), f"{row.segments:.2f}", f"{row.change:.3f}") for row in evaluation.depth]
    body = (
        f"<h1>Evaluation over {evaluation.sessions} sessions</h1>{pictures}"
        f"{_table(HEADS, [_texts(cell) for cell in evaluation.cells])}"
        f"<h2>Depth by regime: {100 * evaluation.saved:.0f} % of the segments saved</h2>"
        f"{_table(('regime', 'sessions', 'segments', '‖Δz‖'), depth)}"
    )
    style = "body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}table{margin:1em 0}"
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Evaluation</title><style>{style}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>{body}</body></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    lines = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{lines}</table>"


def _share_figure(evaluation: Evaluation) -> go.Figure:
    names, values = list(evaluation.shares), [100 * share for share in evaluation.shares.values()]
    figure = go.Figure(go.Bar(x=names, y=values, text=[f"{value:.0f} %" for value in values]))
    figure.update_layout(title="Share of the best possible trader's expected profit", yaxis_title="%")
    return figure


def _sharpe_figure(evaluation: Evaluation) -> go.Figure:
    figure = go.Figure()
    for cost in sorted({cell.cost_bp for cell in evaluation.cells}):
        cells = [cell for cell in evaluation.cells if cell.cost_bp == cost]
        values = [cell.figures["sharpe"] for cell in cells]
        figure.add_scatter(
            x=[cell.trader for cell in cells],
            y=values,
            mode="markers",
            name=f"{cost:g} bp a round trip",
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [cell.figures["sharpe_high"] - cell.figures["sharpe"] for cell in cells],
                "arrayminus": [cell.figures["sharpe"] - cell.figures["sharpe_low"] for cell in cells],
            },
        )
    figure.update_layout(title="Yearly Sharpe ratio with its 95 % interval", yaxis_title="Sharpe")
    return figure
