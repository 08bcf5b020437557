"""What a user wrote for a number, a date or a yes → the value; the text itself decides nothing, its field does.

One set of rules for settings files, variables, `--set` and the other files that users write. Invariant: a text that
looks like two values (`0100` is 64 to some readers and 100 to others) is none.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Final

MAX_DIGITS: Final = 400
_UNITS: Final = r"(0|[1-9][0-9]*(_[0-9]+)*)"
_WHOLE: Final = re.compile(rf"[+-]?{_UNITS}")
_NUMBER: Final = re.compile(rf"[+-]?({_UNITS}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{{1,9}})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(rf"({_DATE.pattern})[Tt ]+([0-9:.,]+) *([Zz]|[+-][0-9:]+)")
_YES: Final = frozenset({"true", "yes", "on"})
_NO: Final = frozenset({"false", "no", "off"})


def one_line(text: str, most: int) -> str:
    r"""What other code says, as it can be kept and shown: printable characters, at most so many.

    What isn't printable (the half of a character, a terminal's command) is written as in a Python source: `\x1b`.
    """
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
    return line[:most]


def _zeros(text: str) -> str:
    return ", without zeros before it" if re.match("[+-]?0[0-9]", text) else ""


def whole_number(text: str) -> int:
    """`1500` or `1_500`; raises `ValueError` that says what is expected."""
    if len(text) > MAX_DIGITS or not _WHOLE.fullmatch(text):
        raise ValueError(f"a whole number such as 1500{_zeros(text)}")
    return int(text)


def exact_number(text: str) -> Decimal:
    """`1500`, `0.05`, `.5` or `1e3`; raises `ValueError` that says what is expected."""
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        raise ValueError(f"a number such as 1500 or 0.05{_zeros(text)}")
    return Decimal(text)


def number(text: str) -> float:
    """As `exact_number`; beyond what a float holds it is infinite."""
    return float(exact_number(text))


def yes_or_no(text: str) -> bool:
    """`true`, `yes`, `on` or `false`, `no`, `off`, in any case; raises `ValueError` that says what is expected."""
    word = text.lower()
    if word not in _YES | _NO:
        raise ValueError("true or false (or yes, no, on, off)")
    return word in _YES


def date(text: str) -> dt.date:
    """`2026-01-06`; raises `ValueError` that says what is expected."""
    if _DATE.fullmatch(text):
        try:
            return dt.date.fromisoformat(text)
        except ValueError:  # a 13th month
            pass
    raise ValueError("a date such as 2026-01-06")


def moment(text: str) -> dt.datetime:
    """`2026-02-01T11:00+05:30`, a space for the T, Z for the offset; raises `ValueError` that says what is expected."""
    match = _MOMENT.fullmatch(text)
    if match is not None:
        try:
            return dt.datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3].upper()}")
        except ValueError:
            pass
    raise ValueError("a time with a UTC offset such as 2026-02-01T11:00+05:30")
