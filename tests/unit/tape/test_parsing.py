"""Times, prices and quantities are read from whatever form a source has them in."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon.core.errors import TapeError, UsageError
from daemon.tape.parsing import NumberColumn, TimeColumn
from daemon.tape.zones import joined, parse_zone

SECOND = 1_000_000_000
AT = 1_767_584_700  # 2026-01-05 03:45 UTC, 09:15 IST
UTC = zoneinfo.ZoneInfo("UTC")
INDIA = zoneinfo.ZoneInfo("Asia/Kolkata")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_timestamps_of_any_unit_and_zone(unit: str, zone: str | None) -> None:
    """A zone changes how a moment is written, not when it was; without one it is as told, and that is said."""
    column = TimeColumn("ts", UTC)
    moments = pa.array([dt.datetime(2026, 1, 5, 3, 45), None, dt.datetime(1970, 1, 1)], pa.timestamp(unit))

    ts = column.read(moments.cast(pa.timestamp(unit, zone)) if zone else moments)

    assert ts.tolist() == [AT * SECOND, 0, 0]
    assert column.unreadable == 1
    assert column.remark == ("" if zone else "times without a zone, read as UTC")


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
        ("05-01-2026 03:45:00", AT * SECOND),
        ("31-02-2026 03:45:00", 0),
        ("05-01-2026 25:45:00", 0),
        ("1969-12-31 00:00:00", 0),
        ("9999-12-31 00:00:00", 0),
        ("yesterday", 0),
        ("", 0),
    ],
)
def test_texts_of_time(text: str, expected: int) -> None:
    """ISO-8601 with or without a zone, days as in India; anything else is no time."""
    column = TimeColumn("ts", UTC)

    assert column.read(pa.array([text])).tolist() == [expected]
    assert column.unreadable == (expected == 0)


def test_one_impossible_date_does_not_spoil_the_others() -> None:
    """Texts with and without a zone stand beside a 30th of February, and the missing zone is said."""
    column = TimeColumn("ts", UTC)

    ts = column.read(
        pa.array(["2026-02-30 00:00:00", "2026-01-05 03:45:00", None, "2026-01-05T09:15:00.000000001+05:30"])
    )

    assert ts.tolist() == [0, AT * SECOND, 0, AT * SECOND + 1]
    assert column.remark == "times without a zone, read as UTC"


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


def test_prices_of_32_bits_are_what_they_were_written_as() -> None:
    """25,999.10 is no 25,999.0996, which would trade through a limit of 25,999.10."""
    written = [25_999.10, 469.2, 0.05, 131_000.95, float("nan"), None]
    read = NumberColumn("ltp").read_floats(pa.array(written, pa.float32()))
    np.testing.assert_array_equal(read, [25_999.10, 469.2, 0.05, 131_000.95, np.nan, np.nan])
    assert NumberColumn("volume").read_integers(pa.array([1_234_567_936.0], pa.float32())).tolist() == [1_234_567_936]


@pytest.mark.parametrize("kind", [pa.decimal128(12, 2), pa.decimal256(40, 4), pa.float32()])
def test_prices_stay_on_their_grid(kind: Any) -> None:
    """A decimal, or a float of 32 bits, is what it is written as: half a paisa beside it is a tick more for a BUY."""
    texts = ["800.05", "800.15", "75000.05", "0.05", "1399.95"]

    values = NumberColumn("ltp").read_floats(pa.array(texts).cast(kind))

    assert values.tolist() == [float(text) for text in texts]


def test_a_price_of_16_bits_is_refused() -> None:
    """It can't be 800.05."""
    with pytest.raises(TapeError, match=r"column ltp is halffloat, which holds 800\.0 and 800\.5 and nothing between"):
        NumberColumn("ltp").read_floats(pa.array([800.0], pa.float32()).cast(pa.float16()))


def test_a_time_of_32_bits_is_refused() -> None:
    """All ticks of two minutes would have one time."""
    with pytest.raises(TapeError, match="column ts is float, which rounds a time to minutes; expected 64 bits"):
        TimeColumn("ts").read(pa.array([float(AT)]).cast(pa.float32(), safe=False))


@pytest.mark.parametrize("text", ["1.76758E+18", "1.76758e+12", "1.76758E+09", "2E+18"])
def test_times_that_a_spreadsheet_rounded_are_refused(text: str) -> None:
    """All of three hours would have one time; one among others that are whole is none's fault."""
    with pytest.raises(TapeError, match=f"column ts has {re.escape(text)}, rounded by whoever wrote it"):
        TimeColumn("ts").read(pa.array([None, text, text]))
    assert TimeColumn("ts").read(pa.array([f"{AT * SECOND:.9e}", "1.76758e+18"])).tolist()[0] == AT * SECOND


def test_thousands_may_be_set_apart() -> None:
    """As exchanges' own files have them, lakhs and crores too; a comma anywhere else is no part of a number."""
    column = NumberColumn("ltp")
    texts = ["999.5", "1,800.50", "1,00,000.05", "1,234,567", " 2,000 ", "1,80", "1.800,50", "1,,000", ",500", None]
    values = column.read_floats(pa.array(texts))
    assert values[:5].tolist() == [999.5, 1800.5, 100000.05, 1234567.0, 2000.0]
    assert np.isnan(values[5:]).all()
    assert column.unreadable == 4
    assert NumberColumn("volume").read_integers(pa.array(["1,50,000", "75"])).tolist() == [150_000, 75]


def test_unreadable_prices_are_counted() -> None:
    """They become NaN, which the tick filter rejects as bad_price."""
    column = NumberColumn("p")

    values = column.read_floats(pa.array(["1,23.50", "abc", "", None, "-3", "+.5"]))

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


