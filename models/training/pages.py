"""An evaluation → tables on the terminal, a JSON document, and the texts that a page of it shows.

Invariant: all of them show the same cells, and none leaves one out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from models.training.evaluate import Cell, Evaluation, Spread, finite
from models.training.member_shares import FamilyShares, MemberRow
from models.training.regimes import RegimeRow
from models.training.reliability import Reliability
from models.training.stats import GroupRow
from models.values import ValueCalibration

HEADS = ("trader", "round trip bp", "bp a session", "Sharpe", "95 %", "PSR", "DSR", "trades a session", "permuted p")
RATIO_HEADS = ("regime", "round trip bp", "sessions", "bp a session", "Sharpe", "Sortino", "Calmar", "information")
WINDOW_HEADS = ("border", "sessions", "bp a session", "± error", "Sharpe")
_WORDS = ("border", "trader", "regime", "members", "position")
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
            shares.add_row(name, percent(share), *spread_texts(evaluation.spread.get(name)))
        parts.insert(0, shares)
    if evaluation.family is not None:
        parts[1:1] = _family(evaluation.family)
    depth = _ruled("regime", "sessions", "segments", "‖Δz‖", title=f"Depth; {100 * evaluation.saved:.0f} % saved")
    for row in evaluation.depth:
        depth.add_row(row.regime, str(row.sessions), f"{row.segments:.2f}", f"{row.change:.3f}")
    profit = _ruled("regime", "sessions", "bp a session", "± error", "Sharpe", title="The model's profit by regime")
    for group in evaluation.regimes:
        profit.add_row(
            group.group, str(group.sessions), number(group.mean_bp), number(group.error_bp), number(group.sharpe)
        )
    by_window = []
    if evaluation.windows:
        by_window.append(_ruled(*WINDOW_HEADS, title="By window, each with the model trained before it"))
        for window in evaluation.windows:
            by_window[0].add_row(*window_texts(window))
    ratios = _ruled(*RATIO_HEADS, title="The model in rising, falling, sideways and volatile markets")
    for one in evaluation.ratios:
        ratios.add_row(*ratio_texts(one))
    how = calibrated(evaluation.values)
    said = () if evaluation.reliability is None else reliability_tables(evaluation.reliability, how)
    return Group(*parts, *by_window, depth, profit, ratios, *said)


def calibrated(values: Sequence[ValueCalibration | None]) -> str:
    """Whether predictions are the head's own, in words."""
    known = {one.sessions for one in values if one is not None}
    if not known or None in values:
        return "not calibrated: hrmd model calibrate does"
    if len(known) > 1:
        return f"calibrated, each model on {min(known):,} to {max(known):,} sessions of its training"
    return f"calibrated on {known.pop():,} sessions of its training"


def reliability_tables(told: Reliability, how: str) -> tuple[Table, Table]:
    """What was predicted of each position and what it earned, and how good its distribution is; ``how`` it was made."""
    title = f"What each position is said to earn ({how}), and what it earned: five groups of decisions each"
    rows = _ruled("position", "decisions", "predicted bp", "earned bp", "± error", title=title)
    for row in told.rows:
        rows.add_row(
            row.position, str(row.decisions), number(row.predicted_bp), number(row.earned_bp), number(row.error_bp)
        )
    title = "Its distribution: CRPS beside one without the prediction; inside its 80 % interval"
    figures = _ruled("position", "slope", "CRPS bp", "without bp", "inside", title=title)
    for one in told.positions:
        figures.add_row(
            one.position, number(one.slope), number(one.crps_bp), number(one.crps_without_bp),
            percent(one.covered),
        )  # fmt: skip
    return rows, figures


FAMILY_HEADS = (
    "members", "count", "model bp", "± error", "filter bp", "known bp", "of the filter", "of who knows"
)  # fmt: skip


