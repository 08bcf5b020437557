"""What a value head says, calibrated by what came of it: in the file, in decisions, and gone once more was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.actions import Action
from models.agent import HRMAgent
from models.checkpoint import describe
from models.values import ValueCalibration
from tests.unit.models.conftest import Observe, Settings

TRIPLE = ValueCalibration(factor=(3.0, 0.0, 2.0), offset=(0.0, -1.5, 0.25), sessions=40)


def test_a_line_a_position() -> None:
    """Of an array, and of one."""
    values = np.array([[1.0, 7.0, -2.0], [0.5, 1.0, 0.0]])
    assert TRIPLE.of(values).tolist() == [[3.0, -1.5, -3.75], [1.5, -1.5, 0.25]]
    assert [TRIPLE.of_one(float(values[0, row]), row) for row in range(3)] == [3.0, -1.5, -3.75]


@pytest.mark.parametrize(("side", "row"), [(0, 0), (1, 1), (-1, 2)])
def test_a_decision_says_what_comes(agent: HRMAgent, observe: Observe, side: int, row: int) -> None:
    """Its value is calibrated by its position's line, and nothing else of it changes."""
    seen = observe(position_side=side, position_size=0.5 * abs(side))
    plain = agent.decide(seen)
    told = HRMAgent(agent.model, agent.settings, describe(agent.model, trained=True, values=TRIPLE)).decide(seen)
    assert told.value == TRIPLE.of_one(plain.value, row)
    assert (told.action, told.probabilities, told.segments) == (plain.action, plain.probabilities, plain.segments)


def test_it_is_kept_in_the_file_until_more_is_learned(
    agent: HRMAgent, settings: Settings, observe: Observe, tmp_path: Path
) -> None:
    """A hash of its own; what is learned later makes another head of it."""
    plain, told = describe(agent.model, trained=True), describe(agent.model, trained=True, values=TRIPLE)
    assert plain.sha256 != told.sha256
    own = HRMAgent(agent.model, agent.settings, told)
    own.save_model(tmp_path / "m", dtype="float32")
    again = HRMAgent.load_model(tmp_path / "m", settings())
    assert again.manifest.values == TRIPLE
    again.learn([observe(seed) for seed in range(4)], [Action.HOLD] * 4)
    assert again.manifest.values is None
