"""Sessions → a gymnasium environment with the features, costs and fills of the other trainers.

Invariant: an episode is one session; the rewards of an episode add up to its profit after costs in units of
`REWARD_BP`, the forced close included; an action that the position does not allow counts as HOLD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from models.ppo import observation_vector, observation_width
from models.training import objective as ob
from models.training.batches import BatchSettings, make_batch
from models.training.loss import costs_of
from models.training.sessions import Sessions
from models.training.settings import CostStep
from models.vocabulary import Vocabularies

REWARD_BP = 10.0
BLOCK = 32
Vector = NDArray[np.float32]


class TradingEnv(gymnasium.Env[Vector, np.int64]):
    """One instrument, one session an episode. ``draw(count, seed)`` gives sessions of equal length to trade on.

    ``cost_scale`` multiplies costs and may be raised during training, as the other trainers ramp theirs.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self, draw: Callable[[int, int], Sessions], settings: BatchSettings, costs: tuple[CostStep, ...], seed: int = 0
    ) -> None:
        self._draw, self._settings, self._costs = draw, settings, costs
        self.cost_scale = 1.0
        width = observation_width(settings.features)
        limit = settings.features.clip
        self.observation_space = spaces.Box(-limit, limit, (width,), np.float32)
        self.action_space = spaces.Discrete(5)
        self._blocks = np.random.default_rng(seed)
        self._left = 0
        self._step = 0
        self._position = ob.FLAT

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        """Begin a new session; ``seed`` starts a new, fixed series of sessions."""
        super().reset(seed=seed)
        if seed is not None:
            self._blocks = np.random.default_rng(seed)
            self._left = 0
        if self._left == 0:
            self._fill()
        self._left -= 1
        self._step, self._position = 0, ob.FLAT
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Fill the decision, earn until the next one."""
        row, t = self._left, self._step
        wanted = int(action) if self._live[row, t] else ob.HOLD
        after = ob.NEXT[self._position][wanted] if ob.VALID[self._position][wanted] else self._position
        earned = ob.SIGNS[after] * self._returns[row, t] - self._cost[row] * (after != self._position)
        self._position, self._step = after, t + 1
        over = self._step == self._returns.shape[1]
        if over and after != ob.FLAT:
            earned -= self._cost[row]
        return self._observe(), float(earned) / REWARD_BP, over, False, {}

    def _observe(self) -> Vector:
        observation: Vector = self._vectors[self._left, min(self._step, self._returns.shape[1] - 1)].copy()
        observation[-3:] = np.eye(3, dtype=np.float32)[self._position]
        return observation

    def _fill(self) -> None:
        """Draw the next block of sessions and compute all their features at once."""
        sessions = self._draw(BLOCK, int(self._blocks.integers(2**31)))
        rng = np.random.default_rng(self._blocks.integers(2**31))
        rows = np.arange(len(sessions))
        batch = make_batch(sessions, rows, self._settings, Vocabularies(), rng)
        flat = np.zeros(len(batch.features), np.int64)
        self._vectors = observation_vector(batch.features, flat).reshape(*batch.live.shape, -1)
        self._returns, self._live = batch.returns_bp, batch.live
        self._cost = self.cost_scale * costs_of(sessions, self._costs)
        self._left = len(sessions)
