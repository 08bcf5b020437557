"""Distances of windows from a training market."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import save_file

from models.agent import HRMAgent
from models.checkpoint import describe, load_model, save_model
from models.config import FeatureSettings
from models.export import convert
from models.features import Features, encode
from models.novelty import (
    BAR_COUNTS,
    SCORES,
    SHARES,
    STATISTICS,
    Novelty,
    NoveltyStatistics,
    groups,
    normal_scores,
    slopes,
    spread_knots,
)
from models.training.calibrating import calibrate, windows
from models.training.errors import DataError
from models.training.market import HiddenRegimeMarket
from models.training.markets import HiddenRegime
from models.vocabulary import Vocabularies
from tests.unit.models.conftest import Observe, Settings

FEATURES = FeatureSettings()


@pytest.fixture(scope="module")
def known() -> NoveltyStatistics:
    """What 400 sessions of the simulated market look like."""
    return calibrate([HiddenRegime().sessions(400, 1)], FEATURES, "simulated")


def largest(novelty: Novelty, market: HiddenRegime, sessions: int = 40, seed: int = 2) -> np.ndarray:
    """The largest distance of each session."""
    found = []
    for features, live in windows(market.sessions(sessions, seed), FEATURES):
        found.append(np.where(live, novelty.of(features)[0].reshape(live.shape), 0.0).max(1))
    return np.concatenate(found)


def test_its_own_market_passes_and_a_wilder_one_does_not(known: NoveltyStatistics) -> None:
    """Fresh sessions stay under the limit, those of ten times the volatility are named for it."""
    novelty = Novelty(known)
    assert (largest(novelty, HiddenRegime()) > 1).mean() <= 0.05  # 400 sessions know the tails roughly
    assert (largest(novelty, HiddenRegime(HiddenRegimeMarket(vol_bp=(50.0, 90.0)))) > 1).all()


def test_the_scale_moves_the_limit(known: NoveltyStatistics) -> None:
    """Twice the limit is half the distance."""
    features, _ = next(windows(HiddenRegime().sessions(1, 3), FEATURES))
    np.testing.assert_allclose(Novelty(known, 2.0).of(features)[0] * 2, Novelty(known).of(features)[0], rtol=1e-12)


def test_what_is_furthest_has_a_name(known: NoveltyStatistics) -> None:
    """A market without volumes is unlike for its volumes."""
    sessions = HiddenRegime().sessions(1, 3)
    bars = sessions.bars.copy()
    bars[:, 4] = np.nan
    features, _ = next(windows(replace(sessions, bars=bars), FEATURES))
    distance, furthest = Novelty(known).of_one(features.take(np.array([70])))
    assert distance > 1
    assert furthest == "volume share"


def test_a_window_alone_has_the_distance_that_it_has_among_others(known: NoveltyStatistics) -> None:
    """No row of a batch depends on another."""
    novelty = Novelty(known)
    features, _ = next(windows(HiddenRegime().sessions(1, 4), FEATURES))
    together = novelty.of(features)[0]
    alone = [novelty.of_one(features.take(np.array([row])))[0] for row in range(len(features))]
    np.testing.assert_allclose(alone, together, rtol=1e-9)


def test_scores_are_those_of_a_normal_distribution() -> None:
    """Inside the knots and on a straight line beyond them."""
    values = np.random.default_rng(1).normal(5.0, 2.0, (200_000, len(STATISTICS)))
    knots = spread_knots(values)[None]
    at = np.array([[5.0] * len(STATISTICS), [9.0] * len(STATISTICS), [15.0] * len(STATISTICS)])
    scores = normal_scores(at, np.repeat(knots, 3, 0), np.repeat(slopes(knots), 3, 0))
    np.testing.assert_allclose(scores, [[0.0] * scores.shape[1], [2.0] * scores.shape[1], [5.0] * scores.shape[1]],
                               atol=0.4)  # fmt: skip


def test_what_never_varies_has_knots_that_rise() -> None:
    """A statistic that the training market doesn't vary in is read at the resolution."""
    knots = spread_knots(np.ones((100, len(STATISTICS))))
    assert knots[SHARES.index(0.5)] == pytest.approx(np.ones(len(STATISTICS)))
    assert np.diff(knots, axis=0).min() > 0
    assert knots[-1, 0] - 1 == pytest.approx(0.05 * SCORES[-1])


