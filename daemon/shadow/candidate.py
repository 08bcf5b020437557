"""A shadow agent's strategy → the same decider under a name that tells its real decisions apart.

Invariant: what leaves it is a decision about what it was asked, or an exception that makes a failed one of it.
"""

from __future__ import annotations

import msgspec

from daemon.core.events import CANDIDATE, Decision
from daemon.strategy.actor import Deliberating, Placed
from strategies.base import Moment, Renewable, Strategy, model_hash_of


class Candidate:
    """Decides under `canary:NAME`, on the thread, whatever it is made of."""

    in_thread = True

    def __init__(self, agent: str, inner: Strategy) -> None:
        self.name = f"{CANDIDATE}{agent}"
        self._agent = agent
        self._inner = inner

    @property
    def model_hash(self) -> str:
        """Of the weights that decide, "" where none do."""
        return model_hash_of(self._inner)

    def left(self) -> str:
        """Its thread is left: what it was at, "" where nobody knows."""
        return self._inner.left() if isinstance(self._inner, Placed) else ""

    def renewed(self) -> Candidate:
        """The same decider, sharing nothing that either writes where it keeps anything."""
        return Candidate(self._agent, anew(self._inner))

    def decide(self, moment: Moment) -> Decision:
        """As the agent does."""
        return self._named(self._inner.decide(moment), moment)

    def decide_since(self, moment: Moment, asked_ns: int, waiting: int) -> Decision:
        """As the agent does, within its deadline where it has one."""
        if isinstance(self._inner, Deliberating):
            return self._named(self._inner.decide_since(moment, asked_ns, waiting), moment)
        return self.decide(moment)

    def decide_at(self, moment: Moment, segments: int, *, single_cycle: bool = False) -> Decision:
        """Again, at a recorded depth. Raises `AttributeError` for an agent that has none."""
        decide_at = self._inner.decide_at  # type: ignore[attr-defined]
        return self._named(decide_at(moment, segments, single_cycle=single_cycle), moment)

    def _named(self, answer: Decision, moment: Moment) -> Decision:
        """The answer under this name. Raises `ValueError` for one that no stage can work with."""
        if not isinstance(answer, Decision):
            raise ValueError(f"expected a decision, got {type(answer).__name__}")
        if not isinstance(answer.quantity, int):
            raise ValueError(f"expected whole units, got {answer.quantity}")
        if (answer.symbol, answer.ts_bar) != (moment.symbol, moment.ts):
            raise ValueError(f"expected a decision on {moment.symbol}, got one on {answer.symbol}")
        return msgspec.structs.replace(answer, strategy=self.name)


def anew(strategy: Strategy) -> Strategy:
    """The same decider for another thread."""
    return strategy.renewed() if isinstance(strategy, Renewable) else strategy
