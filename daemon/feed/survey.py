"""A tape turned into what one wants to know before replaying it: who is on it, when, and how good it is.

Invariant: the counts are those that a replay with the same settings would make, for they are made by one
(`daemon/run/surveying.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from daemon.core.clock import DAY_NS, IST_OFFSET_NS
from daemon.core.events import TickBatch
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import ist_date
from daemon.tape.format import TapeReader

LATE = "late"
"""Why an accepted tick made no bar: it came after its bar was closed."""
_POINTS = 64  # of the price picture of a symbol
_MIN_CHUNK_ROWS = 1_024


class SymbolSurvey(msgspec.Struct):
    """One symbol: all its rows, those accepted, and of these the prices, and the prices over the tape."""

    rows: int = 0
    accepted: int = 0
    first: float | None = None
    last: float | None = None
    low: float | None = None
    high: float | None = None
    traded: int = 0
    path: list[float] = msgspec.field(default_factory=list)


class TapeSurvey(msgspec.Struct):
    """A whole tape. `first_ts` and `last_ts` are UTC ns of valid stamps; `sessions` are dates with accepted ticks."""

    tapes: list[str]
    bytes: int
    rows: int
    first_ts: int | None
    last_ts: int | None
    columns: list[str]
    simulated: bool
    notes: dict[str, str]
    sessions: list[str]
    accepted: int
    rejected: dict[str, int]
    repaired: dict[str, int]
    symbols: dict[str, SymbolSurvey]


class Surveyor:
    """Is shown every batch of a replay, raw and as accepted; `survey` says what it saw."""

    def __init__(self, tapes: Sequence[Path]) -> None:
        """Raises `TapeError` for what is no tape."""
        self._reader = TapeReader(tapes)
        self._symbols = {symbol: SymbolSurvey() for symbol in self._reader.symbols}
        self._dates: set[str] = set()

    @property
    def chunk_rows(self) -> int:
        """So many rows at a time make a good picture of the prices."""
        return max(_MIN_CHUNK_ROWS, self._reader.rows // _POINTS)

    def raw(self, batch: TickBatch) -> None:
        """Ticks as they are on the tape."""
        for code, count in enumerate(np.bincount(batch.code, minlength=len(batch.symbols)).tolist()):
            self._symbols[batch.symbols[code]].rows += count

    def accepted(self, batch: TickBatch) -> None:
        """Ticks that the filter let pass."""
        _add(self._symbols, batch)
        days = np.unique((batch.ts_event + IST_OFFSET_NS) // DAY_NS)
        self._dates.update(ist_date(day * DAY_NS - IST_OFFSET_NS).isoformat() for day in days.tolist())

    def survey(self, tick_filter: TickFilter, late: Mapping[str, int]) -> TapeSurvey:
        """What was seen; `late`: accepted ticks by symbol that came after their bars were closed."""
        reader, late_ticks = self._reader, sum(late.values())
        for symbol, found in self._symbols.items():
            found.accepted -= late.get(symbol, 0)
            found.path = found.path[:: -(-len(found.path) // _POINTS) or 1]
        return TapeSurvey(
            tapes=[str(file.path) for file in reader.files],
            bytes=sum(file.path.stat().st_size for file in reader.files),
            rows=reader.rows,
            first_ts=reader.first_ts,
            last_ts=reader.last_ts,
            columns=list(reader.columns),
            simulated=reader.notes.get("simulated") == "true",
            notes=reader.notes,
            sessions=sorted(self._dates),
            accepted=tick_filter.accepted - late_ticks,
            rejected=tick_filter.rejected | {LATE: late_ticks},
            repaired=tick_filter.repaired,
            symbols=self._symbols,
        )


def _add(symbols: dict[str, SymbolSurvey], batch: TickBatch) -> None:
    for code in np.unique(batch.code).tolist():
        rows = batch.code == code
        prices, traded = batch.ltp[rows], batch.traded[rows]
        found = symbols[batch.symbols[code]]
        found.accepted += len(prices)
        found.first = float(prices[0]) if found.first is None else found.first
        found.last = float(prices[-1])
        found.low = min(float(prices.min()), found.last if found.low is None else found.low)
        found.high = max(float(prices.max()), found.last if found.high is None else found.high)
        found.traded += int(np.maximum(traded, 0).sum())
        if not found.path or found.path[-1] != found.last:
            found.path.append(found.last)
