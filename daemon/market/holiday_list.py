"""The list of trading holidays that NSE publishes, as a file → names by date.

JSON as `https://www.nseindia.com/api/holiday-master?type=trading` gives it (the days of the segment CM, the cash
market; or a bare list of such days), or CSV as NSE's page of trading holidays gives it (columns Date, Day,
Description). A date is "26-Jan-2027", "2027-01-26" or "January 26, 2027". Invariant: what is returned is plausible as a
whole: each day once, on the weekday that the list itself says, 5 to 30 days a year, the national holidays and
Christmas among them, and none on which only banks rest.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from daemon.core.documents import DocumentError, parse_json
from daemon.core.errors import UsageError
from daemon.core.files import read_text
from daemon.market.calendar import FIXED_HOLIDAYS, WEEKDAYS
from daemon.market.calendar_file import FEWEST_HOLIDAYS, FIRST_DATE, LAST_DATE, MAX_NAME_CHARS, MOST_HOLIDAYS

CASH_MARKET: Final = "CM"
ALWAYS: Final = ((1, 26), (8, 15), (10, 2), (12, 25))
"""NSE has never traded on them: three of law, and Christmas, the last of every list."""
_BANKS_REST: Final = re.compile(r"bank.*clos|clos.*bank", re.IGNORECASE)
"""Of the list of clearing holidays, which NSE's page has, too: a day without settlement is a session."""
_FORMATS: Final = ("%d-%b-%Y", "%Y-%m-%d", "%d-%B-%Y", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y")
_DATE: Final = ("tradingdate", "date", "holidaydate")
_WEEKDAY: Final = ("weekday", "day")
_NAME: Final = ("description", "holiday", "name")

Row = dict[str, Any]


def read_holiday_list(path: Path) -> dict[dt.date, str]:
    """Raises `UsageError`, one line, for a file that can't be read or is no list of holidays."""
    try:
        text = read_text(path)
        rows = _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text)
        holidays = _holidays(rows)
        _check(holidays)
    except OSError as error:
        raise UsageError(f"--from {path}: {error.strerror}") from None
    except (DocumentError, ValueError, csv.Error) as error:
        raise UsageError(f"--from {path}: {error}") from None
    return holidays


def _json_rows(text: str) -> Iterator[tuple[str, Row]]:
    document = parse_json(text)
    if isinstance(document, dict):
        if CASH_MARKET not in document:
            raise ValueError(
                f"expected NSE's holiday master, which has the days of the cash market under {CASH_MARKET}; it has "
                f"{', '.join(map(str, list(document)[:5])) or 'nothing'}"
            )
        document = document[CASH_MARKET]
    if not isinstance(document, list):
        raise ValueError(f"expected a list of days, got a {type(document).__name__}")
    for number, item in enumerate(document, 1):
        if not isinstance(item, dict):
            raise ValueError(f"day {number}: expected tradingDate and description, got {str(item)[:60]!r}")
        yield f"day {number}", {_key(name): value for name, value in item.items()}


def _csv_rows(text: str) -> Iterator[tuple[str, Row]]:
    """The lines below the first one that names a column of dates."""
    names: list[str] | None = None
    for number, line in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), 1):
        if names is None:
            keys = [_key(cell) for cell in line]
            names = keys if set(_DATE) & set(keys) else None
        elif any(cell.strip() for cell in line):
            yield f"row {number}", dict(zip(names, line, strict=False))
    if names is None:
        raise ValueError("expected CSV with columns Date, Day and Description, or JSON of NSE's holiday master")


def _key(name: Any) -> str:
    """A column's name whatever its spelling: "SR. NO", "tradingDate"."""
    return "".join(letter for letter in str(name).casefold() if letter.isalpha())


def _holidays(rows: Iterator[tuple[str, Row]]) -> dict[dt.date, str]:
    found: dict[dt.date, str] = {}
    for where, row in rows:
        day, name, weekday = _date(where, _of(row, _DATE)), _of(row, _NAME), _of(row, _WEEKDAY)
        name = " ".join(name.replace("*", " ").split())
        if not (name and len(name) <= MAX_NAME_CHARS and name.isprintable()):
            raise ValueError(f"{where}, {day}: expected a description of 1 to {MAX_NAME_CHARS} characters")
        true = WEEKDAYS[day.weekday()]
        if weekday and weekday[:3].casefold() != true[:3].casefold():
            raise ValueError(f"{where}: {day} is a {true}, the list says {weekday}")
        if day in found:
            raise ValueError(f"{where}: {day} stands there twice ({found[day]}, {name})")
        found[day] = name
    return found


def _of(row: Row, names: tuple[str, ...]) -> str:
    """The first of these columns that the row has, as text."""
    value = next((row[name] for name in names if row.get(name) is not None), "")
    return str(value).strip()


def _date(where: str, text: str) -> dt.date:
    for layout in _FORMATS:
        try:
            day = dt.datetime.strptime(text, layout).date()
        except ValueError:
            continue
        if not FIRST_DATE <= day <= LAST_DATE:
            raise ValueError(f"{where}: {day} is not between {FIRST_DATE} and {LAST_DATE}")
        return day
    raise ValueError(f"{where}: expected a date such as 26-Jan-2027, got {text[:40]!r}")


def _check(holidays: dict[dt.date, str]) -> None:
    """Refuse what can't be the trading holidays of the years that it names."""
    counts = Counter(day.year for day in holidays)
    if not counts:
        raise ValueError("holds no holiday")
    for day, name in holidays.items():
        if _BANKS_REST.search(name):
            raise ValueError(f"{name} ({day}): banks rest then and NSE trades; expected its list of trading holidays")
    for year, count in sorted(counts.items()):
        if not FEWEST_HOLIDAYS <= count <= MOST_HOLIDAYS:
            raise ValueError(f"{count} holidays of {year}; expected {FEWEST_HOLIDAYS} to {MOST_HOLIDAYS}")
        for place in ALWAYS:
            day = dt.date(year, *place)
            if day.weekday() < 5 and day not in holidays:
                raise ValueError(
                    f"{FIXED_HOLIDAYS[place]} ({day:%a} {day}) is missing; expected NSE's list of trading holidays"
                )
