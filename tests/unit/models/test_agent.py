"""The agent: allowed, bounded, reproducible decisions; memory from bar to bar; learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.act import HaltReason, HeadValues, Reasoning
from models.actions import VALID_ACTIONS, Action
from models.agent import HRMAgent, policy_probabilities, quantity_share, quantity_units, read_decision
from models.checkpoint import describe
from models.config import OutputHeadSettings
from models.errors import InvalidObservation, InvalidOutput
from tests.unit.models.conftest import Observe, Settings

HEADS = OutputHeadSettings()
ALLOWED = {
    0: {Action.BUY_LONG, Action.SELL_SHORT, Action.HOLD},
    1: {Action.CLOSE_LONG, Action.HOLD},
    -1: {Action.CLOSE_SHORT, Action.HOLD},
}


def talkative(agent: HRMAgent, scale: float = 300.0) -> HRMAgent:
    """Undo the near-zero start of the policy head, so that actions differ."""
    with torch.no_grad():
        agent.model.heads.policy.weight.mul_(scale)
    return agent


@pytest.mark.parametrize("side", [-1, 0, 1])
def test_only_allowed_actions_come_out(agent: HRMAgent, observe: Observe, side: int) -> None:
    """Whatever the market looks like; and the forbidden ones have probability 0."""
    talkative(agent)
    seen = set()
    for seed in range(60):
        decision = agent.decide(observe(seed, position_side=side, position_size=0.5 * abs(side)), segments=1)
        seen.add(decision.action)
        forbidden = [p for action, p in enumerate(decision.probabilities) if Action(action) not in ALLOWED[side]]
        assert forbidden == [0.0] * len(forbidden)
        assert sum(decision.probabilities) == pytest.approx(1.0)
        assert decision.confidence == max(decision.probabilities)
        assert 1 <= decision.quantity <= 100_000
    assert seen <= ALLOWED[side]
    assert len(seen) > 1


def test_select_action_is_the_decision_in_short(agent: HRMAgent, observe: Observe) -> None:
    """The shared interface gives action and quantity."""
    decision = agent.decide(observe())
    assert agent.select_action(observe()) == (decision.action, decision.quantity)


def test_a_decision_says_how_it_came_about(settings: Settings, observe: Observe) -> None:
    """Depth, minimum, reason, settledness and Q values are those of the run."""
    steps = [{"above": 0.1, "min_segments": 2}]
    agent = HRMAgent.untrained(settings(act={"max_segments": 3, "complexity_steps": steps}), 1)
    decision = agent.decide(observe(complexity=0.5))
    assert (decision.segments, decision.min_segments, decision.halt_reason) == (3, 2, "max_segments")
    assert (decision.q_halt, decision.q_continue) == (-5.0, -5.0)
    assert decision.h_confidence == pytest.approx(max(0.0, 1 - decision.convergence[0]))
    assert decision.l_confidence == pytest.approx(max(0.0, 1 - decision.convergence[1]))
    assert msgspec.json.decode(msgspec.json.encode(decision))["halt_reason"] == "max_segments"


def test_same_seed_same_decision_to_the_last_bit(settings: Settings, observe: Observe) -> None:
    """Two agents of one seed agree; the global random state is left alone."""
    torch.manual_seed(5)
    first_draw = torch.rand(3)
    torch.manual_seed(5)
    agents = [HRMAgent.untrained(settings(), 11) for _ in range(2)]
    assert torch.equal(torch.rand(3), first_draw)
    assert agents[0].model_hash == agents[1].model_hash
    assert agents[0].decide(observe(1)) == agents[1].decide(observe(1))
    assert HRMAgent.untrained(settings(), 12).model_hash != agents[0].model_hash


def test_the_deadline_comes_from_settings_and_can_be_given(settings: Settings, observe: Observe) -> None:
    """50 ms after now by default; each look at the clock here costs 20 ms of it."""
    clock = [0]

    def now_ns() -> int:
        clock[0] += 20_000_000
        return clock[0]

    agent = HRMAgent.untrained(settings(), 1, now_ns=now_ns)
    decision = agent.decide(observe())
    assert (decision.segments, decision.halt_reason) == (1, "deadline")
    assert agent.decide(observe(), deadline_ns=10**18).halt_reason == "max_segments"
    late = agent.decide(observe(), deadline_ns=0)
    assert (late.segments, late.halt_reason) == (1, "deadline")
    assert agent.decide(observe(), segments=late.segments) == late


def test_a_recorded_depth_is_reproduced(agent: HRMAgent, observe: Observe) -> None:
    """At each depth the answer is its own, and the same again."""
    answers = [agent.decide(observe(), segments=depth) for depth in (1, 2, 3, 4)]
    assert answers == [agent.decide(observe(), segments=depth) for depth in (1, 2, 3, 4)]
    assert len({answer.convergence for answer in answers}) == 4
    assert [answer.segments for answer in answers] == [1, 2, 3, 4]


def test_early_stop_in_cycles_ends_a_decision(settings: Settings, observe: Observe) -> None:
    """A threshold that everything meets gives one segment, converged; without early stop it runs to the end."""
    loose = {"threshold": 0.999}
    shape = {"h_cycles": 4}
    settled = HRMAgent.untrained(settings(shape=shape, convergence=loose, act={"max_segments": 12}), 1).decide(
        observe()
    )
    assert settled.halt_reason == "converged"
    off = settings(shape=shape, convergence=loose | {"early_stop": False}, act={"max_segments": 12})
    assert HRMAgent.untrained(off, 1).decide(observe()).halt_reason == "max_segments"


def test_a_bad_observation_is_refused(agent: HRMAgent, observe: Observe) -> None:
    """The strategy turns it into HOLD."""
    with pytest.raises(InvalidObservation, match="at least 6 are needed"):
        agent.select_action(observe(bars=3))


def test_a_broken_network_is_refused(agent: HRMAgent, observe: Observe) -> None:
    """A NaN in the weights never becomes an order."""
    with torch.no_grad():
        agent.model.core.H_level.layers[0].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(InvalidOutput, match="not finite"):
        agent.decide(observe())


def reasoning(**changes: np.ndarray) -> Reasoning:
    """Make a reasoning of one row with sound values, except for the changes."""
    policy = np.where(np.array(VALID_ACTIONS), 1.0, -np.inf).astype(np.float32)[None]
    values = HeadValues(
        policy=policy,
        quantity=np.array([0.5], np.float32),
        value=np.zeros((1, 3), np.float32),
        q_halt=np.zeros(1, np.float32),
        q_continue=np.zeros(1, np.float32),
        change_h=np.array([[0.2]], np.float32),
        change_l=np.array([[1.2]], np.float32),
    )
    return Reasoning(replace(values, **changes), (1,), (1,), (HaltReason.Q_HALT,))


def test_a_sound_output_is_read() -> None:
    """Quantity as a share of its range, confidences inside 0..1, value of the present position."""
    value = np.array([[1.0, 2.0, 3.0]], np.float32)
    decision = read_decision(reasoning(value=value), 2, HEADS)
    assert (decision.quantity, decision.value) == (50_000, 3.0)
    assert decision.h_confidence == pytest.approx(0.8)
    assert decision.l_confidence == 0.0
    assert decision.action == Action.CLOSE_SHORT


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["quantity", "value", "q_halt", "q_continue", "change_h", "change_l"])
def test_an_output_that_is_not_finite_is_refused(name: str, bad: float) -> None:
    """By its name."""
    broken = getattr(reasoning().values, name) + np.float32(bad)
    with pytest.raises(InvalidOutput, match=f"{name} is not finite"):
        read_decision(reasoning(**{name: broken}), 0, HEADS)


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        ((0, 0, 0), np.nan, "not a number inside ±5.0"),
        ((0, 0, 0), 5.1, "not a number inside ±5.0"),
        ((0, 0, 0), -np.inf, "not a number inside ±5.0"),
        ((0, 1, 0), 0.0, "an action that the position forbids is not masked"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(index: tuple[int, int, int], value: float, message: str) -> None:
    """Logits leave their cap, or a mask is gone."""
    policy = reasoning().values.policy.copy()
    policy[index] = value
    with pytest.raises(InvalidOutput, match=message):
        read_decision(reasoning(policy=policy), 0, HEADS)


@pytest.mark.parametrize("share", [-0.01, 1.01])
def test_a_quantity_out_of_bounds_is_refused(share: float) -> None:
    """A share of more than everything is a fault and not a big order."""
    with pytest.raises(InvalidOutput, match=r"quantity leaves 0\.\.1"):
        read_decision(reasoning(quantity=np.array([share], np.float32)), 0, HEADS)


@given(share=st.floats(0, 1), low=st.integers(1, 1000), width=st.integers(0, 10**5))
def test_quantities_stay_inside_their_bounds(share: float, low: int, width: int) -> None:
    """Every share is a whole number of units between the smallest and the largest."""
    heads = OutputHeadSettings(quantity_min=low, quantity_max=low + width)
    assert low <= quantity_units(share, heads) <= low + width


@given(units=st.integers(1, 100_000))
def test_a_quantity_survives_the_way_to_a_share_and_back(units: int) -> None:
    """The two scales are inverse."""
    assert quantity_units(float(quantity_share([units], HEADS)[0]), HEADS) == units


def test_a_quantity_target_out_of_bounds_is_refused() -> None:
    """Nothing outside the settings can be learned."""
    with pytest.raises(ValueError, match="from 1 to 100000"):
        quantity_share([0], HEADS)
    assert quantity_share([5], OutputHeadSettings(quantity_min=5, quantity_max=5)).tolist() == [0.0]


def test_probabilities_of_known_logits() -> None:
    """Logits ln 3 against 0 is 3 : 1."""
    logits = np.array([-np.inf, np.log(3.0), -np.inf, 0.0, -np.inf], np.float32)
    np.testing.assert_allclose(policy_probabilities(logits), [0, 0.75, 0, 0.25, 0], atol=1e-7)


def next_bar(observation: object, minutes: float = 5.0) -> object:
    """The same session, one bar later."""
    return replace(
        observation,
        ts=observation.ts + round(minutes * 60e9),
        minute_of_session=observation.minute_of_session + minutes,
    )


def test_the_state_is_carried_inside_a_session_and_reset_at_its_start(settings: Settings, observe: Observe) -> None:
    """The second bar of a session is read with the memory of the first; a new session starts afresh."""
    agent = HRMAgent.untrained(settings(carry_state="session"), 3)
    memoryless = HRMAgent.untrained(settings(), 3)
    first = observe(0)
    assert agent.decide(first) == memoryless.decide(first)
    second = next_bar(first)
    assert agent.decide(second) != memoryless.decide(second)
    tomorrow = replace(first, ts=first.ts + 86_400 * 10**9)
    assert agent.decide(tomorrow) == memoryless.decide(tomorrow)


def test_carried_states_do_not_mix(settings: Settings, observe: Observe) -> None:
    """Another symbol or interval has its own memory; a reset, learning and growing clear them all."""
    agent = HRMAgent.untrained(settings(carry_state="session"), 3, instruments=["A"])
    memoryless = HRMAgent.untrained(settings(), 3, instruments=["A"])
    agent.decide(observe(0))
    assert agent.decide(observe(0, symbol="A")) == memoryless.decide(observe(0, symbol="A"))
    assert agent.decide(observe(0, interval="1m")) == memoryless.decide(observe(0, interval="1m"))
    agent.reset()
    assert agent.decide(observe(0)) == memoryless.decide(observe(0))
    agent.grow(instruments=["B"])
    assert agent.decide(observe(0)) == memoryless.decide(observe(0))


def test_a_replayed_session_is_reproduced_with_its_memory(settings: Settings, observe: Observe) -> None:
    """Bars in order at their recorded depths give the same decisions, the carried state included."""
    session = [observe(0)]
    for _ in range(3):
        session.append(next_bar(session[-1]))
    live = HRMAgent.untrained(settings(carry_state="session"), 3)
    recorded = [live.decide(bar, segments=depth) for bar, depth in zip(session, (1, 3, 2, 4), strict=True)]
    again = HRMAgent.untrained(settings(carry_state="session"), 3)
    replayed = [again.decide(bar, segments=d.segments) for bar, d in zip(session, recorded, strict=True)]
    assert replayed == recorded


@pytest.mark.slow
def test_learning_teaches_what_it_was_shown(settings: Settings, observe: Observe) -> None:
    """After some passes the agent acts as taught, values and quantities follow, and it knows that it is trained."""
    agent = HRMAgent.untrained(settings(act={"max_segments": 2}), 3)
    batch = [observe(seed, position_side=side) for seed, side in enumerate((0, 0, 0, 1, 1, -1))]
    wanted = [0, 1, 4, 2, 4, 3]
    before = agent.model_hash
    for _ in range(100):
        reports = agent.learn(batch, wanted, values=[1, -1, 0, 2, 0, 1], quantities=[30_000] * 6, learning_rate=3e-3)
    assert reports[-1].accuracy == 1.0
    decisions = [agent.decide(observation) for observation in batch]
    assert [decision.action for decision in decisions] == wanted
    assert [decision.value for decision in decisions] == pytest.approx([1, -1, 0, 2, 0, 1], abs=0.4)
    assert all(20_000 <= decision.quantity <= 40_000 for decision in decisions)
    assert agent.trained
    assert agent.model_hash != before
    assert not agent.model.training


def test_learning_is_reproducible(settings: Settings, observe: Observe) -> None:
    """One seed, one history: the same weights to the last bit, exploration and dropout included."""
    hashes = []
    for _ in range(2):
        agent = HRMAgent.untrained(settings(act={"max_segments": 3, "exploration": 0.5}), 3)
        for step in range(3):
            agent.learn([observe(step), observe(step + 1)], [0, 1])
        hashes.append(agent.model_hash)
    assert hashes[0] == hashes[1]


def test_learning_refuses_what_a_position_forbids(agent: HRMAgent, observe: Observe) -> None:
    """A target that the mask makes impossible is a mistake in the data."""
    with pytest.raises(ValueError, match="row 1: action 0 is not allowed in position row 1"):
        agent.learn([observe(0), observe(1, position_side=1)], [0, 0])
    assert not agent.trained


def test_learning_goes_on_after_growing(agent: HRMAgent, observe: Observe) -> None:
    """The optimizer is renewed with the tables, and the new row is trained."""
    agent.learn([observe(0)], [0])
    agent.grow(instruments=["NEW"])
    row = agent.model.vocabularies.instruments.row("NEW")
    before = agent.model.input.instrument.weight[row].clone()
    agent.learn([observe(seed, symbol="NEW") for seed in range(4)], [0] * 4, learning_rate=1e-2)
    assert not torch.equal(agent.model.input.instrument.weight[row], before)


@pytest.mark.parametrize("complexity", [0.1, 0.9])
def test_depth_is_that_of_training(settings: Settings, observe: Observe, complexity: float) -> None:
    """A setting that asks for more changes nothing; a model that says nothing of it goes as deep as is asked."""
    steps = [{"above": 0.5, "min_segments": 4}]
    act = {"max_segments": 4, "q_halting": False, "complexity_steps": steps}
    deep = settings(act=act, convergence={"early_stop": False})
    model = HRMAgent.untrained(deep, 1).model
    for segments, taken in ((2, 2), (9, 4), (None, 4)):
        agent = HRMAgent(model, deep, describe(model, trained=True, segments=segments))
        found = agent.decide(observe(complexity=complexity))
        assert (found.segments, agent.act.max_segments) == (taken, taken)
        assert found.min_segments <= taken
        assert agent.renewed().decide(observe(complexity=complexity)) == found


def test_what_is_learned_says_how_deep(settings: Settings, observe: Observe, tmp_path: Path) -> None:
    """And so does the file."""
    agent = HRMAgent.untrained(settings(act={"max_segments": 3}), 1)
    assert agent.trained_segments is None
    agent.learn([observe(seed) for seed in range(4)], [Action.HOLD] * 4)
    agent.save_model(tmp_path / "m", dtype="float32")
    again = HRMAgent.load_model(tmp_path / "m", settings(act={"max_segments": 4}))
    assert again.trained_segments == again.act.max_segments == 3
    assert again.model_hash == agent.model_hash
