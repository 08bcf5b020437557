"""Turns numbers and times into what an Indian trader reads: rupees in lakh grouping, signs, India Standard Time.

Invariant: a number keeps its value to the places shown; None becomes "-".
"""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_EVEN, Decimal

from daemon.core.clock import IST, NS_PER_S

PAISA = Decimal("0.01")
ABSENT = "-"
MINUS = "\N{MINUS SIGN}"

Number = Decimal | float | int


def whole(value: int) -> str:
    """A count: 1234567 → 1,234,567."""
    return f"{value:,}".replace("-", MINUS)


def rupees(value: Number) -> str:
    """To the paisa: 123456.5 → ₹1,23,456.50."""
    exact = (value if isinstance(value, Decimal) else Decimal(repr(value))).quantize(PAISA, ROUND_HALF_EVEN)
    lakhs, _, paise = f"{abs(exact):f}".partition(".")
    return f"{MINUS if exact < 0 else ''}₹{_group(lakhs)}.{paise}"


def signed_rupees(value: Number) -> str:
    """As `rupees`, with a plus where money came in."""
    return ("+" if value > 0 else "") + rupees(value)


def price(value: Number) -> str:
    """Two places, without a currency: 24250.5 → 24,250.50."""
    return f"{value:,.2f}".replace("-", MINUS)


def percent(share: float | None, places: int = 2) -> str:
    """A share as percent: 0.0123 → 1.23 %."""
    return ABSENT if share is None else f"{100 * share:.{places}f} %".replace("-", MINUS)


def signed_percent(share: float | None, places: int = 2) -> str:
    """As `percent`, with a plus where it is positive."""
    return ("+" if share is not None and share > 0 else "") + percent(share, places)


def ratio(value: float | None) -> str:
    """Two places: 1.234 → 1.23."""
    return ABSENT if value is None else f"{value:.2f}".replace("-", MINUS)


def tone(value: Number) -> str:
    """The rich style of a gain or a loss."""
    return "green" if value > 0 else "red" if value < 0 else "default"


def ist(ts: int) -> dt.datetime:
    """UTC nanoseconds as a time in India, to the second below."""
    return dt.datetime.fromtimestamp(ts // NS_PER_S, IST)


def ist_time(ts: int) -> str:
    """Such as 09:15:01."""
    return f"{ist(ts):%H:%M:%S}"


def ist_minute(ts: int) -> str:
    """Such as 26 Mar 2021 09:15."""
    return f"{ist(ts):%d %b %Y %H:%M}"


def ist_second(ts: int) -> str:
    """Such as 26 Mar 2021 09:15:00 IST, for a line that stands alone."""
    return f"{ist(ts):%d %b %Y %H:%M:%S} IST"


def ist_short(ts: int) -> str:
    """Such as 26 Mar 09:15, where the year is known and room is short."""
    return f"{ist(ts):%d %b %H:%M}"


def ist_date(ts: int) -> str:
    """Such as 26 Mar 2021."""
    return f"{ist(ts):%d %b %Y}"


def counted(count: int, name: str) -> str:
    """Such as 1 session, 1,204 sessions."""
    return f"{whole(count)} {name}{'s' * (count != 1)}"


def words(name: str) -> str:
    """A reason or state as read: `backward_time` → backward time."""
    return name.replace("_", " ")


def _group(digits: str) -> str:
    head, tail = digits[:-3], digits[-3:]
    pairs = []
    while head:
        pairs.append(head[-2:])
        head = head[:-2]
    return ",".join([*reversed(pairs), tail])
