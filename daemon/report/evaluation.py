"""An evaluation of a model → an HTML page in the look of a run's, without a script.

Invariant: it says which model was judged on what, every cell of the evaluation is on it, and text that a model or a
trader is called by is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from daemon.report.shell import banners, card, document, meter, table, toned, write_page
from daemon.report.text import counted, percent, whole
from models.training.pages import (
    FAMILY_HEADS,
    HEADS,
    RATIO_HEADS,
    WINDOW_HEADS,
    calibrated,
    family_texts,
    number,
    ratio_texts,
    spread_texts,
    texts,
    unlike_words,
    window_texts,
    worst_words,
)
from models.training.pages import percent as share_text

if TYPE_CHECKING:
    from models.training.evaluate import Cell, Evaluation
    from models.training.member_shares import FamilyShares
    from models.training.reliability import Reliability


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged: which models, on what; `simulated` where a program made that up."""

    models: str
    on: str
    simulated: bool

    @property
    def words(self) -> str:
        """In a line."""
        return f"{self.models} on {self.on}"


def write_evaluation(evaluation: Evaluation, subject: Subject, path: Path) -> None:
    """Write the page to `path`, whose directory is made. Raises `UsageError` where that can't be."""
    write_page(path, render(evaluation, subject), path)


def render(evaluation: Evaluation, subject: Subject) -> str:
    """The page."""
    title, sessions = f"Evaluation of {subject.models}", counted(evaluation.sessions, "session")
    parts = [
        f"<main>\n<h1>{escape(title)}<span>{sessions}</span></h1>",
        f'<div class="facts">{escape(subject.on)}</div>',
        _warnings(evaluation, subject),
    ]
    if evaluation.shares:
        parts.append(card("Expected profit against the best possible trader", _shares(evaluation)))
    if evaluation.family is not None:
        parts.append(card("Against the exact filter over members, given the same past", _family(evaluation.family)))
    if evaluation.windows:
        parts.append(card("By window, each with the model trained before it", _windows(evaluation)))
    parts += [
        card("Yearly Sharpe ratio with its 95 % interval, by trader and cost of a round trip", _cells(evaluation)),
        f'<div class="pair">{card(_depth_title(evaluation), _depth(evaluation))}'
        f"{card('The profit of the model by regime', _regimes(evaluation))}</div>",
        card("The model in rising, falling, sideways and volatile markets; ratios are yearly", _ratios(evaluation)),
        _reliability(evaluation.reliability, calibrated(evaluation.values)),
        f"<footer>{_FOOTER}</footer>\n</main>",
    ]
    return document(title, "\n".join(parts))


_FOOTER = (
    "bp: hundredths of a percent of what was traded. Round trip: what entry and exit cost together. The stroke in an "
    "interval is 0. PSR, DSR: the probability that the ratio is above 0, and above what the best of so many tries has "
    "by chance. Permuted p: of the timing against shuffled days. ‖Δz‖: how much the last segment still changed, as a "
    "share. Information: the yearly ratio of what it earned over holding one unit all day. CRPS: how far the predicted "
    "distribution is from what came, the less the better."
)


def _warnings(evaluation: Evaluation, subject: Subject) -> str:
    """What a reader must know before the first number."""
    lines = []
    if subject.simulated:
        lines.append("<b>Simulated market.</b> The sessions are made up by a program; nothing here is a market result.")
    if evaluation.on_training_data:
        lines.append(f"<b>On training data.</b> {escape(evaluation.on_training_data)}: it has seen the answers.")
    if words := unlike_words(evaluation.unlike):
        lines.append(f"<b>Another market.</b> {words}.")
    return banners(lines)


def _heads(names: Sequence[str]) -> tuple[str, ...]:
    """As sentences begin; a unit stays as it is written."""
    return tuple(escape(name if name.startswith("bp ") else name[:1].upper() + name[1:]) for name in names)


def _windows(evaluation: Evaluation) -> str:
    rows = [tuple(map(escape, window_texts(row))) for row in evaluation.windows]
    return table(_heads(WINDOW_HEADS), rows)


def _depth_title(evaluation: Evaluation) -> str:
    return f"Depth by regime: {percent(evaluation.saved, 0)} of the segments saved"


