"""Times, prices and quantities are read from whatever form a source has them in."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon.core.errors import TapeError
from daemon.tape.parsing import NumberColumn, TimeColumn

SECOND = 1_000_000_000
AT = 1_767_584_700  # 2026-01-05 03:45 UTC, 09:15 IST


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_timestamps_of_any_unit_and_zone(unit: str, zone: str | None) -> None:
    """A zone changes how a moment is written, not when it was; without one it is UTC, and that is said."""
    column = TimeColumn("ts")
    moments = pa.array([dt.datetime(2026, 1, 5, 3, 45), None, dt.datetime(1970, 1, 1)], pa.timestamp(unit))

    ts = column.read(moments.cast(pa.timestamp(unit, zone)) if zone else moments)

    assert ts.tolist() == [AT * SECOND, 0, 0]
    assert column.unreadable == 1
    assert column.remark == ("" if zone else "timestamps without a zone, taken as UTC")


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("kind", ["integer", "float", "text", "float text"])
def test_numbers_of_any_unit(unit: str, scale: int, kind: str) -> None:
    """The unit is found by magnitude and said; a number that is no time in that unit is none."""
    values: list[Any] = [AT * scale, 0, -5, 17, None, (AT + 1) * scale]
    if kind == "float":
        values = [None if value is None else float(value) for value in values]
    elif kind == "text":
        values = [None if value is None else f" {value} " for value in values]
    elif kind == "float text":
        values = [None if value is None else f"{value}.0" for value in values]
    column = TimeColumn("ts")

    ts = column.read(pa.array(values))

    assert ts.tolist() == [AT * SECOND, 0, 0, 0, 0, (AT + 1) * SECOND]
    assert column.unreadable == 3
    assert column.remark == f"numbers, read as {unit} since 1970 UTC"


def test_the_unit_is_that_of_most_and_stays() -> None:
    """One stray number neither decides the unit nor changes it later."""
    column = TimeColumn("ts")

    first = column.read(pa.array([AT, AT * 1000, AT * 1000 + 5]))
    second = column.read(pa.array([AT]))

    assert first.tolist() == [0, AT * SECOND, AT * SECOND + 5_000_000]
    assert second.tolist() == [0]


def test_a_chunk_without_times_leaves_the_unit_open() -> None:
    """It is decided by the first chunk that has any."""
    column = TimeColumn("ts")

    assert column.read(pa.array([0, 7])).tolist() == [0, 0]
    assert column.read(pa.array([AT * 1000])).tolist() == [AT * SECOND]


def test_nanoseconds_are_exact() -> None:
    """Neither integers nor digits in text pass through a float, which would round to 256 ns."""
    exact = AT * SECOND + 123_456_789

    assert TimeColumn("ts").read(pa.array([exact])).tolist() == [exact]
    assert TimeColumn("ts").read(pa.array([str(exact)])).tolist() == [exact]


def test_fractions_of_seconds() -> None:
    """Seconds as a float keep their microseconds; what is not finite is no time."""
    ts = TimeColumn("ts").read(pa.array([AT + 0.25, float("nan"), float("inf"), 1e300]))

    assert ts.tolist() == [AT * SECOND + 250_000_000, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T03:45:00Z", AT * SECOND),
        ("2026-01-05 09:15:00+05:30", AT * SECOND),
        ("2026-01-05T09:15:00.123456789+0530", AT * SECOND + 123_456_789),
        ("2026-01-05 03:45", AT * SECOND),
        ("2026-01-05 03:45:00.5", AT * SECOND + 500_000_000),
        ("2026-13-05 03:45:00", 0),
        ("05-01-2026 03:45:00", 0),
        ("1969-12-31 00:00:00", 0),
        ("9999-12-31 00:00:00", 0),
        ("yesterday", 0),
        ("", 0),
    ],
)
def test_texts_of_time(text: str, expected: int) -> None:
    """ISO-8601 with or without a zone; anything else is no time."""
    column = TimeColumn("ts")

    assert column.read(pa.array([text])).tolist() == [expected]
    assert column.unreadable == (expected == 0)


def test_one_impossible_date_does_not_spoil_the_others() -> None:
    """Texts with and without a zone stand beside a 30th of February, and the missing zone is said."""
    column = TimeColumn("ts")

    ts = column.read(
        pa.array(["2026-02-30 00:00:00", "2026-01-05 03:45:00", None, "2026-01-05T09:15:00.000000001+05:30"])
    )

    assert ts.tolist() == [0, AT * SECOND, 0, AT * SECOND + 1]
    assert column.remark == "times without a zone, taken as UTC"


def test_what_can_be_no_time_is_refused() -> None:
    """The message names the column and its type."""
    with pytest.raises(TapeError, match="column ts is bool; a time is a timestamp, a number since 1970 or ISO-8601"):
        TimeColumn("ts").read(pa.array([True]))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5, None, 100.0]),
        pa.array([Decimal("1.50"), None, Decimal("100.00")]),
        pa.array([1.5, None, 100.0], pa.float32()),
        pa.array(["1.5", None, " 1e2 "]),
    ],
)
def test_prices(values: Any) -> None:
    """From floats, decimals and texts; null is NaN."""
    np.testing.assert_array_equal(NumberColumn("p").read_floats(values), [1.5, np.nan, 100.0])


def test_unreadable_prices_are_counted() -> None:
    """They become NaN, which the tick filter rejects as bad_price."""
    column = NumberColumn("p")

    values = column.read_floats(pa.array(["1,234.50", "abc", "", None, "-3", "+.5"]))

    np.testing.assert_array_equal(values, [np.nan, np.nan, np.nan, np.nan, -3, 0.5])
    assert column.unreadable == 3


@pytest.mark.parametrize(
    ("values", "expected", "unreadable"),
    [
        (pa.array([0, 5, None, -2, 2**53 + 1]), [0, 5, -1, -1, 2**53 + 1], 1),
        (pa.array([0, 5, 7], pa.uint32()), [0, 5, 7], 0),
        (pa.array([2**64 - 1], pa.uint64()), [-1], 1),
        (pa.array([5.0, 5.5, None, float("nan"), float("inf"), -1.0]), [5, -1, -1, -1, -1, -1], 4),
        (pa.array(["5", "5.0", "x", None]), [5, 5, -1, -1], 1),
    ],
)
def test_quantities(values: Any, expected: list[int], unreadable: int) -> None:
    """Whole numbers that are not negative; everything else is null and counted."""
    column = NumberColumn("q")

    assert column.read_integers(values).tolist() == expected
    assert column.unreadable == unreadable


def test_what_can_be_no_number_is_refused() -> None:
    """The message names the column and its type."""
    with pytest.raises(TapeError, match="column p is bool; expected a number"):
        NumberColumn("p").read_floats(pa.array([True]))
