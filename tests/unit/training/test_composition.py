"""Tests of the composition market: events compose, order matters, the reference is the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.training.composition import (
    NO_EVENT,
    SWAPS,
    CompositionMarket,
    best_positions,
    composed_sessions,
    conditional_means,
    reference_pnl_bp,
    simulate,
)
from models.training.reference import REACHABLE, pnl_bp


def test_regime_is_the_composition_of_all_events_in_order() -> None:
    """Applying the events one after another to the flat regime gives the session's regime."""
    drawn = simulate(CompositionMarket(), 50, 1)
    for n in range(50):
        regime = 1
        for kind in drawn.event[n][drawn.event[n] != NO_EVENT]:
            regime = SWAPS[kind, regime]
        assert regime == drawn.regime[n]


def test_swaps_do_not_commute() -> None:
    """Some pair of events leads elsewhere when turned round."""
    ends = [SWAPS[b][SWAPS[a]].tolist() != SWAPS[a][SWAPS[b]].tolist() for a, b in itertools.combinations(range(3), 2)]
    assert any(ends)


def test_no_single_event_tells_the_regime() -> None:
    """Given the last event alone, each regime stays about equally likely."""
    drawn = simulate(CompositionMarket(), 6_000, 2)
    for slot in (0, 5):
        kinds = np.array([row[row != NO_EVENT][slot] for row in drawn.event])
        for kind in range(3):
            shares = np.bincount(drawn.regime[kinds == kind], minlength=3) / (kinds == kind).sum()
            assert np.abs(shares - 1 / 3).max() < 0.06


def test_nothing_is_expected_before_the_drift() -> None:
    """Expectations are zero in the opening and the regime's drift after it."""
    market = CompositionMarket()
    drawn = simulate(market, 10, 3)
    means = conditional_means(market, drawn)
    assert (means[:, : market.opening - 1] == 0).all()
    assert np.allclose(means[:, market.opening], market.drifts_bp[drawn.regime])


def test_reference_is_the_best_of_all_position_paths() -> None:
    """In a short session no reachable path of positions expects more than the reference."""
    market = CompositionMarket(bars=7, events=2, spacing=1, drift_bp=3.0)
    drawn = simulate(market, 12, 4)
    means, best = conditional_means(market, drawn), reference_pnl_bp(market, drawn)
    index = {0.0: 0, 1.0: 1, -1.0: 2}
    for n in range(12):
        values = []
        for path in itertools.product((0.0, 1.0, -1.0), repeat=6):
            steps = itertools.pairwise((0.0, *path))
            if all(REACHABLE[index[a], index[b]] for a, b in steps):
                values.append(pnl_bp(np.array([path]), means[n : n + 1], market.cost_bp)[0])
        assert best[n] == pytest.approx(max(values))
    assert set(np.unique(best_positions(market, drawn))) <= {-1.0, 0.0, 1.0}


def test_events_are_visible_in_the_bars() -> None:
    """Event bars have far more volume than any other bar of their session."""
    market = CompositionMarket()
    drawn = simulate(market, 5, 6)
    volume = composed_sessions(market, 5, 6).bars[:, 4].reshape(5, market.bars)
    event = drawn.event != NO_EVENT
    assert volume[event].min() > 2 * volume[~event].max()
