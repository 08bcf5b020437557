"""Adaptive computation: on made Q values, changes and clocks it stops exactly where the rules say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.act import AdaptiveComputationTime, HaltReason, HeadValues
from models.agent import HRMAgent
from models.config import HRMSettings
from models.features import Features, encode
from models.runtime import TorchRunner
from models.runtimes.arrays import ArrayState
from models.vocabulary import Vocabularies
from tests.unit.models.conftest import SMALL, Observe, Settings

STEPS = [{"above": 0.35, "min_segments": 2}, {"above": 0.65, "min_segments": 4}]


@dataclass(frozen=True)
class ScriptState:
    """A state that is nothing but its counts."""

    segments: NDArray[np.int64]
    budget: NDArray[np.int64]
    complexity: NDArray[np.float64]


class ScriptRunner:
    """A runner that plays back Q preferences and changes: `q[row][n]` > 0 wants to halt after segment n + 1."""

    def __init__(self, q: Sequence[Sequence[float]], change: Sequence[Sequence[float]] | None = None) -> None:
        self.q = np.array(q, np.float32)
        self.change = np.ones_like(self.q) if change is None else np.array(change, np.float32)
        self.calls = 0
        self.on_segment: Callable[[], None] = lambda: None

    def embed(self, features: Features) -> None:
        """Nothing to embed."""

    def start(self, features: Features, budget: int, carried: ScriptState | None) -> ScriptState:
        """Counts at zero."""
        rows = len(features)
        return ScriptState(np.zeros(rows, np.int64), np.full(rows, budget), features.complexity)

    def segment(self, x: None, state: ScriptState) -> tuple[HeadValues, ScriptState]:
        """Play the next column; `value` holds the segment's number."""
        column = self.calls
        self.calls += 1
        self.on_segment()
        rows = len(state.segments)
        values = HeadValues(
            policy=np.zeros((rows, 3, 5), np.float32),
            quantity=np.zeros(rows, np.float32),
            value=np.full((rows, 3), self.calls, np.float32),
            q_halt=self.q[:, column],
            q_continue=np.zeros(rows, np.float32),
            change_h=self.change[:, column : column + 1],
            change_l=self.change[:, column : column + 1],
        )
        return values, replace(state, segments=state.segments + 1, budget=state.budget - 1)

    def freeze(self, active: NDArray[np.bool_], new: ScriptState, old: ScriptState) -> ScriptState:
        """Keep the counts of halted rows."""
        return ScriptState(
            np.where(active, new.segments, old.segments), np.where(active, new.budget, old.budget), new.complexity
        )


@pytest.fixture
def rows(settings: Settings, observe: Observe) -> Callable[..., Features]:
    """Build features of rows with given complexities."""

    def build(*complexity: float) -> Features:
        observations = [observe(index, complexity=value) for index, value in enumerate(complexity)]
        return encode(observations, Vocabularies(), settings().features)

    return build


def act(settings: Settings, now_ns: Callable[[], int] | None = None, **changes: object) -> AdaptiveComputationTime:
    """Return ACT with up to 8 segments and the documented complexity steps."""
    convergence = changes.pop("convergence", {})
    tree = {"max_segments": 8, "complexity_steps": STEPS} | changes
    return AdaptiveComputationTime(settings(act=tree, convergence=convergence), now_ns)


@pytest.mark.parametrize(("complexity", "minimum"), [(0.0, 1), (0.349, 1), (0.35, 2), (0.5, 2), (0.65, 4), (1.0, 4)])
def test_minimum_follows_complexity(settings: Settings, complexity: float, minimum: int) -> None:
    """The steps are inclusive at their lower edge."""
    assert act(settings).minimum(complexity) == minimum


def test_minimum_never_exceeds_the_cap_on_cycles(settings: Settings) -> None:
    """Six cycles at two a segment leave three segments, whatever complexity asks for."""
    limited = act(settings, convergence={"max_cycles": 6})
    assert limited.minimum(1.0) == 3
    assert act(settings, min_segments=3).minimum(0.0) == 3


