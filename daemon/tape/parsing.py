"""Arrow columns of any source turned into the columns of a tape.

Invariant: every source row yields exactly one value; what can't be read becomes null (time 0, price NaN, quantity −1)
and is counted, never guessed.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from daemon.core.errors import TapeError
from daemon.core.events import MISSING_INT
from daemon.tape.file import FIRST_VALID_NS, LAST_VALID_NS
from daemon.tape.zones import has_days_in_figures, no_zone, to_utc, written_times

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Nanoseconds in each unit of time. Years 2000 to 2099 are told apart by magnitude: no number is valid in two."""

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_GROUPED = r"^[+-]?[0-9]{1,3}(,[0-9]{2,3})*,[0-9]{3}(\.[0-9]*)?$"
"""A number with its thousands, or its lakhs and crores, set apart: 1,00,000.50."""
_ONE_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
"""Thousands, or a decimal comma: which of them other numbers of the column tell, ..."""
_POINTED = r"^[^.]*\.[0-9]*$|,.*,"
"""... such as have a decimal point, or several commas."""
_EXPONENT = r"[eE]"
_ROUNDED = r"^[+-]?\d\.?\d{0,5}0*[eE]"
"""Six digits of a time, as a spreadsheet leaves them: a second since 1970 takes ten."""
_INTEGER = r"^\d{1,18}$|^[1-8]\d{18}$"
_ISO_TIME = r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?$"
_FRACTION = re.compile(r"\.(\d{1,9})")
_ORDER_REMARK = ", the day before the month"
_ZONED = r"(Z|[+-]\d\d(:?\d\d)?)$"


