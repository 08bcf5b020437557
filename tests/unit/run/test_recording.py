"""Which recordings a daemon that is started again goes on from, and how a recording without one ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from daemon.core.clock import DAY_NS, ReplayClock, wall_ns
from daemon.core.errors import Unavailable
from daemon.core.growing import DiskFile
from daemon.machine import Machine
from daemon.market.calendar import ist_date
from daemon.run.recording import record_only, reels_of_today, wants_recorder
from daemon.tape.recorded import reel_path
from tests.samples import settings_of, wave, write_tape


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


@pytest.mark.parametrize(
    ("changes", "recorded"),
    [
        (("feed.source=fyers",), True),
        (("feed.source=fyers", "feed.rehearse=true"), False),
        (("feed.source=fyers", "feed.rehearse=true", "feed.record.when=always"), True),
        (("feed.source=fyers", "feed.record.when=never"), False),
        ((), False),
    ],
)
def test_a_rehearsal_gets_into_no_recording_unasked(changes: tuple[str, ...], *, recorded: bool) -> None:
    """It plays a day whose own tape may lie there: its ticks would be added to it."""
    assert wants_recorder(settings_of(*changes)) == recorded


GOES_ON = threading.Event()


class Hanging(DiskFile):
    """On a disk that hangs after the reel's head."""

    def write(self, content: bytes, at: int) -> int:
        """Once the disk goes on."""
        if at:
            GOES_ON.wait()
        return super().write(content, at)


async def test_a_recording_on_a_disk_that_hangs_comes_to_an_end(tmp_path: Path) -> None:
    """The feed is played to its end, what is not on the disk is told, and the next one seals what is."""
    tape = write_tape(tmp_path / "t.parquet", *wave(10))
    settings = settings_of(f"feed.tape=[{tape}]", f"feed.record.path={tmp_path}/tapes", "feed.speed=20000")
    GOES_ON.clear()
    with pytest.raises(
        Unavailable, match=r"not brought to its end \(no answer for 0.5 s\): 120 ticks are not on the disk"
    ):
        await record_only(settings, asyncio.Event(), Machine(file=Hanging), end_s=0.5)
    GOES_ON.set()
