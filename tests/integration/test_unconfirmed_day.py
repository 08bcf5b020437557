"""The daemon as a process on a day that NSE has not confirmed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from daemon.core.events import Fill, PositionChanged
from daemon.market.calendar import ist_ns
from tests.integration.daemons import PATIENCE_S, running
from tests.samples import LIVELY, OPEN, journaled, wave, write_tape

DAY = dt.date(2027, 3, 2)


def test_it_trades_says_so_once_and_squares_off(tmp_path: Path) -> None:
    """One warning in the log, the same in status; flat before the close, exit 0."""
    times, prices = wave(375, every_s=20)
    offset = ist_ns(DAY, "09:15") - OPEN
    tape = write_tape(tmp_path / "t.parquet", [ts + offset for ts in times], prices)
    calm = ("risk.stale_after_s=100000", "strategy.no_entries_minutes=60", "strategy.square_off_minutes=60")
    changes = (*LIVELY, *calm, "feed.speed=1200")  # an hour to square off in: a slow machine's hiccup is minutes
    with running(tmp_path, tape, *changes) as daemon:
        status = daemon.until("a position", lambda: (found := daemon.status())["open_positions"] and found)
        (note,) = status["notes"]
        assert note.startswith("calendar: 2027 is not confirmed")
        assert status["session"] == "open until 15:15 IST, not confirmed"
        assert daemon.process.wait(PATIENCE_S) == 0
        assert [line["level"] for line in daemon.log if line["event"] == note] == ["warning"]
    assert journaled(daemon.journal, PositionChanged)[-1].quantity == 0
    assert journaled(daemon.journal, Fill)[-1].ts < ist_ns(DAY, "15:15")
