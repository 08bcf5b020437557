"""Names by which logs and journal speak of one thing, so that whoever reads them can follow it through.

An order has its client id. Invariant: a decision's id is made of nothing but what it is about, so it is the same in the
log, in the journal, in a replay, and after a restart.
"""

from __future__ import annotations

import datetime as dt

from daemon.core.clock import IST, NS_PER_S


def decision_id(symbol: str, ts_bar: int) -> str:
    """The one decision on a symbol at the bar that closed at `ts_bar` (UTC ns): NSE:SBIN-EQ@2026-01-05T09:20, IST."""
    return f"{symbol}@{dt.datetime.fromtimestamp(ts_bar // NS_PER_S, IST):%Y-%m-%dT%H:%M}"
