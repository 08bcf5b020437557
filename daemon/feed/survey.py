"""A tape turned into what one wants to know before replaying it: who is on it, when, and how good it is.

Invariant: the counts are those that a replay with the same settings would make.
"""

from __future__ import annotations

import msgspec
import numpy as np

from daemon.core.clock import DAY_NS
from daemon.core.events import TickBatch
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import IST_OFFSET_NS, ist_date
from daemon.tape.format import TapeReader

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


def survey_tape(reader: TapeReader, tick_filter: TickFilter, chunk_rows: int) -> TapeSurvey:
    """Read a tape once, through the filter. Raises `TapeError` where a page is damaged."""
    symbols = {symbol: SymbolSurvey() for symbol in reader.symbols}
    dates: set[str] = set()
    rows = max(_MIN_CHUNK_ROWS, min(chunk_rows, reader.rows // _POINTS))
    for batch in reader.batches(rows):
        for code, count in enumerate(np.bincount(batch.code, minlength=len(batch.symbols)).tolist()):
            symbols[batch.symbols[code]].rows += count
        accepted, _ = tick_filter.apply(batch)
        if len(accepted):
            _add(symbols, accepted)
            days = np.unique((accepted.ts_event + IST_OFFSET_NS) // DAY_NS)
            dates.update(ist_date(day * DAY_NS - IST_OFFSET_NS).isoformat() for day in days.tolist())
    return TapeSurvey(
        tapes=[str(file.path) for file in reader.files],
        bytes=sum(file.path.stat().st_size for file in reader.files),
        rows=reader.rows,
        first_ts=reader.first_ts,
        last_ts=reader.last_ts,
        columns=list(reader.columns),
        simulated=reader.notes.get("simulated") == "true",
        notes=reader.notes,
        sessions=sorted(dates),
        accepted=tick_filter.accepted,
        rejected=tick_filter.rejected,
        repaired=tick_filter.repaired,
        symbols=symbols,
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
        found.path.append(found.last)
