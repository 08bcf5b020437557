"""Turns bars, fills, equity and decisions into plotly figures that read on a light and on a dark ground.

Invariant: the time axis counts bars, not hours, so nights and holidays take no room; labels are India Standard Time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import accumulate

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from daemon.core.events import Bar, Decision, Fill, Side
from daemon.report.summary import EquityPoint, ReplaySummary
from daemon.report.text import ist, rupees, signed_rupees, words

UP, DOWN, LINE, SOFT, AMBER, VIOLET = "#12a06a", "#e0505c", "#4c86f0", "#8593a3", "#e0a030", "#9b6bdf"
_GRID = "rgba(133, 147, 163, 0.16)"
_CLEAR = "rgba(0, 0, 0, 0)"
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, DejaVu Sans, sans-serif"
_CONFIG = {"displaylogo": False, "responsive": True}


def to_script(name: str, figure: go.Figure) -> str:
    """`figure` as a `div` with the id `name` and the script that fills it; plotly.js must come first on the page."""
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG))


def price_figure(bars: Sequence[Bar], fills: Sequence[Fill]) -> go.Figure:
    """Candles of one symbol's `bars` (oldest first, not empty), volume below where there is any, `fills` as arrows."""
    labels = [_label(bar.ts_open) for bar in bars]
    with_volume = any(bar.volume > 0 for bar in bars)
    figure = make_subplots(
        rows=2 if with_volume else 1, cols=1, shared_xaxes=True, vertical_spacing=0.02,
        row_heights=[0.82, 0.18] if with_volume else [1.0],
    )  # fmt: skip
    candles = go.Candlestick(
        x=labels, open=[bar.open for bar in bars], high=[bar.high for bar in bars], low=[bar.low for bar in bars],
        close=[bar.close for bar in bars], name="price", showlegend=False,
        increasing={"line": {"color": UP, "width": 1}}, decreasing={"line": {"color": DOWN, "width": 1}},
    )  # fmt: skip
    figure.add_trace(candles, row=1, col=1)
    for side in Side:
        figure.add_trace(_arrows(side, bars, labels, [fill for fill in fills if fill.side is side]), row=1, col=1)
    if with_volume:
        colours = [UP if bar.close >= bar.open else DOWN for bar in bars]
        volume = go.Bar(x=labels, y=[max(bar.volume, 0) for bar in bars], marker={"color": colours, "opacity": 0.55},
                        name="volume", showlegend=False)  # fmt: skip
        figure.add_trace(volume, row=2, col=1)
    return _dressed(figure, 520, timed=True, legend=bool(fills))


