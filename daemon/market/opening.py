"""A moment and the calendar → what a trader wants to hear of it: open or not, why not, and when next.

Pure but for `CalendarWatch`, which logs. Invariant: what is said of a day that nobody confirmed says so.
"""

from __future__ import annotations

import structlog

from daemon.core.clock import DAY_NS, IST_OFFSET_NS
from daemon.core.events import Event, TimeAdvanced
from daemon.market.calendar import MarketCalendar, Session, ist_clock, ist_date
from daemon.market.calendar_file import LAST_DATE

log = structlog.get_logger("calendar")


def say_now(calendar: MarketCalendar, now_ns: int) -> str:
    """Such as "no session today (Guru Nanak Jayanti); next: Wed 25 Nov 2026 09:15 IST".

    "" before the calendar begins and where it ends.
    """
    day = ist_date(now_ns)
    if not calendar.first_date <= day < LAST_DATE:
        return ""
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
    """Says once of each year that isn't confirmed that it is used, and on each day that begins closed why it is."""

    def __init__(self, calendar: MarketCalendar) -> None:
        self._calendar = calendar
        self._said: set[str] = set()
        self._day = -1

    def on_time(self, event: Event) -> None:
        """As `look`, where time is told."""
        if isinstance(event, TimeAdvanced):
            self.look(event.ts)

    def look(self, now_ns: int) -> None:
        """Only the first moment of a day that is looked at counts; none does outside the calendar."""
        day, session = (now_ns + IST_OFFSET_NS) // DAY_NS, ""
        if day != self._day and (session := say_now(self._calendar, now_ns)):
            self._day = day
            doubt = self._calendar.doubt(ist_date(now_ns))
            if doubt and doubt not in self._said:
                self._said.add(doubt)
                log.warning(doubt)
            if self._calendar.session_at(now_ns) is None:
                log.info("the market is closed", session=session)
