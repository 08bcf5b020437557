"""Hours of other segments: those of a source, and nothing else."""

from __future__ import annotations

import datetime as dt

import pytest

from daemon.core.errors import UsageError
from daemon.market.segments import hours


@pytest.mark.parametrize(
    ("segment", "day", "expected"),
    [
        ("MCX", "2023-11-06", ("09:00", "23:55")),
        ("MCX", "2024-03-11", ("09:00", "23:30")),
        ("MCX", "2024-11-01", ("09:00", "23:30")),
        ("MCX", "2019-11-04", ("09:00", "23:55")),
        ("MCX", "2017-03-13", ("10:00", "23:30")),
        ("BSE equity", "2025-01-06", ("09:15", "15:30")),
        ("NSE F&O", "2026-08-03", ("09:15", "15:40")),
        ("NSE F&O", "2026-07-31", ("09:15", "15:30")),
        ("CDS", "2026-01-06", ("09:00", "17:00")),
        ("MCX", "2026-01-01", ("09:00", "17:00")),
        ("MCX", "2026-03-03", ("17:00", "23:55")),
        ("MCX", "2026-09-14", ("17:00", "23:30")),
    ],
)
def test_hours_of_a_day(segment: str, day: str, expected: tuple[str, str]) -> None:
    """MCX's close follows New York's clocks; on most holidays it trades in the evening."""
    assert hours(segment, dt.date.fromisoformat(day)) == expected


@pytest.mark.parametrize(
    ("segment", "day", "why"),
    [
        ("NCDEX", "2025-01-06", "NCDEX: no hours are known; there are NSE F&O"),
        ("CDS", "2025-01-06", "CDS: the hours on 2025-01-06 aren't known"),
        ("MCX", "2026-01-26", "MCX: closed on 2026-01-26, Republic Day"),
        (
            "MCX",
            "2026-01-15",
            "MCX: the hours on 2026-01-15, Municipal corporation elections in Maharashtra, aren't known",
        ),
        ("MCX", "2018-06-04", "MCX: the hours on 2018-06-04 aren't known"),
        ("MCX", "2016-06-06", "aren't known"),
        ("BSE F&O", "2026-08-03", "aren't known"),
        ("MCX", "2025-01-04", "2025-01-04 is a Saturday"),
    ],
)
def test_what_nobody_told_is_refused(segment: str, day: str, why: str) -> None:
    """In one line."""
    with pytest.raises(UsageError, match=why):
        hours(segment, dt.date.fromisoformat(day))
