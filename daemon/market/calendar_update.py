"""NSE's list of holidays and the calendar file as it is → the file as it shall be, and what that changes.

The list is the truth about the years in it: a later year's holidays are replaced by it; to a year that ships with hrmd
it adds. Sessions stay as the file has them, also on a holiday of the list (Muhurat). Pure.
Invariant: a year is confirmed only when every year before it is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec

from daemon.core.errors import UsageError
from daemon.market.calendar import MarketCalendar
from daemon.market.calendar_file import CalendarFile

_EVENING_TRADE = ("muhurat", "laxmi pujan", "lakshmi pujan")


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """The new file, and in words what changes and what is worth a look."""

    file: CalendarFile
    changes: list[str]
    remarks: list[str]


def updated(old: CalendarFile, listed: dict[dt.date, str]) -> Update:
    """Lay NSE's list over the file; raises `UsageError` where it leaves a year out."""
    shipped = MarketCalendar()
    years = sorted({day.year for day in listed})
    confirmed_to = _confirmed_to(max(shipped.confirmed_to, old.confirmed_to or shipped.confirmed_to), years)
    weekdays = {day: name for day, name in listed.items() if day.weekday() < 5}
    sessions = {session.date for session in old.sessions}
    known = {day for day in weekdays if shipped.confirmed(day) and _known(shipped, day)}
    fresh = {day: name for day, name in weekdays.items() if day not in sessions and day not in known}
    kept = {day: name for day, name in old.holidays.items() if day.year not in years}
    holidays = dict(sorted((kept | fresh).items()))
    file = CalendarFile(
        confirmed_to if confirmed_to > shipped.confirmed_to else old.confirmed_to, holidays, old.sessions
    )
    return Update(
        file=file, changes=list(_changes(old, file)), remarks=list(_remarks(shipped, old, listed, years)),
    )  # fmt: skip


def _known(shipped: MarketCalendar, day: dt.date) -> bool:
    """Whether the shipped table has `day` as a holiday, or a session of its own on it."""
    return day in shipped.special or shipped.session(day) is None


def _confirmed_to(confirmed_to: dt.date, years: list[int]) -> dt.date:
    for year in years:
        last = dt.date(year, 12, 31)
        if last <= confirmed_to:
            continue
        following = confirmed_to + dt.timedelta(days=1)
        if following.year < year:
            raise UsageError(f"--from: holds {year}, but {following.year} is not confirmed yet; update that year first")
        confirmed_to = last
    return confirmed_to


def _changes(old: CalendarFile, new: CalendarFile) -> Iterator[str]:
    for day in sorted(old.holidays.keys() | new.holidays.keys()):
        before, after = old.holidays.get(day), new.holidays.get(day)
        if before is None:
            yield f"+ {day} {day:%a} {after}"
        elif after is None:
            yield f"- {day} {day:%a} {before}"
        elif before != after:
            yield f"~ {day} {day:%a} {after} (was {before})"
    if old.confirmed_to != new.confirmed_to:
        yield f"confirmed to {new.confirmed_to}" + (f" (was {old.confirmed_to})" if old.confirmed_to else "")


def _remarks(shipped: MarketCalendar, old: CalendarFile, listed: dict[dt.date, str], years: list[int]) -> Iterator[str]:
    """Days on which list and calendar differ and the list doesn't decide."""
    sessions = {session.date for session in old.sessions}
    for day, name in listed.items():
        if day in sessions:
            yield f"{day} {name}: keeps the session that the file gives it"
        elif any(word in name.casefold() for word in _EVENING_TRADE) and day not in shipped.special:
            yield f"{day} {name}: once NSE tells the hours of Muhurat trading, move it from holidays to sessions"
    for year in years:
        for day in shipped.holidays(year):
            if shipped.confirmed(day) and day not in listed:
                yield f"{day} {shipped.closed_because(day)}: not in the list, stays a holiday"
