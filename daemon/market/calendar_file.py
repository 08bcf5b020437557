"""`market.calendar_file` → what it adds to the shipped calendar and corrects in it; and back into a file.

The file is YAML with any of three keys: `confirmed_to` (the last day of which NSE's list is in it), `holidays` (names
by date) and `sessions` (a list of `{date, parts, name}`; `parts` are the stretches of continuous trading, and without
them the day has the ordinary hours). Invariant: what is read has one meaning, each day stands in it once, and no year
is called confirmed that lists no plausible number of holidays; a file that is written was never seen half written.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from daemon.core.documents import DocumentError, read_texts
from daemon.core.errors import SettingsError, UsageError
from daemon.core.texts import date
from daemon.settings.layers import did_you_mean

FIRST_DATE: Final = dt.date(2010, 1, 1)
LAST_DATE: Final = dt.date(2099, 12, 31)
"""No tape holds a later stamp."""
FEWEST_HOLIDAYS: Final = 5
MOST_HOLIDAYS: Final = 30
"""Of a year, weekends apart: NSE has 10 to 18."""
MAX_NAME_CHARS: Final = 80
_KEY: Final = "market.calendar_file"
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_HEADER: Final = (
    "# What NSE has said beyond the calendar that hrmd ships: see market.calendar_file in docs/operations.md.\n"
    "# `hrmd calendar update` writes this file anew: what it doesn't know, such as comments, is not kept.\n"
)

Parts = tuple[tuple[str, str], ...]


class SpecialSession(msgspec.Struct, frozen=True):
    """A session at a weekend, on a holiday or with hours of its own. `parts`: (open, close) as "HH:MM" in India."""

    date: dt.date
    parts: Parts = ()
    """None: the ordinary hours of the time."""
    name: str = ""


class CalendarFile(msgspec.Struct, frozen=True):
    """What the file says."""

    confirmed_to: dt.date | None = None
    holidays: dict[dt.date, str] = {}
    sessions: tuple[SpecialSession, ...] = ()


def read_calendar_file(path: Path) -> CalendarFile:
    """Raises `SettingsError`, one line, for a file that can't be read or meant."""
    try:
        document = read_texts(path)
        if document is None:
            raise ValueError("is empty; expected confirmed_to, holidays or sessions")
        return _file(document)
    except OSError as error:
        raise SettingsError(f"{_KEY}: {path}: {error.strerror}") from None
    except (DocumentError, ValueError) as error:
        raise SettingsError(f"{_KEY}: {path}: {error}") from None


def check_confirmed(file: CalendarFile, shipped_to: dt.date, path: Path) -> None:
    """No whole year after `shipped_to` is confirmed without its holidays. Raises `SettingsError`."""
    if file.confirmed_to is None:
        return
    counts = Counter(day.year for day in file.holidays if day.weekday() < 5)
    for year in range(shipped_to.year + 1, file.confirmed_to.year + 1):
        whole = file.confirmed_to >= dt.date(year, 12, 31)
        if whole and not FEWEST_HOLIDAYS <= counts[year] <= MOST_HOLIDAYS:
            raise SettingsError(
                f"{_KEY}: {path}: confirmed_to {file.confirmed_to}, but it has {counts[year]} weekday holidays of "
                f"{year}; expected {FEWEST_HOLIDAYS} to {MOST_HOLIDAYS}, or an earlier confirmed_to"
            )


def write_calendar_file(path: Path, file: CalendarFile) -> None:
    """Put it in place as a whole, on the disk before anybody sees it. Raises `UsageError` where that can't be."""
    text = _text(file)
    try:
        target = path.resolve()
        fresh = target.with_name(f".{target.name}.new")
        with fresh.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{_KEY}: {path}: can't be written ({reason})") from None


def _text(file: CalendarFile) -> str:
    """One line a holiday, one line a session."""
    days: dict[str, Any] = {} if file.confirmed_to is None else {"confirmed_to": file.confirmed_to}
    if file.holidays:
        days["holidays"] = dict(sorted(file.holidays.items()))
    sessions = [_row(session) for session in sorted(file.sessions, key=lambda item: item.date)]
    text = _HEADER
    for document, flow in ((days, False), ({"sessions": sessions} if sessions else {}, None)):
        if document:
            text += yaml.safe_dump(
                document, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=flow
            )  # fmt: skip
    return text


