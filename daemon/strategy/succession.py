"""Which strategy of a rung decides which bar, when one follows another; loop-free.

The new one takes up with the first bar that closed after the newest bar asked about until then, so all instruments of a
bar are decided by one of them, none twice and none by nobody. Until it has made its first good decision it is on trial:
the proven one is kept, and comes back with the next bar where the first answer that counts is a failure.
"""

from __future__ import annotations

import msgspec

from daemon.core.events import Decision
from strategies.base import UNTHOUGHT, Strategy, model_hash_of


class _Heir(msgspec.Struct, frozen=True, eq=False):
    """Who follows, with the bars that close after `after`, UTC ns."""

    strategy: Strategy
    after: int


class Succession:
    """Works on the actor's own `strategies`, by rung."""

    def __init__(self, strategies: dict[str, Strategy]) -> None:
        self._strategies = strategies
        self._heirs: dict[str, _Heir] = {}
        self._proven: dict[str, Strategy] = {}

    def newest(self, rung: str) -> Strategy | None:
        """Who decides the next bar of a rung; None where nobody does."""
        heir = self._heirs.get(rung)
        return heir.strategy if heir is not None else self._strategies.get(rung)

    def follow(self, fresh: Strategy, after: int) -> None:
        """Let `fresh` decide on its rung, on trial, the bars that close after `after` (UTC ns)."""
        self._proven.setdefault(fresh.name, self._strategies[fresh.name])
        self._heirs[fresh.name] = _Heir(fresh, after)

    def take_up(self, rung: str, ts_bar: int) -> bool:
        """A bar that closed at `ts_bar` is about to be decided; whether another one decides from here on."""
        heir = self._heirs.get(rung)
        if heir is None or ts_bar <= heir.after:
            return False
        self._strategies[rung] = heir.strategy
        del self._heirs[rung]
        return True

    def judge(self, decision: Decision) -> Strategy | None:
        """What a decision says of who is on trial: the proven one where it comes back, else None."""
        rung = decision.strategy
        if rung not in self._proven or rung in self._heirs or not _is_of(decision, self._strategies[rung]):
            return None
        if decision.failed:
            back = self._proven.pop(rung)
            self._heirs[rung] = _Heir(back, decision.ts_bar)
            return back
        if decision.halt_reason and decision.halt_reason not in UNTHOUGHT:
            del self._proven[rung]
        return None


def _is_of(decision: Decision, strategy: Strategy) -> bool:
    return decision.model_hash == model_hash_of(strategy)
