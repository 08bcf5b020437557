"""A day after the last one that NSE has confirmed is traded, squared off and verified like any other, and said so."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.core.events import Decision, Fill, OrderDenied
from daemon.market.calendar import ist_ns
from tests.samples import LIVELY, MINUTE, OPEN, journaled, play, wave, write_tape


def tape_of(path: Path, *days: dt.date) -> Path:
    """A swinging price on each of the days, from 09:15 to 15:30 whatever the calendar says."""
    times, prices = wave(375)
    offsets = [ist_ns(day, "09:15") - OPEN for day in days]
    return write_tape(path, [ts + offset for offset in offsets for ts in times], prices * len(days))


@pytest.mark.parametrize("year", [2027, 2028, 2029, 2030])
def test_an_unconfirmed_day_is_a_day(tmp_path: Path, year: int) -> None:
    """Fills, nothing held after square-off, no entry near the close, and a summary that tells of the doubt."""
    day = dt.date(year, 3, 1)
    while day.weekday() != 1:
        day += dt.timedelta(days=1)
    journal = tmp_path / "j.sqlite"
    replay, summary = play(tape_of(tmp_path / "t.parquet", day), *LIVELY, journal=journal)
    assert summary.fills > 0
    assert all(not entry.position for entry in replay.app.risk.book.symbols.values())
    fills = journaled(journal, Fill)
    assert fills[-1].ts < ist_ns(day, "15:15")
    assert summary.ticks_rejected["outside_session"] == 15 * 60 / 5
    assert [note for note in summary.notes if note.startswith(f"calendar: {year} is not confirmed")]
    assert not [event for event in journaled(journal, OrderDenied) if event.ts < ist_ns(day, "14:45")]
    assert main(["verify", str(journal)]) == 0


def test_the_turn_of_the_year(tmp_path: Path) -> None:
    """From the last confirmed day to the first that isn't; 2026 itself is not in doubt."""
    tape = tape_of(tmp_path / "t.parquet", dt.date(2026, 12, 31), dt.date(2027, 1, 1))
    replay, summary = play(tape, *LIVELY)
    assert [session.date.day for session in replay.app.feed.sessions] == [31, 1]  # type: ignore[union-attr]
    assert [note.split()[1] for note in summary.notes if note.startswith("calendar:")] == ["2027"]


def test_a_holiday_of_fixed_date_is_not_traded(tmp_path: Path) -> None:
    """Ticks on Republic Day are outside every session, also in a year that nobody confirmed."""
    tape = tape_of(tmp_path / "t.parquet", dt.date(2027, 1, 25), dt.date(2027, 1, 26))
    _, summary = play(tape, *LIVELY)
    assert summary.ticks_rejected["outside_session"] == (375 + 15) * 60 / 5


def test_a_special_session_of_the_file_is_traded_and_verified_without_it(tmp_path: Path) -> None:
    """A Saturday that only the calendar file knows; the journal remembers what the file said."""
    saturday, file, journal = dt.date(2026, 12, 26), tmp_path / "calendar.yaml", tmp_path / "j.sqlite"
    tape = tape_of(tmp_path / "t.parquet", saturday)
    file.write_text(f'sessions: [{{date: {saturday}, parts: [["09:15", "12:30"]], name: a test}}]\n')
    replay, summary = play(tape, *LIVELY, f"market.calendar_file={file}", journal=journal)
    assert summary.fills > 0
    assert all(not entry.position for entry in replay.app.risk.book.symbols.values())
    assert journaled(journal, Fill)[-1].ts < ist_ns(saturday, "12:30")
    assert max(event.ts for event in journaled(journal, Decision)) <= ist_ns(saturday, "12:30") + MINUTE
    file.unlink()
    assert main(["verify", str(journal)]) == 0
