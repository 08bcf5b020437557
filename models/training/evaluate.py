"""Traders and sessions → honest figures: share of the best, Sharpe with its error, controls, costs, depth.

Invariant: every trader is scored on the same sessions, returns and costs by the same function; all cells are reported,
and the deflated Sharpe ratio counts all of them as tries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.act import AdaptiveComputationTime
from models.config import EntrySettings, HRMSettings
from models.errors import CheckpointError
from models.hrm import HRM
from models.india import days_in_india
from models.training import stats
from models.training.baselines import (
    EmaScore,
    expected_settings,
    fit_ema,
    fit_linear,
    fit_model,
    fit_thresholds,
    hold_bp,
)
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.entries import worth_making
from models.training.loss import costs_of
from models.training.member_shares import FamilyFacts, FamilyShares, family_shares, share_of
from models.training.policy import Policy, adaptive_policy, follow, join_policies, of_model, policies_by_depth
from models.training.reference import pnl_bp
from models.training.regimes import RegimeRow, by_regime, market_regimes
from models.training.reliability import Reliability, reliability
from models.training.sessions import Floats, Ints, Sessions
from models.training.settings import CostStep
from models.values import ValueCalibration

COSTS_BP = (1.0, 3.0, 6.0)
"""Costs of a round trip, entry and exit together, at which every trader is shown; 6 bp is a NIFTY future in 2026."""
PERMUTATIONS = 200
LONG = "long all day"


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """What traders are scored on.

    ``history`` is earlier data that baselines may fit on; ``best_bp`` (N,) what the best trader expects at ``costs``,
    and ``regimes`` (N,) labels, both where they are known. ``parts``: the sessions as they were drawn, a set a market
    seed; none: all of them are one. ``on_training_data`` says why they are no test, "" where they are one.
    """

    sessions: Sessions
    history: Sessions
    best_bp: Floats | None
    regimes: np.ndarray | None
    costs: tuple[CostStep, ...]
    family: FamilyFacts | None = None
    """Of a family of markets: who its members are, and what the filter over them earns."""
    parts: tuple[Sessions, ...] = ()
    on_training_data: str = ""
    names: tuple[str, ...] = ()
    """Of the parts of a walk forward: the border that each begins at."""

    @property
    def sets(self) -> tuple[Sessions, ...]:
        """The sets that the sessions came in."""
        return self.parts or (self.sessions,)


@dataclass(frozen=True)
class Cell:
    """One trader at one round-trip cost: `stats.summary`, round trips a session, and the day-permuted control."""

    trader: str
    cost_bp: float
    figures: Mapping[str, float]
    trades: float
    control: stats.Control


@dataclass(frozen=True)
class DepthRow:
    """Reasoning in one regime: sessions, mean segments a decision, mean ‖Δz‖/‖z‖ at the end."""

    regime: str
    sessions: int
    segments: float
    change: float


@dataclass(frozen=True)
class Spread:
    """A share of the best over several sets of sessions, each of a market seed: mean, deviation, least, sets."""

    mean: float
    deviation: float
    least: float
    sets: int


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation.

    ``shares`` of the best trader by trader name (empty where none is known); ``regimes`` profit of the adaptive model
    by regime at the first cost; ``saved`` share of segments that adaptive depth saves against the deepest. ``spread``:
    the shares over market seeds; ``ratios``: the adaptive model in bull, bear, sideways and volatile sessions.
    """

    sessions: int
    days: int
    """On which they were: several instruments have one each."""
    shares: Mapping[str, float]
    cells: Sequence[Cell]
    regimes: Sequence[stats.GroupRow]
    depth: Sequence[DepthRow]
    saved: float
    family: FamilyShares | None = None
    reliability: Reliability | None = None
    """Of the value head at adaptive depth; None for too few sessions."""
    values: tuple[ValueCalibration | None, ...] = ()
    """By which each model was calibrated, on its training's sessions; None: as the head says it."""
    spread: Mapping[str, Spread] = field(default_factory=dict)
    ratios: Sequence[RegimeRow] = ()
    on_training_data: str = ""
    windows: Sequence[stats.GroupRow] = ()
    """The adaptive model by window of a walk forward, as ``regimes``; each is another model's."""
    unlike: float = math.nan
    """Share of decisions in a market that the model doesn't know (`unlike_share`): these figures trade there."""


