"""Names by which logs and journal speak of one thing, so that whoever reads them can follow it through.

An order has its client id, by whose form the venue's book tells our orders from all others, whether or not a journal
knows them. Invariant: a decision's id is made of nothing but what it is about, so it is the same in the
log, in the journal, in a replay, and after a restart.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from daemon.core.clock import IST, NS_PER_S

IN_NO_JOURNAL: Final = ", by an id of ours that is in no journal"
"""How the reason ends of an order at the broker that some run of this program placed, and none of this journal."""
_OURS: Final = re.compile(r"H[0-9a-f]{14,}L[0-9]{7,}")


def order_prefix(seconds: int, chance: bytes) -> str:
    """What client order ids of a run begin with, by when it began (UTC) and three bytes: unique, and alphanumeric."""
    return f"H{seconds:x}{chance.hex()}L"


def is_order_of_ours(tag: str) -> bool:
    """Whether some run of this program gave it to an order."""
    return _OURS.fullmatch(tag) is not None


def decision_id(symbol: str, ts_bar: int) -> str:
    """The one decision on a symbol at the bar that closed at `ts_bar` (UTC ns): NSE:SBIN-EQ@2026-01-05T09:20, IST."""
    return f"{symbol}@{dt.datetime.fromtimestamp(ts_bar // NS_PER_S, IST):%Y-%m-%dT%H:%M}"
