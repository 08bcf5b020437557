"""What any venue tells of the market: quotes, bars of history, what a segment is doing."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from daemon.calls.records import ZERO, Record


class Quote(Record, frozen=True, kw_only=True):
    """The market's last word on one symbol; `error` is the venue's, where it has no quote."""

    symbol: str
    last: Decimal = ZERO
    bid: Decimal = ZERO
    ask: Decimal = ZERO
    volume: int = 0
    error: str = ""


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One bar of history; `start_s` is its start, UTC seconds. Prices as floats: a model reads them, no order does."""

    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: int


class MarketState(Record, frozen=True, kw_only=True):
    """What one segment of one exchange is doing, such as NSE, CM, NORMAL, OPEN."""

    exchange: str
    segment: str
    market: str
    status: str