class TimeColumn:
    """Reads a column of times in whatever form the source has them; one instance sees the column from its start.

    Arrow timestamps of any unit and zone, numbers since 1970 in s, ms, us or ns (the unit that most of the first
    readable chunk has), ISO-8601 texts, and texts of a day and a time of day (see `daemon.tape.zones`). Those without
    a zone are times of `zone`; `remark` says so, and which unit was found.
    """

    def __init__(self, name: str, zone: zoneinfo.ZoneInfo | None = None) -> None:
        self.name = name
        self.remark = ""
        self.unreadable = 0
        self._zone = zone
        self._unit: str | None = None

    def read(self, column: Any) -> Ints:
        """UTC ns, 0 for what is null, no time, or not in the years 2000 to 2099.

        Raises `TapeError` for other types, and for times without a zone where none was given.
        """
        kind = column.type
        if pa.types.is_timestamp(kind):
            ts = _scaled(_raw_integers(column), kind.unit)
            ts = ts if kind.tz else self._placed(ts)
        elif pa.types.is_integer(kind):
            ts = self._from_integers(_raw_integers(column))
        elif pa.types.is_float64(kind):
            ts = self._from_floats(_raw_floats(column))
        elif pa.types.is_floating(kind):
            raise TapeError(
                f"column {self.name} is {kind}, which rounds a time to minutes; expected 64 bits, or a timestamp"
            )
        elif is_text(kind):
            ts = self._from_texts(column)
        else:
            raise TapeError(
                f"column {self.name} is {kind}; a time is a timestamp, a number since 1970 or ISO-8601 text"
            )
        self.unreadable += len(column) - column.null_count - int(np.count_nonzero(ts))
        return ts

    def _from_integers(self, values: Ints) -> Ints:
        self._find_unit(values)
        return _scaled(values, self._unit or "s")

    def _from_floats(self, values: Floats) -> Ints:
        whole = np.floor(np.where(np.isfinite(values) & (np.abs(values) < 2.0**62), values, 0.0))
        self._find_unit(whole.astype(np.int64))
        unit = self._unit or "s"
        fraction = np.where(whole > 0, values - whole, 0.0)
        ts = _scaled(whole.astype(np.int64), unit)
        return np.where(ts > 0, ts + np.rint(fraction * UNITS[unit]).astype(np.int64), 0)

    def _find_unit(self, values: Ints) -> None:
        if self._unit is None:
            votes = {unit: int(np.count_nonzero(_scaled(values, unit))) for unit in UNITS}
            best = max(votes, key=lambda unit: votes[unit])
            if votes[best]:
                self._unit = best
                self.remark = f"numbers, read as {best} since 1970 UTC"

    def _from_texts(self, column: Any) -> Ints:
        texts = pc.utf8_trim_whitespace(column)
        integers = _only(texts, _INTEGER)
        if integers.null_count < len(integers):
            numbers = self._from_integers(_raw_integers(integers.cast(pa.int64())))
        else:
            numbers = np.zeros(len(column), dtype=np.int64)
        others = _only(texts, _NUMBER)
        if others.null_count < integers.null_count:
            self._check_rounded(others)
            numbers = np.where(numbers > 0, numbers, self._from_floats(_raw_floats(others.cast(pa.float64()))))
        iso = _only(texts, _ISO_TIME)
        times = np.where(numbers > 0, numbers, self._from_iso(iso))
        if iso.null_count > texts.null_count + int(np.count_nonzero(numbers)):
            rest = pc.if_else(pa.array(times > 0), _null(texts), texts)
            times = np.where(times > 0, times, self._placed(written_times(rest, self.name)))
            if has_days_in_figures(rest):
                self.remark = f"{self.remark.removesuffix(_ORDER_REMARK)}{_ORDER_REMARK}"
        return times

    def _check_rounded(self, texts: Any) -> None:
        """Raise `TapeError` where every number with an exponent is short of the digits that a second takes."""
        written = pc.drop_null(_only(texts, _EXPONENT))
        if len(written) and pc.all(pc.match_substring_regex(written, _ROUNDED)).as_py():
            raise TapeError(
                f"column {self.name} has {written[0].as_py()}, rounded by whoever wrote it to hours; expected all its "
                "digits"
            )

    def _from_iso(self, texts: Any) -> Ints:
        if texts.null_count == len(texts):
            return np.zeros(len(texts), dtype=np.int64)
        zoned = _only(texts, _ZONED)
        naive = pc.if_else(pc.is_valid(zoned), _null(texts), texts)
        try:
            with_zone = _scaled(_raw_integers(zoned.cast(pa.timestamp("ns", "UTC"))), "ns")
            without = _scaled(_raw_integers(naive.cast(pa.timestamp("ns"))), "ns")
        except pa.ArrowInvalid:  # one of them is no date: read one by one
            with_zone = np.array([_iso_ns(text) for text in zoned.to_pylist()], dtype=np.int64)
            without = np.array([_iso_ns(text) for text in naive.to_pylist()], dtype=np.int64)
        return np.where(with_zone > 0, with_zone, self._placed(without))

    def _placed(self, local: Ints) -> Ints:
        """Times on a clock as UTC. Raises `TapeError` where there are some and nobody said where the clock hung."""
        if not local.any():
            return local
        if self._zone is None:
            raise no_zone(self.name)
        self.remark = f"times without a zone, read as {self._zone.key}"
        return to_utc(local, self._zone)


