"""The calendar against exchange_calendars, the recorded bars, and its own promises."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from daemon.core.errors import UsageError
from daemon.market.calendar import CalendarRangeError, MarketCalendar, Session, ist_date, ist_ns
from daemon.market.calendar_file import LAST_DATE

SHARED = Path(__file__).parents[3].resolve().parent / "shared" / "data"
DAY = dt.timedelta(days=1)
GAPS = {"NIFTY": [(2016, 9), (2016, 10), (2018, 5)], "BANKNIFTY": [(2016, 9), (2018, 5)]}
"""Months that the recordings miss in part."""


@pytest.fixture(scope="module")
def calendar() -> MarketCalendar:
    """The packaged calendar."""
    return MarketCalendar()


def days(*texts: str) -> set[dt.date]:
    """Dates from ISO texts."""
    return {dt.date.fromisoformat(text) for text in texts}


def all_sessions(calendar: MarketCalendar) -> dict[dt.date, Session]:
    """Every session of the table by its date."""
    day, found = calendar.first_date, {}
    while day <= calendar.confirmed_to:
        session = calendar.session(day)
        if session is not None:
            found[day] = session
        day += DAY
    return found


def test_differences_from_bse_are_exactly_these(calendar: MarketCalendar) -> None:
    """Every day on which the table and exchange_calendars XBOM disagree is known and explained in the table."""
    exchange_calendars = pytest.importorskip("exchange_calendars")
    bse = exchange_calendars.get_calendar("XBOM", start=str(calendar.first_date), end=str(calendar.confirmed_to))
    opens, closes = (
        column.dt.tz_convert(None).to_numpy().astype("M8[ns]").astype(int) for column in (bse.opens, bse.closes)
    )
    hours = dict(zip(bse.sessions.date, zip(opens, closes, strict=True), strict=True))
    ours = all_sessions(calendar)
    assert hours.keys() - ours.keys() == days("2013-11-15")
    assert ours.keys() - hours.keys() == days(
        "2013-11-14",  # BSE's list has the holiday a day early
        "2012-01-07", "2012-03-03", "2012-04-28", "2012-09-08", "2013-05-11", "2014-03-22",  # live tests
        "2013-11-03", "2014-10-23", "2015-11-11", "2016-10-30", "2017-10-19", "2018-11-07", "2019-10-27", "2020-11-14",
        "2021-11-04", "2022-10-24", "2023-11-12", "2024-11-01", "2025-10-21",  # muhurat
        "2015-02-28", "2020-02-01", "2024-01-20", "2025-02-01", "2026-02-01",  # regular hours at a weekend
        "2024-03-02", "2024-05-18",  # disaster recovery
    )  # fmt: skip
    other = {day for day in ours.keys() & hours.keys() if (ours[day].open_ns, ours[day].close_ns) != hours[day]}
    pre_open_pilot = {day for day in other if day < dt.date(2010, 10, 18)}
    closing_auction = {day for day in other if day >= dt.date(2026, 8, 3)}
    assert other - pre_open_pilot - closing_auction == days("2010-11-05", "2011-10-26", "2012-11-13", "2021-02-24")
    assert len(pre_open_pilot) == len([day for day in ours if day < dt.date(2010, 10, 18)])
    assert len(closing_auction) == len([day for day in ours if day >= dt.date(2026, 8, 3)])


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2010-01-04", "09:00", "15:30"),
        ("2010-10-18", "09:15", "15:30"),
        ("2012-11-13", "15:45", "17:00"),
        ("2014-03-22", "11:15", "12:45"),
        ("2021-03-26", "09:15", "15:30"),
        ("2021-11-04", "18:15", "19:15"),
        ("2024-03-02", "09:15", "12:30"),
        ("2025-10-21", "13:45", "14:45"),
        ("2026-02-01", "09:15", "15:30"),
        ("2026-07-31", "09:15", "15:30"),
        ("2026-08-03", "09:15", "15:15"),
    ],
)
def test_hours_of_a_day(calendar: MarketCalendar, day: str, opens: str, closes: str) -> None:
    """A session has the hours of its time, in India, and its date."""
    date = dt.date.fromisoformat(day)
    assert calendar.session(date) == Session(date, ist_ns(date, opens), ist_ns(date, closes))


@pytest.mark.parametrize(
    "day", ["2021-01-26", "2021-05-01", "2021-06-12", "2021-03-28", "2013-11-15", "2024-01-22", "2026-11-10"]
)
def test_no_session(calendar: MarketCalendar, day: str) -> None:
    """Holidays, weekends and mock Saturdays have no session."""
    assert calendar.session(dt.date.fromisoformat(day)) is None


def test_utc_is_five_and_a_half_hours_behind(calendar: MarketCalendar) -> None:
    """09:15 in India is 03:45 UTC, all year."""
    for day in (dt.date(2021, 1, 4), dt.date(2021, 7, 5)):
        session = calendar.session(day)
        assert session is not None
        opened = dt.datetime.fromtimestamp(session.open_ns / 1e9, dt.UTC)
        assert (opened.date(), opened.hour, opened.minute) == (day, 3, 45)


def test_session_at_includes_open_and_excludes_close(calendar: MarketCalendar) -> None:
    """A session is [open, close)."""
    session = calendar.session(dt.date(2021, 4, 1))
    assert session is not None
    assert calendar.session_at(session.open_ns) == session
    assert calendar.session_at(session.close_ns - 1) == session
    assert calendar.session_at(session.open_ns - 1) is None
    assert calendar.session_at(session.close_ns) is None
    assert calendar.session_at(ist_ns(dt.date(2021, 4, 2), "11:00")) is None


def test_the_pause_of_a_two_part_day_is_outside(calendar: MarketCalendar) -> None:
    """Between the stretches of a disaster-recovery Saturday nothing trades, by either question."""
    day = dt.date(2024, 3, 2)
    times = ["09:14", "09:15", "09:59", "10:00", "11:29", "11:30", "12:29", "12:30"]
    expected = [False, True, True, False, False, True, True, False]
    stamps = np.array([ist_ns(day, clock) for clock in times])
    assert calendar.in_session(stamps).tolist() == expected
    assert [calendar.session_at(int(ts)) is not None for ts in stamps] == expected
    assert calendar.in_session(stamps[1:3]).tolist() == [True, True]
    assert calendar.in_session(stamps[2:5]).tolist() == [True, False, False]


def test_a_stretch_is_trading_without_a_pause(calendar: MarketCalendar) -> None:
    """All of it is in a session and what borders on it isn't, on days of one part and of two; else none is there."""
    for day, clock in ((dt.date(2024, 3, 2), "09:20"), (dt.date(2024, 3, 2), "12:00"), (dt.date(2021, 4, 1), "11:00")):
        for _ in range(2):  # asked again it answers the same
            start, stop = calendar.stretch(ist_ns(day, clock))
            assert calendar.in_session(np.array([start - 1, start, stop - 1, stop])).tolist() == [
                False,
                True,
                True,
                False,
            ]
            assert start <= ist_ns(day, clock) < stop
    for nothing in (ist_ns(dt.date(2024, 3, 2), "10:30"), ist_ns(dt.date(2021, 4, 2), "11:00"), 0, -(2**63), 2**63 - 1):
        assert calendar.stretch(nothing) == (0, 0)