@pytest.mark.parametrize(
    ("complexity", "q", "segments", "reason"),
    [
        (0.0, [1, 0, 0, 0, 0, 0, 0, 0], 1, HaltReason.Q_HALT),
        (0.0, [0, 0, 1, 0, 0, 0, 0, 0], 3, HaltReason.Q_HALT),
        (0.5, [1, -1, -1, 1, 0, 0, 0, 0], 4, HaltReason.Q_HALT),
        (0.7, [1, 1, 1, 1, 0, 0, 0, 0], 4, HaltReason.Q_HALT),
        (0.0, [0, 0, 0, 0, 0, 0, 0, 0], 8, HaltReason.MAX_SEGMENTS),
        (0.0, [-1, -1, -1, -1, -1, -1, -1, 1], 8, HaltReason.Q_HALT),
    ],
)
def test_q_halting_on_made_values(
    settings: Settings,
    rows: Callable[..., Features],
    complexity: float,
    q: list[float],
    segments: int,
    reason: HaltReason,
) -> None:
    """q_halt > q_continue halts, equality does not, and not before the minimum."""
    runner = ScriptRunner([q])
    reasoning, state = act(settings).run(runner, rows(complexity))
    assert (reasoning.segments, reasoning.reasons) == ((segments,), (reason,))
    assert runner.calls == segments
    assert reasoning.values.value[0, 0] == segments
    assert state.segments.tolist() == [segments]


def test_q_halting_can_be_switched_off(settings: Settings, rows: Callable[..., Features]) -> None:
    """Without it the depth is the maximum."""
    reasoning, _ = act(settings, q_halting=False).run(ScriptRunner([[1] * 8]), rows(0.0))
    assert (reasoning.segments, reasoning.reasons) == ((8,), (HaltReason.MAX_SEGMENTS,))


def test_convergence_halts_at_the_minimum_or_after(settings: Settings, rows: Callable[..., Features]) -> None:
    """A settled state stops; at the threshold itself it has not settled; early stop can be switched off."""
    change = [[0.5, 0.25, 0.24, 0.0, 0.0, 0.0, 0.0, 0.0]]
    quiet = [[0.0] * 8]
    quarter = {"threshold": 0.25}
    reasoning, _ = act(settings, convergence=quarter).run(ScriptRunner(quiet, change), rows(0.0))
    assert (reasoning.segments, reasoning.reasons) == ((3,), (HaltReason.CONVERGED,))
    reasoning, _ = act(settings, convergence=quarter).run(ScriptRunner(quiet, change), rows(0.9))
    assert (reasoning.segments, reasoning.reasons) == ((4,), (HaltReason.CONVERGED,))
    off = act(settings, convergence=quarter | {"early_stop": False})
    assert off.run(ScriptRunner(quiet, change), rows(0.0))[0].reasons == (HaltReason.MAX_SEGMENTS,)


def test_both_states_must_settle(settings: Settings) -> None:
    """One restless module is enough to go on."""
    rule = act(settings).rule
    common = {"segments": 2, "minimum": 1, "budget": 6, "q_halt": 0.0, "q_continue": 0.0}
    assert rule(**common, change_h=0.001, change_l=0.5) is None
    assert rule(**common, change_h=0.5, change_l=0.001) is None
    assert rule(**common, change_h=0.001, change_l=0.001) is HaltReason.CONVERGED


def test_a_deadline_in_the_past_gives_the_one_mandatory_segment(
    settings: Settings, rows: Callable[..., Features]
) -> None:
    """Even where complexity asks for four."""
    reasoning, _ = act(settings, now_ns=lambda: 100).run(ScriptRunner([[0] * 8]), rows(0.9), deadline_ns=99)
    assert (reasoning.segments, reasoning.minimum) == ((1,), (4,))
    assert reasoning.reasons == (HaltReason.DEADLINE,)


