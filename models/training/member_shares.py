"""Profits of a family's sessions, beside the trader who knows the member and the one who has to find out.

Invariant: all three are of the same sessions and valued alike; a share of nothing is not a number, and no-drift
members, where the best is to sit out, are judged in basis points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.training.sessions import Floats, Ints

WORTH_BP = 0.5
"""A member on which the filter earns less a session has no share worth naming."""
COSTS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
"""Borders of the rows by cost a side, bp."""


@dataclass(frozen=True, eq=False)
class FamilyFacts:
    """What is known of N sessions of a family.

    ``filter_bp`` (N,): what the trader who finds the member out earns (`models.training.mixture`); ``member`` (N,);
    ``kind`` (N,): how strong the drift is; ``cost_bp`` (N,) a side.
    """

    filter_bp: Floats
    member: Ints
    kind: np.ndarray
    cost_bp: Floats


def join_facts(sets: Sequence[FamilyFacts]) -> FamilyFacts:
    """Facts of several draws, one after the other; no two of them share a member."""
    firsts = np.cumsum([0, *(int(one.member.max(initial=-1)) + 1 for one in sets)])
    return FamilyFacts(
        filter_bp=np.concatenate([one.filter_bp for one in sets]),
        member=np.concatenate([one.member + first for one, first in zip(sets, firsts, strict=False)]),
        kind=np.concatenate([one.kind for one in sets]),
        cost_bp=np.concatenate([one.cost_bp for one in sets]),
    )


@dataclass(frozen=True)
class MemberRow:
    """One group of members: profit a session of the model, the filter and who knows the member; the model's shares."""

    group: str
    members: int
    model_bp: float
    error_bp: float
    filter_bp: float
    known_bp: float
    of_filter: float
    of_known: float


@dataclass(frozen=True)
class FamilyShares:
    """How much a model has of what can be had.

    ``traders``: share of the filter by trader's name. ``worst_decile``: of the members' own shares of the filter, where
    it earns `WORTH_BP` or more; ``worst_bp``: what the model earns a session on the worst tenth of all members.
    """

    traders: Mapping[str, float]
    worst_decile: float
    worst_bp: float
    rows: tuple[MemberRow, ...]


def family_shares(profits: Mapping[str, Floats], judged: str, known_bp: Floats, facts: FamilyFacts) -> FamilyShares:
    """Shares of the filter by trader; the rest of the one that is judged.

    ``profits`` (N,) by name, as an exact filter expects them.
    """
    own = profits[judged]
    by_member = [_means(values, facts.member) for values in (own, facts.filter_bp)]
    worth = by_member[1] >= WORTH_BP
    lowest = np.sort(by_member[0])[: max(1, len(by_member[0]) // 10)]
    groups = [("all", np.ones(len(own), np.bool_))]
    groups += [(str(kind), facts.kind == kind) for kind in np.unique(facts.kind)]
    groups += [
        (f"cost {low:g} to {high:g} bp", (facts.cost_bp >= low) & (facts.cost_bp < high))
        for low, high in pairwise(COSTS)
    ]
    return FamilyShares(
        traders={name: share_of(values, facts.filter_bp) for name, values in profits.items()},
        worst_decile=float(np.quantile(by_member[0][worth] / by_member[1][worth], 0.1)) if worth.any() else math.nan,
        worst_bp=float(lowest.mean()),
        rows=tuple(_row(name, rows, own, known_bp, facts) for name, rows in groups if rows.any()),
    )


def _row(group: str, rows: np.ndarray, own: Floats, known_bp: Floats, facts: FamilyFacts) -> MemberRow:
    means = _means(own[rows], facts.member[rows])
    error = float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return MemberRow(
        group,
        len(means),
        float(own[rows].mean()),
        error,
        float(facts.filter_bp[rows].mean()),
        float(known_bp[rows].mean()),
        share_of(own[rows], facts.filter_bp[rows]),
        share_of(own[rows], known_bp[rows]),
    )


def _means(values: Floats, member: Ints) -> Floats:
    """Mean of each member's sessions, (M,)."""
    _, index = np.unique(member, return_inverse=True)
    return np.asarray(np.bincount(index, values) / np.bincount(index))


def share_of(own_bp: Floats, best_bp: Floats) -> float:
    """The share of a profit, NaN where the best is to earn nothing: where nothing drifts."""
    best = float(best_bp.mean())
    return float(own_bp.mean()) / best if best > 1e-9 else math.nan
