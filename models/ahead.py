"""Observations that will be asked about → what the network thinks of each, many in one batch before the first of them.

A batch reads the weights once for all of its rows, and numpy is called once for all of them; rows that have thought
enough leave it. An answer is kept with the market that it was made from and given only where exactly that market is
asked about, so a source that foresees wrongly costs time and changes nothing. The position is the caller's: it picks
the row of the answer, where the network doesn't see it; where it does, only what is asked when flat is known ahead.
Invariant: what is answered is what `HRMAgent.decide` answers without a deadline, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.act import AdaptiveComputationTime, HaltReason, HeadValues, Reasoning, Runner
from models.agent import AgentDecision, HRMAgent, read_row, validate
from models.config import CarryState
from models.errors import InvalidObservation, InvalidOutput
from models.features import SIDE_ROWS, Features, Observation

FIRST: Final = 4
"""Observations of the first batch; from there on twice as many each time, while a batch stays quick."""
NEVER: Final = 2**63 - 1
QUICK_NS: Final = 1_000_000_000
"""A batch that takes longer isn't followed by a larger one."""

Source = Callable[[int, int], Sequence[Observation]]
"""`source(count, ts)`: about the next `count` of those from `ts` on that will be asked about; none at the end."""


@runtime_checkable
class Independent(Protocol):
    """A runner whose answer to a row is the same bits whatever else is in the batch."""

    def keep(self, rows: NDArray[np.int64], x: Any, state: Any) -> tuple[Any, Any]:
        """Tokens and state of `rows` alone."""

    def briefly(self) -> Runner[Any, Any]:
        """A runner with the same answers, whose states nobody can go on from at the next bar."""


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """What was thought of many observations, row by row."""

    observations: list[Observation]
    reasoning: Reasoning
    novelties: list[tuple[float, str]]
    """Empty where none is measured."""
    valid: bool
    """Whether every row can be used; where not, each is looked at when it is asked for."""
    cost_ns: int
    """What each took of the batch's time."""


class Foresight:
    """Batches of at most `size` observations of `source`, for one agent; `now_ns` measures how long they take."""

    def __init__(self, agent: HRMAgent, source: Source, size: int, now_ns: Callable[[], int]) -> None:
        """Whether the agent's decisions can be known ahead is asked of `refusal` before."""
        self._agent = agent
        self._source = source
        self._size = size
        self._now_ns = now_ns
        self._next = min(FIRST, size)
        self._frontier = -(2**63)
        self._batch: _Batch | None = None
        self._runner: Runner[Any, Any] | None = None
        """Who thought about the batch."""
        self._rows: dict[tuple[str, int], int] = {}
        self._flat_only = sees_position(agent)
        self.known = 0
        """Decisions that were known when they were asked for."""

    def is_due(self, ts: int) -> bool:
        """Whether what is asked at `ts` lies beyond all that was thought of."""
        return ts > self._frontier

    def look_ahead(self, ts: int) -> int:
        """Think about the next batch from `ts` on, and say of how many. May take long."""
        started, self._rows, self._frontier = self._now_ns(), {}, NEVER
        seen = self._source(self._next, ts)
        self._frontier = seen[-1].ts if seen else NEVER
        usable = _usable(self._agent, seen)
        if not usable:
            return 0
        observations, features = usable
        agent = self._agent
        self._runner = agent.runner
        assert isinstance(self._runner, Independent)
        reasoning = think_many(agent.act, self._runner.briefly(), features)
        novelties = agent.novelty.of_each(features) if agent.novelty is not None else []
        elapsed_ns = self._now_ns() - started
        self._rows = {(one.symbol, one.ts): row for row, one in enumerate(observations)}
        self._batch = _Batch(
            observations, reasoning, novelties, _is_valid(reasoning.values, agent), elapsed_ns // len(observations)
        )
        if elapsed_ns < QUICK_NS:
            self._next = min(2 * self._next, self._size)
        return len(observations)

    def decision(self, observation: Observation) -> tuple[AgentDecision, int] | None:
        """What the agent decides, and what thinking it took, ns; None where it isn't known. Raises InvalidOutput."""
        row, batch = self._rows.get((observation.symbol, observation.ts)), self._batch
        if row is None or batch is None or self._agent.runner is not self._runner or not self._allows(observation):
            return None
        if not _same_market(batch.observations[row], observation):
            return None
        heads = self._agent.settings.output_heads
        if not batch.valid:
            validate(_row(batch.reasoning.values, row), heads.logit_cap)
        told = batch.novelties[row] if batch.novelties else (0.0, "")
        side = SIDE_ROWS[observation.position_side]
        decision = self._agent.calibrated(read_row(batch.reasoning, row, side, heads, *told), side)
        self.known += 1
        return decision, batch.cost_ns

    def _allows(self, observation: Observation) -> bool:
        """Whether its position is one that the answer holds for; what is no position at all is for `decide` to say."""
        if self._flat_only:
            return observation.position_side == 0
        numbers = observation.position_size, observation.unrealised_atr, observation.bars_held
        return (
            all(map(math.isfinite, numbers)) and 0.0 <= observation.position_size <= 1.0 and observation.bars_held >= 0
        )


