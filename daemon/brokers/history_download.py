"""A broker's history of one symbol → one Parquet file of bars, call by call, so that a broken download goes on later.

Each answer is kept beside the file (`FILE.part/`) until all are there; a second call with the same wish asks only for
what is missing. Bars, not ticks: `hrmd tape import --bars` makes a tape of them that says so. The file has the columns
that `hrmd train` reads: `ts` (start of the bar, UTC), open, high, low, close, volume, symbol. Invariant: the file
appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from daemon.brokers.history import RESOLUTIONS, Chunk, Sifted, chunks, day_of, sift
from daemon.calls.budget import Limit, RateLimits
from daemon.calls.outcome import Done, NotSent, Outcome, Rejected
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import CheckFailed, HrmdError, UsageError
from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_date
from daemon.market.records import Candle

LIMITS: Final = RateLimits(second=Limit(4, 0), minute=Limit(60, 0), day=Limit(20_000, 0))
"""A part of the account's, so that a daemon that trades beside a download keeps the rest."""

TRIES: Final = 5
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 120.0
WISH: Final = "wish.json"
BAD_SYMBOL: Final = -300
SCHEMA: Final = pa.schema(
    [("ts", pa.timestamp("ns", tz="UTC")), *((name, pa.float64()) for name in ("open", "high", "low", "close")),
     ("volume", pa.int64()), ("symbol", pa.string())]
)  # fmt: skip

Progress = Callable[[int, int, Chunk], None]


class HistorySource(Protocol):
    """Whoever has candles of the past."""

    async def history(self, symbol: str, resolution: str, first: dt.date, last: dt.date) -> Outcome[list[Candle]]:
        """Candles of the days from `first` to `last`, both included; `resolution`: minutes such as "5", or "D"."""


class Wish(msgspec.Struct, frozen=True):
    """What is to be downloaded."""

    symbol: str
    interval: str
    first: dt.date
    last: dt.date


class HistoryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `empty_sessions`: confirmed sessions of NSE's calendar in the span on which there is no bar."""

    file: str
    symbol: str
    interval: str
    bars: int
    first_ts: int
    last_ts: int
    dropped: dict[str, int]
    calls: int
    calls_before: int
    empty_sessions: list[dt.date]