def test_a_segment_that_would_end_late_is_not_begun(settings: Settings, rows: Callable[..., Features]) -> None:
    """Segments of 10 ns against a deadline at 35: three fit, the fourth would end at 40."""
    clock = [0]
    runner = ScriptRunner([[0] * 8])
    runner.on_segment = lambda: clock.__setitem__(0, clock[0] + 10)
    reasoning, _ = act(settings, now_ns=lambda: clock[0]).run(runner, rows(0.0), deadline_ns=35)
    assert (reasoning.segments, reasoning.reasons) == ((3,), (HaltReason.DEADLINE,))


def test_without_a_clock_no_deadline_passes(settings: Settings, rows: Callable[..., Features]) -> None:
    """A model never reads the wall clock by itself."""
    reasoning, _ = act(settings).run(ScriptRunner([[0] * 8]), rows(0.0), deadline_ns=1)
    assert reasoning.reasons == (HaltReason.MAX_SEGMENTS,)


@given(
    q=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=8, max_size=8),
    change=st.lists(st.sampled_from([0.001, 0.5]), min_size=8, max_size=8),
    complexity=st.floats(0, 1),
    fits=st.integers(0, 9),
)
def test_a_recorded_depth_gives_the_recorded_reason(
    q: list[float], change: list[float], complexity: float, fits: int
) -> None:
    """Whatever stopped a decision, running it at its depth without a clock says the same depth and reason."""
    settings = HRMSettings.model_validate(
        {"profile": "s", "architecture": {"s": SMALL}, "act": {"complexity_steps": STEPS}}
    )
    clock = [0]
    runner = ScriptRunner([q], [change])
    runner.on_segment = lambda: clock.__setitem__(0, clock[0] + 10)
    features = made_features(complexity)
    live, _ = AdaptiveComputationTime(settings, lambda: clock[0]).run(runner, features, deadline_ns=10 * fits)
    again, _ = AdaptiveComputationTime(settings).run(ScriptRunner([q], [change]), features, segments=live.segments[0])
    assert (again.segments, again.reasons) == (live.segments, live.reasons)
    assert (again.values.value == live.values.value).all()


def made_features(complexity: float) -> Features:
    """Features of one row that hold nothing but a complexity."""
    empty, none = np.zeros((1, 1), np.float32), np.zeros(1, np.int64)
    return Features(
        patches=empty, coarse=empty, calendar=empty, position=empty, instrument=none, timeframe=none,
        coarse_timeframe=none, valid=np.ones((1, 1), bool), side=none, complexity=np.array([complexity]),
    )  # fmt: skip


def test_a_fixed_depth_runs_on_past_every_rule(settings: Settings, rows: Callable[..., Features]) -> None:
    """Halting Q values and a maximum of 8 don't stop a depth of 10 asked for; 0 is refused."""
    runner = ScriptRunner([[1] * 12])
    reasoning, _ = act(settings, q_halting=False).run(runner, rows(0.0), segments=10)
    assert (reasoning.segments, reasoning.reasons) == ((10,), (HaltReason.MAX_SEGMENTS,))
    with pytest.raises(ValueError, match="segments is 0"):
        act(settings).run(runner, rows(0.0), segments=0)


def test_each_row_of_a_batch_stops_for_itself(settings: Settings, rows: Callable[..., Features]) -> None:
    """Rows keep the values and counts of the segment they halted at while others go on."""
    runner = ScriptRunner([[1] + [0] * 7, [0, 0, 1] + [0] * 5, [0] * 8, [1] * 8])
    reasoning, state = act(settings).run(runner, rows(0.0, 0.0, 0.0, 0.7))
    assert reasoning.segments == (1, 3, 8, 4)
    assert reasoning.reasons == (HaltReason.Q_HALT, HaltReason.Q_HALT, HaltReason.MAX_SEGMENTS, HaltReason.Q_HALT)
    assert reasoning.values.value[:, 0].tolist() == [1, 3, 8, 4]
    assert state.segments.tolist() == [1, 3, 8, 4]


