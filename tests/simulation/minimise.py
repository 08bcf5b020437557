"""A plan that breaks a promise → the fewest of its actions that still break it (delta debugging, Zeller 1999)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.simulation.plan import Action, Plan


def minimise(plan: Plan, breaks: Callable[[Plan], bool], most: int = 60) -> Plan:
    """Leave out what isn't needed, in at most so many tries."""
    tries = 0

    def still(actions: list[Action]) -> bool:
        nonlocal tries
        tries += 1
        return breaks(msgspec.structs.replace(plan, actions=tuple(actions)))

    actions, parts = list(plan.actions), 2
    while actions and tries < most:
        size = max(1, len(actions) // parts)
        for start in range(0, len(actions), size):
            rest = actions[:start] + actions[start + size :]
            if tries < most and still(rest):
                actions, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(actions), parts * 2)
    return msgspec.structs.replace(plan, actions=tuple(actions))
