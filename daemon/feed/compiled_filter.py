"""The tick filter in C++: a batch of any symbols in one call.

Invariant: what it accepts, counts and measures is what `TickFilter` does of the same ticks.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, MAX_SKEW_NS
from daemon.core.events import MISSING_INT, TickBatch
from daemon.feed import belief
from daemon.feed.tick_filter import (
    MAX_PRICE,
    MAX_QUANTITY,
    MIN_PRICE,
    Instruments,
    Ints,
    Mask,
    Rejection,
    Repair,
    Sessions,
    TickFilter,
    picked,
)
from daemon.market.instruments import FEW_TICKS
from daemon.native.kernel import LIMITS, STREAM, Kernel, refused
from daemon.tape.file import FIRST_VALID_NS, LAST_VALID_NS

_LIMITS = np.array(
    [(
        FIRST_VALID_NS, LAST_VALID_NS, MAX_SKEW_NS, IST_OFFSET_NS, DAY_NS, MAX_QUANTITY, belief.BELIEVED_AFTER,
        belief.BELIEVED_AFTER_NS, belief.BELIEVED_AFTER_SILENCE, belief.SILENCE_NS, MIN_PRICE, MAX_PRICE,
    )],
    dtype=LIMITS,
)  # fmt: skip


_NOTHING = np.zeros(0, dtype=np.bool_)
_OUTSIDE = -2
"""The kernel's answer: some ticks are of another session, or of none."""


class Stretches(Sessions, Protocol):
    """When the market is open."""

    def stretch(self, ts_ns: int) -> tuple[int, int]:
        """The continuous trading around `ts_ns`, [start, stop) in UTC ns; (0, 0) where there is none."""


class CompiledTickFilter(TickFilter):
    """See the module."""

    def __init__(
        self,
        instruments: Instruments,
        calendar: Stretches,
        max_jump_percent: float,
        max_option_jump_percent: float,
        kernel: Kernel,
    ) -> None:
        super().__init__(instruments, calendar, max_jump_percent, max_option_jump_percent)
        self._open = calendar
        self._kernel = kernel
        self._places: dict[str, int] = {}
        self._memory = np.zeros(0, dtype=STREAM)
        self._symbols: dict[tuple[str, ...], tuple[NDArray[np.uint8], Ints]] = {}
        self._kept = self._traded = np.zeros(0, dtype=np.int64)

    def apply(self, batch: TickBatch) -> tuple[TickBatch, Ints]:
        """As `TickFilter.apply`."""
        n = len(batch)
        if n == 0:
            return batch, np.zeros(0, dtype=np.int64)
        known, places = self._of(batch.symbols)
        if len(self._kept) < n:
            self._kept, self._traded = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        counts = np.zeros(len(Rejection) + len(Repair), dtype=np.int64)
        columns = (
            batch.code, batch.ts_event, batch.ts_recv, batch.ltp, batch.last_qty, batch.volume, batch.bid, batch.ask,
            batch.bid_qty, batch.ask_qty, batch.oi,
        )  # fmt: skip
        rest = known, places, self._memory, _LIMITS, self._kept, self._traded, counts
        count: int = self._kernel.filter(n, *columns, *self._open.stretch(int(batch.ts_event[0])), _NOTHING, *rest)
        if count == _OUTSIDE:
            count = self._kernel.filter(n, *columns, 0, 0, self._inside(batch.ts_event), *rest)
        if count < 0:
            raise refused(count)
        self.accepted += count
        found = counts.tolist()
        for reason, more in zip(Rejection, found, strict=False):
            self.rejected[reason] += more
        for repair, more in zip(Repair, found[len(Rejection) :], strict=True):
            self.repaired[repair] += more
        traded = self._traded[:count].copy()
        self.rows = self._kept[:count] if count < n else None
        if count < n:
            batch = picked(batch, self._kept[:count])
        return msgspec.structs.replace(batch, traded=traded), traded

    def _remembered(self) -> Any:
        return dict(self._places), self._memory.copy()

    def _remember(self, remembered: Any) -> None:
        self._places, self._memory = remembered
        self._symbols.clear()

    def _inside(self, ts: Ints) -> Mask:
        """(n,): whether each stamp lies in a session; of those that can't be times nobody asks."""
        if ts.min() >= FIRST_VALID_NS and ts.max() < LAST_VALID_NS:
            return self._calendar.in_session(ts)
        return self._calendar.in_session(np.where((ts >= FIRST_VALID_NS) & (ts < LAST_VALID_NS), ts, FIRST_VALID_NS))

    def _of(self, symbols: tuple[str, ...]) -> tuple[NDArray[np.uint8], Ints]:
        """(whether each code's symbol is known, where its memory is) of a batch's table of symbols."""
        found = self._symbols.get(symbols)
        if found is None:
            instruments = [self.resolve(symbol) if symbol else None for symbol in symbols]
            known = np.array([instrument is not None for instrument in instruments], dtype=np.uint8)
            places = np.zeros(len(symbols), dtype=np.int64)
            for code, (symbol, instrument) in enumerate(zip(symbols, instruments, strict=True)):
                if instrument is not None:
                    limits = self._max_jump[instrument.kind], FEW_TICKS * float(instrument.tick_size)
                    places[code] = self._place(symbol, limits)
            if not len(self._memory):  # of a table without a known symbol none is looked at
                self._memory = np.zeros(1, dtype=STREAM)
            found = self._symbols[symbols] = known, places
        return found

    def _place(self, symbol: str, limits: tuple[float, float]) -> int:
        """Where the memory of a known symbol is, made on first sight."""
        place = self._places.get(symbol)
        if place is None:
            place = self._places[symbol] = len(self._places)
            fresh = np.zeros(1, dtype=STREAM)
            fresh["max_jump"], fresh["few_ticks"] = limits
            fresh["day"] = fresh["volume_day"] = -1
            fresh["top"] = MISSING_INT
            self._memory = np.concatenate((self._memory[:place], fresh))
        return place
