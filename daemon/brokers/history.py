"""A span of days → the history calls that it takes, and what each answered → bars that can be believed.

Limits as Fyers documents them: minutes 100 days a call, from 2017-07-03 on; days 366 a call. Pure.
Invariant: every day of the span is in exactly one call, and a bar that is kept stands once, lies in its call's days, is
over, and encloses its open and close; whatever was not kept is counted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import msgspec

from daemon.core.clock import IST
from daemon.core.errors import UsageError
from daemon.market.records import Candle

RESOLUTIONS: Final = {"1m": "1", "3m": "3", "5m": "5", "15m": "15", "30m": "30", "60m": "60", "1d": "D"}
SECONDS: Final = {"1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "1d": 66_600}
"""From a bar's start until it is over; a daily one starts at midnight UTC and is over at midnight in India."""

DAILY: Final = "1d"
MOST_DAYS: Final = 100
MOST_DAYS_DAILY: Final = 366
MINUTES_SINCE: Final = dt.date(2017, 7, 3)


class Chunk(msgspec.Struct, frozen=True):
    """The days of one call, both included."""

    first: dt.date
    last: dt.date

    @property
    def name(self) -> str:
        """What its copy is called."""
        return f"{self.first}_{self.last}"


class Sifted(msgspec.Struct, frozen=True):
    """Bars that can be believed, by start, and how many were not kept: why → how many."""

    bars: list[Candle]
    dropped: dict[str, int]


def chunks(first: dt.date, last: dt.date, interval: str) -> list[Chunk]:
    """The calls for `first` to `last`, oldest first. Raises `UsageError` for a span that has no history."""
    if last < first:
        raise UsageError(f"--to {last}: expected a day not before --from {first}")
    if interval != DAILY and last < MINUTES_SINCE:
        raise UsageError(f"--to {last}: Fyers has bars of minutes from {MINUTES_SINCE} on")
    start = first if interval == DAILY else max(first, MINUTES_SINCE)
    step = dt.timedelta(days=MOST_DAYS_DAILY if interval == DAILY else MOST_DAYS)
    found = []
    while start <= last:
        end = min(start + step - dt.timedelta(days=1), last)
        found.append(Chunk(start, end))
        start = end + dt.timedelta(days=1)
    return found


def sift(candles: Sequence[Candle], chunk: Chunk, interval: str, now_s: float) -> Sifted:
    """What of an answer can be believed at `now_s` (UTC seconds): a bar that isn't over will be another one later."""
    length, kept = SECONDS[interval], {}
    dropped = dict.fromkeys(("repeated", "outside", "unfinished", "impossible"), 0)
    for candle in candles:
        if not chunk.first <= day_of(candle, interval) <= chunk.last:
            dropped["outside"] += 1
        elif candle.start_s + length > now_s:
            dropped["unfinished"] += 1
        elif not _possible(candle):
            dropped["impossible"] += 1
        elif candle.start_s in kept:
            dropped["repeated"] += 1
        else:
            kept[candle.start_s] = candle
    return Sifted([kept[start] for start in sorted(kept)], {why: count for why, count in dropped.items() if count})


def day_of(candle: Candle, interval: str) -> dt.date:
    """The trading day of a bar; a daily one starts at midnight UTC of its date."""
    zone = dt.UTC if interval == DAILY else IST
    return dt.datetime.fromtimestamp(candle.start_s, zone).date()


def _possible(candle: Candle) -> bool:
    lowest, highest = min(candle.open, candle.close), max(candle.open, candle.close)
    return 0 < candle.low <= lowest <= highest <= candle.high and candle.volume >= 0
