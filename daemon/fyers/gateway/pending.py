"""Ticks that wait to leave the gateway; under pressure the newest quote of a symbol replaces the one before it.

Invariant: a tick that tells a trade is never replaced, the order of a symbol's ticks is never changed, and every
replacement is counted.
"""

from __future__ import annotations

from daemon.feed.live.frames import Row


class PendingTicks:
    """Loop-free and not thread-safe: whoever shares it between threads holds a lock."""

    def __init__(self, conflate_above: int) -> None:
        """Below `conflate_above` waiting ticks nothing is replaced."""
        self.conflated = 0
        self.taken = 0
        self._conflate_above = conflate_above
        self._rows: list[Row] = []
        self._quotes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row, traded: bool) -> None:
        """Queue a tick; `traded` where it tells a trade, so that it may not be lost."""
        if traded:
            self._quotes.pop(row.code, None)
        else:
            place = self._quotes.get(row.code)
            if place is not None and len(self._rows) >= self._conflate_above:
                self._rows[place] = row
                self.conflated += 1
                return
            self._quotes[row.code] = len(self._rows)
        self._rows.append(row)

    def take(self) -> list[Row]:
        """All that wait, in order; they are the caller's from now on."""
        rows, self._rows = self._rows, []
        self._quotes.clear()
        self.taken += len(rows)
        return rows
