"""Readings of a day's cumulative volume → what each tick traded.

The largest reading counts: smaller ones are stale, and trade nothing. Invariant: no single false reading is what the
rest of a day is measured by, and the outcome is the same however the readings were cut into batches.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.core.columns import running_max
from daemon.core.events import MISSING_INT
from daemon.feed.belief import BELIEVED_AFTER, BELIEVED_AFTER_SILENCE, SILENCE_NS

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

_UNSET: Final = (2**31 - 1, 2**31, 2**32 - 1)  # what a field of 32 bits reads as that nobody filled


def set_volumes(volume: Ints) -> tuple[Ints, int]:
    """Return (readings, −1 where a field was never filled; how many were not)."""
    if not len(volume) or volume.max() < _UNSET[0]:
        return volume, 0
    unset = np.isin(volume, _UNSET)
    return np.where(unset, MISSING_INT, volume), int(np.count_nonzero(unset))


class CumulativeVolume:
    """Of one symbol on one day."""

    __slots__ = ("agreeing", "day", "first", "latest", "since", "top")

    def __init__(self, day: int = -1) -> None:
        self.day = day
        self.top = MISSING_INT  # the largest reading that is believed, −1 before any
        self.agreeing = 0  # readings below it, in a row, each no less than the one before
        self.first = self.latest = 0  # the first and the newest of those
        self.since = 0  # when the first was

    def doubtful(self, volume: Ints) -> bool:
        """Tell whether a reading falls, so that the times are asked for."""
        if self.agreeing:
            return True
        running = self._running(volume)
        return running is not volume and bool(((volume < running) & (volume >= 0)).any())

    def measure(self, volume: Ints, last_qty: Ints, times: Ints | None) -> tuple[Ints, int, int]:
        """Return (traded, readings that fell, largest readings no longer believed); `times` where `doubtful`."""
        running = self._running(volume)
        before = np.empty_like(running)
        before[0] = self.top
        before[1:] = running[:-1]
        fell = (volume < before) & (volume >= 0)
        if times is not None and self._may_turn(volume, fell, times):
            return self._walk(volume, last_qty, times)
        traded = running - before
        opening = int(np.searchsorted(before, 0))
        if opening:
            traded[:opening] = _opening(volume[:opening], last_qty[:opening])
        self.top = int(running[-1])
        return traded, int(np.count_nonzero(fell)), 0

    def _running(self, volume: Ints) -> Ints:
        return running_max(volume, self.top)

    def _may_turn(self, volume: Ints, fell: Mask, times: Ints) -> bool:
        """Tell whether readings below the top are remembered from before, are many in a row, or the newest ones."""
        real = np.flatnonzero(volume >= 0)
        low = fell[real]
        if self.agreeing or (len(low) and low[-1]):
            return True
        edges = np.flatnonzero(np.diff(np.concatenate(([False], low, [False])).astype(np.int8)))
        starts, stops = edges[::2], edges[1::2]
        if not len(starts):
            return False
        lengths, spans = stops - starts, times[real[stops - 1]] - times[real[starts]]
        many = (lengths >= BELIEVED_AFTER) | ((lengths >= BELIEVED_AFTER_SILENCE) & (spans >= SILENCE_NS))
        return bool(many.any())

    def _walk(self, volume: Ints, last_qty: Ints, times: Ints) -> tuple[Ints, int, int]:
        """Measure one reading after the other."""
        traded = np.zeros(len(volume), dtype=np.int64)
        fell = disbelieved = 0
        for i, (reading, ts) in enumerate(zip(volume.tolist(), times.tolist(), strict=True)):
            if self.top < 0:
                traded[i] = _opening(volume[i : i + 1], last_qty[i : i + 1])[0]
                self.top = reading
            elif reading >= self.top:
                traded[i], self.top, self.agreeing = reading - self.top, reading, 0
            elif reading == 0:  # no total any more, whatever it is: no level that others could agree on
                fell += 1
            elif reading > 0:
                fell += 1
                if self.agreeing and reading >= self.latest:
                    self.agreeing += 1
                else:
                    self.agreeing, self.first, self.since = 1, reading, ts
                self.latest = reading
                if self._turned(ts):
                    traded[i], self.top, self.agreeing = reading - self.first, reading, 0
                    disbelieved += 1
        return traded, fell, disbelieved

    def _turned(self, ts: int) -> bool:
        silent = self.agreeing >= BELIEVED_AFTER_SILENCE and ts - self.since >= SILENCE_NS
        return self.agreeing >= BELIEVED_AFTER or silent


def _opening(volume: Ints, last_qty: Ints) -> Ints:
    """Traded quantity of ticks before which the day has shown no cumulative volume."""
    traded: Ints = np.where(volume >= 0, np.maximum(last_qty, 0), last_qty)
    return traded