@dataclass(frozen=True, eq=False)
class Thought:
    """What one model says about one set of sessions, by the name that the trader of it has.

    ``own``: at the sessions' own costs; ``told``: at each round trip of `COSTS_BP`, of a model that is told of costs.
    """

    own: Mapping[str, Policy]
    told: Mapping[float, Mapping[str, Policy]]


def think(
    model: HRM, sessions: Sessions, hrm: HRMSettings, settings: BatchSettings, costs: tuple[CostStep, ...]
) -> Thought:
    """All that an evaluation asks of a model; it depends on no other model and no other sessions.

    Raises CheckpointError where settings ask for what the model can't do.
    """
    if untold := hrm.untold(model.config.features):
        raise CheckpointError(untold)
    act, told = AdaptiveComputationTime(hrm), {}
    if model.config.features.past_sessions:  # who is told of a cost trades less at a higher
        for cost in COSTS_BP:
            told[cost] = _reasoning(model, sessions, act, settings, np.full(len(sessions), cost / 2), hrm.entries)
    return Thought(_reasoning(model, sessions, act, settings, costs_of(sessions, costs), hrm.entries), told)


def evaluate(
    models: Sequence[tuple[HRM, Sessions]],
    hrm: HRMSettings,
    settings: BatchSettings,
    data: EvaluationData,
    *,
    extra: Mapping[str, Floats] | None = None,
    seed: int = 0,
    scale_bp: float = 10.0,
    values: Sequence[ValueCalibration | None] = (),
    thoughts: Sequence[Thought] | None = None,
) -> Evaluation:
    """Score the model at every depth and with adaptive depth, rules, a linear model, sitting out and ``extra`` traders.

    ``models``: one with all of ``data.sessions``, or one a fold of a walk forward with its part of them, in order.
    ``extra`` maps names to positions −1/0/+1 (N, D). Depth 1 is the model without further segments.
    ``scale_bp``: the unit that its value head was trained in; ``values``: what each artifact says they come to.
    ``thoughts``: what `think` said of each, where somebody has asked already.
    """
    if thoughts is None:
        thoughts = [think(model, part, hrm, settings, data.costs) for model, part in models]
    adaptive = join_policies([one.own["hrm"] for one in thoughts])
    traders = _held([one.own for one in thoughts])
    told: dict[float, dict[str, Floats]] = {}
    if any(one.told for one in thoughts):
        told = {cost: _held([one.told.get(cost, one.own) for one in thoughts]) for cost in COSTS_BP}
    scored = expected_settings(settings, data.history)
    for baseline in (
        fit_thresholds("ema", EmaScore(), data.history, _realised(settings), data.costs),
        fit_ema(data.history, _realised(settings), data.costs),
        fit_model("linear", fit_linear, data.history, _realised(settings), data.costs),
    ):
        traders[baseline.name] = baseline.positions(data.sessions)
    traders |= extra or {}
    traders[LONG] = np.ones_like(traders["hrm"])
    traders["sit out"] = np.zeros_like(traders["hrm"])
    shares = rb_shares(traders, data, scored) if data.best_bp is not None else {}
    returns = returns_between_fills(data.sessions, np.arange(len(data.sessions)), _realised(settings))
    labels = data.regimes if data.regimes is not None else volatility_regimes(returns)
    earned = returns
    if data.best_bp is not None:  # as the exact filter expects it: the same mean, without most of the noise
        earned = returns_between_fills(data.sessions, np.arange(len(data.sessions)), scored)
    own = pnl_bp(traders["hrm"], earned, costs_of(data.sessions, data.costs))
    live, told_values = adaptive.live.sum(), adaptive.value
    if values:
        ends = np.cumsum([len(part) for _, part in models])[:-1]
        parts = zip(values, np.split(told_values, ends), strict=True)
        told_values = np.concatenate([said if one is None else one.of(said) for one, said in parts])
    family = None
    if data.family is not None and data.best_bp is not None:
        profits = {name: pnl_bp(held, earned, costs_of(data.sessions, data.costs)) for name, held in traders.items()}
        family = family_shares(profits, "hrm", data.best_bp, data.family)
    held = {} if data.best_bp is not None else {cost: hold_bp(data.sessions, cost) for cost in COSTS_BP}
    market = market_regimes(data.sessions, returns, connected=data.best_bp is None)
    days, names = _days_of(data), [data.sessions.symbols[row] for row in data.sessions.symbol]
    order = stats.whole_days(days, names)
    bought = int(1 + np.count_nonzero(np.diff(data.sessions.symbol)))  # held from then on: once each
    return Evaluation(
        sessions=len(data.sessions),
        days=len(np.unique(days)),
        shares=shares,
        cells=_cells(traders, told, returns, seed, held, bought, days, order),
        regimes=stats.by_group(own, labels, days),
        depth=_depth(adaptive, labels),
        saved=1 - float(adaptive.depth[adaptive.live].sum()) / (hrm.max_segments * max(int(live), 1)),
        family=family,
        reliability=reliability(
            told_values * scale_bp, adaptive.actions, adaptive.live, returns, costs_of(data.sessions, data.costs), days
        ),
        values=tuple(values),
        spread=spread(traders, data, scored),
        ratios=_ratios(traders, told, returns, market, days),
        on_training_data=data.on_training_data,
        windows=stats.by_group(own, np.repeat(data.names, list(map(len, data.sets))), days) if data.names else (),
    )


