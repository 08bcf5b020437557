"""A moment and the calendar → what a trader wants to hear of it: open or not, why not, and when next.

Pure but for `CalendarWatch`, which logs. Invariant: what is said of a day that nobody confirmed says so.
"""

from __future__ import annotations

import structlog

from daemon.core.clock import DAY_NS
from daemon.core.events import Event, TimeAdvanced
from daemon.market.calendar import IST_OFFSET_NS, MarketCalendar, Session, ist_clock, ist_date

log = structlog.get_logger("calendar")


def say_now(calendar: MarketCalendar, now_ns: int) -> str:
    """Such as "no session today (Guru Nanak Jayanti); next: Wed 25 Nov 2026 09:15 IST".

    Raises `CalendarRangeError` before the calendar begins and after it ends.
    """
    day = ist_date(now_ns)
    session = calendar.session(day)
    unsure = "" if calendar.confirmed(day) else ", not confirmed"
    if session is None:
        return f"no session today ({calendar.closed_because(day)}{unsure}); next: {_next(calendar, now_ns)}"
    if now_ns < session.open_ns:
        return f"opens today at {ist_clock(session.open_ns)} IST{unsure}"
    if now_ns >= session.close_ns:
        return f"closed for today; next: {_next(calendar, now_ns)}"
    pause = calendar.pause_at(now_ns)
    if pause is not None:
        return f"in a pause, goes on at {ist_clock(pause[1])} IST{unsure}"
    return f"open until {ist_clock(session.close_ns)} IST{unsure}"


def _next(calendar: MarketCalendar, now_ns: int) -> str:
    session = calendar.next_session(now_ns)
    return _when(session) + ("" if calendar.confirmed(session.date) else ", not confirmed")


def _when(session: Session) -> str:
    return f"{session.date:%a %d %b %Y} {ist_clock(session.open_ns)} IST"


class CalendarWatch:
    """Says once of each year that isn't confirmed that it was used, and on each day on which the market is closed why.

    `doubts` are the years of which that was said, in words.
    """

    def __init__(self, calendar: MarketCalendar) -> None:
        self.doubts: list[str] = []
        self._calendar = calendar
        self._day = -1

    def on_time(self, event: Event) -> None:
        """Time goes on; only the first moment of a day is looked at."""
        if not isinstance(event, TimeAdvanced):
            return
        day = (event.ts + IST_OFFSET_NS) // DAY_NS
        if day == self._day:
            return
        self._day = day
        doubt = self._calendar.doubt(ist_date(event.ts))
        if doubt and doubt not in self.doubts:
            self.doubts.append(doubt)
            log.warning(doubt)
        if self._calendar.session_at(event.ts) is None:
            log.info("the market is closed", session=say_now(self._calendar, event.ts))
