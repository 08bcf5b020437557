"""The exact filter over members, and the trader who goes by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.training import mixture
from models.training import reference as ref
from models.training.family import HIDDEN, Family, members
from models.training.market import HiddenRegimeMarket, Simulated, simulate
from models.training.member_shares import FamilyFacts, family_shares
from models.training.mixture import Grid

NONE = HiddenRegimeMarket(bars=20, drift_bp=0.0, cost_bp=1.0)
STRONG = replace(NONE, drift_bp=4.0)
TWO = Grid((NONE, STRONG), np.array([0.5, 0.5]), (NONE, STRONG), cells=8, nodes=7)


def test_with_one_member_it_is_the_trader_who_knows_him() -> None:
    """The same positions, and so the same profit to the last bit; the same expectation of every bar."""
    drawn = simulate(STRONG, 12, 3)
    beliefs = ref.filter_beliefs(STRONG, drawn)
    means = ref.conditional_means(STRONG, beliefs)
    known = ref.solve(STRONG, grid=8, nodes=7).positions(beliefs, drawn.vol_state)
    grid = Grid.of_one(STRONG, cells=8, nodes=7)
    assert (known != 0).any()
    assert (mixture.trader_bp(STRONG, grid, drawn, past=4) == ref.pnl_bp(known, means, STRONG.cost_bp)).all()
    seen = mixture.filtered(grid, drawn)
    assert mixture.expected_bp(grid, seen, mixture.posterior(grid, seen, 4)) == pytest.approx(means)


@pytest.mark.parametrize(("member", "index"), [(NONE, 0), (STRONG, 1)])
def test_sessions_tell_the_member(member: HiddenRegimeMarket, index: int) -> None:
    """Half and half before the first bar, nearly sure after thirty sessions, and more so the more are known."""
    seen = mixture.filtered(TWO, simulate(member, 60, 5))
    long, short = (mixture.posterior(TWO, seen, past)[index, 30:, 0] for past in (30, 3))
    assert np.median(long) > 0.95
    assert long.mean() > short.mean() > mixture.posterior(TWO, seen, 0)[index, 30:, 0].mean()
    assert mixture.posterior(TWO, seen, 30)[index, 0, 0] == pytest.approx(0.5, abs=0.05)


def test_it_is_as_sure_as_it_is_right() -> None:
    """Of markets that it gives a drift with probability p a share of p has one."""
    sure, right = [], []
    for i in range(60):
        has = i % 2
        seen = mixture.filtered(TWO, simulate((NONE, STRONG)[has], 6, 100 + i))
        sure.append(mixture.posterior(TWO, seen, 5)[1, 5, -1])
        right.append(has)
    told, true = np.array(sure), np.array(right)
    error = np.sqrt((told * (1 - told)).sum())
    assert abs(told.sum() - true.sum()) < 4 * error
    assert told[true == 1].mean() > told[true == 0].mean() + 0.2


def test_what_comes_later_and_what_was_long_ago_changes_nothing() -> None:
    """Positions up to a bar stay whatever comes after it; a session that is older than the past is forgotten."""
    drawn = simulate(STRONG, 8, 9)
    returns = drawn.returns_bp.copy()
    returns[5, 11:] = -3 * returns[5, 11:]
    returns[6:] += 20.0
    returns[1] += 20.0
    other = Simulated(returns, drawn.vol_state, drawn.regime)
    was, now = (_positions(one) for one in (drawn, other))
    assert (was[5, :11] == now[5, :11]).all()
    assert (was[4] == now[4]).all()  # the three sessions before it are 1 to 3: the first is another now
    assert (was != now).any()


def _positions(drawn: Simulated) -> np.ndarray:
    seen = mixture.filtered(TWO, drawn)
    return mixture.positions(TWO, seen, mixture.posterior(TWO, seen, 2), drawn.vol_state)


def test_the_grid_is_the_family_without_what_can_be_seen() -> None:
    """As many have no drift as are drawn without one; the rest lies inside the ranges, alike in all that bars show."""
    member = members(4, 1, bars=20)[1]
    grid = mixture.grid_around(member, HIDDEN)
    typical = np.sqrt(np.prod(member.vol_bp))
    ratios = np.array([market.drift_bp for market in grid.markets]) / typical
    assert grid.weights.sum() == pytest.approx(1.0)
    assert grid.weights[ratios == 0].sum() == pytest.approx(HIDDEN.without_drift)
    assert HIDDEN.ratio[0] < ratios[ratios > 0].min() < ratios.max() < HIDDEN.ratio[1]
    assert {(market.vol_bp, market.cost_bp, market.tails) for market in grid.markets} == {
        (member.vol_bp, member.cost_bp, member.tails)
    }
    assert len(grid.typical) == 1 + mixture.STRENGTHS * mixture.LENGTHS


def test_who_must_find_out_has_less_than_who_knows() -> None:
    """Nothing of a member without a drift, most of one with a strong one, and the more the more sessions are known."""
    drawn = simulate(STRONG, 200, 7)
    known = mixture.trader_bp(STRONG, Grid.of_one(STRONG, 8, 7), drawn, 0)[20:].mean()
    told, blind = (mixture.trader_bp(STRONG, TWO, drawn, past)[20:].mean() for past in (20, 0))
    assert 0 < blind < told <= known
    assert abs(mixture.trader_bp(NONE, TWO, simulate(NONE, 60, 7), 20)[20:].mean()) < 0.2


def test_a_familys_facts_are_of_its_sessions() -> None:
    """In the order of the sessions that are judged, of members with their own costs."""
    family = Family(each=2, past=1)
    told = family.facts(3, 4)
    assert told.member.tolist() == [0, 0, 1]
    assert (told.cost_bp == family.sessions(3, 4).cost_bp).all()
    assert (told.kind == family.regimes(3, 4)).all()
    assert len(told.filter_bp) == 3


def test_shares_are_of_the_filter_and_by_member() -> None:
    """The worst decile is of members' shares; a group on which nothing can be had has none, but basis points."""
    member = np.repeat(np.arange(10), 2)
    best = np.where(member < 4, 0.0, 10.0)
    own = np.where(member < 4, -1.0, np.where(member == 9, -5.0, 8.0))
    facts = FamilyFacts(best, member, np.where(member < 4, "no drift", "strong"), np.where(member % 2, 0.7, 5.5))
    told = family_shares({"hrm": own, "sit out": np.zeros(20)}, "hrm", 2 * best, facts)
    rows = {row.group: row for row in told.rows}
    assert told.traders == pytest.approx({"hrm": (own.mean() / best.mean()), "sit out": 0.0})
    assert told.worst_decile == pytest.approx(np.quantile([0.8] * 5 + [-0.5], 0.1))
    assert told.worst_bp == -5.0
    assert np.isnan(rows["no drift"].of_filter)
    assert rows["no drift"].model_bp == -1.0
    assert rows["strong"].of_known == pytest.approx(rows["strong"].of_filter / 2)
    assert list(rows) == ["all", "no drift", "strong", "cost 0.5 to 1 bp", "cost 5 to 6 bp"]
