"""The family of markets, and sessions that know what came before them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.config import FeatureSettings
from models.features import CALENDAR_FEATURES, TOLD_OF_PAST
from models.past import known, left_by
from models.training import reference as ref
from models.training.batches import BatchSettings, Target, make_batch, returns_between_fills
from models.training.family import OF_EACH, TOLD, Family, FamilySource, members, sessions_of
from models.training.loss import costs_of
from models.training.market import HiddenRegimeMarket, simulate
from models.training.sessions import Sessions, join
from models.training.settings import ObjectiveSettings
from models.vocabulary import Vocabularies

TOLD_OF = FeatureSettings(past_sessions=20)


def test_a_member_is_drawn_from_its_seed() -> None:
    """Equal seeds, equal markets; the ranges are what they say."""
    drawn = members(300, 7)
    assert drawn == members(300, 7)
    assert 0.4 < np.mean([market.drift_bp == 0 for market in drawn]) < 0.6
    assert all(0.5 <= market.cost_bp <= 6.0 for market in drawn)
    assert {market.volume for market in drawn} == {market.wicks for market in drawn} == {True, False}


def test_what_a_member_left_is_never_anothers() -> None:
    """The first session of each knows nothing, the second the first, whatever lies before it in the table."""
    sessions = sessions_of(members(3, 5), 4, 5)
    for first in (0, 4, 8):
        told = sessions.past(np.array([first, first + 1]), 20)
        assert not told[0].any()
        left = left_by(sessions.bars[sessions.offsets[first] : sessions.offsets[first + 1]])
        assert told[1] == pytest.approx(known([left]))


def test_what_comes_later_changes_nothing() -> None:
    """Other bars from a session on leave what it knows as it was."""
    sessions = sessions_of(members(1, 5), 6, 5)
    bars = sessions.bars.copy()
    bars[sessions.offsets[3] :, :4] *= 1.5
    other = Sessions(
        bars, sessions.ts_ns, sessions.offsets, sessions.symbol, sessions.symbols, 300, sessions.expected_bp
    )
    rows = np.arange(4)
    assert (other.past(rows, 20) == sessions.past(rows, 20)).all()


def test_a_part_knows_what_the_whole_knew() -> None:
    """Sessions after a border remember those before it, also when they are chosen twice."""
    sessions = sessions_of(members(2, 5), 6, 5)
    part = sessions.select(np.arange(12) % 6 >= 3)
    assert (part.past(np.arange(6), 20) == sessions.past(np.array([3, 4, 5, 9, 10, 11]), 20)).all()
    again = part.select(np.array([4]))
    assert (again.past(np.array([0]), 20) == sessions.past(np.array([10]), 20)).all()
    assert again.cost_bp == pytest.approx(sessions.cost_bp[10:11] if sessions.cost_bp is not None else math.nan)


def test_costs_are_the_members_where_they_have_some() -> None:
    """And those of the settings' days elsewhere, also of a mixture."""
    markets = members(2, 5)
    sessions, plain = sessions_of(markets, 2, 5), ref.simulated_sessions(HiddenRegimeMarket(), 2, 1)
    schedule = ObjectiveSettings().costs
    assert costs_of(sessions, schedule).tolist() == [markets[0].cost_bp] * 2 + [markets[1].cost_bp] * 2
    assert costs_of(plain, schedule).tolist() == [3.0, 3.0]
    assert join([sessions, plain]).cost_bp is None


def test_a_network_is_told_of_the_cost_and_the_past() -> None:
    """Thirteen numbers behind the calendar's, the same at every decision of a session but for the volatility's."""
    sessions = sessions_of(members(1, 5), 3, 5)
    batch = make_batch(sessions, np.array([2]), BatchSettings(TOLD_OF), Vocabularies(), cost_bp=np.array([6.0]))
    told = batch.features.calendar[:, len(CALENDAR_FEATURES) :]
    assert told.shape[1] == 13
    assert told[:, 0] == pytest.approx(math.log(2.0))
    assert told[5, 2:] == pytest.approx(sessions.past(np.array([2]), 20)[0, :TOLD_OF_PAST], rel=1e-6)
    assert len(np.unique(told[:, 2:], axis=0)) == 1
    plain = make_batch(sessions, np.array([2]), BatchSettings(FeatureSettings()), Vocabularies())
    assert (batch.features.calendar[:, : len(CALENDAR_FEATURES)] == plain.features.calendar).all()


