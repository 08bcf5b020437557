"""Who decides on which symbol while a canary runs: the candidate on its share, the one in charge on all others.

Loop-free; the stage and `hrmd verify` both follow `CanaryChanged` with it. Invariant: every symbol has one decider, and
none but the strategy of the settings ever shares.
"""

from __future__ import annotations

from daemon.core.events import CANDIDATE, CanaryChanged, CanaryState


class Sharing:
    """`own` is the strategy of the settings; with another one in charge nothing is shared."""

    def __init__(self, own: str) -> None:
        self.candidate = ""
        """Who decides on a share, "" where nobody does."""
        self._own = own
        self._symbols: frozenset[str] = frozenset()

    def follow(self, event: CanaryChanged) -> None:
        """A canary began, goes on or ended."""
        runs = event.state is CanaryState.RUNNING
        self.candidate = f"{CANDIDATE}{event.agent}" if runs else ""
        self._symbols = frozenset(event.symbols) if runs else frozenset()

    def decider(self, symbol: str, active: str) -> str:
        """Who decides on `symbol` while `active` is in charge."""
        return self.candidate if symbol in self._symbols and active == self._own else active