def test_in_session_agrees_with_session_at(calendar: MarketCalendar) -> None:
    """The columnar answer is the scalar one, over the whole table and to the end beyond it."""
    generator = np.random.default_rng(7)
    first, last = ist_ns(calendar.first_date, "00:00"), ist_ns(LAST_DATE, "23:59")
    stamps = generator.integers(first, last, 20_000)
    assert calendar.in_session(stamps).tolist() == [calendar.session_at(int(ts)) is not None for ts in stamps]


def test_in_session_of_a_batch_within_one_session(calendar: MarketCalendar) -> None:
    """A batch inside one session is inside, row by row, and one row past the close is not."""
    session = calendar.session(dt.date(2021, 4, 1))
    assert session is not None
    stamps = np.arange(session.open_ns, session.close_ns, 450_000_000_000)
    assert calendar.in_session(stamps).all()
    assert calendar.in_session(np.append(stamps, session.close_ns)).tolist() == [True] * 50 + [False]


def test_faulty_stamps_are_outside(calendar: MarketCalendar) -> None:
    """Epoch 0, negative and absurd stamps are outside, and raise nothing; an empty column stays empty."""
    faulty = np.array([0, -1, np.iinfo(np.int64).max, np.iinfo(np.int64).min, ist_ns(dt.date(2100, 1, 4), "11:00")])
    assert not calendar.in_session(faulty).any()
    assert calendar.in_session(np.array([], dtype=np.int64)).shape == (0,)