def test_a_step_learns_members_at_every_age() -> None:
    """Two sessions each, drawn from all of a member's; a step of a seed is always the same."""
    source = FamilySource()
    sessions, rows = source.take(1, 3, 0, 1, 16)
    again, same = source.take(1, 3, 0, 1, 16)
    assert (sessions.bars == again.bars)[~np.isnan(sessions.bars)].all()
    assert rows.tolist() == same.tolist()
    assert np.bincount(rows // TOLD).tolist() == [OF_EACH] * 8
    assert len(source.samples(1, 60)[0]) == 60


def test_the_best_of_a_member_is_beaten_by_nobody_who_knows_less() -> None:
    """Who knows the member earns more than sitting out and than always holding; nothing without a drift."""
    family = Family(each=5, past=1)
    sessions, best, labels = family.sessions(60, 3), family.best_bp(60, 3), family.regimes(60, 3)
    assert (best[labels == "no drift"] == 0).all()
    returns = returns_between_fills(sessions, np.arange(60), BatchSettings(TOLD_OF, target=Target.CONDITIONAL_MEAN))
    held = ref.pnl_bp(np.ones_like(returns), returns, costs_of(sessions, ObjectiveSettings().costs))
    assert best.mean() > max(held.mean(), 0.0)


def test_neighbouring_seeds_share_no_noise() -> None:
    """Sets of one evaluation are measurements of their own: no member of one moves as a member of another does."""
    family = Family(each=4, past=0)
    one, other = (family.sessions(24, seed) for seed in (5, 6))
    moves = [np.diff(np.log(part.bars[:, 3].reshape(6, -1)), axis=1) for part in (one, other)]
    together = np.corrcoef(np.clip(np.concatenate(moves), -0.01, 0.01))
    assert np.abs(together[:6, 6:]).max() < 0.4


def test_what_can_be_had_is_of_the_same_sessions() -> None:
    """Nobody expects more of a session than all of its expected moves; some member has a drift to earn from."""
    family = Family(each=2, past=1)
    moves = np.abs(family.sessions(12, 3).expected_bp.reshape(12, -1))
    moves = np.nansum(moves, axis=1)
    for earned in (family.best_bp(12, 3), family.filter_bp(12, 3)):
        assert (earned <= moves + 1e-9).all()
    assert family.best_bp(12, 3).max() > 1.0


@pytest.mark.parametrize("tails", [math.inf, 4.0])
def test_the_filter_knows_the_noise(tails: float) -> None:
    """Beliefs are calibrated whatever the tails and the shape of a session: of what it calls p, a share of p is so."""
    market = HiddenRegimeMarket(tails=tails, smile=0.8)
    drawn = simulate(market, 4_000, 11)
    beliefs = ref.filter_beliefs(market, drawn)[:, 40, 2]
    up = drawn.regime[:, 40] == 2
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0)):
        mine = (beliefs >= low) & (beliefs < high)
        error = math.sqrt(beliefs[mine].mean() * (1 - beliefs[mine].mean()) / mine.sum())
        assert abs(up[mine].mean() - beliefs[mine].mean()) < 4 * error


def test_noise_has_the_volatility_it_says() -> None:
    """Tails and the session's shape change what a bar's standard deviation is made of, not what it is."""
    market = HiddenRegimeMarket(drift_bp=0.0, tails=5.0, smile=0.9)
    drawn = simulate(market, 6_000, 2)
    standard = drawn.returns_bp / market.volatility_bp(drawn.vol_state)
    assert standard.std(axis=0) == pytest.approx(np.ones(75), abs=0.12)
    assert market.shape.mean() == pytest.approx(1.0, abs=0.02)
    assert market.shape[0] > market.shape[37]