def equity_figure(summary: ReplaySummary, equity: Sequence[EquityPoint]) -> go.Figure:
    """Net P&L since the start above, the fall of equity from its peak (percent) below."""
    start = float(summary.starting_equity)
    labels = ["start", *(_label(point.ts) for point in equity)]
    values = [start, *(float(point.equity) for point in equity)]
    falls = [100 * (value / peak - 1) for value, peak in zip(values, accumulate(values, max), strict=True)]
    colour = UP if values[-1] >= start else DOWN
    texts = [f"{signed_rupees(value - start)} · equity {rupees(value)}" for value in values]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.7, 0.3])
    line = go.Scatter(x=labels, y=[value - start for value in values], line={"color": colour, "width": 2}, text=texts,
                      hovertemplate="%{text}<extra></extra>")  # fmt: skip
    drawdown = go.Scatter(x=labels, y=falls, line={"color": DOWN, "width": 1.2}, fill="tozeroy",
                          fillcolor="rgba(224, 80, 92, 0.18)", hovertemplate="%{y:.2f} %<extra></extra>")  # fmt: skip
    figure.add_trace(line, row=1, col=1)
    figure.add_trace(drawdown, row=2, col=1)
    figure.add_hline(y=0, line={"color": SOFT, "width": 1, "dash": "dot"}, row=1, col=1)
    figure.update_yaxes(tickprefix="₹", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(ticksuffix=" %", rangemode="tozero", row=2, col=1)
    return _dressed(figure, 380, timed=True, legend=False)


def depth_figure(decisions: Sequence[Decision], max_segments: int) -> go.Figure:
    """Segments of each decision over time, and below the complexity of the market that asked for them."""
    labels = [_label(decision.ts_bar) for decision in decisions]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.55, 0.45])
    details = [f"{escape(made.symbol)} · {made.action.name} · {words(made.halt_reason)}" for made in decisions]
    depth = go.Bar(
        x=labels, y=[decision.segments for decision in decisions], marker={"color": LINE, "line": {"width": 0}},
        text=details, textposition="none", hovertemplate="%{y} segments · %{text}<extra></extra>",
    )  # fmt: skip
    complexity = go.Scatter(
        x=labels, y=[decision.complexity for decision in decisions], fill="tozeroy",
        line={"color": AMBER, "width": 1.2}, fillcolor="rgba(224, 160, 48, 0.16)",
        hovertemplate="complexity %{y:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_trace(depth, row=1, col=1)
    figure.add_trace(complexity, row=2, col=1)
    figure.update_layout(bargap=0, barmode="overlay")
    deepest = max(max_segments, *(decision.segments for decision in decisions))
    figure.update_yaxes(title="segments", range=[0, deepest + 0.5], dtick=max(1, deepest // 4), row=1, col=1)
    figure.update_yaxes(title="complexity", range=[0, 1.02], row=2, col=1)
    return _dressed(figure, 380, timed=True, legend=False)


def halt_figure(decisions: Sequence[Decision]) -> go.Figure:
    """How many decisions stopped at which depth, by the reason they stopped for."""
    colours = (LINE, AMBER, DOWN, UP, VIOLET, SOFT)
    figure = go.Figure()
    by_reason = Counter(decision.halt_reason for decision in decisions).most_common()
    for number, (reason, _) in enumerate(by_reason):
        depths = Counter(decision.segments for decision in decisions if decision.halt_reason == reason)
        stack = go.Bar(
            x=sorted(depths), y=[depths[depth] for depth in sorted(depths)], name=words(reason),
            marker={"color": colours[number % len(colours)]}, hovertemplate="%{y} at %{x} segments",
        )  # fmt: skip
        figure.add_trace(stack)
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(title="segments", dtick=1)
    figure.update_yaxes(title="decisions")
    return _dressed(figure, 300, timed=False, legend=True)


def _arrows(side: Side, bars: Sequence[Bar], labels: Sequence[str], fills: Sequence[Fill]) -> go.Scatter:
    closes = [bar.ts_close for bar in bars]
    rows = [min(bisect_left(closes, fill.ts), len(bars) - 1) for fill in fills]
    colour, symbol = (UP, "triangle-up") if side is Side.BUY else (DOWN, "triangle-down")
    return go.Scatter(
        x=[labels[row] for row in rows],
        y=[float(fill.price) for fill in fills],
        mode="markers",
        name=side.value.lower(),
        marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 1.5, "color": "#fff"}},
        text=[f"{side.value} {fill.quantity:,} at {rupees(fill.price)}, costs {rupees(fill.costs)}" for fill in fills],
        hovertemplate="%{text}<extra></extra>",
    )


def _label(ts: int) -> str:
    return f"{ist(ts):%d %b %y %H:%M}"


def _dressed(figure: go.Figure, height_px: int, *, timed: bool, legend: bool) -> go.Figure:
    """The look that all figures share; a `timed` one has labels of bars along its axis."""
    figure.update_layout(
        height=height_px, margin={"l": 70, "r": 12, "t": 26, "b": 36}, paper_bgcolor=_CLEAR, plot_bgcolor=_CLEAR,
        font={"color": SOFT, "size": 11.5, "family": _FONT}, showlegend=legend,
        hovermode="x unified" if timed else "closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        modebar={"bgcolor": _CLEAR, "color": SOFT, "activecolor": LINE}, xaxis_rangeslider_visible=False,
    )  # fmt: skip
    figure.update_xaxes(gridcolor=_GRID, zeroline=False, linecolor=_GRID)
    figure.update_yaxes(gridcolor=_GRID, zeroline=False)
    if timed:
        figure.update_xaxes(type="category", nticks=9, tickangle=0, showgrid=False)
    return figure
