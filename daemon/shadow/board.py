"""What the one in charge owes and has decided, for those who come after it.

Invariant: `clear` is never true while a decision in charge may still come, for longer than which nobody waits.
"""

from __future__ import annotations

import threading

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.events import CANDIDATE, Action, Complexity, Decision
from daemon.core.threads import Flag
from daemon.strategy.actor import FLAT
from strategies.base import UNTHOUGHT

PATIENCE_S = 10.0
"""A decision that hasn't come by then was lost with a crash of its stage."""

KEPT = 16_384
"""Decisions in charge that wait to be compared: bars closing at one time, times what a gap makes good for."""


class Board:
    """Complexities in, decisions in: whether shadows may go, and what was decided."""

    def __init__(self, clock: Clock, free: Flag | None = None) -> None:
        """`free`: the flag that says to threads whether they may go."""
        self.free: Flag = threading.Event() if free is None else free
        self.free.set()
        self._clock = clock
        self._owed: dict[str, int] = {}
        self._since_ns = 0
        self._decided: dict[tuple[str, int], Action | None] = {}

    @property
    def clear(self) -> bool:
        """Whether the one in charge owes no decision (any more)."""
        if self._owed and self._clock.monotonic_ns() - self._since_ns > PATIENCE_S * NS_PER_S:
            self._owed.clear()
            self.free.set()
        return not self._owed

    def ask(self, complexity: Complexity) -> None:
        """It is asked for a decision; of a symbol the newest counts, which supersedes those before it."""
        self._owed[complexity.symbol] = complexity.ts
        self._since_ns = self._clock.monotonic_ns()
        self.free.clear()

    def decide(self, decision: Decision) -> None:
        """It has decided."""
        thought = decision.halt_reason not in UNTHOUGHT and decision.strategy != FLAT
        thought = thought and not decision.strategy.startswith(CANDIDATE)  # that is no word of the one in charge
        self._decided[decision.symbol, decision.ts_bar] = decision.action if thought else None
        if len(self._decided) > KEPT:
            del self._decided[next(iter(self._decided))]
        if self._owed.get(decision.symbol, decision.ts_bar + 1) <= decision.ts_bar:
            del self._owed[decision.symbol]
            if not self._owed:
                self.free.set()

    def action(self, decision: Decision) -> Action | None:
        """What it did at the bar of `decision`; None where it thought about none."""
        return self._decided.get((decision.symbol, decision.ts_bar))
