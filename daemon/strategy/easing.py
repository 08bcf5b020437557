"""A mitigation → what it does to a strategy: less depth, an empty memory, one cycle, or a strategy made anew.

Invariant: what is done here changes how long a strategy thinks and what it remembers, never its weights; a decision
that was recorded under it can be made again from its recorded depth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from daemon.core.events import Decision, Mitigation
from strategies.base import Easeable, Renewable, Strategy


def knows(strategies: Mapping[str, Strategy]) -> dict[str, frozenset[Mitigation]]:
    """The mild steps that make sense of each strategy."""
    return {name: frozenset(_steps(strategy)) for name, strategy in strategies.items()}


def _steps(strategy: Strategy) -> list[Mitigation]:
    found = []
    if isinstance(strategy, Easeable):
        found += [Mitigation.CLEAR_CACHES, Mitigation.SINGLE_CYCLE]
        if strategy.depth > 1:
            found.append(Mitigation.LESS_DEPTH)
    if isinstance(strategy, Renewable):
        found.append(Mitigation.RENEW)
    return found


def ease(strategy: Strategy, step: Mitigation) -> None:
    """Do one of the mild steps, other than making it anew, which takes a while; BACK gives all depth again."""
    if not isinstance(strategy, Easeable):
        return
    match step:
        case Mitigation.LESS_DEPTH:
            strategy.ease(most_segments=max(1, strategy.depth // 2), single_cycle=False)
        case Mitigation.SINGLE_CYCLE:
            strategy.ease(most_segments=1, single_cycle=True)
        case Mitigation.CLEAR_CACHES:
            strategy.forget()
        case Mitigation.BACK:
            strategy.ease(most_segments=None, single_cycle=False)


def no_number(decision: Decision) -> str:
    """Which figure of a decision is none, "" where all are finite."""
    all_of_them = (
        decision.confidence + decision.value + decision.h_confidence + decision.l_confidence + decision.convergence
        + decision.q_halt + decision.q_continue
    )  # fmt: skip
    if math.isfinite(all_of_them):
        return ""
    figures = ("confidence", "value", "h_confidence", "l_confidence", "convergence", "q_halt", "q_continue")
    return next((name for name in figures if not math.isfinite(getattr(decision, name))), "")
