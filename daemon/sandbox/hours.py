"""NSE's calendar and the time → what the exchange does at a moment: collect orders, trade, or nothing.

Every session begins with a call auction: orders are taken from 15 minutes before the open, traded at one price 8
minutes later, and nothing is taken until the open (NSE, "Pre-open session"; its end by chance within the eighth minute
isn't imitated). From 2026-08-03 the cash market ends with another one, 15:15 to 15:35, and derivatives trade on to
15:40. After a market-wide halt the market opens again by such an auction (NSE/CMTR/24709). The post-close session is
left out. Pure. Invariant: a moment has one phase.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Final

from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_clock, ist_date, ist_ns

_MINUTE_NS: Final = 60 * 1_000_000_000
PRE_OPEN_NS: Final = 15 * _MINUTE_NS
COLLECTING_NS: Final = 8 * _MINUTE_NS
CLOSING_AUCTION_FROM: Final = dt.date(2026, 8, 3)
CLOSING_AUCTION_AT: Final = "15:15"
CLOSING_COLLECTING_NS: Final = 15 * _MINUTE_NS
CLOSING_NS: Final = 20 * _MINUTE_NS
DERIVATIVES_END: Final = "15:40"


class Phase(StrEnum):
    """What is done with orders."""

    PRE_OPEN = "pre_open"
    """They are collected, changed and cancelled, and trade at one price when it ends."""
    PAUSED = "paused"
    """Nothing is taken, changed or traded; what works stays."""
    OPEN = "open"
    CLOSING = "closing"
    """As PRE_OPEN, for the day's last price."""
    HALTED = "halted"
    """The whole market: what worked was cancelled, nothing is taken."""
    CLOSED = "closed"
    """What worked has expired, nothing is taken."""

    @property
    def collects(self) -> bool:
        """Whether it is the first part of an auction."""
        return self in (Phase.PRE_OPEN, Phase.CLOSING)

    @property
    def takes_orders(self) -> bool:
        """Whether orders may be placed, changed and cancelled."""
        return self is Phase.OPEN or self.collects


REFUSALS: Final = {
    Phase.PAUSED: "Orders are not accepted in this session",
    Phase.HALTED: "Market-wide circuit breaker: trading is halted",
    Phase.CLOSED: "Market is closed: place an offline (AMO) order",
}
"""What is said to an order that isn't taken; Fyers' own words aren't known."""


class Hours:
    """The phases of all days of a calendar."""

    def __init__(self, calendar: MarketCalendar) -> None:
        self._calendar = calendar

    def phase(self, ts_ns: int, *, derivative: bool) -> Phase:
        """Of a share, or a future or option, at `ts_ns` (UTC ns)."""
        day = ist_date(ts_ns)
        try:
            session = self._calendar.session(day)
            pause = self._calendar.pause_at(ts_ns)
        except CalendarRangeError:
            return Phase.CLOSED
        if session is None or ts_ns < session.open_ns - PRE_OPEN_NS:
            return Phase.CLOSED
        if ts_ns < session.open_ns:
            collected = ts_ns < session.open_ns - PRE_OPEN_NS + COLLECTING_NS
            return Phase.PRE_OPEN if collected else Phase.PAUSED
        if ts_ns < session.close_ns:
            return Phase.OPEN if pause is None else Phase.PAUSED
        if day < CLOSING_AUCTION_FROM or ist_clock(session.close_ns) != CLOSING_AUCTION_AT:
            return Phase.CLOSED
        if derivative:
            return Phase.OPEN if ts_ns < ist_ns(day, DERIVATIVES_END) else Phase.CLOSED
        if ts_ns < session.close_ns + CLOSING_COLLECTING_NS:
            return Phase.CLOSING
        return Phase.PAUSED if ts_ns < session.close_ns + CLOSING_NS else Phase.CLOSED
