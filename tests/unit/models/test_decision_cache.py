"""Decisions that are kept, and an agent that asks for them first."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from models.agent import HRMAgent
from models.decision_cache import DecisionCache
from models.features import encode
from models.runtime import TorchRunner
from tests.unit.models.conftest import Observe, Settings


def test_the_one_that_was_not_asked_for_longest_makes_room() -> None:
    """Asking counts as use, and everything is counted."""
    cache: DecisionCache[str] = DecisionCache(2)
    cache.put(b"one", "1")
    cache.put(b"two", "2")
    assert cache.get(b"one") == "1"
    cache.put(b"three", "3")
    assert [cache.get(key) for key in (b"one", b"two", b"three")] == ["1", None, "3"]
    assert (cache.hits, cache.misses) == (3, 1)


def test_every_column_and_part_is_in_the_key(agent: HRMAgent, settings: Settings, observe: Observe) -> None:
    """One changed bit of any column, or another budget, is another decision."""
    features = encode([observe()], agent.model.vocabularies, settings().features)
    keys = {DecisionCache.key(features, "hash", 4), DecisionCache.key(features, "hash", 5)}
    for column in fields(features):
        changed = getattr(features, column.name).copy()
        changed.reshape(-1)[-1] = not changed.reshape(-1)[-1] if changed.dtype == np.bool_ else 77
        keys.add(DecisionCache.key(replace(features, **{column.name: changed}), "hash", 4))
    assert len(keys) == 2 + len(fields(features))
    assert DecisionCache.key(features, "hash", 4) in keys


class Counting(TorchRunner):
    """Counts segments."""

    count = 0

    def segment(self, x, state):  # type: ignore[no-untyped-def]
        """Run and count."""
        type(self).count += 1
        return super().segment(x, state)


def test_an_agent_does_not_think_twice(agent: HRMAgent, observe: Observe) -> None:
    """The same observation gives the same decision without a segment; a fixed depth is always thought out."""
    Counting.count = 0
    agent.use(Counting(agent.model))
    agent.keep_decisions(8)
    first = agent.decide(observe())
    thought = Counting.count
    assert thought > 0
    assert agent.decide(observe(ts=5)) == first
    assert Counting.count == thought
    agent.decide(observe(), segments=1)
    agent.decide(observe(1))
    assert Counting.count > thought + 1
    assert (agent.cache.hits, agent.cache.misses) == (1, 2)


def test_hurried_decisions_are_not_kept(settings: Settings, observe: Observe) -> None:
    """A decision that a clock or a lack of time cut short must not stand for what thinking comes to."""
    agent = HRMAgent.untrained(settings(), 7, now_ns=lambda: 1)
    agent.keep_decisions(8)
    assert agent.decide(observe(), deadline_ns=0).halt_reason == "deadline"
    assert agent.decide(observe(), single_cycle=True).halt_reason == "single_cycle"
    assert agent.decide(observe(), deadline_ns=10**18).halt_reason == "max_segments"
    assert (agent.cache.hits, agent.cache.misses) == (0, 3)


def test_learning_forgets_runner_and_decisions(agent: HRMAgent, observe: Observe) -> None:
    """A runner made of old weights and what they decided are not used again."""
    Counting.count = 0
    agent.use(Counting(agent.model))
    agent.keep_decisions(8)
    agent.decide(observe())
    before = Counting.count
    agent.learn([observe()], [4])
    agent.decide(observe())
    assert Counting.count == before
    assert (agent.cache.size, agent.cache.hits) == (8, 0)


def test_an_agent_with_memory_keeps_no_decisions(settings: Settings, observe: Observe) -> None:
    """What it decides depends on what it carries, which is not in the key."""
    agent = HRMAgent.untrained(settings(carry_state="session"), 7)
    agent.keep_decisions(8)
    agent.decide(observe())
    agent.decide(observe())
    assert (agent.cache.size, agent.cache.hits, agent.cache.misses) == (0, 0, 0)


def test_a_single_cycle_is_less_than_a_segment(agent: HRMAgent, observe: Observe) -> None:
    """It is another answer than a segment's, the same every time, and says what it is."""
    hurried = agent.decide(observe(), single_cycle=True)
    assert (hurried.segments, hurried.halt_reason) == (1, "single_cycle")
    assert agent.decide(observe(), single_cycle=True) == hurried
    assert agent.decide(observe(), segments=1).probabilities != hurried.probabilities
