"""Which recordings a daemon that is started again goes on from."""

from __future__ import annotations

from pathlib import Path

from daemon.core.clock import DAY_NS, ReplayClock, wall_ns
from daemon.machine import Machine
from daemon.market.calendar import ist_date
from daemon.run.recording import reels_of_today
from daemon.tape.recorded import reel_path
from tests.samples import settings_of


def test_those_of_today(tmp_path: Path) -> None:
    """In the order in which they were begun; none where nothing is recorded or the place isn't there."""
    now = wall_ns()
    today, yesterday = (ist_date(ts).isoformat() for ts in (now, now - DAY_NS))
    names = [reel_path(tmp_path, day, begun) for day, begun in ((today, 30), (today, 7), (yesterday, 9))]
    for name in names:
        name.touch()
    clock = ReplayClock()
    clock.advance(now)
    record = f"feed.record.path={tmp_path}"
    assert reels_of_today(settings_of("feed.record.when=always", record), clock, Machine()) == [names[1], names[0]]
    assert reels_of_today(settings_of("feed.record.when=never", record), clock, Machine()) == []
    assert reels_of_today(settings_of("feed.record.when=always", f"{record}/nowhere"), clock, Machine()) == []
