"""The words of the control API that `hrmd ctl` needs before it sends anything: a kill switch waits for no import."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

NOT_ON_DISK: Final = "urn:hrmd:in-force-not-on-disk"
"""The type of the refusal that says that a command is in force, and may be forgotten by a restart."""


class HandSide(StrEnum):
    """Of an order by hand."""

    BUY = "buy"
    SELL = "sell"


class HandType(StrEnum):
    """Of an order by hand."""

    MARKET = "market"
    LIMIT = "limit"
