"""Rows that are in no order of time → the order in which they would have arrived.

A database exports one symbol after the other, a vendor one file a symbol or the newest first: read as arrivals, most of
such rows would be late. Invariant: rows that are in order but for a few (a tape of arrivals has some that are stale)
stay as they are, and equal times keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import NS_PER_S
from daemon.core.events import TickBatch
from daemon.tape.file import as_dictionary, int_column
from daemon.tape.receipts import Receipts, stamps
from daemon.tape.sources import CHUNK_ROWS

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

BEHIND_NS: Final = 60 * NS_PER_S
"""A row so far behind an earlier one has not arrived after it, ..."""
BEHIND_SHARE: Final = 0.01
"""... where so many rows are, ..."""
BEHIND_LEAST: Final = 20
"""... and so many of a log of messages, which is written as they come; ..."""
OF_ONE_LEAST: Final = 3
"""... or so many of one symbol, and most of it."""
TURNS: Final = 20
"""How often rows of a symbol may come from another source than the last one: one ends late, the next begins early."""
SHOWN: Final = 3
"""Symbols that are named in a line."""
_NONE: Final = np.zeros(0, dtype=np.int64)


class Disorder:
    """Looks at ticks as they pass, and suspects; `source_rows` are the rows of each source."""

    def __init__(self) -> None:
        self.source_rows: list[int] = []
        self._rows = self._ended = self._newest = 0
        self._rows_of = self._behind_of = _NONE

    @property
    def suspected(self) -> bool:
        """Whether it is worth a second look."""
        many = int(self._behind_of.sum()) > self._rows * BEHIND_SHARE
        return many or _any_most(self._behind_of, self._rows_of)

    def see(self, batch: TickBatch) -> None:
        """The next ticks of the source."""
        said = stamps(batch.ts_event, batch.ts_recv)
        running = np.maximum(np.maximum.accumulate(said), self._newest)
        behind = (said > 0) & (said < running - BEHIND_NS)
        self._rows_of = _plus(self._rows_of, np.bincount(batch.code))
        if behind.any():
            self._behind_of = _plus(self._behind_of, np.bincount(batch.code[behind]))
        self._rows += len(said)
        self._newest = int(running[-1])

    def end_of_source(self) -> None:
        """The source is read."""
        self.source_rows.append(self._rows - self._ended)
        self._ended = self._rows


def _plus(counts: Ints, more: Ints) -> Ints:
    """The sums of two counts by symbol, either of which may be of more symbols."""
    longer, shorter = (counts, more) if len(counts) > len(more) else (more, counts)
    total = longer.astype(np.int64)
    total[: len(shorter)] += shorter
    return total


def in_order(table: Any, source_rows: list[int], least: int = 0) -> tuple[Ints, str] | None:
    """(the rows in order of time, why in one line), None where they stay as they are; `table` holds a tape's columns.

    Each symbol of each source is a stream of its own; a stamp that leaps and is contradicted within it moves none but
    its own row. A stream that is not in order itself is sorted by its stamps.
    """
    said, received = _said(table)
    source, codes = np.repeat(np.arange(len(source_rows)), source_rows), _codes(table)
    arrived = _as_it_came(said)
    if arrived is not None and not _most_of_one(_misplaced(said, arrived), codes, least):
        return None
    key = np.zeros(len(said), dtype=np.int64)
    standing = np.arange(len(said))
    for rows in _streams(source * (1 << 32) + codes):
        key[rows] = _arrivals(said[rows])
        if _newest_first(said[rows]):
            standing[rows] = rows[::-1]
    behind = np.maximum.accumulate(key) - key
    count = int(np.count_nonzero(behind > BEHIND_NS))
    whole = not least and _most_of_one(behind > BEHIND_NS, codes)
    if count <= max(len(said) * BEHIND_SHARE, least - 1) and not whole:
        return None
    order: Ints = standing[np.argsort(key[standing], kind="stable")]
    names = as_dictionary(table.column("symbol").chunk(0)).dictionary.to_pylist()
    twice = said_of([names[code] for code in in_turn(key, source, codes)], "files")
    return order, (
        f"{count:,} of {len(said):,} rows lie behind an earlier one, by up to {_span(int(behind.max()))}, as where "
        f"symbols or days stand one after the other: sorted by time{' of receipt' if received else ''}, rows of one "
        f"time as they were{twice and '; '}{twice}"
    )


def in_turn(ts: Ints, source: Ints, code: Ints) -> list[int]:
    """The symbols of which several sources tell at the same time, each as its `code`; all (n,), a row a tick."""
    order = np.lexsort((ts, code))
    source, code = source[order], code[order]
    turns = code[1:][(np.diff(source) != 0) & (np.diff(code) == 0)]
    followed = int(source.max(initial=0))
    found: list[int] = np.flatnonzero(np.bincount(turns) > TURNS + followed).tolist()
    return found


def said_of(symbols: Sequence[str], sources: str) -> str:
    """What has to be said where several `sources` tell of `symbols` at the same time; "" where of none."""
    if not symbols:
        return ""
    more = f" and {len(symbols) - SHOWN} more" if len(symbols) > SHOWN else ""
    return (
        f"{', '.join(symbols[:SHOWN])}{more}: two {sources} have ticks of the same time, which are taken for one "
        "stream: where they differ the price jumps to and fro, and volume may count twice"
    )


def _said(table: Any) -> tuple[Ints, bool]:
    """(what each row says of its arrival, whether times of receipt were recorded)."""
    event = _ints(table, "ts_event")
    if "ts_recv" not in table.column_names or table.column("ts_recv").null_count == len(event):
        return stamps(event, None), False
    return stamps(event, _ints(table, "ts_recv")), True


def _ints(table: Any, name: str) -> Ints:
    return np.concatenate([_NONE, *(int_column(chunk, 0) for chunk in table.column(name).chunks)])


def _codes(table: Any) -> Ints:
    """The symbol of each row as a number; the table has one dictionary."""
    chunks = [as_dictionary(chunk).indices.to_numpy() for chunk in table.column("symbol").chunks]
    return np.concatenate([_NONE, *chunks]).astype(np.int64)


def _streams(group: Ints) -> list[Ints]:
    """The rows of each group, in their order."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _arrivals(said: Ints) -> Ints:
    """When the rows of one stream arrived: never falling, or, where they are in no order, as they are stamped."""
    if (arrived := _as_it_came(said)) is not None:
        return arrived
    known = np.maximum.accumulate(np.where(said > 0, np.arange(len(said)), 0))
    return said[known]


