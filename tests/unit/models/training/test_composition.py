"""Tests of the composition market: events compose, order matters, each is needed, the reference is the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.training.composition import (
    FLAT_REGIME,
    NO_EVENT,
    SWAPS,
    Composed,
    CompositionMarket,
    best_positions,
    composed_sessions,
    conditional_means,
    reference_pnl_bp,
    simulate,
)
from models.training.reference import POSITIONS, REACHABLE


def test_regime_is_the_composition_of_all_events_in_order() -> None:
    """Applying the events one after another to the flat regime gives the regime after each of them."""
    market = CompositionMarket(bars=12, spacing=3)
    drawn = simulate(market, 50, 1)
    assert ((drawn.event != NO_EVENT).nonzero()[1].reshape(50, 3) == [3, 6, 9]).all()
    for n in range(50):
        regime = FLAT_REGIME
        for bar in range(12):
            if drawn.event[n, bar] != NO_EVENT:
                regime = SWAPS[drawn.event[n, bar], regime]
            assert regime == drawn.regime[n, bar]


def test_swaps_do_not_commute() -> None:
    """Some pair of events leads elsewhere when turned round."""
    ends = [SWAPS[b][SWAPS[a]].tolist() != SWAPS[a][SWAPS[b]].tolist() for a, b in itertools.combinations(range(3), 2)]
    assert any(ends)


@pytest.mark.parametrize("left_out", range(5))
def test_who_leaves_out_one_event_knows_nothing(left_out: int) -> None:
    """Whatever the other events are, each regime is equally likely over the kinds of the one left out."""
    for others in itertools.product(range(3), repeat=4):
        ends = []
        for kind in range(3):
            regime = FLAT_REGIME
            for swap in (*others[:left_out], kind, *others[left_out:]):
                regime = SWAPS[swap, regime]
            ends.append(regime)
        assert sorted(ends) == [0, 1, 2]


def test_what_is_expected_is_the_known_drift() -> None:
    """The bar after a regime is known carries its drift; returns agree with it on average."""
    market = CompositionMarket()
    drawn = simulate(market, 4_000, 3)
    means = conditional_means(market, drawn)
    assert np.allclose(means, market.drifts_bp[drawn.regime[:, :-1]])
    assert (drawn.returns_bp[:, 1:] - means).mean() == pytest.approx(0.0, abs=0.6)
    assert np.corrcoef(drawn.returns_bp[:, 1:].ravel(), means.ravel())[0, 1] > 0.25


def test_reference_is_the_best_over_all_sequences_of_events() -> None:
    """Averaged over every sequence it earns what a recursion over histories of events says is the most."""
    market = CompositionMarket(bars=5, spacing=1, drift_bp=2.0, cost_bp=0.8)
    sequences = np.array(list(itertools.product(range(3), repeat=4)))
    event = np.concatenate([np.full((81, 1), NO_EVENT), sequences], axis=1)
    regime = np.full((81, 5), FLAT_REGIME)
    for t in range(1, 5):
        regime[:, t] = SWAPS[event[:, t], regime[:, t - 1]]

    def most(history: tuple[int, ...], held: int) -> float:
        now = FLAT_REGIME
        for kind in history:
            now = SWAPS[kind, now]
        if len(history) == 4:
            return -market.cost_bp * abs(POSITIONS[held])
        options = []
        for new in np.flatnonzero(REACHABLE[held]):
            gain = market.drifts_bp[now] * POSITIONS[new] - market.cost_bp * abs(POSITIONS[new] - POSITIONS[held])
            options.append(gain + np.mean([most((*history, kind), int(new)) for kind in range(3)]))
        return float(max(options))

    drawn = Composed(np.zeros((81, 5)), event, regime)
    assert reference_pnl_bp(market, drawn).mean() == pytest.approx(most((), 0))
    assert most((), 0) > 0
    assert set(np.unique(best_positions(market, drawn))) == {-1.0, 0.0, 1.0}


def test_who_begins_later_loses_what_came_before() -> None:
    """Flat before the first decision that is allowed, the best from there on."""
    market = CompositionMarket(bars=6)
    drawn = simulate(market, 200, 5)
    late, early = best_positions(market, drawn, 3), best_positions(market, drawn)
    assert not late[:, :3].any()
    assert (late[early[:, 2] == 0, 3:] == early[early[:, 2] == 0, 3:]).all()
    assert 0 < reference_pnl_bp(market, drawn, 3).mean() < reference_pnl_bp(market, drawn).mean()


def test_events_can_be_read_off_the_bars() -> None:
    """Each bar's wicks, in units of volatility, are those of its kind; the first bar is marked as the first."""
    market = CompositionMarket(bars=8, spacing=2)
    drawn = simulate(market, 40, 6)
    sessions = composed_sessions(market, 40, 6)
    bars = np.log(sessions.bars[:, :4]).reshape(40, 8, 4) * 1e4 / market.vol_bp
    upper = bars[..., 1] - bars[..., [0, 3]].max(-1)
    lower = bars[..., [0, 3]].min(-1) - bars[..., 2]
    for kind, wicks in enumerate(((3.0, 0.3), (0.3, 3.0), (3.0, 3.0))):
        here = drawn.event == kind
        assert upper[here] == pytest.approx(wicks[0], abs=1e-3)
        assert lower[here] == pytest.approx(wicks[1], abs=1e-3)
    volume = sessions.bars[:, 4].reshape(40, 8)
    assert upper[:, 0] == pytest.approx(0.3, abs=1e-3)
    assert volume[:, ::2].min() > 2 * volume[:, 1::2].max()
