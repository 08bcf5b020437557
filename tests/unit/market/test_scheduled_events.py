"""Scheduled events: the ramp of their impact, whom they touch, and files that are wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from daemon.core.errors import SettingsError
from daemon.market.scheduled_events import ScheduledEvents

IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
AT = dt.datetime(2026, 2, 6, 10, 0, tzinfo=IST)


def ts(minutes: float) -> int:
    """UTC nanoseconds so many minutes after the event."""
    return round((AT.timestamp() + minutes * 60) * 1e9)


def load(folder: Path, text: str) -> ScheduledEvents:
    """Read a file of this text."""
    path = folder / "events.yaml"
    path.write_text(text, encoding="utf-8")
    return ScheduledEvents.load(path)


POLICY = "- {at: 2026-02-06T10:00:00+05:30, impact: 0.8, before_minutes: 20, after_minutes: 40, name: policy}\n"


@pytest.mark.parametrize(
    ("minutes", "impact"),
    [(-21, 0), (-20, 0), (-10, 0.4), (-5, 0.6), (0, 0.8), (10, 0.6), (20, 0.4), (40, 0), (41, 0), (1e6, 0), (-1e6, 0)],
)
def test_impact_rises_and_falls_linearly(tmp_path: Path, minutes: float, impact: float) -> None:
    """From 0 at its beginning over its full value at its time to 0 at its end."""
    assert load(tmp_path, POLICY).impact("AAA", ts(minutes)) == pytest.approx(impact, abs=1e-9)


def test_defaults_of_the_ramp(tmp_path: Path) -> None:
    """Without lengths it is half an hour before and an hour after."""
    events = load(tmp_path, "- {at: 2026-02-06T10:00:00+05:30, impact: 1}\n")
    assert events.impact("AAA", ts(-15)) == pytest.approx(0.5)
    assert events.impact("AAA", ts(30)) == pytest.approx(0.5)


def test_symbols_limit_whom_an_event_touches(tmp_path: Path) -> None:
    """An event with symbols touches those, one without touches all, and of several the largest counts."""
    events = load(
        tmp_path,
        POLICY + "- {at: '2026-02-06T10:00:00+05:30', impact: 1, symbols: ['NSE:SBIN-EQ', 'NSE:TCS-EQ']}\n",
    )
    assert events.impact("NSE:SBIN-EQ", ts(0)) == pytest.approx(1.0)
    assert events.impact("NSE:INFY-EQ", ts(0)) == pytest.approx(0.8)
    only = load(tmp_path, "- {at: 2026-02-06 04:30Z, impact: 1e0, symbols: [X], name: on}\n")
    assert (only.impact("X", ts(0)), only.impact("Y", ts(0))) == (pytest.approx(1.0), 0.0)


def test_no_file_and_an_empty_file_have_no_impact(tmp_path: Path) -> None:
    """Neither is an error."""
    assert ScheduledEvents.load(None).impact("AAA", ts(0)) == 0.0
    assert load(tmp_path, "").impact("AAA", ts(0)) == 0.0
    assert load(tmp_path, "[]\n").impact("AAA", ts(0)) == 0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {at: 2026-02-06T10:00:00, impact: 1}", "UTC offset"),
        ("- {at: 2026-02-06T10:00:00+05:30, impact: 1.5}", "impact between 0 and 1, got 1.5"),
        (
            "- {at: 2026-02-06T10:00:00+05:30, impact: .nan}",
            "entry 1: impact: expected a number such as 1500 or 0.05, got '.nan'",
        ),
        ("- {at: 2026-02-06T10:00:00+05:30, impact: 1, before_minutes: 0}", "before_minutes and after_minutes above 0"),
        ("- {at: 2026-02-06T10:00:00+05:30, impact: 1, after_minutes: -3}", "above 0"),
        ("- {at: 2026-02-06T10:00:00+05:30, impact: 1, after_minutes: .inf}", "after_minutes: expected a number"),
        ("- {at: 2026-02-06T10:00:00+05:30, impact: 1, before_minutes: .nan}", "before_minutes: expected a number"),
        ("- {at: 2026-02-06T10:00:00+05:30}", "missing required field `impact`"),
        (
            "- {at: tomorrow, impact: 1}",
            "entry 1: at: expected a time with a UTC offset such as 2026-02-01T11:00+05:30, got 'tomorrow'",
        ),
        ("- {at: 2026-02-06T10:00:00+05:30, impakt: 1}", "impakt"),
        ("events: {a: 1}", "Expected `array`"),
        ("- {at: [", "not valid YAML"),
        (
            "- {at: 2026-02-06T10:00:00+05:30, impact: 1, impact: 0}",
            "column 46 is not valid YAML: impact is set",
        ),
        ("- {at: 2026-13-06T10:00:00+05:30, impact: 1}", "at: expected a time with a UTC offset"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    """The message names the key, the file and what is wrong, on one line."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"complexity_detection.events_file: {tmp_path / 'events.yaml'}")
    assert says in message
    assert "\n" not in message


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    """Missing, a directory, or not text: one line that names it."""
    with pytest.raises(SettingsError, match=r"none\.yaml: No such file"):
        ScheduledEvents.load(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="is a directory, expected a regular file"):
        ScheduledEvents.load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x00\x80")
    with pytest.raises(SettingsError, match=r"binary\.yaml: is not UTF-8 text"):
        ScheduledEvents.load(tmp_path / "binary.yaml")