class NumberColumn:
    """Reads prices (float64, null NaN) and quantities (int64 ≥ 0, null −1); one instance sees the whole column."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unreadable = 0
        self._pointed = False

    def read_floats(self, column: Any, *, whole: bool = False) -> Floats:
        """Prices; raises `TapeError` where the type is neither a number nor text, or commas may be decimal ones.

        `whole`: no number is any but a whole one, so that every comma sets thousands apart.
        """
        kind = column.type
        if is_text(kind):
            texts = pc.utf8_trim_whitespace(column)
            if not whole:
                self._check_commas(texts)
            grouped = pc.match_substring_regex(texts, _GROUPED)
            texts = pc.if_else(grouped, pc.replace_substring(texts, ",", ""), texts)
            values = _raw_floats(_only(texts, _NUMBER).cast(pa.float64()))
        elif pa.types.is_integer(kind) or pa.types.is_float64(kind) or (whole and pa.types.is_float32(kind)):
            values = _raw_floats(column.cast(pa.float64(), safe=False))
        elif pa.types.is_float32(kind) or pa.types.is_decimal(kind):
            # by its shortest writing: 800.05, not 800.0499878 nor 800.0500000000001, as a cast has it
            values = _raw_floats(column.cast(pa.string()).cast(pa.float64()))
        elif pa.types.is_float16(kind):
            raise TapeError(
                f"column {self.name} is {kind}, which holds 800.0 and 800.5 and nothing between; expected 64 bits"
            )
        else:
            raise TapeError(f"column {self.name} is {kind}; expected a number")
        self.unreadable += len(column) - column.null_count - int(np.count_nonzero(~np.isnan(values)))
        return values

    def read_integers(self, column: Any) -> Ints:
        """Quantities; a number that is negative or not whole can't be one. Raises `TapeError` like `read_floats`."""
        if pa.types.is_signed_integer(column.type):
            values = np.maximum(_raw_integers(column, MISSING_INT), MISSING_INT)
            self.unreadable += len(column) - column.null_count - int(np.count_nonzero(values >= 0))
            return values
        before = self.unreadable
        floats = self.read_floats(column, whole=True)
        self.unreadable = before
        whole = (floats >= 0) & (floats < 2.0**62) & (floats == np.floor(floats))
        self.unreadable += len(column) - column.null_count - int(np.count_nonzero(whole))
        return np.where(whole, np.where(whole, floats, 0).astype(np.int64), MISSING_INT)

    def _check_commas(self, texts: Any) -> None:
        """Raise `TapeError` for a comma of which nothing in the column so far says what it is."""
        if self._pointed:
            return
        self._pointed = bool(pc.any(pc.match_substring_regex(texts, _POINTED)).as_py())
        doubtful = pc.match_substring_regex(texts, _ONE_COMMA)
        if not self._pointed and pc.any(doubtful).as_py():
            text = pc.filter(texts, doubtful)[0].as_py()
            raise TapeError(
                f"column {self.name} has {text}: {text.replace(',', '')} or {text.replace(',', '.')}? Write numbers "
                "with a decimal point, or without commas"
            )


def as_plain(column: Any) -> Any:
    """An Arrow column in the types that are read here.

    A column without any value has Arrow's type null, and newer writers keep texts as views: both are texts.
    """
    kind = column.type
    if pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
        column, kind = column.dictionary_decode(), kind.value_type
    return column.cast(pa.string()) if pa.types.is_null(kind) or pa.types.is_string_view(kind) else column


def is_text(kind: Any) -> bool:
    """Tell whether an Arrow type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _scaled(values: Ints, unit: str) -> Ints:
    """Values in `unit` as ns, 0 where that is not in the years 2000 to 2099."""
    scale = UNITS[unit]
    valid = (values >= FIRST_VALID_NS // scale) & (values < LAST_VALID_NS // scale)
    return np.where(valid, values, 0) * scale


def _raw_integers(column: Any, null: int = 0) -> Ints:
    column = column.cast(pa.int64(), safe=False)
    values: Ints = (column.fill_null(null) if column.null_count else column).to_numpy(zero_copy_only=False)
    return values


def _raw_floats(column: Any) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _only(texts: Any, pattern: str) -> Any:
    """Keep the texts that match; null for the others."""
    return pc.if_else(pc.match_substring_regex(texts, pattern), texts, _null(texts))


def _null(texts: Any) -> Any:
    return pa.scalar(None, texts.type)


def _iso_ns(text: str | None) -> int:
    """Read one text that looks like `_ISO_TIME`, to the nanosecond; 0 where it is no date from 2000 to 2099."""
    found = _FRACTION.search(text or "")
    fraction = found[1] if found else ""
    try:
        moment = dt.datetime.fromisoformat(_FRACTION.sub("", text or ""))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    ns = (since.days * 86_400 + since.seconds) * UNITS["s"] + int(fraction.ljust(9, "0"))
    return ns if FIRST_VALID_NS <= ns < LAST_VALID_NS else 0
