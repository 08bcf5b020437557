"""A policy's actions on whole sessions → those that are left where entries are held to what earlier ones earned.

Invariant: the rule and its record are those of the daemon (`models.conformal`), bar for bar.
"""

from __future__ import annotations

from models.config import EntrySettings
from models.conformal import after_bar, after_wanting, begun, bound
from models.training import objective as ob
from models.training.sessions import Floats, Ints, Sessions

SIDES = {ob.BUY_LONG: 1, ob.SELL_SHORT: -1}


def worth_making(actions: Ints, sessions: Sessions, cost_bp: Floats, settings: EntrySettings) -> Ints:
    """The same actions (N, D, 3) without the entries that the rule refuses; ``cost_bp`` (N,) a side.

    Sessions of a symbol follow on each other and share what their entries came to.
    """
    left = actions.copy()
    records = {int(symbol): begun("", settings) for symbol in set(sessions.symbol.tolist())}
    for row in range(len(sessions)):
        symbol, held = int(sessions.symbol[row]), ob.FLAT
        moves = sessions.bars[sessions.offsets[row] : sessions.offsets[row + 1], [0, 3]].tolist()
        record = records[symbol]
        for t, (open_, close) in enumerate(moves):
            record = after_bar(record, row, (open_, close), settings)
            if t >= len(moves) - 1:  # nothing is decided on the last bar
                continue
            side = SIDES.get(int(left[row, t, held])) if held == ob.FLAT else None
            if side is not None:
                low = bound(record, settings)
                if low is not None and low <= 0.0:
                    left[row, t, ob.FLAT] = ob.HOLD
                record = after_wanting(record, side, float(cost_bp[row]), row, moves[: t + 1], settings)
            held = ob.NEXT[held][int(left[row, t, held])]
        records[symbol] = record
    return left