def rb_shares(traders: Mapping[str, Floats], data: EvaluationData, settings: BatchSettings) -> dict[str, float]:
    """Return each trader's share of the best, nothing where the best earns nothing.

    Returns are replaced by the exact filter's expectation of them, which has the same mean as the realised return and a
    small part of its noise (Rao–Blackwell).
    """
    if data.best_bp is None:
        return {}
    returns = returns_between_fills(data.sessions, np.arange(len(data.sessions)), settings)
    cost = costs_of(data.sessions, data.costs)
    shares = {name: share_of(pnl_bp(held, returns, cost), data.best_bp) for name, held in traders.items()}
    return {name: share for name, share in shares.items() if not math.isnan(share)}


def spread(traders: Mapping[str, Floats], data: EvaluationData, settings: BatchSettings) -> dict[str, Spread]:
    """Return each trader's share of the best over the sets of sessions; nothing where no best is known."""
    if data.best_bp is None:
        return {}
    returns = returns_between_fills(data.sessions, np.arange(len(data.sessions)), settings)
    ends = np.cumsum([len(part) for part in data.sets])[:-1]
    best = np.split(data.best_bp, ends)
    found = {}
    for name, positions in traders.items():
        earned = np.split(pnl_bp(positions, returns, costs_of(data.sessions, data.costs)), ends)
        shares = np.array([share_of(own, most) for own, most in zip(earned, best, strict=True)])
        shares = shares[~np.isnan(shares)]
        deviation = float(shares.std(ddof=1)) if len(shares) > 1 else math.nan
        if len(shares):
            found[name] = Spread(float(shares.mean()), deviation, float(shares.min()), len(shares))
    return found


def _days_of(data: EvaluationData) -> Ints:
    """The day of each session, (N,): recorded ones of a day share its luck, drawn ones share nothing."""
    if data.best_bp is not None:
        return np.arange(len(data.sessions))
    return days_in_india(data.sessions.start_ns())


def volatility_regimes(returns_bp: Floats) -> np.ndarray:
    """Label sessions by the third of realised volatility that they lie in, (N,)."""
    names = ("1 calm", "2 middling", "3 wild")
    return stats.terciles(np.sqrt((returns_bp**2).mean(axis=1)), names)


def _realised(settings: BatchSettings) -> BatchSettings:
    return BatchSettings(settings.features, settings.fill, Target.REALISED)


