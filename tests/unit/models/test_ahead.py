"""Thinking ahead in batches: what is known is what would be decided, and only of exactly what was thought about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.agent import HRMAgent
from models.ahead import FIRST, Foresight, refusal
from models.checkpoint import describe
from models.errors import InvalidObservation, InvalidOutput
from models.features import Observation
from models.runtimes.native import NativePrecision, NativeRunner
from models.values import ValueCalibration
from tests.unit.models.conftest import Observe, Settings

pytestmark = pytest.mark.usefixtures("kernels")
STEP = 300_000_000_000


@pytest.fixture
def talkative(settings: Settings, kernels: Path) -> Callable[..., HRMAgent]:
    """An agent on the native runtime whose heads are as large as trained ones, so that no two answers are alike."""

    def build(precision: NativePrecision = "fp32", *, sees_position: bool = False, **parts: object) -> HRMAgent:
        agent = HRMAgent.untrained(settings(**parts), 7, instruments=["NSE:NIFTY50-INDEX"], timeframes=["5m"])
        heads = agent.model.heads
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            for head in (heads.policy, heads.quantity, heads.value, heads.q):
                head.weight.normal_(0, 1.0)
            heads.q.bias.zero_()
            if sees_position:
                agent.model.input.position.weight.normal_(0, 1.0)
        values = ValueCalibration(factor=(3.0, 0.5, 2.0), offset=(0.1, -0.2, 0.3), sessions=9)
        agent = HRMAgent(agent.model, agent.settings, describe(agent.model, trained=False, values=values))
        agent.use(
            NativeRunner(agent.network.weights, precision=precision, cache=kernels, settled_below=agent.settled_below)
        )
        return agent

    return build


def walks(observe: Observe, count: int) -> list[Observation]:
    """Observations of so many bar closes: of every length, side and complexity."""
    return [
        observe(
            seed, bars=6 + seed % 15, ts=1_700_000_000_000_000_000 + seed * STEP, complexity=seed % 11 / 10,
            position_side=seed % 3 - 1, position_size=0.5 * (seed % 3 != 1), unrealised_atr=float(seed % 3 - 1),
            bars_held=seed % 3 * 2, spread_bp=seed % 5 / 2,
        )
        for seed in range(count)
    ]  # fmt: skip


def foresight(agent: HRMAgent, seen: Sequence[Observation], size: int = 512) -> Foresight:
    """Ahead of `seen`, in order."""
    left = list(seen)

    def source(count: int, ts: int) -> list[Observation]:
        left[:] = [one for one in left if one.ts >= ts]
        taken, left[:] = left[:count], left[count:]
        return taken

    return Foresight(agent, source, size, lambda: 0)


def asked(ahead: Foresight, observation: Observation) -> object:
    """What is known, after a look ahead where one is due."""
    if ahead.is_due(observation.ts):
        ahead.look_ahead(observation.ts)
    return ahead.decision(observation)


@pytest.mark.parametrize("precision", ["fp32", "int16"])
@pytest.mark.parametrize("size", [1, 7, 512])
def test_what_is_known_is_what_would_be_decided(
    talkative: Callable[..., HRMAgent], observe: Observe, precision: NativePrecision, size: int
) -> None:
    """Bit for bit, whatever the batch: any length of history, any position, any depth."""
    agent, seen = talkative(precision), walks(observe, 60)
    ahead = foresight(agent, [replace(one, position_side=0, position_size=0.0) for one in seen], size)
    known = [asked(ahead, one) for one in seen]
    decided = [agent.decide(one) for one in seen]
    assert known == [(one, 0) for one in decided]
    assert ahead.known == 60
    assert len({one.segments for one in decided}) > 1
    assert len({(one.action, one.halt_reason) for one in decided}) > 3


def test_who_is_cautious_is_so_ahead_too(talkative: Callable[..., HRMAgent], observe: Observe) -> None:
    """The dearer trade that the network is told of is told in batches as one by one."""
    told = {"features": {"window": 20, "patch": 5, "min_bars": 6, "coarse_window": 4, "past_sessions": 3}}
    agent, plain, seen = talkative(entries={"caution_bp": 1.5}, **told), talkative(**told), walks(observe, 20)
    ahead = foresight(agent, [replace(one, position_side=0, position_size=0.0) for one in seen], 7)
    decided = [agent.decide(one) for one in seen]
    assert [asked(ahead, one) for one in seen] == [(one, 0) for one in decided]
    assert decided == [plain.decide(replace(one, cost_bp=one.cost_bp + 1.5)) for one in seen]
    assert decided != [plain.decide(one) for one in seen]


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "AAA"}, {"interval": "15m"}, {"spread_bp": 1.0 + 1e-12}, {"complexity": 0.2 + 1e-12},
        {"minutes_to_close": 274.0}, {"cost_bp": 3.1}, {"past": (0.1,) * 11}, {"position_size": 1.5},
        {"bars_held": -1}, {"unrealised_atr": np.nan},
    ],
)  # fmt: skip
def test_another_moment_is_not_known(
    talkative: Callable[..., HRMAgent], observe: Observe, change: dict[str, object]
) -> None:
    """Whatever of it is another, and whatever a position can't be."""
    ahead = foresight(talkative(), [observe()])
    assert asked(ahead, observe()) is not None
    assert ahead.decision(observe(**change)) is None


