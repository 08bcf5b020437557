"""Turns Q values, settling states and the clock into a depth: how many segments a decision takes, and why it stopped.

The rules, in this order, after each segment:
1. at or over the minimum depth: `q_halt` where q_halt > q_continue, `converged` where both states have settled;
2. `max_segments` where the budget is used up;
3. `deadline` where the next segment would end after the deadline, even under the minimum: it is taken to last as long
   as the longest of this decision or as `SegmentCost` expects from those before, whichever is longer.
Invariant: at least one segment is run, and rules 1 and 2 are a pure function of the model and the observation, so that
a recorded decision can be run again at its recorded depth and give the same outputs and the same reason.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.config import HRMSettings
from models.features import Features
from models.segment_cost import SegmentCost


class HaltReason(StrEnum):
    """Why a decision stopped thinking."""

    Q_HALT = "q_halt"
    CONVERGED = "converged"
    MAX_SEGMENTS = "max_segments"
    DEADLINE = "deadline"
    SINGLE_CYCLE = "single_cycle"
    """There was no time for a segment: one cycle was run."""
    LIMITED = "limited"
    """It was told to take no more segments."""


_RULES: Final = (None, HaltReason.Q_HALT, HaltReason.CONVERGED, HaltReason.MAX_SEGMENTS)


@dataclass(frozen=True, slots=True, eq=False)
class HeadValues:
    """Head outputs of B rows as plain arrays; what a runtime answers and a decision is made of."""

    policy: NDArray[np.float32]  # (B, 3, 5) logits, −inf where invalid
    quantity: NDArray[np.float32]  # (B,) 0..1
    value: NDArray[np.float32]  # (B, 3)
    q_halt: NDArray[np.float32]  # (B,)
    q_continue: NDArray[np.float32]  # (B,)
    change_h: NDArray[np.float32]  # (B, N) relative change of z_H in each cycle
    change_l: NDArray[np.float32]  # (B, N)


class ReasoningState(Protocol):
    """What ACT needs to know of a runtime's state; the tensors in it are the runtime's own affair."""

    @property
    def segments(self) -> NDArray[np.int64]:
        """Segments run, (B,)."""

    @property
    def budget(self) -> NDArray[np.int64]:
        """Segments that may still be run, (B,)."""

    @property
    def complexity(self) -> NDArray[np.float64]:
        """Market complexity, (B,), 0..1."""


X = TypeVar("X")
S = TypeVar("S", bound=ReasoningState)


class Runner(Protocol[X, S]):
    """A way to run segments. Implementations are in `models/runtime.py` and `models/runtimes/`."""

    settled_below: float
    """A row whose changes are both under it keeps its state for the rest of a segment; infinite: one cycle is run."""

    def embed(self, features: Features) -> X:
        """Run the input network once a decision."""

    def start(self, features: Features, budget: int, carried: S | None) -> S:
        """Return the state before the first segment, from the carried one where there is one."""

    def segment(self, x: X, state: S) -> tuple[HeadValues, S]:
        """Run one segment on every row."""

    def freeze(self, active: NDArray[np.bool_], new: S, old: S) -> S:
        """Take `new` in the active rows and `old` in those that have halted."""


def one_cycle(runner: Runner[Any, Any]) -> Runner[Any, Any]:
    """Return a runner on the same weights whose segments end after one cycle: every row counts as settled at once."""
    simple = copy.copy(runner)
    simple.settled_below = math.inf
    return simple


@dataclass(frozen=True, slots=True, eq=False)
class Reasoning:
    """What one pass of adaptive computation came to; every row as it was when that row halted."""

    values: HeadValues
    segments: tuple[int, ...]
    minimum: tuple[int, ...]
    reasons: tuple[HaltReason, ...]


class AdaptiveComputationTime:
    """Decides depth. `now_ns` is the clock of the deadline; without one no deadline ever passes."""

    def __init__(self, settings: HRMSettings, now_ns: Callable[[], int] | None = None) -> None:
        self._act = settings.act
        self._threshold = settings.convergence.threshold if settings.convergence.early_stop else 0.0
        self._now_ns = now_ns
        self.cost = SegmentCost()
        self._cycles = settings.shape.h_cycles
        self.max_segments = settings.max_segments

    def minimum(self, complexity: float) -> int:
        """Return the segments that a market of this complexity (0..1) takes at least."""
        reached = [step.min_segments for step in self._act.complexity_steps if complexity >= step.above]
        return min(max([self._act.min_segments, *reached]), self.max_segments)

    def exploration_minimum(self, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Training only: with probability epsilon a minimum drawn from {2..max}, else 1. (rows,).

        The paper's exploration: without it a head that halts early never sees what more depth would have given.
        """
        drawn = rng.integers(2, max(self.max_segments, 2) + 1, rows)
        explored = np.where(rng.random(rows) < self._act.exploration, drawn, 1)
        return np.minimum(explored, self.max_segments)

    def rule(
        self,
        *,
        segments: int,
        minimum: int,
        budget: int,
        q_halt: float,
        q_continue: float,
        change_h: float,
        change_l: float,
    ) -> HaltReason | None:
        """Rules 1 and 2 for one row after its `segments`-th segment; None means: go on."""
        if segments >= minimum:
            if self._act.q_halting and q_halt > q_continue:
                return HaltReason.Q_HALT
            if max(change_h, change_l) < self._threshold:
                return HaltReason.CONVERGED
        return HaltReason.MAX_SEGMENTS if budget <= 0 else None

    def run(
        self,
        runner: Runner[Any, S],
        features: Features,
        *,
        carried: S | None = None,
        deadline_ns: int | None = None,
        segments: int | None = None,
        most_segments: int | None = None,
    ) -> tuple[Reasoning, S]:
        """Think until every row has halted; return what came of it and the state to carry on from.

        `deadline_ns` is on the clock `now_ns`. `segments` fixes the depth of every row instead (a recorded decision run
        again): Q values, convergence and clock then stop nothing, and the reason is the one that held at that depth.
        `most_segments` ends thinking there, even under the minimum; the network isn't told of it. Raises ValueError for
        a fixed depth under 1.
        """
        if segments is not None and segments < 1:
            raise ValueError(f"segments is {segments}, a decision takes at least 1")
        started = self._now()
        x = runner.embed(features)
        state = runner.start(features, self.max_segments, carried)
        minimum = tuple(self.minimum(float(complexity)) for complexity in state.complexity)
        reasons: list[HaltReason | None] = [None] * len(features)
        values: HeadValues | None = None
        longest = 0
        while True:
            active = np.array([reason is None for reason in reasons])
            new_values, new_state = runner.segment(x, state)
            state = new_state if active.all() else runner.freeze(active, new_state, state)
            values = new_values if values is None or active.all() else _merge(active, new_values, values)
            now = self._now()
            self.cost.add(now - started)
            longest, started = max(longest, now - started), now
            depth = int(state.segments.max())
            if segments is not None and depth < segments:
                continue
            late = segments is not None or (
                deadline_ns is not None and now + max(longest, self.cost.expected_ns) > deadline_ns
            )
            limited = most_segments is not None and depth >= most_segments
            stop = HaltReason.LIMITED if limited else HaltReason.DEADLINE if late else None
            for row in np.flatnonzero(active).tolist():
                reasons[row] = self._row_rule(row, values, state, minimum[row]) or stop
            if None not in reasons:
                break
        halted = tuple(reason for reason in reasons if reason is not None)
        return Reasoning(values, tuple(int(n) for n in state.segments), minimum, halted), state

    def glance(self, runner: Runner[Any, S], features: Features, *, carried: S | None = None) -> tuple[Reasoning, S]:
        """Run a single-cycle `runner` once without a look at the deadline: what is left when time is short.

        A segment is taken to cost as many times that as it has cycles, so that depth comes back when the machine does.
        """
        started = self._now()
        state = runner.start(features, self.max_segments, carried)
        values, state = runner.segment(runner.embed(features), state)
        self.cost.add((self._now() - started) * self._cycles)
        minimum = tuple(self.minimum(float(complexity)) for complexity in state.complexity)
        ones = (1,) * len(features)
        return Reasoning(values, ones, minimum, (HaltReason.SINGLE_CYCLE,) * len(features)), state

    def _row_rule(self, row: int, values: HeadValues, state: ReasoningState, minimum: int) -> HaltReason | None:
        return self.rule(
            segments=int(state.segments[row]),
            minimum=minimum,
            budget=int(state.budget[row]),
            q_halt=float(values.q_halt[row]),
            q_continue=float(values.q_continue[row]),
            change_h=float(values.change_h[row, -1]),
            change_l=float(values.change_l[row, -1]),
        )

    def rules(self, values: HeadValues, state: ReasoningState, minimum: NDArray[np.int64]) -> list[HaltReason | None]:
        """`rule` for every row of a batch at once."""
        deep = state.segments >= minimum
        halts = deep & (values.q_halt > values.q_continue) if self._act.q_halting else np.zeros(len(deep), np.bool_)
        change_h, change_l = values.change_h[:, -1].astype(np.float64), values.change_l[:, -1].astype(np.float64)
        settled = deep & (np.where(change_l > change_h, change_l, change_h) < self._threshold)
        told = np.where(halts, 1, np.where(settled, 2, np.where(state.budget <= 0, 3, 0)))
        return [_RULES[number] for number in told.tolist()]

    def _now(self) -> int:
        return 0 if self._now_ns is None else self._now_ns()


def _merge(active: NDArray[np.bool_], new: HeadValues, old: HeadValues) -> HeadValues:
    """Take the new values of active rows and keep those of halted ones."""

    def pick(name: str) -> NDArray[np.float32]:
        fresh, kept = getattr(new, name), getattr(old, name)
        chosen: NDArray[np.float32] = np.where(active.reshape(-1, *[1] * (fresh.ndim - 1)), fresh, kept)
        return chosen

    return HeadValues(*(pick(name) for name in HeadValues.__slots__))
