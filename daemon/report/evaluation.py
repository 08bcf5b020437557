"""An evaluation of a model → an HTML page in the look of a run's, without a script.

Invariant: every cell of the evaluation is on it, and text that a model or a trader is called by is escaped.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.core.errors import UsageError
from daemon.report.shell import card, document, meter, table, toned
from daemon.report.text import percent, whole
from models.training.pages import (
    FAMILY_HEADS,
    HEADS,
    RATIO_HEADS,
    WINDOW_HEADS,
    calibrated,
    family_texts,
    headline,
    number,
    ratio_texts,
    spread_texts,
    texts,
    window_texts,
)

if TYPE_CHECKING:
    from models.training.evaluate import Cell, Evaluation
    from models.training.member_shares import FamilyShares
    from models.training.reliability import Reliability


def write_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page to `path`, whose directory is made. Raises `UsageError` where that can't be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(evaluation), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"report {path}: can't be written ({error.strerror})") from None


def render(evaluation: Evaluation) -> str:
    """The page."""
    sessions = escape(headline(evaluation))
    parts = [f"<main>\n<h1>Evaluation<span>over {sessions}</span></h1>", '<div class="facts"></div>']
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
        "<footer>bp: hundredths of a percent of what was traded. PSR, DSR: the probability that the ratio is above 0, "
        "and above what the best of so many tries has by chance. Permuted p: of the timing against shuffled days."
        "</footer>"
        "\n</main>",
    ]
    return document("Evaluation", "\n".join(parts))


def _windows(evaluation: Evaluation) -> str:
    rows = [tuple(map(escape, window_texts(row))) for row in evaluation.windows]
    return table(tuple(escape(head.capitalize()) for head in WINDOW_HEADS), rows)


def _depth_title(evaluation: Evaluation) -> str:
    return f"Depth by regime: {percent(evaluation.saved, 0)} of the segments saved"


def _shares(evaluation: Evaluation) -> str:
    rows = [
        (escape(name), meter(share), percent(share, 1), *spread_texts(evaluation.spread.get(name)))
        for name, share in evaluation.shares.items()
    ]
    return table(("Trader", "", "Share of the best", "By market seed", "Least"), rows, figures=2)


def _family(family: FamilyShares) -> str:
    rows = [tuple(escape(text) for text in family_texts(row)) for row in family.rows]
    return table(tuple(escape(head.capitalize()) for head in FAMILY_HEADS), rows)


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
    return (
        f'<div class="pair">{card(f"What each position is said to earn ({how}), and what it earned", first)}'
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
    return table((HEADS[0].capitalize(), "Interval", *(escape(head) for head in HEADS[1:])), rows, figures=2)


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
    return table(tuple(escape(head) for head in RATIO_HEADS), rows)