def test_a_bar_that_differs_in_its_last_bit_is_another_market(
    talkative: Callable[..., HRMAgent], observe: Observe
) -> None:
    """Of the window or of the coarser one; the same numbers elsewhere in memory are the same market."""
    ahead = foresight(talkative(), [observe()])
    assert asked(ahead, replace(observe(), bars=observe().bars.copy())) is not None
    for name in ("bars", "coarse"):
        bars = getattr(observe(), name).copy()
        bars[0, 1] = np.nextafter(bars[0, 1], np.inf)
        assert ahead.decision(replace(observe(), **{name: bars})) is None


def test_a_network_that_sees_its_position_is_known_ahead_while_it_has_none(
    talkative: Callable[..., HRMAgent], observe: Observe
) -> None:
    """What it thinks with a position is another thing, and is thought when it has one."""
    agent, flat = talkative(sees_position=True), observe()
    long = observe(position_side=1, position_size=1.0, bars_held=3)
    ahead = foresight(agent, [flat])
    assert asked(ahead, flat) == (agent.decide(flat), 0)
    assert ahead.decision(long) is None


def test_what_cannot_be_read_is_left_to_be_refused(talkative: Callable[..., HRMAgent], observe: Observe) -> None:
    """Too few bars, or a price that is none: the others of the batch are known."""
    agent, seen = talkative(), walks(observe, 6)
    broken = seen[3].bars.copy()
    broken[0, 0] = np.nan
    seen[3], seen[4] = replace(seen[3], bars=broken), replace(seen[4], bars=seen[4].bars[:3])
    ahead = foresight(agent, seen)
    assert [asked(ahead, one) is not None for one in seen] == [True, True, True, False, False, True]
    for one in seen[3:5]:
        with pytest.raises(InvalidObservation):
            agent.decide(one)


def test_what_a_network_must_not_say_is_refused(
    talkative: Callable[..., HRMAgent], observe: Observe, kernels: Path
) -> None:
    """As it is where it is asked alone."""
    agent = talkative()
    with torch.no_grad():
        agent.model.heads.value.bias.fill_(np.nan)
    agent.use(NativeRunner(agent.model.weights(), precision="fp32", cache=kernels))
    with pytest.raises(InvalidOutput, match="value is not finite"):
        asked(foresight(agent, [observe()]), observe())


def test_batches_grow_and_what_is_past_is_passed_by(talkative: Callable[..., HRMAgent], observe: Observe) -> None:
    """The first is small, so that nobody waits long; who was away comes back where it is asked."""
    seen = walks(observe, 120)
    ahead = foresight(talkative(), seen)
    assert [ahead.look_ahead(seen[0].ts), ahead.look_ahead(seen[FIRST].ts)] == [FIRST, 2 * FIRST]
    assert ahead.look_ahead(seen[110].ts) == 10
    assert not ahead.is_due(seen[119].ts)
    assert ahead.look_ahead(seen[119].ts + 1) == 0
    assert not ahead.is_due(seen[119].ts + 10**15)


def test_only_a_network_without_memory_is_known_ahead(talkative: Callable[..., HRMAgent], agent: HRMAgent) -> None:
    """The reason is said where it can't be."""
    assert refusal(talkative()) == ""
    assert "carried" in refusal(talkative(carry_state="session"))
    assert "last bits" in refusal(agent)
    keeping = talkative()
    keeping.keep_decisions(3)
    assert "decision_cache_size" in refusal(keeping)
