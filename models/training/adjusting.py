"""Sessions with corporate actions between them → the same in one price, so that a window may reach across.

Invariant: the newest sessions stay as they are, and a set that no action concerns is returned itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.training.sessions import Sessions


@dataclass(frozen=True)
class Action:
    """Bars that begin before ``before_ns`` (UTC): prices count times ``price``, volumes times ``volume``."""

    before_ns: int
    price: float
    volume: float


Actions = Callable[[str], Sequence[Action]]
"""The corporate actions of an instrument by the name that a file gives it."""


Broken = Callable[[str, float, float], bool]
"""Whether no trading can have taken an instrument from one price to another between two sessions (rupees)."""


def never(_: str, before: float, after: float) -> bool:
    """Any price may follow any other."""
    return False


def no_actions(_: str) -> Sequence[Action]:
    """Nothing ever happened."""
    return ()


def adjusted(sessions: Sessions, actions: Actions) -> Sessions:
    """The sessions in the prices of the newest one; in memory where something had to be changed."""
    due = [(row, action) for row, name in enumerate(sessions.symbols) for action in actions(name)]
    of_row = np.repeat(sessions.symbol, sessions.lengths) if due else np.empty(0, np.int64)
    factors = np.ones((len(of_row), 5))
    for row, action in due:
        earlier = (of_row == row) & (sessions.ts_ns < action.before_ns)
        factors[earlier, :4] *= action.price
        factors[earlier, 4] *= action.volume
    if (factors == 1.0).all():
        return sessions
    return dataclasses.replace(sessions, bars=np.asarray(sessions.bars) * factors)


def separated(sessions: Sessions, broken: Broken) -> Sessions:
    """The sessions, so told apart where a price jumped between two that no window of one side reaches into the other.

    A later part is another entry of ``symbols`` with the same name. A jump is one of the first bar, open and close.
    """
    symbols, rows, row = list(sessions.symbols), np.array(sessions.symbol), -1
    for number in range(1, len(sessions)):
        same = sessions.symbol[number] == sessions.symbol[number - 1]
        first, name = sessions.bars[sessions.offsets[number]], sessions.symbols[sessions.symbol[number]]
        before = float(sessions.bars[sessions.offsets[number] - 1, 3])
        if same and all(broken(name, before, float(first[column])) for column in (0, 3)):
            row = len(symbols)
            symbols.append(name)
        elif not same:
            row = -1
        if row >= 0:
            rows[number] = row
    return (
        sessions
        if len(symbols) == len(sessions.symbols)
        else dataclasses.replace(sessions, symbols=tuple(symbols), symbol=rows)
    )
