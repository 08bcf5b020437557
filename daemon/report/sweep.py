"""The trials of a sweep → a page: the ranking with how much of it is luck, and how stable the best is.

Invariant: the number of trials stands before the first ratio, and a ratio that luck explains isn't called good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from itertools import combinations
from math import fsum
from pathlib import Path
from typing import Any

import msgspec

from daemon.report.shell import banners, card, document, table, toned, write_page
from daemon.report.terminal import FEW_SESSIONS
from daemon.report.text import counted, percent, ratio, rupees, signed_rupees, whole

SHOWN = 50
MOST_MAPS = 6
BINS = 8


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """A finished trial. `value` is the mean of the metric over instruments, windows and seeds; ratios a year."""

    number: int
    params: dict[str, Any]
    state: str
    """complete; pruned: it wasn't played on everything; ruined: its account came to nothing, and it has no value;
    refused: its settings can't be had together; swapped: another strategy decided, too (its own failed, say), so that
    what it came to says little of its settings."""
    value: float | None
    worst: float | None
    """The metric of its worst instrument, window and seed."""
    sharpe: float | None
    """Of all its sessions, instruments and seeds each an equal part of one account."""
    deflated: float | None
    """The probability that its Sharpe ratio is more than luck brings out of so many trials."""
    trades: int
    net_pnl: Decimal
    costs: Decimal

    @property
    def loses(self) -> bool:
        """Whether sitting out is better, by all its sessions or by what it was tried for."""
        return (self.sharpe or 0.0) < 0 or (self.value or 0.0) < 0

    @property
    def earns(self) -> bool:
        """Whether it was played on everything, and what came of it is more than nothing."""
        return self.state == "complete" and bool(self.trades) and not self.loses

    @property
    def called(self) -> str:
        """Its number, and what there is to say of it: `4 (swapped)`."""
        return f"{self.number}{'' if self.state == 'complete' else f' ({self.state})'}"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What the trials of a sweep were played on."""

    strategy: str
    on: str
    """Tapes, and what of them."""
    metric: str
    simulated: bool
    """Whether a program made up any of the ticks."""
    sessions: int
    """Of a trial that was played on everything."""


NONE_EARNS = "no trial did better than to sit out"


def alike(rows: Sequence[TrialRow]) -> str:
    """That the same came of every trial, so that none is better than another; "" where it didn't."""
    results = {(row.state, row.value, row.worst, row.sharpe, row.trades, row.net_pnl, row.costs) for row in rows}
    if len(rows) < 2 or len(results) > 1:
        return ""
    return f"the same came of all {whole(len(rows))} trials: what was tried plays no part here"


def write_sweep(path: Path, ranked: Sequence[TrialRow], tried: Tried) -> None:
    """Write the page. Raises `UsageError` where that can't be."""
    write_page(path, render(ranked, tried), path)


def render(ranked: Sequence[TrialRow], tried: Tried) -> str:
    """The page; `ranked` are the trials, best first."""
    names, metric = list(ranked[0].params) if ranked else [], tried.metric
    heads = (
        "Trial", *map(escape, names), f"Mean {metric}", "Worst", "Sharpe, all sessions", "Not luck", "Trades", "Costs",
        "Net P&amp;L",
    )  # fmt: skip
    rows = [
        (
            row.called,
            *(escape(_text(row.params[name])) for name in names), ratio(row.value), ratio(row.worst), ratio(row.sharpe),
            percent(row.deflated, 1), whole(row.trades), rupees(row.costs),
            toned(signed_rupees(row.net_pnl), float(row.net_pnl)),
        )
        for row in ranked[:SHOWN]
    ]  # fmt: skip
    maps = [card(f"{escape(a)} × {escape(b)}: mean {metric}", heat_map(ranked, a, b))
            for a, b in list(combinations(names, 2))[:MOST_MAPS]]  # fmt: skip
    alone = [card(f"{escape(name)}: mean {metric}", heat_map(ranked, name, None)) for name in names[:MOST_MAPS]]
    body = [
        f"<main>\n<h1>Sweep of {escape(tried.strategy)}<span>{whole(len(ranked))} trials</span></h1>",
        f'<div class="facts">{escape(tried.on)}</div>',
        banners(_warnings(ranked, tried)),
        f"<p>The best of {whole(len(ranked))} trials looks better than it is, for it was picked. <b>Not luck</b> is "
        "the deflated Sharpe ratio: the probability that a trial's ratio is above the best that so many tries bring "
        "out by chance. A good trial lies among good neighbours on the maps; a bright cell by itself is luck.</p>",
        card("Ranking", table(heads, rows)), *maps, *alone,
        "<footer>Deflated Sharpe ratio: Bailey &amp; López de Prado, 2014.</footer>\n</main>",
    ]  # fmt: skip
    return document("Sweep", "\n".join(body))