def _row(session: SpecialSession) -> dict[str, Any]:
    row: dict[str, Any] = {"date": session.date}
    if session.parts:
        row["parts"] = [list(part) for part in session.parts]
    return row | ({"name": session.name} if session.name else {})


def _file(document: Any) -> CalendarFile:
    """The file that a document means; raises `ValueError` that says where it means none."""
    values = _mapping(document, "", ("confirmed_to", "holidays", "sessions"))
    confirmed_to = values.get("confirmed_to")
    holidays = dict(_holidays(values.get("holidays")))
    sessions = list(_sessions(values.get("sessions")))
    for day, count in Counter(session.date for session in sessions).items():
        if count > 1:
            raise ValueError(f"sessions: {day} stands there {count} times; expected each day once, with all its parts")
        if day in holidays:
            raise ValueError(f"{day} is a holiday ({holidays[day]}) and has a session; expected one of the two")
    return CalendarFile(
        None if confirmed_to is None else _date(confirmed_to, "confirmed_to"), holidays, tuple(sessions)
    )


def _mapping(value: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}expected {', '.join(known[:-1])} or {known[-1]}, got {str(value)[:60]!r}")
    for key in value:
        if key not in known:
            raise ValueError(f"{where}{key}: no such key{did_you_mean(str(key), known)}")
    return value


def _holidays(value: Any) -> Iterator[tuple[dt.date, str]]:
    """Days and names."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise ValueError(f"holidays: expected days and names such as 2027-01-26: Republic Day, got {str(value)[:60]!r}")
    for key, name in value.items():
        day = _date(key, "holidays")
        yield day, _name(name, f"holidays: {day}")


def _sessions(value: Any) -> Iterator[SpecialSession]:
    if value is None:
        return
    if not isinstance(value, list):
        raise ValueError(
            "sessions: expected a list such as - {date: 2027-10-29, parts: [[18:00, 19:00]], name: Muhurat}, got "
            f"{str(value)[:60]!r}"
        )
    for number, item in enumerate(value, 1):
        row = _mapping(item, f"sessions, entry {number}: ", ("date", "parts", "name"))
        if "date" not in row:
            raise ValueError(f"sessions, entry {number}: has no date")
        day = _date(row["date"], f"sessions, entry {number}")
        name = _name(row["name"], f"sessions: {day}") if "name" in row else ""
        yield SpecialSession(day, _parts(row["parts"], day) if "parts" in row else (), name)


def _parts(value: Any, day: dt.date) -> Parts:
    """Stretches that follow each other."""
    where = f"sessions: {day}: parts: expected"
    if not (isinstance(value, list) and value and all(isinstance(part, list) and len(part) == 2 for part in value)):
        raise ValueError(f"{where} stretches such as [[18:00, 19:00]], got {str(value)[:60]!r}")
    times = [time for part in value for time in part]
    for time in times:
        if not (isinstance(time, str) and _CLOCK.fullmatch(time)):
            raise ValueError(f"{where} times of day such as 09:15, got {str(time)[:20]!r}")
    if any(one >= other for one, other in itertools.pairwise(times)):
        raise ValueError(f"{where} each time later than the one before it, got {', '.join(times)}")
    return tuple((part[0], part[1]) for part in value)


def _date(value: Any, where: str) -> dt.date:
    try:
        day = date(str(value))
    except ValueError as error:
        raise ValueError(f"{where}: expected {error}, got {str(value)[:40]!r}") from None
    if not FIRST_DATE <= day <= LAST_DATE:
        raise ValueError(f"{where}: {day} is not between {FIRST_DATE} and {LAST_DATE}")
    return day


def _name(value: Any, where: str) -> str:
    if not (isinstance(value, str) and value.strip() and len(value) <= MAX_NAME_CHARS and value.isprintable()):
        raise ValueError(f"{where}: expected a name of 1 to {MAX_NAME_CHARS} characters, got {str(value)[:40]!r}")
    return value.strip()