def refusal(agent: HRMAgent) -> str:
    """Why the agent's decisions are made one by one, "" where they can be known ahead."""
    if agent.settings.carry_state is not CarryState.NONE:
        return "a state is carried from bar to bar (carry_state)"
    if agent.cache.size:
        return "decisions are kept by what they were made from (performance.decision_cache_size)"
    if not isinstance(agent.runner, Independent):
        return "the runtime answers a row with other last bits in another batch; the native one doesn't"
    return ""


def sees_position(agent: HRMAgent) -> bool:
    """Whether what the network thinks depends on the position: not where nobody trained it to."""
    return bool(agent.network.weights.arrays["input.position.weight"].any())


def think_many(act: AdaptiveComputationTime, runner: Any, features: Features) -> Reasoning:
    """What `act.run` comes to for each row by itself, without a clock; `runner` is `Independent`."""
    rows = np.arange(len(features))
    depth = np.zeros(len(rows), np.int64)
    reasons: list[HaltReason] = [HaltReason.MAX_SEGMENTS] * len(rows)
    minimum = np.array([act.minimum(complexity) for complexity in features.complexity.tolist()])
    x, state = runner.embed(features), runner.start(features, act.max_segments, None)
    final: HeadValues | None = None
    while len(rows):
        values, state = runner.segment(x, state)
        final = values if final is None else final
        for name in HeadValues.__slots__:
            getattr(final, name)[rows] = getattr(values, name)
        depth[rows] = state.segments
        told = act.rules(values, state, minimum[rows])
        for row, reason in zip(rows.tolist(), told, strict=True):
            reasons[row] = reason or reasons[row]
        left = np.array([place for place, reason in enumerate(told) if reason is None], np.int64)
        if len(left) < len(rows):
            rows, (x, state) = rows[left], runner.keep(left, x, state)
    assert final is not None, "no observation"
    return Reasoning(final, tuple(depth.tolist()), tuple(minimum.tolist()), tuple(reasons))


def _is_valid(values: HeadValues, agent: HRMAgent) -> bool:
    try:
        validate(values, agent.settings.output_heads.logit_cap)
    except InvalidOutput:
        return False
    return True


def _row(values: HeadValues, row: int) -> HeadValues:
    """One row of head values, still a batch."""
    return HeadValues(*(getattr(values, name)[row : row + 1] for name in HeadValues.__slots__))


def _usable(agent: HRMAgent, seen: Sequence[Observation]) -> tuple[list[Observation], Features] | None:
    """Those that can be decided on, and their features; the others are refused when they are asked about."""
    kept = [one for one in seen if len(one.bars) >= agent.features.min_bars]
    try:
        return (kept, agent.encoded(kept)) if kept else None
    except InvalidObservation:
        kept = [one for one in kept if _can_be_read(agent, one)]
        return (kept, agent.encoded(kept)) if kept else None


def _can_be_read(agent: HRMAgent, observation: Observation) -> bool:
    try:
        agent.encoded([observation])
    except InvalidObservation:
        return False
    return True


def _same_market(one: Observation, other: Observation) -> bool:
    """Whether all but the position is the same, to the last bit."""
    return (
        one.symbol == other.symbol
        and one.interval == other.interval
        and (one.ts, one.minute_of_session, one.minutes_to_close, one.weekday)
        == (other.ts, other.minute_of_session, other.minutes_to_close, other.weekday)
        and (one.spread_bp, one.complexity, one.cost_bp) == (other.spread_bp, other.complexity, other.cost_bp)
        and one.bars.shape == other.bars.shape
        and one.bars.tobytes() == other.bars.tobytes()
        and one.coarse.tobytes() == other.coarse.tobytes()
        and (one.past is other.past or np.array_equal(one.past, other.past))
    )
