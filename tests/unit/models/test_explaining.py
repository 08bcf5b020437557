"""What spoke for a decision, by leaving parts of what was seen away."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from daemon.settings.loading import load_settings
from models.agent import HRMAgent
from models.belief import MEMBERS
from models.explaining import Part, explain, in_words, lead, without
from models.features import BAR_FEATURES, Features, Observation, calendar_names, encode

TINY = Path(__file__).parents[3] / "models" / "artifacts" / "tiny.safetensors"
KNOWN = (1.0, 0.3, 0.5, 0.6, 0.6, 0.5, 1.0, 1.4, 1.5, 1.5, 1.2, *(4.0,) * MEMBERS)


def seen(seed: int, drift: float = 4e-4, cost_bp: float = 2.0, side: int = 0) -> Observation:
    """Fifty bars with a drift, of a symbol whose trends have paid."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(drift, 6e-4, 50)))
    open_ = np.append(100.0, close[:-1])
    wicks = np.exp(rng.exponential(2e-4, (2, 50)))
    high, low = np.maximum(open_, close) * wicks[0], np.minimum(open_, close) / wicks[1]
    bars = np.stack([open_, high, low, close, np.full(50, np.nan)], axis=-1)
    held = (0.5, 0.3, 4) if side else (0.0, 0.0, 0)
    return Observation(
        "AAA", "5m", 10**18, bars, np.empty((0, 5)), side, *held, 250.0, 125.0, 1, 0.0, 0.5, cost_bp, KNOWN
    )


@pytest.fixture(scope="module")
def agent() -> HRMAgent:
    """The shipped one."""
    return HRMAgent.load_model(TINY, load_settings().hierarchical_reasoning_model)


def encoded(agent: HRMAgent, observation: Observation) -> Features:
    """As the shipped network reads it."""
    return encode([observation], agent.model.vocabularies, agent.features)


def test_each_part_is_left_away_alone(agent: HRMAgent) -> None:
    """Row 0 is what was seen; no other row touches what belongs to other parts, and none is written back."""
    features = encoded(agent, seen(1, side=1))
    before = replace(features, **{one.name: getattr(features, one.name).copy() for one in fields(features)})
    names, rows = without(features, agent.features)
    for one in fields(features):
        assert (getattr(rows, one.name)[0] == getattr(before, one.name)[0]).all()
        assert (getattr(features, one.name) == getattr(before, one.name)).all()
    at = {name: i for i, name in enumerate(calendar_names(agent.features))}

    def changed(name: str) -> set[str]:
        row = 1 + names.index(name)
        parts = {key for key, i in at.items() if rows.calendar[row, i] != rows.calendar[0, i]}
        table = (rows.patches[row] != rows.patches[0]).reshape(-1, len(BAR_FEATURES)).any(axis=0)
        return parts | {BAR_FEATURES[i] for i in np.flatnonzero(table)}

    assert changed("cost") == {"log_cost", "cost_per_volatility"}
    assert changed("trend over 2 to 4 bars") == {"trend_2", "trend_4"}
    assert changed("ranges and wicks") == {"range", "upper_wick", "lower_wick"}
    assert changed("moves of the newest 15 bars") == {"return", "body", "level"}
    assert changed("earlier sessions") == {name for name in at if name.startswith(("paid", "surprise", "log_sess"))}
    assert not rows.position[1 + names.index("the open position")].any()
    assert "the open position" not in without(encoded(agent, seen(1)), agent.features)[0]
    assert len(without(features, agent.features, briefly=True)[0]) < len(names)


def test_effects_are_what_the_lead_loses(agent: HRMAgent) -> None:
    """Of a network that reads two numbers only these have an effect, with their signs, the larger first."""
    at = {name: i for i, name in enumerate(calendar_names(agent.features))}

    def score(rows: Features) -> np.ndarray:
        return 2.0 * rows.calendar[:, at["trend_16"]].astype(float) - 9.0 * rows.calendar[:, at["cost_per_volatility"]]

    features = encoded(agent, seen(3, cost_bp=4.0))
    told = {part.name: part.effect for part in explain(features, agent.features, score)}
    assert told["trend over 8 to 32 bars"] == pytest.approx(2.0 * features.calendar[0, at["trend_16"]])
    assert told["cost"] == pytest.approx(-9.0 * features.calendar[0, at["cost_per_volatility"]] * 3.5 / 4.0, rel=1e-5)
    assert [name for name, effect in told.items() if effect] == list(told)[:2]


def test_words_name_what_mattered() -> None:
    """At most three, none that is small beside the largest or at all; nothing where nothing mattered."""
    parts = tuple(Part(name, effect) for name, effect in (("a", -4.0), ("b", 2.0), ("c", 1.0), ("d", 0.9), ("e", 0.1)))
    assert in_words(parts) == "a −, b +, c +"
    assert in_words(parts, 9) == "a −, b +, c +, d +"
    assert in_words((Part("a", 0.0005),)) == ""
    assert in_words(()) == ""


def test_a_lead_is_over_the_best_of_the_others() -> None:
    """What a position forbids is no rival."""
    logits = np.array([[1.0, -np.inf, 0.5, 3.0, 2.0]], np.float32)
    assert lead(logits, 3).tolist() == [1.0]
    assert lead(logits, 4).tolist() == [-1.0]


def test_the_shipped_model_goes_by_what_it_expects(agent: HRMAgent) -> None:
    """It buys a strong rise where trends have paid, for the drift to be expected; a dear trade it leaves, for its cost.

    Asking doesn't change what it decides, and is the same twice.
    """
    rising = seen(1)
    decided = agent.decide(rising)
    parts = agent.explain(rising, decided.action, decided.segments)
    assert decided.action == 0
    assert {part.name: part.effect for part in parts[:2]}["expected drift"] > 0.3
    assert agent.decide(rising) == decided
    assert agent.explain(rising, decided.action, decided.segments) == parts
    assert agent.decide(seen(1, drift=2e-4)).action == 0
    dear = seen(1, drift=2e-4, cost_bp=30.0)
    held = agent.decide(dear)
    assert held.action == 4
    assert {part.name: part.effect for part in agent.explain(dear, held.action, held.segments)}["cost"] > 1