def _as_it_came(said: Ints) -> Ints | None:
    """When the rows arrived, where all but a few stand in that order; None where they don't."""
    few = len(said) * BEHIND_SHARE
    if _newest_first(said) or np.count_nonzero(np.diff(said[said > 0]) < -BEHIND_NS) > few:
        return None
    arrived = _receipts(said)
    return arrived if np.count_nonzero(_misplaced(said, arrived)) <= few else None


def _misplaced(said: Ints, arrived: Ints) -> Mask:
    """Which rows are stale, or stamped ahead and contradicted by what follows."""
    misplaced: Mask = (said > 0) & (np.abs(said - arrived) > BEHIND_NS)
    return misplaced


def _most_of_one(misplaced: Mask, codes: Ints, least: int = 0) -> bool:
    """Whether more than half of the rows of a symbol are, and not only a few: it stands before or behind the others."""
    return _any_most(np.bincount(codes[misplaced]), np.bincount(codes), least)


def _any_most(misplaced: Ints, rows: Ints, least: int = 0) -> bool:
    """Of two counts by symbol, the first of which may be of fewer symbols."""
    return bool(np.any((misplaced >= max(OF_ONE_LEAST, least)) & (2 * misplaced > rows[: len(misplaced)])))


def _receipts(said: Ints) -> Ints:
    receipts, cuts = Receipts(), range(0, len(said), CHUNK_ROWS)
    return np.concatenate(
        [receipts.of(said[i : i + CHUNK_ROWS], said[i + CHUNK_ROWS : i + 2 * CHUNK_ROWS]) for i in cuts]
    )


def _newest_first(said: Ints) -> bool:
    steps = np.diff(said[said > 0])
    return int(np.count_nonzero(steps < 0)) > int(np.count_nonzero(steps > 0))


def _span(ns: int) -> str:
    seconds = ns // NS_PER_S
    return f"{seconds // 86_400} days" if seconds >= 172_800 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
