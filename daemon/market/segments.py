"""A segment and a weekday → its hours of continuous trading, where a source says so; holidays of MCX in listed years.

hrmd trades in NSE's day (`calendar.py`); this says when the other segments are open beside it. Pure. Invariant: what no
dated row covers is refused, never guessed.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from zoneinfo import ZoneInfo

from daemon.core.errors import UsageError
from daemon.market.tables import shipped_table

_TABLE: Final = "segments.yaml"
_HOLIDAYS: Final = "segment_holidays.yaml"
_EVENING: Final = "17:00"
"""When an evening session begins, and a morning session ends."""
_NEW_YORK: Final = ZoneInfo("America/New_York")


def segments() -> list[str]:
    """The segments that something is known of."""
    return list(shipped_table(_TABLE))


def hours(segment: str, day: dt.date) -> tuple[str, str]:
    """("HH:MM", "HH:MM") in India of a weekday; an ordinary one where no list of the year's holidays is known.

    Raises `UsageError` for a holiday, and for what nobody told.
    """
    rows: list[dict[str, Any]] | None = shipped_table(_TABLE).get(segment)
    if rows is None:
        raise UsageError(f"{segment}: no hours are known; there are {', '.join(segments())}")
    if day.weekday() > 4:
        raise UsageError(f"{segment}: {day} is a {day:%A}; hours of special sessions aren't known here")
    held = [row for row in rows if row["from"] <= day]
    if not held or held[-1].get("to", day) < day:
        raise UsageError(f"{segment}: the hours on {day} aren't known; add a row to daemon/market/{_TABLE}")
    row = held[-1]
    summer = "us_summer" in row and bool(dt.datetime.combine(day, dt.time(12), _NEW_YORK).dst())
    opens, closes = row["open"], row["us_summer" if summer else "close"]
    holiday: dict[str, str] = (shipped_table(_HOLIDAYS).get(segment, {}).get(day.year) or {}).get(day, {})
    match holiday.get("trades"):
        case None:
            return opens, closes
        case "morning":
            return opens, _EVENING
        case "evening":
            return _EVENING, closes
        case "closed":
            raise UsageError(f"{segment}: closed on {day}, {holiday['name']}")
        case _:
            raise UsageError(f"{segment}: the hours on {day}, {holiday['name']}, aren't known; see {_HOLIDAYS}")
