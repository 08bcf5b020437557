"""What a recorded run had time for → the same here, however fast this machine is.

A replay's clock stands still while a strategy thinks, so no deadline ever passes in it. Where the clock ended a
recorded decision, it is ended at the same place: after as many segments, after a single cycle, or before it began.
Invariant: what the model ended by itself it ends by itself again, so another model may halt earlier, never later.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from daemon.core.events import Decision
from models.act import HaltReason
from strategies.base import HUNG, LATE, RAISED, SINGLE_CYCLE, UNFIT, Moment, Strategy, model_hash_of, unthought

TIMED = (HaltReason.DEADLINE.value, HaltReason.LIMITED.value, SINGLE_CYCLE)
"""Halt reasons of decisions that the clock, or what was done because of it, ended."""
OF_THE_MACHINE = (HUNG, RAISED, UNFIT)
"""Halt reasons of decisions that failed on that machine; of another model nothing of the kind is known."""


@runtime_checkable
class Remembering(Protocol):
    """A latency that knows more of a decision than how late it was."""

    def then(self, symbol: str, ts_bar: int) -> Decision | None:
        """What was decided on the bar; None where nothing is known of it."""

    def superseded(self, symbol: str, ts_bar: int) -> bool:
        """Whether a newer bar had closed before its turn came."""


@runtime_checkable
class Limited(Protocol):
    """A strategy whose depth can be bounded from outside."""

    def decide_within(self, moment: Moment, segments: int, why: str) -> Decision:
        """At most so many segments; a decision that is stopped there says `why`."""


def not_thought(strategy: Strategy, moment: Moment, then: Decision) -> Decision | None:
    """The decision for which there was no time then, or which failed on that machine; None where it was thought."""
    same = then.strategy == strategy.name and then.model_hash == model_hash_of(strategy)
    if then.halt_reason == LATE or (same and then.halt_reason in OF_THE_MACHINE):
        return unthought(
            moment, strategy.name, then.halt_reason, then.reason, failed=then.failed, model_hash=model_hash_of(strategy)
        )
    return None


def decide_as_then(strategy: Strategy, moment: Moment, then: Decision) -> Decision:
    """Decide, no deeper than the recorded run had time for."""
    if then.halt_reason in TIMED and isinstance(strategy, Limited):
        return strategy.decide_within(moment, then.segments, then.halt_reason)
    return strategy.decide(moment)
