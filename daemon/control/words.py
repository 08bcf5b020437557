"""The words of the control API that `hrmd ctl` needs before it sends anything: a kill switch waits for no import."""

from __future__ import annotations

from enum import StrEnum


class HandSide(StrEnum):
    """Of an order by hand."""

    BUY = "buy"
    SELL = "sell"


class HandType(StrEnum):
    """Of an order by hand."""

    MARKET = "market"
    LIMIT = "limit"
