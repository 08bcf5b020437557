"""What a filter of hidden trends expects: Bayes' rule, whoever works it out, and nothing that wasn't there to see."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from models.belief import (
    AHEAD,
    AHEAD_UNIT,
    BELIEF_FEATURES,
    DRIFTLESS,
    FLATS,
    MEMBERS,
    REVERSAL,
    STRENGTH_UNIT,
    STRENGTHS,
    TAILS,
    TRENDS,
    Floats,
    belief_features,
    followed,
    weighed,
)
from models.config import FeatureSettings
from models.past import CLIP, LEFT, left_by
from models.training import reference as ref
from models.training.batches import BatchSettings, make_batch
from models.training.family import members, sessions_of
from models.training.market import HiddenRegimeMarket, Simulated, simulate
from models.vocabulary import Vocabularies

VOLATILITY = 10.0
MARKETS = [
    HiddenRegimeMarket(
        bars=40, drift_bp=VOLATILITY * strength, stay_trend=1 - 1 / trend, stay_flat=1 - 1 / flat, reversal=REVERSAL,
        vol_bp=(VOLATILITY, VOLATILITY), tails=TAILS,
    )
    for strength, trend, flat in product(STRENGTHS, TRENDS, FLATS)
]  # fmt: skip


def told(returns_bp: Floats, evidence: Floats | None = None, cost: float = 0.5) -> tuple[Floats, Floats, Floats]:
    """Beliefs, evidence and features after whole sessions (N, T) of a volatility that is known."""
    n, t = returns_bp.shape
    before = np.zeros((n, MEMBERS)) if evidence is None else evidence
    seen = followed(returns_bp * 1e-4, np.ones((n, t), bool), np.ones((n, t)), np.full(n, VOLATILITY * 1e-4), before)
    return *seen, belief_features(*seen, np.full(n, cost), CLIP)


def drawn(sessions: int = 3, market: HiddenRegimeMarket = MARKETS[20]) -> Simulated:
    """Sessions of one of the markets."""
    return simulate(market, sessions, 11)


def test_it_is_the_exact_filter_of_each_market() -> None:
    """The reference's beliefs, and by Bayes' rule its evidence against a market without a drift, at every market."""
    sessions = drawn()
    belief, evidence, _ = told(sessions.returns_bp)
    for k, market in enumerate(MARKETS):
        exact = ref.filter_beliefs(market, sessions)
        assert belief[:, k] == pytest.approx(exact[:, -1, [0, 2]], abs=1e-12)
        prior = np.concatenate(
            [np.broadcast_to(market.regime_prior, (3, 1, 3)), exact[:, :-1] @ market.regime_matrix], 1
        )
        density = np.exp(market.log_density((sessions.returns_bp[..., None] - market.drifts_bp) / VOLATILITY))
        none = market.log_density(sessions.returns_bp / VOLATILITY)
        exact_evidence = (np.log((prior * density).sum(-1)) - none).sum(-1)
        assert evidence[:, k] == pytest.approx(exact_evidence, abs=1e-10)


def test_what_is_expected_is_the_mixtures() -> None:
    """Drift of the next bars under every market, regime by regime, weighed by Bayes' rule over all of them."""
    sessions = drawn()
    belief, evidence, features = told(sessions.returns_bp)
    weights = np.exp(evidence) * (1 - DRIFTLESS) / MEMBERS
    weights /= weights.sum(-1, keepdims=True) + DRIFTLESS
    assert weighed(evidence)[0] == pytest.approx(weights)
    ahead = np.zeros((3, len(AHEAD)))
    for k, market in enumerate(MARKETS):
        regime = np.stack([belief[:, k, 0], 1 - belief[:, k].sum(-1), belief[:, k, 1]], axis=-1)
        total, step = np.zeros(3), regime
        for bar in range(1, max(AHEAD) + 1):
            step = step @ market.regime_matrix
            total = total + step @ market.drifts_bp / VOLATILITY
            if bar in AHEAD:
                ahead[:, AHEAD.index(bar)] += weights[:, k] * total
    at = {name: i for i, name in enumerate(BELIEF_FEATURES)}
    assert features[:, :4] == pytest.approx(ahead / np.sqrt(AHEAD) * AHEAD_UNIT)
    assert np.expm1(np.abs(features[:, at["pays_40"]])) == pytest.approx(np.abs(ahead[:, 3]))  # a round trip costs 1
    assert features[:, at["drifting"]] == pytest.approx(2 * weights.sum(-1) - 1)
    strengths = np.array([market.drift_bp for market in MARKETS]) / VOLATILITY
    moving = (weights * strengths * belief.sum(-1)).sum(-1)
    assert features[:, at["strength"]] == pytest.approx(moving * STRENGTH_UNIT)


