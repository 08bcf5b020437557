"""The complexity detector whose sums are made in C++, the correlations of all pairs of instruments above all.

Invariant: every figure is `ComplexityDetector`'s, bit for bit, of bars that close in order within their symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from daemon.bars.complexity import NOISE, ComplexityDetector, History
from daemon.market.scheduled_events import ScheduledEvents
from daemon.native.kernel import STATE, Kernel
from daemon.settings.bars import ComplexitySettings

_FIRST_ROOM: Final = 8
"""Symbols; more make it grow."""


def detector_of(
    settings: ComplexitySettings, events: ScheduledEvents, kernel: Kernel | None = None
) -> ComplexityDetector:
    """The compiled one where there is a kernel and the windows are as it wants them, else the plain one."""
    if kernel is None or settings.volatility_window > settings.correlation_window:
        return ComplexityDetector(settings, events)
    return CompiledComplexityDetector(settings, events, kernel)


class CompiledComplexityDetector(ComplexityDetector):
    """See the module."""

    def __init__(self, settings: ComplexitySettings, events: ScheduledEvents, kernel: Kernel) -> None:
        super().__init__(settings, events)
        self._kernel = kernel
        self._places: dict[str, int] = {}
        self._times = np.zeros((0, self._length), np.int64)
        self._returns = np.zeros((0, self._length))
        self._counts = np.zeros(0, np.int64)
        self._room(_FIRST_ROOM)

    def forget(self, symbol: str) -> None:
        """As the plain one."""
        super().forget(symbol)
        self._known_at[:] = 0
        place = self._places.get(symbol)
        if place is not None:
            self._counts[place] = self._about[place] = 0

    def _figures(self, symbol: str, history: History, close: int, change: float) -> Sequence[float]:
        history.count += 1
        place = self._places.get(symbol)
        if place is None:
            place = len(self._places)
            if place == len(self._counts):
                self._room(2 * place)
            self._places[symbol] = place
        self._kernel.returns(self._at, place, close, change)
        figures: list[float] = self._answer.tolist()
        return figures

    def _correlation_breakdown(self, symbol: str) -> float:
        breakdown: float = self._kernel.breakdown(self._at, self._places[symbol], self._scratch_at)
        return breakdown

    def _room(self, symbols: int) -> None:
        """Make place for so many, with what is known of those that are there."""
        settings, more = self._settings, symbols - len(self._counts)
        near, far = settings.volatility_window, settings.correlation_window
        self._times = np.concatenate((self._times, np.zeros((more, self._length), np.int64)))
        self._returns = np.concatenate((self._returns, np.zeros((more, self._length))))
        self._counts = np.concatenate((self._counts, np.zeros(more, np.int64)))
        # what follows is worked out from those when it is asked for
        self._about = np.zeros((symbols, 2), np.int64)
        self._deviations, self._squares = np.zeros((symbols, 2, near + far)), np.zeros((symbols, 2, 2))
        self._known_at, self._known = np.zeros((symbols, symbols), np.int64), np.zeros((symbols, symbols))
        self._answer, self._scratch = np.zeros(3), np.zeros((4, far))
        arrays = (
            self._times, self._returns, self._counts, self._deviations, self._squares, self._about, self._known_at,
            self._known, self._answer,
        )  # fmt: skip
        addresses = [array.ctypes.data for array in arrays]
        windows = (near, settings.trend_window, settings.momentum_window, far)
        self._state = np.array([(*addresses, symbols, self._length, *windows, NOISE)], dtype=STATE)
        self._at, self._scratch_at = self._state.ctypes.data, self._scratch.ctypes.data
