"""What an agent can want, and from which position.

Invariant: the order of actions and of positions is that of the policy head's columns and rows, in every artifact.
"""

from __future__ import annotations

from enum import IntEnum


class Action(IntEnum):
    """What an agent can want; the numbers are the columns of the policy head."""

    BUY_LONG = 0
    SELL_SHORT = 1
    CLOSE_LONG = 2
    CLOSE_SHORT = 3
    HOLD = 4


ACTIONS = len(Action)
POSITIONS = 3
"""Rows of the policy and value heads: flat, long, short."""
VALID_ACTIONS = (
    (True, True, False, False, True),  # flat
    (False, False, True, False, True),  # long
    (False, False, False, True, True),  # short
)