def test_windows_of_about_as_many_bars_are_one_group() -> None:
    """The first group holds the shortest windows, the last has no end."""
    assert (
        groups(np.array([0, 2, 3, 4, 59, 60, 500])).tolist()
        == [0, 0, 0, 1, len(BAR_COUNTS) - 2] + [len(BAR_COUNTS) - 1] * 2
    )


def test_the_same_sessions_give_the_same_numbers(known: NoveltyStatistics) -> None:
    """Bit for bit."""
    assert calibrate([HiddenRegime().sessions(400, 1)], FEATURES, "simulated") == known


def test_few_sessions_say_nothing() -> None:
    """Under 40 there is no usual."""
    with pytest.raises(DataError, match="39 sessions to calibrate on, at least 40"):
        calibrate([HiddenRegime().sessions(39, 1)], FEATURES, "simulated")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"statistics": ("one",)}, "statistics of another version"),
        ({"limits": (1.0,)}, "limits or knots missing"),
        ({"limits": (float("nan"),) * len(BAR_COUNTS)}, "limits"),
        ({"knots": (((0.0,) * len(STATISTICS),) * len(SHARES),) * len(BAR_COUNTS)}, "numbers that rise"),
        ({"knots": (((0.0,),) * len(SHARES),) * len(BAR_COUNTS)}, "numbers in each row"),
    ],
)
def test_statistics_that_can_not_be_meant(known: NoveltyStatistics, changes: dict[str, object], line: str) -> None:
    """Refused when they are read."""
    with pytest.raises(ValidationError, match=line):
        NoveltyStatistics.model_validate(known.model_dump() | changes)


def test_they_travel_with_the_model(tmp_path: Path, agent: HRMAgent, known: NoveltyStatistics) -> None:
    """Through a file and another precision; the hash covers them."""
    plain, told = describe(agent.model, trained=True), describe(agent.model, trained=True, novelty=known)
    assert plain.sha256 != told.sha256
    save_model(tmp_path / "one.safetensors", agent.model, told)
    model, manifest = load_model(tmp_path / "one.safetensors")
    assert manifest.novelty == known
    assert convert(model, manifest, tmp_path / "two.safetensors", "int8").novelty == known


def test_an_artifact_from_before_there_were_any_is_read(tmp_path: Path, agent: HRMAgent) -> None:
    """A file whose manifest has no such field."""
    path = tmp_path / "old.safetensors"
    save_model(path, agent.model, describe(agent.model, trained=True))
    with safe_open(path, framework="pt") as artifact:
        metadata = dict(artifact.metadata())
        tensors = {name: artifact.get_tensor(name) for name in artifact.keys()}  # noqa: SIM118 - not a dict
    metadata["manifest"] = metadata["manifest"].replace('"novelty":null,', "")
    assert "novelty" not in metadata["manifest"]
    save_file(tensors, path, metadata=metadata)
    assert load_model(path)[1].novelty is None


def encoded(observe: Observe, **changes: object) -> Features:
    """One observation in features."""
    return encode([observe(bars=60, coarse=16, **changes)], Vocabularies(), FEATURES)


def test_an_agent_says_how_unlike_its_market_is(settings: Settings, observe: Observe, known: NoveltyStatistics) -> None:
    """As its statistics have it; switched off, or without any, it says nothing. The decision is the same."""
    on = settings(features=FEATURES.model_dump(mode="json"))
    off = on.model_copy(update={"novelty": on.novelty.model_copy(update={"enabled": False})})
    model = HRMAgent.untrained(on, 1).model
    told, plain = describe(model, trained=True, novelty=known), describe(model, trained=True)
    agents = [HRMAgent(model, on, told), HRMAgent(model, off, told), HRMAgent(model, on, plain)]
    decisions = [agent.decide(observe(bars=60, coarse=16)) for agent in agents]
    assert decisions[0].novelty == Novelty(known).of_one(encoded(observe))[0]
    assert [decision.novelty for decision in decisions[1:]] == [0.0, 0.0]
    assert {(decision.action, decision.quantity, decision.value) for decision in decisions} == {
        (decisions[0].action, decisions[0].quantity, decisions[0].value)
    }
    agents[0].grow(instruments=["NEW"])
    assert agents[0].manifest.novelty == known
