"""A journal as tables, in two lines: what notebooks import.

    from daemon.notebook import read_journal
    trades = read_journal("var/journal.sqlite").trades().to_pandas()

Tables are Arrow (`.to_pandas()`, `polars.from_arrow(…)`) with the columns of docs/json.md. Invariant: the journal stays
untouched and may be that of a running daemon; times are nanoseconds in UTC, money is decimal and exact.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from daemon.core.errors import UsageError
from daemon.core.events import Bar, Decision, Event, Fill, OrderIntent
from daemon.journal.reader import JournalReader
from daemon.journal.schema import DAMAGED, KINDS
from daemon.journal.views import script
from daemon.orders.book import Order, OrderBook
from daemon.report.summary import ReplaySummary
from daemon.run.output_tables import bars_table, decisions_table, equity_table, fills_table, orders_table, trades_table
from daemon.run.reporting import JournalReport, report_journal

T = TypeVar("T", bound=Event)


class JournalTables:
    """One run of a journal, or a daemon's day with all its runs."""

    def __init__(self, path: Path, run: int | None = None) -> None:
        """Raises `UsageError` for a journal or a run that can't be read."""
        self.path = path
        self._report: JournalReport = report_journal(path, run, keep=True)

    @property
    def summary(self) -> ReplaySummary:
        """What `hrmd report` says."""
        return self._report.summary

    @property
    def runs(self) -> list[int]:
        """Those that were joined, oldest first."""
        return self._report.runs

    def bars(self) -> pa.Table:
        """Those that decisions saw."""
        return bars_table(self._events(Bar))

    def decisions(self) -> pa.Table:
        """Everything that each says."""
        return decisions_table(self._events(Decision))

    def fills(self) -> pa.Table:
        """In their order."""
        return fills_table(self._events(Fill))

    def trades(self) -> pa.Table:
        """Round trips that are over."""
        return trades_table([trade for trade in self._report.shown.trades if not trade.open])

    def equity(self, *, by_bar: bool = False) -> pa.Table:
        """At each session's last bar, or at each bar."""
        return equity_table(self._report.shown.equity if by_bar else self.summary.equity)

    def orders(self) -> pa.Table:
        """Each order and what became of it, in the order in which they were intended."""
        return orders_table(self._orders)

    def sql(self, query: str, *values: Any) -> pa.Table:
        """What a query over the views of docs/journal.sql answers, of all runs. Raises `UsageError` for a wrong one."""
        with contextlib.closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.executescript(script())
            try:
                found = db.execute(query, values)
                names = [column[0] for column in found.description or ()]
                rows = found.fetchall()
            except DAMAGED as error:
                raise UsageError(f"{self.path}: {error}; docs/journal.sql has the views") from None
        return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})

    @cached_property
    def _orders(self) -> list[Order]:
        book = OrderBook()
        orders: dict[str, Order] = {}
        for event in self._events(*KINDS.values()):
            order = book.apply(event)
            if isinstance(event, OrderIntent) and order is not None:
                orders[event.order_id] = order
        return list(orders.values())

    def _events(self, *kinds: type[T]) -> list[T]:
        reader = JournalReader(self.path)
        try:
            found: list[Any] = []
            for run in self.runs:
                reader.select(run)
                found += reader.events(*kinds)
            return found
        finally:
            reader.close()


def read_journal(path: str | Path, run: int | None = None) -> JournalTables:
    """The newest run of a journal (of a daemon: its day), or `run`. Raises `UsageError`."""
    return JournalTables(Path(path), run)