def test_upside_down_only_the_signs_turn() -> None:
    """Long and short are told alike."""
    sessions = drawn().returns_bp
    features, turned = told(sessions)[2], told(-sessions)[2]
    assert turned[:, :6] == pytest.approx(-features[:, :6], abs=1e-12)
    assert turned[:, 6:] == pytest.approx(features[:, 6:], abs=1e-12)


def test_no_row_depends_on_another_or_on_what_is_missing() -> None:
    """Windows that are short lie among long ones, to the last bit the same as alone and unpadded."""
    rng = np.random.default_rng(5)
    lengths = [1, 7, 33, 60, 60]
    returns, share = rng.standard_normal((5, 60)) * 1e-3, np.exp(rng.standard_normal((5, 60)) * 0.3)
    volatility, evidence = np.full(5, 1e-3), rng.standard_normal((5, MEMBERS))
    present = np.arange(60) >= 60 - np.array(lengths)[:, None]
    belief, total = followed(np.where(present, returns, 0.0), present, share, volatility, evidence)
    for i, length in enumerate(lengths):
        alone = followed(
            returns[i : i + 1, -length:], np.ones((1, length), bool), share[i : i + 1, -length:],
            volatility[i : i + 1], evidence[i : i + 1],
        )  # fmt: skip
        assert (belief[i] == alone[0][0]).all()
        assert total[i] == pytest.approx(alone[1][0], abs=1e-12)


def test_no_single_bar_convinces() -> None:
    """A gap of fifty deviations says little more than one of five; nothing overflows."""
    calm = np.zeros((1, 40))
    gap = calm.copy()
    gap[0, -1] = 50 * VOLATILITY
    _, evidence, features = told(gap)
    assert np.isfinite(features).all()
    assert np.abs(evidence - told(calm)[1]).max() < 1.0


def test_sessions_of_a_drift_speak_for_it_and_others_against_it() -> None:
    """Twenty sessions of a strong drift leave no doubt of it, twenty without make a strong one unlikely."""
    strong = np.repeat(np.array(STRENGTHS) >= 0.3, len(TRENDS) * len(FLATS))
    for market, expected in ((MARKETS[-1], 1.0), (HiddenRegimeMarket(bars=75, drift_bp=0.0), 0.0)):
        sessions = ref.simulated_sessions(market, 20, 3)
        left = [left_by(sessions.bars[a:b]) for a, b in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)]
        weights, _ = weighed(np.sum(left, axis=0)[None, LEFT - MEMBERS :])
        assert weights[0, strong].sum() == pytest.approx(expected, abs=0.1)


def test_it_expects_what_comes() -> None:
    """In markets that it isn't told of it tells more of the coming bar than any trend of the bars does."""
    sessions = sessions_of([it for it in members(40, 3) if it.drift_bp][:12], 24, 3)
    rows = np.flatnonzero(np.arange(len(sessions)) % 24 >= 20)
    settings = FeatureSettings(past_sessions=20, belief=True)
    batch = make_batch(sessions, rows, BatchSettings(settings), Vocabularies())
    live = batch.live.reshape(-1)
    table = batch.features.calendar[live]
    first = settings.min_bars - 1  # the earliest bar that a decision is made at
    ends = zip(sessions.offsets[rows], sessions.offsets[rows + 1], strict=True)
    comes = np.concatenate([sessions.expected_bp[begin + 1 + first : end] for begin, end in ends])
    trends = [abs(np.corrcoef(table[:, i], comes)[0, 1]) for i in range(16, 21)]
    assert np.corrcoef(table[:, 34], comes)[0, 1] > max(trends) + 0.1