def _shares(evaluation: Evaluation) -> str:
    heads = ["Trader", "", "Share of the best"]
    if evaluation.spread:
        heads += ["By market seed", "Least"]
    if evaluation.family is not None:
        heads.append("Share of the filter")
    rows = []
    for name, share in evaluation.shares.items():
        cells = [escape(name), meter(share), percent(share, 1)]
        if evaluation.spread:
            spread, least = spread_texts(evaluation.spread.get(name))
            cells += [f'<span class="unbroken">{spread}</span>', least]
        if evaluation.family is not None:
            cells.append(share_text(evaluation.family.traders.get(name, math.nan)))
        rows.append(cells)
    said = '<p class="hint">By market seed: mean ± deviation of the share, over so many seeds.</p>'
    return table(heads, rows, figures=2) + (said if evaluation.spread else "")


def _family(family: FamilyShares) -> str:
    rows = [tuple(escape(text) for text in family_texts(row)) for row in family.rows]
    words = f"Of the members {worst_words(family)}. Costs of a row are those of one side."
    return f'{table(_heads(FAMILY_HEADS), rows)}<p class="hint">{escape(words)}</p>'


def _reliability(told: Reliability | None, how: str) -> str:
    """What the value head says of each position and what it earned, and how good its distribution is."""
    if told is None:
        return ""
    rows = [
        (
            escape(row.position), whole(row.decisions), number(row.predicted_bp), toned(number(row.earned_bp),
            row.earned_bp), number(row.error_bp),
        )
        for row in told.rows
    ]  # fmt: skip
    figures = [
        (
            escape(one.position), number(one.slope), number(one.crps_bp), number(one.crps_without_bp),
            percent(one.covered, 1),
        )
        for one in told.positions
    ]  # fmt: skip
    first = table(("Position", "Decisions", "Predicted bp", "Earned bp", "± error"), rows)
    second = table(("Position", "Slope", "CRPS bp", "Without the prediction", "Inside 80 %"), figures)
    said = f"Five groups of decisions for each position, by what is predicted ({how})."
    first += f'<p class="hint">{escape(said)}</p>'
    return (
        f'<div class="pair">{card("What each position is said to earn, and what it earned", first)}'
        f"{card('Its distribution', second)}</div>"
    )


def _cells(evaluation: Evaluation) -> str:
    ends = [cell.figures[name] for cell in evaluation.cells for name in ("sharpe_low", "sharpe_high")]
    finite = [end for end in ends if math.isfinite(end)]
    low, high = min([*finite, 0.0]), max([*finite, 0.0])
    rows = []
    for cell in evaluation.cells:
        name, *figures = map(escape, texts(cell))
        rows.append((name, _interval(cell, low, high), *figures))
    first, *others = _heads(HEADS)
    return table((first, "Interval", *others), rows, figures=2)


def _interval(cell: Cell, low: float, high: float) -> str:
    """The interval on a line from `low` to `high`, with a stroke at 0."""
    ends = [cell.figures[name] for name in ("sharpe_low", "sharpe", "sharpe_high")]
    if not all(map(math.isfinite, ends)):
        return ""
    room = (high - low) or 1.0
    left, middle, right = (2 + 96 * (value - low) / room for value in ends)
    zero = 2 + 96 * (0.0 - low) / room
    return (
        f'<svg class="span" aria-hidden="true"><line x1="{zero:.2f}%" x2="{zero:.2f}%" y1="0" y2="100%"/>'
        f'<rect x="{left:.2f}%" width="{max(0.3, right - left):.2f}%" y="5" height="4" rx="2"/>'
        f'<circle cx="{middle:.2f}%" cy="7" r="4"/></svg>'
    )


def _depth(evaluation: Evaluation) -> str:
    rows = [
        (escape(row.regime), whole(row.sessions), f"{row.segments:.2f}", f"{row.change:.3f}")
        for row in evaluation.depth
    ]
    return table(("Regime", "Sessions", "Segments", "‖Δz‖"), rows)


def _regimes(evaluation: Evaluation) -> str:
    rows = [
        (
            escape(row.group), whole(row.sessions), toned(number(row.mean_bp), row.mean_bp), number(row.error_bp),
            number(row.sharpe),
        )
        for row in evaluation.regimes
    ]  # fmt: skip
    return table(("Regime", "Sessions", "bp a session", "± error", "Sharpe"), rows)


def _ratios(evaluation: Evaluation) -> str:
    rows = [tuple(map(escape, ratio_texts(row))) for row in evaluation.ratios]
    return table(_heads(RATIO_HEADS), rows)
