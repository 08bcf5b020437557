"""Dates and times of day as people write them → UTC nanoseconds.

A day is written 2026-01-05, 2026/01/05, 20260105, 05-01-2026, 05/01/2026 or 05-Jan-2026 (day before month, as in
India), a time of day 09:15, 09:15:00, 09:15:00.123, 091500 or 09:15:00 AM. Invariant: what can't be read is 0, never a
guess; a column that shows its months before its days is refused.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from daemon.core.errors import TapeError, UsageError
from daemon.tape.file import FIRST_VALID_NS, LAST_VALID_NS, as_dictionary

Ints = NDArray[np.int64]

_S: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _S
_STEP_NS: Final = 900 * _S
"""No zone's offset changes but at a quarter of an hour."""
_EPOCH: Final = dt.date(1970, 1, 1)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/.]?(\d\d)[-/.]?(\d\d)")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[-/. ](\d{1,2}|[A-Za-z]{3})[-/. ](\d{4})")
_DAY_IN_FIGURES: Final = r"^\d{1,2}[-/. ]\d{1,2}[-/. ]\d{4}"
_CLOCK: Final = re.compile(r"(\d{1,2}):?(\d\d)(?::?(\d\d)(?:[.,:](\d{1,9}))?)?\s*([AaPp][Mm])?")
_PARTED: Final = r"^(?P<day>\S+)[ T]+(?P<clock>\d\S*(?: [AaPp][Mm])?)$"


def parse_zone(name: str) -> zoneinfo.ZoneInfo:
    """Find a zone by its IANA name. Raises `UsageError`."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"--tz {name}: no such zone; expected an IANA name such as Asia/Kolkata or UTC") from None


def no_zone(column: str) -> TapeError:
    """The refusal of times that could be anybody's."""
    return TapeError(
        f"column {column} has times without a zone: add --tz Asia/Kolkata, or whatever IANA zone they are of (--tz UTC)"
    )


def to_utc(local: Ints, zone: zoneinfo.ZoneInfo) -> Ints:
    """Times on the clocks of `zone`, as ns since 1970 there → UTC ns; 0 stays 0. An hour that comes twice: the first.

    0, too, where the result is not in the years 2000 to 2099.
    """
    steps, places = np.unique(local // _STEP_NS, return_inverse=True)
    offsets = [_offset_ns(int(step) * _STEP_NS, zone) for step in steps]
    utc = local - np.array(offsets, dtype=np.int64)[places.reshape(-1)]
    return np.where((local > 0) & (utc >= FIRST_VALID_NS) & (utc < LAST_VALID_NS), utc, 0)


def _offset_ns(local_ns: int, zone: zoneinfo.ZoneInfo) -> int:
    if local_ns <= 0:
        return 0
    clock = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=local_ns // _S)
    offset = clock.replace(tzinfo=zone).utcoffset()
    return 0 if offset is None else (offset.days * 86_400 + offset.seconds) * _S


def written_times(texts: Any, column: str) -> Ints:
    """Texts of a day and a time of day → ns since 1970 on the clock that they were read from, 0 for what is neither.

    Raises `TapeError` for a day such as 01-13-2026, whose month comes first.
    """
    found = pc.extract_regex(texts, _PARTED)
    days, clocks = found.field("day"), found.field("clock")
    if found.null_count:
        missing = pc.is_null(found)
        days = pc.if_else(missing, pa.scalar(None, days.type), days)
        clocks = pc.if_else(missing, pa.scalar(None, clocks.type), clocks)
    day = _by_text(days, lambda text: _day_ns(text, column))
    clock = _by_text(clocks, _clock_ns)
    return np.where((day > 0) & (clock >= 0), day + clock, 0)


def has_days_in_figures(texts: Any) -> bool:
    """Whether a day is written in figures with its year behind it, so that others may read its month first."""
    return bool(pc.any(pc.match_substring_regex(texts, _DAY_IN_FIGURES)).as_py())


def joined(days: Any, clocks: Any) -> Any:
    """A column of days and one of times of day as one of texts; null where either is."""
    return pc.binary_join_element_wise(_first_word(_as_text(days)), _as_text(clocks), " ")


def _as_text(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_duration(column.type):  # since midnight
        since = column.cast(pa.duration("ns")).cast(pa.int64())
        column = pc.if_else(
            pc.and_(pc.greater_equal(since, 0), pc.less(since, _DAY_NS)), since, pa.scalar(None, pa.int64())
        )
        column = column.cast(pa.time64("ns"))
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _first_word(texts: Any) -> Any:
    """A day that was kept as a time has midnight behind it."""
    return pc.replace_substring_regex(texts, r"[ T]00:00(:00(\.0+)?)?$", "")


def _by_text(texts: Any, reading: Any) -> Ints:
    """Read each different text once; −1 for null."""
    coded = as_dictionary(texts)
    table = np.array([reading(text) for text in coded.dictionary.to_pylist()] + [-1], dtype=np.int64)
    values: Ints = table[coded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
    return values


def _day_ns(text: str, column: str) -> int:
    if found := _YEAR_FIRST.fullmatch(text):
        year, month, day = (int(part) for part in found.groups())
    elif found := _DAY_FIRST.fullmatch(text):
        name = found[2].lower()
        if not name.isdigit() and name not in _MONTHS:
            return -1
        year, month, day = int(found[3]), int(name) if name.isdigit() else _MONTHS.index(name) + 1, int(found[1])
        if month > 12 >= day:
            raise TapeError(f"column {column} has the day {text}: expected day, month, year, such as 13-01-2026")
    else:
        return -1
    try:
        return (dt.date(year, month, day) - _EPOCH).days * _DAY_NS
    except ValueError:
        return -1


def _clock_ns(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return -1
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if found[5]:
        if not 1 <= hour <= 12:
            return -1
        hour = hour % 12 + (12 if found[5].lower() == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return -1
    return (hour * 3600 + minute * 60 + second) * _S + int((found[4] or "").ljust(9, "0"))