def test_next_session(calendar: MarketCalendar) -> None:
    """The next session opens after the moment asked about, across holidays and weekends."""
    thursday = calendar.session(dt.date(2021, 4, 1))
    monday = calendar.session(dt.date(2021, 4, 5))
    assert thursday is not None
    assert calendar.next_session(thursday.open_ns) == monday
    assert calendar.next_session(thursday.open_ns - 1) == thursday


def test_sessions_between(calendar: MarketCalendar) -> None:
    """Sessions that have a moment in the stretch, both ends included."""
    monday, friday = calendar.session(dt.date(2021, 4, 5)), calendar.session(dt.date(2021, 4, 9))
    assert monday is not None
    assert friday is not None
    week = calendar.sessions_between(monday.open_ns, friday.open_ns)
    assert [session.date.day for session in week] == [5, 6, 7, 8, 9]
    assert calendar.sessions_between(monday.close_ns, friday.open_ns - 1) == week[1:-1]
    assert calendar.sessions_between(monday.close_ns - 1, monday.close_ns - 1) == [monday]


def test_outside_the_table_is_an_error_that_helps(calendar: MarketCalendar) -> None:
    """A date before the table names the table's first date; so does every question that reaches there."""
    early = dt.date(2009, 12, 31)
    with pytest.raises(UsageError, match="2009-12-31: the market calendar begins on 2010-01-01"):
        calendar.session_at(ist_ns(early, "10:00"))
    with pytest.raises(CalendarRangeError, match="2009-12-31"):
        calendar.sessions_between(ist_ns(early, "10:00"), ist_ns(dt.date(2011, 1, 3), "10:00"))
    with pytest.raises(CalendarRangeError, match="1970-01-01"):
        calendar.session_at(0)
    with pytest.raises(CalendarRangeError, match="since 1970"):
        calendar.session_at(10**30)


def test_ist_date_turns_at_midnight_in_india() -> None:
    """The date changes at 18:30 UTC."""
    midnight = ist_ns(dt.date(2021, 4, 2), "00:00")
    assert ist_date(midnight) == dt.date(2021, 4, 2)
    assert ist_date(midnight - 1) == dt.date(2021, 4, 1)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="recorded data is not here")
@pytest.mark.parametrize("name", ["NIFTY", "BANKNIFTY"])
def test_recorded_bars_lie_in_sessions(calendar: MarketCalendar, name: str) -> None:
    """Every recorded day is a session, every session without bars lies in a known gap of the recording."""
    parquet = pytest.importorskip("pyarrow.parquet")
    column = parquet.read_table(SHARED / f"{name}_1m_2012_2021.parquet", columns=["ts"])["ts"]
    stamps = column.to_numpy().astype("datetime64[ns]").astype(np.int64)
    outside = stamps[~calendar.in_session(stamps)]
    assert {ist_date(int(ts)) for ts in outside} <= days("2013-05-11", "2014-03-22", "2021-02-24")
    recorded = {ist_date(int(ts)) for ts in stamps}
    expected = {session.date for session in calendar.sessions_between(int(stamps.min()), int(stamps.max()))}
    assert recorded <= expected
    sessions = all_sessions(calendar)
    evenings = {day for day in expected if sessions[day].open_ns > ist_ns(day, "15:30")}
    gaps = {day for day in expected - recorded - evenings if (day.year, day.month) not in GAPS[name]}
    assert gaps == set()
