"""Stamps of ticks in order of arrival → when each was received.

A tape that recorded no receipt has only the exchange's stamps, and one false stamp (an hour ahead, the year 2098) must
not make all that follows late. So a stamp that leaps ahead of what came before it counts only where what follows does
not contradict it. Invariant: receipts never fall, and a run of at most `LOOKED_AHEAD` / 2 − 1 false stamps moves none
but their own ticks; at the end of a tape, where nothing follows, at most `CONTRADICTED_AT_ONCE` begin no other day.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, MAX_SKEW_NS, NS_PER_S
from daemon.core.columns import running_max
from daemon.tape.file import FIRST_VALID_NS, LAST_VALID_NS, valid_times

Ints = NDArray[np.int64]

LEAP_NS: Final = MAX_SKEW_NS
"""A stamp further ahead of all before it leaps: denied, it is too far ahead of its receipt to be believed."""
LOOKED_AHEAD: Final = 200
"""So many ticks after a leap are asked; more than half of them are enough to contradict it, ..."""
CONTRADICTED_AT_ONCE: Final = 3
"""... or so many at once."""


def stamps(ts_event: Ints, recorded: Ints | None) -> Ints:
    """What a row says of its receipt, UTC ns: what was recorded, else the exchange's stamp; 0 where it says nothing."""
    times = ts_event if recorded is None else np.where(valid_times(recorded), recorded, ts_event)
    if len(times) and (times.min() < FIRST_VALID_NS or times.max() >= LAST_VALID_NS):
        return np.where(valid_times(times), times, 0)
    return times


class Receipts:
    """The receipts of one stream, a chunk at a time; of one that is `alone`, only its own stamps say what day it is."""

    def __init__(self, alone: bool = False) -> None:
        self._newest = 0
        self._alone = alone

    def of(self, said: Ints, after: Ints) -> Ints:
        """When the ticks of a chunk were received, UTC ns; `after` are the next stamps, as many as are asked."""
        running = self._running(said)
        if self._goes_back(said, running, after) or self._ends_on_another_day(said, running, after):
            running = self._running(self._without_false(said, after[:LOOKED_AHEAD]))
        self._newest = int(running[-1])
        return running

    def _running(self, said: Ints) -> Ints:
        return running_max(said, self._newest)

    def _goes_back(self, said: Ints, running: Ints, after: Ints) -> bool:
        """Whether any stamp lies behind an earlier one: without that none is contradicted."""
        if running is not said and bool(((said > 0) & (said < running)).any()):
            return True
        later = after[:LOOKED_AHEAD]
        return bool(((later > 0) & (later < running[-1])).any())

    def _ends_on_another_day(self, said: Ints, running: Ints, after: Ints) -> bool:
        """Whether another day begins among the last stamps of all."""
        if not self._alone or len(after) >= CONTRADICTED_AT_ONCE:
            return False
        last = np.concatenate(([self._newest], running, after))[-LOOKED_AHEAD:]
        return _day(last.max()) > _day(last[0])

    def _without_false(self, said: Ints, after: Ints) -> Ints:
        """The stamps, 0 in place of those that leap ahead and are contradicted."""
        times, n, row = np.concatenate((said, after)), len(said), 0
        while (
            false := next((leap for leap, past in self._leaps(times[:n], row) if self._denied(times, leap, past)), n)
        ) < n:
            times[false] = 0
            row = false + 1
        return times[:n]

    def _leaps(self, times: Ints, start: int) -> list[tuple[int, int]]:
        """(row, the newest stamp before it) of the rows from `start` on that are far ahead of all before them."""
        newest = max(self._newest, int(times[:start].max(initial=0)))
        before = np.maximum(np.maximum.accumulate(np.concatenate(([0], times[start:-1]))), newest)
        rows = np.flatnonzero(times[start:] > before + LEAP_NS)
        return list(zip((rows + start).tolist(), before[rows].tolist(), strict=True))

    def _denied(self, times: Ints, row: int, past: int) -> bool:
        """Whether time went on from the `past` as if the leap had not been.

        The very next ticks, or most of many, say so. A tick from before the past is stale, and says nothing.
        """
        following = times[row + 1 : row + 1 + LOOKED_AHEAD]
        following = following[following > 0]
        if len(following) < CONTRADICTED_AT_ONCE:
            if not past:
                return False  # the first of a few: nobody can tell which of them is false
            if self._alone and _day(times[row]) > _day(past):
                return True  # the last of all: another day begins with more
        going_on = (following >= past - LEAP_NS) & (following <= times[row] - NS_PER_S)
        at_once = len(following) >= CONTRADICTED_AT_ONCE and bool(going_on[:CONTRADICTED_AT_ONCE].all())
        return at_once or 2 * int(np.count_nonzero(going_on)) > len(following)


def _day(ts: int) -> int:
    """The day in Mumbai."""
    return int(ts + IST_OFFSET_NS) // DAY_NS