def _reasoning(
    model: HRM,
    sessions: Sessions,
    act: AdaptiveComputationTime,
    settings: BatchSettings,
    cost: Floats,
    entries: EntrySettings,
) -> dict[str, Policy]:
    """Return the adaptive policy at these costs a side, and that of every depth that is shown.

    All are told of `entries.caution_bp` more, as the daemon tells it. Entries of the adaptive one are held to what
    earlier ones earned, where the settings ask for it.
    """
    own = of_model(settings, model)
    told = cost + entries.caution_bp
    policies = policies_by_depth(model, sessions, own, act.max_segments, told)
    depths = sorted({1, 2, act.max_segments} & set(range(1, act.max_segments + 1)))
    by_depth = {f"hrm, depth {depth}": policies[depth - 1] for depth in depths}
    adaptive = adaptive_policy(model, act, sessions, own, told)
    if entries.adaptive:
        adaptive = replace(adaptive, actions=worth_making(adaptive.actions, sessions, cost, entries))
    return {"hrm": adaptive, **by_depth}


def _held(parts: Sequence[Mapping[str, Policy]]) -> dict[str, Floats]:
    """Positions by trader over all sets of sessions."""
    return {name: follow(join_policies([part[name] for part in parts]).actions) for name in parts[0]}


def _ratios(
    traders: Mapping[str, Floats],
    told: Mapping[float, Mapping[str, Floats]],
    returns: Floats,
    labels: np.ndarray,
    days: Ints,
) -> list[RegimeRow]:
    """Return the adaptive model by the market's regime, at every cost."""
    rows = []
    for cost in COSTS_BP:
        own = pnl_bp(told.get(cost, {}).get("hrm", traders["hrm"]), returns, cost / 2)
        rows += by_regime(own, pnl_bp(traders[LONG], returns, cost / 2), labels, cost, days)
    return rows


def _cells(
    traders: Mapping[str, Floats],
    told: Mapping[float, Mapping[str, Floats]],
    returns: Floats,
    seed: int,
    kept: Mapping[float, Floats],
    bought: int,
    days: Ints,
    order: stats.Order,
) -> list[Cell]:
    """Return every trader at every cost; the deflated ratio counts all cells that trade as tries.

    ``told``: positions of those who are told of a cost, by the cost of a round trip; ``kept``: what holding over all
    nights earns at a cost, where sessions follow on each other, having ``bought`` so often. ``days`` (N,) of the
    sessions, by which they count, and an ``order`` that shuffles them.
    """
    held = {(name, cost): told.get(cost, {}).get(name, own) for name, own in traders.items() for cost in COSTS_BP}
    profits = {(name, cost): pnl_bp(positions, returns, cost / 2) for (name, cost), positions in held.items()}
    trials = np.array([stats.sharpe_ratio(stats.by_day(pnl, days)) for pnl in (*profits.values(), *kept.values())])
    cells = []
    for (name, cost), pnl in profits.items():
        positions = held[name, cost]
        turnover = np.abs(np.diff(np.pad(positions, ((0, 0), (1, 1))), axis=1)).sum(axis=1)

        def score(held: Floats, earned: Floats, cost: float = cost) -> float:
            return float(pnl_bp(held, earned, cost / 2).mean())

        control = stats.day_permuted(positions, returns, score, PERMUTATIONS, seed, order)
        cells.append(Cell(name, cost, stats.summary(pnl, trials, seed, days), float(turnover.mean()) / 2, control))
    nothing = stats.Control(math.nan, math.nan, math.nan, math.nan)  # days in another order are the same to a holder
    for cost, pnl in kept.items():
        cells.append(Cell("buy and hold", cost, stats.summary(pnl, trials, seed, days), bought / len(pnl), nothing))
    return cells


def _depth(policy: Policy, labels: np.ndarray) -> list[DepthRow]:
    rows = []
    for label in np.unique(labels):
        own = policy.live & (labels == label)[:, None]
        count = max(int(own.sum()), 1)
        rows.append(
            DepthRow(
                str(label),
                int((labels == label).sum()),
                float(policy.depth[own].sum()) / count,
                float(policy.change[own].sum()) / count,
            )
        )
    return rows


def finite(value: float) -> float | None:
    """Return a figure for JSON, None where there is none."""
    return value if math.isfinite(value) else None