class HistoryDownload:
    """One file's download; `pause_s` is the first pause after a failed call, seconds."""

    def __init__(
        self, rest: HistorySource, wish: Wish, out: Path, wall: Clock, calendar: MarketCalendar,
        pause_s: float = FIRST_PAUSE_S,
    ) -> None:  # fmt: skip
        """Raises `UsageError` for a span without history, or parts of another wish."""
        self._rest = rest
        self._wish = wish
        self._out = out
        self._wall = wall
        self._calendar = calendar
        self._pause_s = pause_s
        self._part = out.with_name(out.name + ".part")
        self._chunks = chunks(wish.first, wish.last, wish.interval)
        self._calls = 0
        self._kept_before = 0
        self._open_part()

    async def run(self, progress: Progress | None = None) -> HistoryReport:
        """Download what is missing and write the file.

        Raises `UsageError` for a symbol that Fyers doesn't know, `CheckFailed` where the broker doesn't answer or there
        is no bar at all; what was downloaded stays for the next try.
        """
        found: list[Sifted] = []
        for number, chunk in enumerate(self._chunks, 1):
            found.append(await self._chunk(chunk))
            if progress is not None:
                progress(number, len(self._chunks), chunk)
        bars = [bar for part in found for bar in part.bars]
        wish = self._wish
        if not bars:
            raise CheckFailed(f"{wish.symbol}: no {wish.interval} bar between {wish.first} and {wish.last}")
        self._write(bars)
        dropped: Counter[str] = Counter()
        for part in found:
            dropped.update(part.dropped)
        return HistoryReport(
            file=str(self._out), symbol=wish.symbol, interval=wish.interval, bars=len(bars),
            first_ts=bars[0].start_s * NS_PER_S, last_ts=bars[-1].start_s * NS_PER_S, dropped=dict(dropped),
            calls=self._calls, calls_before=self._kept_before,
            empty_sessions=self._empty_sessions({day_of(bar, wish.interval) for bar in bars}),
        )  # fmt: skip

    async def _chunk(self, chunk: Chunk) -> Sifted:
        """The bars of one call, kept or asked for; what isn't over yet isn't kept."""
        path = self._part / f"{chunk.name}.json"
        if path.exists():
            try:
                kept = msgspec.json.decode(path.read_bytes(), type=Sifted)
            except (msgspec.DecodeError, OSError):
                path.unlink(missing_ok=True)  # it was cut off while it was written: ask again
            else:
                self._kept_before += 1
                return kept
        candles = await self._ask(chunk)
        sifted = sift(candles, chunk, self._wish.interval, self._wall.now_ns() / NS_PER_S)
        if chunk.last < ist_date(self._wall.now_ns()):
            _put(path, msgspec.json.encode(sifted))
        return sifted

    async def _ask(self, chunk: Chunk) -> list[Candle]:
        wish, pause_s = self._wish, self._pause_s
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            self._calls += 1
            outcome = await self._rest.history(wish.symbol, RESOLUTIONS[wish.interval], chunk.first, chunk.last)
            if isinstance(outcome, Done):
                return outcome.value
            if isinstance(outcome, Rejected):
                raise self._refused(outcome)
            reason = outcome.reason
            if isinstance(outcome, NotSent) and outcome.retry_after_s is not None:
                pause_s = max(pause_s, min(outcome.retry_after_s, LONGEST_PAUSE_S))
        raise CheckFailed(
            f"{wish.symbol}, {chunk.first} to {chunk.last}: no answer in {TRIES} tries ({reason}); the same command "
            "goes on where this one ended"
        )

    def _refused(self, outcome: Rejected) -> HrmdError:
        if outcome.token_refused:
            return CheckFailed(
                f"the broker refused the token ({outcome.message}); hrmd login, then the same command again"
            )
        if outcome.code == BAD_SYMBOL:
            return UsageError(f"symbol {self._wish.symbol}: Fyers knows none of that name ({outcome.message})")
        return CheckFailed(f"{self._wish.symbol}: Fyers refused its history ({outcome.code}: {outcome.message})")

    # -- files --------------------------------------------------------------------------------------------------------

    def _open_part(self) -> None:
        """Make the folder of parts, or go on with one of the same wish."""
        path, wanted = self._part / WISH, msgspec.json.encode(self._wish)
        try:
            if path.exists() and path.read_bytes() != wanted:
                other = path.read_text(encoding="utf-8", errors="replace")
                raise UsageError(
                    f"{self._part}: holds parts of another download ({other}); go on with that one, name another "
                    "--out, or delete it"
                )
            self._part.mkdir(parents=True, exist_ok=True)
            _put(path, wanted)
        except OSError as error:
            raise UsageError(f"--out {self._out}: {self._part} can't be written ({error.strerror})") from None

    def _write(self, bars: list[Candle]) -> None:
        columns: dict[str, Any] = {
            "ts": pa.array([bar.start_s * NS_PER_S for bar in bars], pa.timestamp("ns", tz="UTC")),
            **{name: [getattr(bar, name) for bar in bars] for name in ("open", "high", "low", "close", "volume")},
            "symbol": [self._wish.symbol] * len(bars),
        }
        notes = {"source": "Fyers history", "interval": self._wish.interval, "holds": "bars, not ticks"}
        table = pa.table(columns, schema=SCHEMA.with_metadata(notes))
        fresh = self._part / "whole.parquet"
        try:
            pq.write_table(table, fresh, compression="zstd")
            os.replace(fresh, self._out)
        except OSError as error:
            raise UsageError(f"--out {self._out}: can't be written ({error.strerror})") from None
        shutil.rmtree(self._part, ignore_errors=True)

    def _empty_sessions(self, days: set[dt.date]) -> list[dt.date]:
        calendar = self._calendar
        empty = []
        for chunk in self._chunks:
            for offset in range((chunk.last - chunk.first).days + 1):
                day = chunk.first + dt.timedelta(days=offset)
                try:
                    expected = day not in days and calendar.confirmed(day) and calendar.session(day) is not None
                except CalendarRangeError:
                    continue
                if expected and day < ist_date(self._wall.now_ns()):
                    empty.append(day)
        return empty


def _put(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(content)
    fresh.replace(path)
