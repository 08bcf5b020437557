"""A future's or option's name, as Fyers' symbol master writes it → underlying, strike, right and day of expiry.

`NSE:NIFTY26JANFUT` and `NSE:NIFTY26JAN26000CE` are monthly, and expire on the day that `expiry_days.yaml` says of the
month; `NSE:NIFTY2611326000CE` is weekly (2026-01-13; months are 1 to 9, O, N, D) and holds its day,
unless a holiday was declared on it since: then it is the session before. A symbol master knows every expiry and goes
before. Pure. Invariant: a day that nobody told is None, never guessed.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

from daemon.market.calendar import WEEKDAYS, CalendarRangeError, MarketCalendar
from daemon.market.tables import shipped_table

MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKLY_MONTHS: Final = "123456789OND"
_NAME: Final = r"(?P<name>\d*[A-Z][A-Z0-9&-]*?)"  # 360ONE too, but a number alone is no name
_MONTHLY: Final = rf"(?P<year>\d\d)(?P<month>{'|'.join(MONTHS)})"
_WEEKLY: Final = r"(?P<wyear>[2-4]\d)(?P<wmonth>[1-9OND])(?P<day>[0-3]\d)"
"""Of years that can be: SENSEX502610885000CE is on SENSEX50, of 2026, not on SENSEX5, of 2002."""
FUTURE: Final = re.compile(rf"{_NAME}{_MONTHLY}FUT")
OPTION: Final = re.compile(rf"{_NAME}(?:{_MONTHLY}|{_WEEKLY})(?P<strike>\d+(?:\.\d+)?)(?P<right>CE|PE)")
_TABLE: Final = "expiry_days.yaml"
CURRENCIES: Final = frozenset({"USDINR", "EURINR", "GBPINR", "JPYINR", "EURUSD", "GBPUSD", "USDJPY"})
"""Names that NSE and BSE list in their currency segments."""


class Contract(msgspec.Struct, frozen=True):
    """What a name says; `expiry` is None where it can't be known from it. `strike` in rupees, of an option."""

    exchange: str
    name: str
    expiry: dt.date | None
    on_index: bool
    strike: Decimal | None = None
    right: str = ""
    """CE (a call) or PE (a put), "" for a future."""


def read_contract(symbol: str, calendar: MarketCalendar | None = None) -> Contract | None:
    """The contract of a symbol such as `NSE:NIFTY26JANFUT`; None for what is no future or option."""
    exchange, separator, body = symbol.partition(":")
    if not separator:
        exchange, body = "NSE", symbol
    match = FUTURE.fullmatch(body) or OPTION.fullmatch(body)
    if match is None:
        return None
    parts = match.groupdict()
    days = calendar or _shipped_calendar()
    expiry = _weekly(parts, days) if parts.get("day") else _monthly(exchange, parts, days)
    strike = parts.get("strike")
    return Contract(
        exchange, parts["name"], expiry, on_index(exchange, parts["name"]),
        Decimal(strike) if strike else None, parts.get("right") or "",
    )  # fmt: skip


def on_index(exchange: str, name: str) -> bool:
    """Whether contracts on `name` are on an index, and so settled in cash."""
    return name in shipped_table(_TABLE).get(exchange, {}).get("indices", ())


@cache
def _shipped_calendar() -> MarketCalendar:
    return MarketCalendar()


def _weekly(parts: dict[str, str], calendar: MarketCalendar) -> dt.date | None:
    """The day of the name, or the session before it; the day itself where no calendar covers it."""
    try:
        month = _WEEKLY_MONTHS.index(parts["wmonth"]) + 1
        day = dt.date(2000 + int(parts["wyear"]), month, int(parts["day"]))
    except ValueError:
        return None
    return _session_until(day, calendar) or day


def _monthly(exchange: str, parts: dict[str, str], calendar: MarketCalendar) -> dt.date | None:
    """The last such weekday of the month, or the session before it; None where no rule or calendar covers it."""
    months = shipped_table(_TABLE).get(exchange, {}).get("monthly")
    if months is None or parts["name"] in CURRENCIES:
        return None
    rows: list[dict[str, Any]] = months.get(parts["name"], months["default"])
    year, month = 2000 + int(parts["year"]), MONTHS.index(parts["month"]) + 1
    for row in reversed(rows):
        day = _last(year, month, WEEKDAYS.index(row["day"]))
        if day >= row["from"]:
            return _session_until(day, calendar)
    return None


def _last(year: int, month: int, weekday: int) -> dt.date:
    """The last such weekday of a month."""
    end = dt.date(year + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)
    return end - dt.timedelta(days=(end.weekday() - weekday) % 7)


def _session_until(day: dt.date, calendar: MarketCalendar) -> dt.date | None:
    try:
        while calendar.session(day) is None:
            day -= dt.timedelta(days=1)
    except CalendarRangeError:
        return None
    return day