def _family(family: FamilyShares) -> list[Table]:
    """The model beside the filter over members and the trader who knows the member."""
    title = "Against the exact filter over members, given the same past: a trader by its posterior, a lower bound"
    shares = _ruled("trader", "share of the filter", title=title)
    for name, share in family.traders.items():
        shares.add_row(name, percent(share))
    rows = _ruled(*FAMILY_HEADS, title=f"Members; {worst_words(family)}")
    for row in family.rows:
        rows.add_row(*family_texts(row))
    return [shares, rows]


def worst_words(family: FamilyShares) -> str:
    """How the members do on which the model does worst."""
    return (
        f"the worst decile has {percent(family.worst_decile, 0)} of its filter, the worst tenth of all "
        f"{number(family.worst_bp)} bp a session"
    )


def family_texts(row: MemberRow) -> tuple[str, ...]:
    """One group of members as it is read, under `FAMILY_HEADS`; of nothing there is no share."""
    return (
        row.group,
        str(row.members),
        number(row.model_bp),
        number(row.error_bp),
        number(row.filter_bp),
        number(row.known_bp),
        percent(row.of_filter),
        percent(row.of_known),
    )


def headline(evaluation: Evaluation) -> str:
    """What it was scored on."""
    several = f" of {evaluation.days} days" if evaluation.days < evaluation.sessions else ""
    count = f"{evaluation.sessions} sessions{several}"
    seen = f", on training data: {evaluation.on_training_data}" if evaluation.on_training_data else ""
    return f"{count}{seen}{f'; {words}' if (words := unlike_words(evaluation.unlike)) else ''}"


def unlike_words(share: float) -> str:
    """That a daemon trades less than was judged; "" where it doesn't, or where nobody asked."""
    if not share > 0:
        return ""
    return (
        f"{percent(share)} of the decisions are in a market unlike those that the model knows: a daemon opens nothing "
        "there, these figures do"
    )


def spread_texts(spread: Spread | None) -> tuple[str, str]:
    """Mean and deviation over market seeds, and the least."""
    if spread is None or spread.sets < 2:
        return "", ""
    mean, deviation = number(100 * spread.mean, 1), percent(spread.deviation)
    return f"{mean} ± {deviation} ({spread.sets})", percent(spread.least)


def ratio_texts(row: RegimeRow) -> tuple[str, ...]:
    """One row under `RATIO_HEADS`."""
    figures = (row.mean_bp, row.sharpe, row.sortino, row.calmar, row.information)
    return row.regime, f"{row.cost_bp:g}", str(row.sessions), *map(number, figures)


def window_texts(row: GroupRow) -> tuple[str, ...]:
    """One window of a walk forward under `WINDOW_HEADS`; of a single session there is no error."""
    return row.group, str(row.sessions), *map(number, (row.mean_bp, row.error_bp, row.sharpe))


def number(value: float, decimals: int = 2) -> str:
    """A figure, a dash where there is none."""
    return "–" if finite(value) is None else f"{value:z.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float, decimals: int = 1) -> str:
    """A share, a dash where there is none."""
    return "–" if finite(share) is None else f"{number(100 * share, decimals)} %"


def interval(low: float, high: float) -> str:
    """From one to the other, a dash where there is none."""
    return "–" if finite(low) is None or finite(high) is None else f"{number(low)} … {number(high)}"


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
        number(figures["mean_bp"]),
        number(figures["sharpe"]),
        interval(figures["sharpe_low"], figures["sharpe_high"]),
        number(figures["psr"], 3),
        number(figures["dsr"], 3),
        number(cell.trades),
        number(cell.control.p_value, 3),
    )


def document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures as one JSON document; what is not a number is null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [clean(inner) for inner in value]
        return finite(value) if isinstance(value, float) else value

    known = [None if one is None else one.model_dump(mode="json") for one in dict.fromkeys(evaluation.values)]
    values = known if len(known) > 1 else next(iter(known), None)
    result: dict[str, Any] = clean(asdict(evaluation) | {"values": values})
    return result