@pytest.mark.parametrize("naive", [pa.array(["2026-01-05 09:15:00"]), pa.array(["05-01-2026 09:15"]),
                                   pa.array([dt.datetime(2026, 1, 5, 9, 15)])])  # fmt: skip
def test_times_without_a_zone_ask_for_one(naive: Any) -> None:
    """Nobody can tell whose morning it was; told, they are that zone's."""
    with pytest.raises(TapeError, match=r"column ts has times without a zone: add --tz Asia/Kolkata"):
        TimeColumn("ts").read(naive)
    assert TimeColumn("ts", INDIA).read(naive).tolist() == [AT * SECOND]


def test_a_zone_is_not_asked_for_in_vain() -> None:
    """Numbers, times with an offset, and what is no time at all need none."""
    texts = pa.array([str(AT), "2026-01-05T09:15:00+05:30", "soon", "", None])
    assert TimeColumn("ts").read(texts).tolist() == [AT * SECOND, AT * SECOND, 0, 0, 0]


def test_a_zone_with_summer_time() -> None:
    """The offset is that of the moment; an hour that comes twice is the first."""
    column = TimeColumn("ts", parse_zone("America/New_York"))
    ts = column.read(pa.array(["2026-01-05 12:00", "2026-07-06 12:00", "2026-11-01 01:30"]))
    assert [dt.datetime.fromtimestamp(at // SECOND, dt.UTC).strftime("%m-%d %H:%M") for at in ts.tolist()] == [
        "01-05 17:00", "07-06 16:00", "11-01 05:30",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["IST+", "Asia/Calcuta", "", "../etc/passwd", "Asia"])
def test_unknown_zones(name: str) -> None:
    """One line that repeats the name and shows one that there is."""
    with pytest.raises(UsageError, match=r"--tz .*: no such zone; expected an IANA name such as Asia/Kolkata"):
        parse_zone(name)


@pytest.mark.parametrize("day", ["20260105", "2026-01-05", "2026/01/05", "05-01-2026", "05/01/2026", "5-1-2026",
                                 "05-Jan-2026", "05.01.2026"])  # fmt: skip
@pytest.mark.parametrize(
    ("clock", "ns"),
    [("09:15:00", 0), ("09:15", 0), ("9:15:00", 0), ("091500", 0), ("91500", 0), ("09:15:00.123", 123_000_000),
     ("09:15:00:123", 123_000_000), ("09:15:00.123456789", 123_456_789), ("09:15:00 AM", 0)],
)  # fmt: skip
def test_days_and_times_of_day_of_vendors(day: str, clock: str, ns: int) -> None:
    """Every way of writing the day goes with every way of writing the time."""
    texts = joined(pa.array([day, None]), pa.array([clock, clock]))
    assert TimeColumn("Date+Time", INDIA).read(texts).tolist() == [AT * SECOND + ns, 0]


@pytest.mark.parametrize("day", ["05-01-2026", "05/01/2026", "20260105"])
def test_how_a_day_in_figures_was_read_is_said(day: str) -> None:
    """Once, however many chunks there are; a day behind its year is read one way by everybody."""
    column = TimeColumn("ts", INDIA)
    for texts in ([f"{day} 09:15"], [f"{day} 09:16"], [f"{day} 25:00"]):
        column.read(pa.array(texts))
    assert column.remark.count("the day before the month") == (0 if day.isdigit() else 1)


def test_days_and_times_of_day_that_are_no_texts() -> None:
    """As Parquet has them, and as a program made numbers of them."""
    day, clock = dt.date(2026, 1, 5), dt.time(9, 15, 0, 500_000)
    for days, clocks, ns in (
        (pa.array([day]), pa.array([clock]), 500_000_000),
        (pa.array([dt.datetime(2026, 1, 5)]), pa.array(["09:15"]), 0),
        (pa.array([20260105]), pa.array([91500]), 0),
        (pa.array(["20260105"]).dictionary_encode(), pa.array(["09:15"]).dictionary_encode(), 0),
    ):
        assert TimeColumn("ts", INDIA).read(joined(days, clocks)).tolist() == [AT * SECOND + ns]


def test_months_before_days_are_refused() -> None:
    """A 13th month shows that the others were not what they seemed."""
    with pytest.raises(TapeError, match=r"column ts has the day 01-13-2026: expected day, month, year"):
        TimeColumn("ts", INDIA).read(pa.array(["01-05-2026 09:15:00", "01-13-2026 09:15:00"]))


def test_a_comma_that_may_be_a_decimal_one_is_no_guess() -> None:
    """820,105 is 820105 or 820.105: other prices of the column tell, else nobody does."""
    known = NumberColumn("ltp")
    assert known.read_floats(pa.array(["999.50"])).tolist() == [999.5]
    assert known.read_floats(pa.array(["24,251"])).tolist() == [24251.0]
    assert NumberColumn("ltp").read_floats(pa.array(["1,24,250", "24,250"])).tolist() == [124250.0, 24250.0]
    with pytest.raises(TapeError, match=r"column ltp has 820,105: 820105 or 820\.105.*decimal point"):
        NumberColumn("ltp").read_floats(pa.array(["820,105", "820,110"]))
    with pytest.raises(TapeError, match=r"column ltp has 820,1: .*decimal point"):
        NumberColumn("ltp").read_floats(pa.array(["820,1", "820,105", "820,11"]))
    assert NumberColumn("volume").read_integers(pa.array(["24,250", "7"])).tolist() == [24250, 7]