def _warnings(ranked: Sequence[TrialRow], tried: Tried) -> list[str]:
    """What a reader must know before the first number."""
    lines = []
    if not any(row.earns for row in ranked):
        lines.append(
            f"<b>{NONE_EARNS.capitalize()}.</b> The first of the ranking is the least bad, and nothing to trade."
        )
    if tried.simulated:
        lines.append("<b>Simulated tape.</b> The ticks are made up by a program; nothing here is a market result.")
    if 0 < tried.sessions < FEW_SESSIONS:
        lines.append(f"Ratios over {counted(tried.sessions, 'session')} are mostly chance.")
    if same := alike(ranked):
        lines.append(f"{same.capitalize()}.")
    return lines


def heat_map(rows: Sequence[TrialRow], across: str, down: str | None) -> str:
    """The mean value in each cell, as SVG: blue below 0, orange above, pale near it."""
    columns, lines = _bins(rows, across), _bins(rows, down) if down is not None else {"": [""]}
    column_of, line_of = _places(columns), _places(lines)
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in rows:
        if row.value is not None and row.state != "swapped":
            line = line_of[_text(row.params[down])] if down is not None else 0
            cells[column_of[_text(row.params[across])], line].append(row.value)
    means = {place: fsum(values) / len(values) for place, values in cells.items()}
    most = max((abs(mean) for mean in means.values()), default=0.0) or 1.0
    width, height, left = 84, 30, 120
    parts = []
    for (x, y), mean in means.items():
        place = f'x="{left + x * width}" y="{y * height}"'
        colour = "#d9822b" if mean > 0 else "#3b7dd8"
        parts.append(f'<rect {place} width="{width - 2}" height="{height - 2}" fill="{colour}" '
                     f'fill-opacity="{0.08 + 0.9 * abs(mean) / most:.2f}"/>'
                     f'<text x="{left + x * width + width // 2}" y="{y * height + 19}" text-anchor="middle" '
                     f'font-size="12" fill="currentColor">{ratio(mean)} ({len(cells[x, y])})</text>')  # fmt: skip
    for number, name in enumerate(lines):
        parts.append(f'<text x="{left - 8}" y="{number * height + 19}" text-anchor="end" font-size="12" '
                     f'fill="currentColor">{escape(name)}</text>')  # fmt: skip
    for number, name in enumerate(columns):
        parts.append(f'<text x="{left + number * width + width // 2}" y="{len(lines) * height + 16}" '
                     f'text-anchor="middle" font-size="12" fill="currentColor">{escape(name)}</text>')  # fmt: skip
    wide, high = left + len(columns) * width, len(lines) * height + 24
    return (f'<svg class="map" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" '
            f'aria-label="{escape(across)}">{"".join(parts)}</svg>')  # fmt: skip


def _bins(rows: Sequence[TrialRow], name: str) -> dict[str, list[str]]:
    """Values by the label of their bin, in order; many numbers share a bin with their neighbours."""
    texts = {_text(row.params[name]) for row in rows}
    try:
        values = sorted(texts, key=float)
    except ValueError:
        return {text: [text] for text in sorted(texts)}
    count = min(BINS, len(values))
    groups = [values[len(values) * n // count : len(values) * (n + 1) // count] for n in range(count)]
    return {group[0] if len(group) == 1 else f"{group[0]}–{group[-1]}": group for group in groups}


def _places(bins: dict[str, list[str]]) -> dict[str, int]:
    return {text: place for place, texts in enumerate(bins.values()) for text in texts}


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