def test_exploration_draws_minima_at_its_share(settings: Settings) -> None:
    """A share epsilon of rows gets a minimum from 2..max, evenly; the rest may halt at once."""
    rng = np.random.default_rng(0)
    drawn = act(settings, exploration=0.25).exploration_minimum(20_000, rng)
    explored = drawn[drawn > 1]
    assert len(explored) / 20_000 == pytest.approx(0.25, abs=0.02)
    assert set(explored.tolist()) == set(range(2, 9))
    assert np.bincount(explored)[2:].min() > 500
    assert (act(settings, exploration=0.0).exploration_minimum(100, rng) == 1).all()
    assert (act(settings, max_segments=1, complexity_steps=[]).exploration_minimum(100, rng) == 1).all()


def test_torch_rows_that_halt_keep_their_state_and_values(settings: Settings, observe: Observe) -> None:
    """In a batch a calm row halts at once and a complex one thinks twice; each ends as it does alone."""
    tree = settings(act={"max_segments": 4, "complexity_steps": [{"above": 0.5, "min_segments": 2}]})
    agent = HRMAgent.untrained(tree, 1)
    with torch.no_grad():
        agent.model.heads.q.bias[0] = 5.0  # always prefers to halt
    observations = [observe(0, complexity=0.0), observe(1, complexity=0.9)]
    runner = TorchRunner(agent.model)
    together, state = agent.act.run(runner, encode(observations, agent.model.vocabularies, tree.features))
    assert together.segments == (1, 2)
    for row, observation in enumerate(observations):
        alone, own = agent.act.run(runner, encode([observation], agent.model.vocabularies, tree.features))
        assert alone.segments == (row + 1,)
        np.testing.assert_allclose(alone.values.value[0], together.values.value[row], atol=1e-5)
        torch.testing.assert_close(own.z.z_H[0], state.z.z_H[row], atol=1e-5, rtol=0)
        assert own.cycles[0] == state.cycles[row]


@pytest.mark.parametrize("q_halting", [True, False])
def test_the_rules_of_a_batch_are_the_rule_of_each_row(settings: Settings, q_halting: bool) -> None:
    """Numbers at, under and over every edge, and some that are none."""
    act = AdaptiveComputationTime(
        settings(act={"max_segments": 4, "q_halting": q_halting}, convergence={"threshold": 0.01})
    )
    rng = np.random.default_rng(5)
    rows = 500
    edges = np.array([0.0, np.float32(0.01), np.nextafter(np.float32(0.01), np.float32(0)), 1.0, np.nan], np.float32)
    values = HeadValues(
        policy=np.zeros((rows, 3, 5), np.float32), quantity=np.zeros(rows, np.float32),
        value=np.zeros((rows, 3), np.float32), q_halt=rng.choice(edges, rows), q_continue=rng.choice(edges, rows),
        change_h=rng.choice(edges, (rows, 2)), change_l=rng.choice(edges, (rows, 2)),
    )  # fmt: skip
    zero = np.zeros((rows, 1, 1), np.float32)
    counts = (rng.integers(1, 5, rows) for _ in range(2))
    state = ArrayState(zero, zero, *counts, rng.integers(-1, 2, rows), np.zeros(rows))
    minimum = rng.integers(1, 5, rows)
    one_by_one = [
        act.rule(
            segments=int(state.segments[row]), minimum=int(minimum[row]), budget=int(state.budget[row]),
            q_halt=float(values.q_halt[row]), q_continue=float(values.q_continue[row]),
            change_h=float(values.change_h[row, -1]), change_l=float(values.change_l[row, -1]),
        )
        for row in range(rows)
    ]  # fmt: skip
    assert act.rules(values, state, minimum) == one_by_one
    assert len(set(one_by_one)) == (4 if q_halting else 3)
