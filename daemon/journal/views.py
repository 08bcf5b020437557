"""The journal's events as SQL views, one a kind with a column a field, for whoever asks a journal by SQL.

`python -m daemon.journal.views > docs/journal.sql` writes them down. They are temporary: they live in the connection
that asks and leave the file alone, so that a running daemon's journal can be asked, too (`sqlite3 -readonly`).
Invariant: an amount is the very text that was recorded; beside it, `…_e4`, stands the same in ten-thousandths of a
rupee, an integer that sums without rounding.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Final, get_args, get_type_hints

from daemon.core import events as vocabulary
from daemon.core.events import Event

VIEWS: Final[dict[str, type[Event]]] = {
    "bars": vocabulary.Bar,
    "complexities": vocabulary.Complexity,
    "decisions": vocabulary.Decision,
    "intents": vocabulary.OrderIntent,
    "approvals": vocabulary.OrderApproved,
    "denials": vocabulary.OrderDenied,
    "acceptances": vocabulary.OrderAccepted,
    "rejections": vocabulary.OrderRejected,
    "cancellations": vocabulary.OrderCancelled,
    "expiries": vocabulary.OrderExpired,
    "fills": vocabulary.Fill,
    "positions": vocabulary.PositionChanged,
    "states": vocabulary.TradingStateChanged,
    "swaps": vocabulary.StrategySwapped,
    "health": vocabulary.HealthReport,
}
"""By name. `run` and `seq`, the event's place in its run, come first in each."""

ORDERS: Final = """CREATE TEMP VIEW orders AS
SELECT i.run, i.seq, i.ts, i.order_id, i.symbol, i.side, i.quantity, i.type, i.limit_price, i.stop_price, i.strategy,
  i.decision, i.reason,
  COALESCE((SELECT SUM(quantity) FROM fills f WHERE f.run = i.run AND f.order_id = i.order_id), 0) AS filled,
  (SELECT SUM(quantity * price_e4) FROM fills f WHERE f.run = i.run AND f.order_id = i.order_id) AS turnover_e4,
  (SELECT SUM(costs_e4) FROM fills f WHERE f.run = i.run AND f.order_id = i.order_id) AS costs_e4,
  (SELECT d."check" FROM denials d WHERE d.run = i.run AND d.order_id = i.order_id) AS denied_by,
  (SELECT r.reason FROM rejections r WHERE r.run = i.run AND r.order_id = i.order_id) AS rejected_for,
  (SELECT c.reason FROM cancellations c WHERE c.run = i.run AND c.order_id = i.order_id) AS cancelled_for
FROM intents i;"""
"""Each order with what became of it in its run."""


def script() -> str:
    """All views, as SQL."""
    return "\n".join([*(_view(name, kind) for name, kind in VIEWS.items()), ORDERS]) + "\n"


def _view(name: str, kind: type[Event]) -> str:
    hints = get_type_hints(kind)
    columns = []
    for field in kind.__struct_fields__:
        value = f"json_extract(body, '$.{field}')"
        columns.append(f'{value} AS "{field}"')
        if hints[field] is Decimal or Decimal in get_args(hints[field]):
            columns.append(f'CAST(ROUND({value} * 10000) AS INTEGER) AS "{field}_e4"')
    listed = ",\n  ".join(columns)
    return f"CREATE TEMP VIEW {name} AS SELECT run, seq,\n  {listed}\nFROM events WHERE type = '{kind.__name__}';"


if __name__ == "__main__":
    sys.stdout.write("-- Views on a journal: sqlite3 -readonly -init docs/journal.sql var/journal.sqlite\n")
    sys.stdout.write("-- Made by python -m daemon.journal.views; docs/notebooks.md explains them.\n" + script())
