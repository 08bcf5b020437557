"""The recorder: everything that it is given is kept, or counted and said to be missing."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.core.clock import NS_PER_S
from daemon.core.errors import UsageError
from daemon.core.events import FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.core.growing import DiskFile
from daemon.core.threads import Turn
from daemon.market.calendar import MarketCalendar
from daemon.tape.format import TapeReader
from daemon.tape.marks import Mark, marks_of
from daemon.tape.recorded import prune, reel_path, reels_by_day, tape_path
from daemon.tape.recorder import AGAIN_NS, QUIET_NS, Recorder, _inspect
from daemon.tape.reel import ReelReader, ReelWriter
from tests.samples import CLOSE, DAY, MINUTE, OPEN, SBIN, tick, ticks, write_tape

TODAY, TOMORROW = "2026-01-05", "2026-01-06"
PATIENCE_S = 30.0
CALENDAR = MarketCalendar()


def open_recorder(directory: Path, *, queue_ticks: int = 10_000, keep_days: int = 0) -> Recorder:
    """One that flushes often."""
    return Recorder(directory, CALENDAR, flush_s=0.01, queue_ticks=queue_ticks, keep_days=keep_days)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """One in a directory of its own."""
    opened = open_recorder(tmp_path / "tapes")
    yield opened
    opened.close()


def until(look: Callable[[], object]) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, "it never came"
        threading.Event().wait(0.005)


def on_tape(directory: Path, day: str = TODAY) -> list[int]:
    """`ts_event` of every tick of a sealed day."""
    reader = TapeReader([tape_path(directory, day)])
    return [int(ts) for batch in reader.batches(4096) for ts in batch.ts_event]


def told(directory: Path, day: str = TODAY) -> list[str]:
    """Why ticks are missing, by the tape's notes."""
    return [mark.status.reason for mark in marks_of(TapeReader([tape_path(directory, day)]).notes)]


def some(n: int, first_ts: int = OPEN) -> TickBatch:
    """`n` ticks a second apart."""
    return ticks([first_ts + i * NS_PER_S for i in range(n)], [800.0] * n)


def test_a_session_is_sealed_when_it_is_over(recorder: Recorder, tmp_path: Path) -> None:
    """At the close and a quiet while after it; until then the ticks lie in a reel, on the disk."""
    directory = tmp_path / "tapes"
    recorder.record(some(10))
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    until(lambda: recorder.recorded == 10)
    assert [path.name[:10] for path in reels_by_day(directory)[TODAY]] == [TODAY]
    assert not tape_path(directory, TODAY).exists()
    recorder.on_time(TimeAdvanced(ts=CLOSE + QUIET_NS))
    until(lambda: not reels_by_day(directory))
    assert on_tape(directory) == [OPEN + i * NS_PER_S for i in range(10)]
    assert (recorder.recorded, recorder.lost, recorder.trouble) == (10, 0, "")


def test_receipts_are_of_the_venue_s_time(recorder: Recorder, tmp_path: Path) -> None:
    """A clock that was hours ahead for a while makes no tick of the day late, and seals nothing before the close."""
    directory, ahead = tmp_path / "tapes", 3 * 60 * MINUTE
    recorder.venue_time = lambda ts: ts - ahead
    early = ticks([OPEN], [800.0], ts_recv=[OPEN + ahead])
    recorder.on_time(TimeAdvanced(ts=CLOSE + QUIET_NS))
    recorder.record(early)
    recorder.note(FeedStatus(ts=OPEN + ahead + 1, state=FeedState.STALE, symbol=None, reason="time is in doubt"))
    recorder.venue_time = lambda ts: ts
    recorder.record(ticks([OPEN + MINUTE], [800.0], ts_recv=[OPEN + MINUTE]))
    until(lambda: recorder.recorded == 2)
    recorder.on_time(TimeAdvanced(ts=CLOSE + QUIET_NS))
    until(lambda: not reels_by_day(directory))
    reader = TapeReader([tape_path(directory, TODAY)])
    assert [int(ts) for batch in reader.batches(4096) for ts in batch.ts_recv] == [OPEN, OPEN + MINUTE]
    (mark,) = marks_of(reader.notes)
    assert mark.status.ts == OPEN + 1


def test_a_day_ends_where_india_says(recorder: Recorder, tmp_path: Path) -> None:
    """A batch over midnight is two days' ticks; the first day is sealed once the second has begun trading."""
    midnight = OPEN + DAY - (9 * 60 + 15) * MINUTE
    recorder.record(some(4, midnight - 2 * NS_PER_S))
    recorder.on_time(TimeAdvanced(ts=OPEN + DAY))
    recorder.record(some(3, OPEN + DAY))
    recorder.on_time(TimeAdvanced(ts=CLOSE + DAY))
    recorder.close()
    directory = tmp_path / "tapes"
    assert on_tape(directory) == [midnight - 2 * NS_PER_S, midnight - NS_PER_S]
    assert on_tape(directory, TOMORROW)[:2] == [midnight, midnight + NS_PER_S]
    assert len(on_tape(directory, TOMORROW)) == 5


def test_a_stop_during_the_session_leaves_a_reel(tmp_path: Path) -> None:
    """It ended in order, and the next start of the day goes on beside it; the tape says that there was a pause."""
    first = open_recorder(tmp_path)
    first.record(some(5))
    first.on_time(TimeAdvanced(ts=OPEN + MINUTE))
    first.close()
    (path,) = reels_by_day(tmp_path)[TODAY]
    reader = ReelReader(path)
    assert sum(len(item) for item in reader if isinstance(item, TickBatch)) == 5
    assert reader.ended
    second = open_recorder(tmp_path)  # by its own clock the day is over, and so it seals what was left
    second.record(some(5, OPEN + 2 * MINUTE))
    second.on_time(TimeAdvanced(ts=CLOSE))
    second.close()
    assert len(on_tape(tmp_path)) == 10
    assert told(tmp_path) == ["the recording was paused here"]


def test_what_a_crash_left_is_sealed_at_the_next_start(tmp_path: Path) -> None:
    """A reel without an end, and with half a frame: what is whole is on the tape, and the tape says so."""
    path = reel_path(tmp_path, TODAY, 1)
    writer = ReelWriter(path)
    writer.append([some(5)])
    writer.abandon()
    with path.open("ab") as stream:
        stream.write(b"T half a frame")
    open_recorder(tmp_path).close()
    assert on_tape(tmp_path) == [OPEN + i * NS_PER_S for i in range(5)]
    assert told(tmp_path) == ["the recording was cut off here"]
    assert reels_by_day(tmp_path) == {}


def test_a_full_queue_is_counted_and_said(tmp_path: Path) -> None:
    """More ticks than the disk takes: those beyond the bound are lost, counted, and the tape says from when on."""
    recorder = Recorder(tmp_path, CALENDAR, flush_s=PATIENCE_S, queue_ticks=10, keep_days=0)
    recorder.record(some(8))
    recorder.record(some(4, OPEN + MINUTE))
    recorder.record(some(1, OPEN + 2 * MINUTE))
    recorder.record(some(1, OPEN + 3 * MINUTE))
    assert recorder.lost == 4
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert recorder.recorded == 10
    (mark,) = marks_of(TapeReader([tape_path(tmp_path, TODAY)]).notes)
    assert (mark.place, mark.status.state) == (OPEN + 7 * NS_PER_S, FeedState.STALE)
    assert mark.status.reason == "4 ticks were not recorded: the disk was too slow"


def test_a_disk_that_fails_stops_the_recording_until_it_works_again(recorder: Recorder, tmp_path: Path) -> None:
    """Nothing is raised; ticks meanwhile are counted as lost, trouble is said and goes, and the tape has the hole."""
    directory = tmp_path / "tapes"
    directory.rename(tmp_path / "unplugged")
    recorder.record(some(3))
    until(lambda: recorder.trouble)
    assert "No such file" in recorder.trouble
    assert (recorder.recorded, recorder.lost) == (0, 3)
    (tmp_path / "unplugged").rename(directory)
    recorder.record(some(4, OPEN + MINUTE))
    until(lambda: not recorder.trouble)
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert (recorder.recorded, recorder.lost) == (4, 3)
    assert len(on_tape(directory)) == 4
    assert told(directory) == ["ticks were not recorded: the disk failed or was full"]


def test_a_disk_that_works_again_is_seen_without_ticks(recorder: Recorder, tmp_path: Path) -> None:
    """It failed just before the close: nothing comes any more, and yet the trouble ends and the hole is told."""
    directory = tmp_path / "tapes"
    recorder.record(some(2))
    until(lambda: recorder.recorded)
    (directory / ".lock").unlink()
    for path in directory.iterdir():
        path.unlink()
    directory.rename(tmp_path / "unplugged")
    recorder.record(some(3, OPEN + DAY))  # a new day is a new reel
    until(lambda: recorder.trouble)
    (tmp_path / "unplugged").rename(directory)
    until(lambda: not recorder.trouble)
    assert (recorder.recorded, recorder.lost) == (0, 5)  # those of the day before were deleted
    ((day, (path,)),) = reels_by_day(directory).items()
    assert (day, [item.status.reason for item in ReelReader(path) if isinstance(item, Mark)]) == (
        TOMORROW, ["ticks were not recorded: the disk failed or was full"],
    )  # fmt: skip


def test_a_reel_that_is_deleted_is_lost_and_told(recorder: Recorder, tmp_path: Path) -> None:
    """Nothing more goes into a file that nobody will find: all of it counts as lost, and the day goes on in another."""
    directory = tmp_path / "tapes"
    recorder.record(some(2))
    until(lambda: recorder.recorded)
    ((path,),) = reels_by_day(directory).values()
    path.unlink()
    recorder.record(some(3, OPEN + MINUTE))
    until(lambda: recorder.lost)
    until(lambda: not recorder.trouble)
    recorder.record(some(4, OPEN + 2 * MINUTE))
    until(lambda: recorder.recorded)
    assert (recorder.recorded, recorder.lost) == (4, 5)
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert len(on_tape(directory)) == 4
    assert told(directory) == ["ticks were not recorded: the disk failed or was full"]


def test_a_reel_that_is_deleted_at_the_end_is_told(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing comes any more, and its end mark has no place: no tape is sealed, and the log says why."""
    recorder.record(some(2))
    until(lambda: recorder.recorded)
    for (path,) in reels_by_day(tmp_path / "tapes").values():
        path.unlink()
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert (recorder.recorded, recorder.lost) == (0, 2)
    assert "a recording is gone" in capsys.readouterr().out


class Turns:
    """Implements `Hand`: whoever tests takes the turns."""

    lock: AbstractContextManager[object] = nullcontext()

    def __init__(self) -> None:
        self.turn: Turn = lambda: None
        self.alive = True

    def begin(self, turn: Turn) -> None:
        """Wait for the test."""
        self.turn = turn

    def wake(self) -> None:
        """The test knows."""

    def join(self, wait_s: float | None = None) -> bool:
        """The last turn."""
        while self.turn() is not None:
            pass
        return True


class FailingFile(DiskFile):
    """A file that can't be written so many times."""

    failures = 0

    def write(self, content: bytes, at: int) -> int:
        """Write, or fail."""
        if FailingFile.failures:
            FailingFile.failures -= 1
            raise OSError(errno.EIO, "Input/output error")
        return super().write(content, at)


def on_failing_files(directory: Path, hand: Turns) -> Recorder:
    """A recorder that has kept four ticks."""
    recorder = Recorder(
        directory, CALENDAR, flush_s=1.0, queue_ticks=1000, keep_days=0, hand=lambda name: hand, create=FailingFile,
        now_ns=lambda: OPEN + MINUTE,
    )  # fmt: skip
    recorder.record(some(4))
    hand.turn()
    return recorder


def test_a_reel_that_owes_a_word_of_what_is_missing_does_not_end_in_order(tmp_path: Path) -> None:
    """The disk fails at the last ticks and at what is said of them, and works for the end mark alone."""
    hand = Turns()
    recorder = on_failing_files(tmp_path, hand)
    recorder.record(some(3, OPEN + MINUTE))
    FailingFile.failures = 2
    hand.turn()
    assert recorder.trouble
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert (FailingFile.failures, recorder.recorded, recorder.lost) == (0, 4, 3)
    assert told(tmp_path) == ["the recording was cut off here"]


def test_a_status_that_could_not_be_kept_is_a_hole(tmp_path: Path) -> None:
    """No tick is lost with it, but a replay would take the bars there for whole."""
    hand = Turns()
    recorder = on_failing_files(tmp_path, hand)
    recorder.note(FeedStatus(ts=OPEN + 5 * NS_PER_S, state=FeedState.STALE, symbol=SBIN, reason="silent"))
    FailingFile.failures = 1
    hand.turn()
    hand.turn()
    assert (recorder.trouble, recorder.lost) == ("", 0)
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert told(tmp_path) == ["ticks were not recorded: the disk failed or was full"]


class FrozenFile(DiskFile):
    """On a disk that hangs until a test says otherwise."""

    goes_on = threading.Event()

    def write(self, content: bytes, at: int) -> int:
        """Once the disk goes on."""
        self.goes_on.wait()
        return super().write(content, at)


def test_a_disk_that_hangs_is_a_trouble_until_it_goes_on(tmp_path: Path) -> None:
    """Nothing is lost that the queue holds."""
    FrozenFile.goes_on.clear()
    recorder = Recorder(
        tmp_path, CALENDAR, flush_s=0.01, queue_ticks=1000, keep_days=0, create=FrozenFile,
        now_ns=lambda: OPEN + MINUTE, stands_s=0.05,
    )  # fmt: skip
    recorder.record(some(4))
    deadline = time.monotonic() + 30
    while recorder.trouble != f"recording to {tmp_path}: its disk has given no answer for more than 0.05 s":
        assert time.monotonic() < deadline, recorder.trouble
    FrozenFile.goes_on.set()
    while recorder.trouble:
        assert time.monotonic() < deadline, recorder.trouble
    recorder.close()
    assert (recorder.recorded, recorder.lost) == (4, 0)


@pytest.mark.parametrize("back_ns", [NS_PER_S, 2 * 3600 * NS_PER_S])
def test_reels_lie_in_the_order_in_which_they_were_begun(tmp_path: Path, back_ns: int) -> None:
    """Also where the machine's clock was set back between two of them."""
    for number, now in enumerate((OPEN, OPEN - back_ns, OPEN - 2 * back_ns)):
        recorder = Recorder(
            tmp_path, CALENDAR, flush_s=1.0, queue_ticks=1000, keep_days=0, now_ns=lambda now=now: now
        )  # fmt: skip
        recorder.record(some(1, OPEN + number * MINUTE))
        recorder.close()
    reels = reels_by_day(tmp_path)[TODAY]
    found = [int(item.ts_event[0]) for path in reels for item in ReelReader(path) if isinstance(item, TickBatch)]
    assert found == [OPEN, OPEN + MINUTE, OPEN + 2 * MINUTE]


def test_a_reel_is_never_named_as_one_that_is_sealed(tmp_path: Path) -> None:
    """The machine comes back with the clock that it had: what is recorded then is put into the tape, too."""
    for number in range(2):
        recorder = Recorder(tmp_path, CALENDAR, flush_s=1.0, queue_ticks=1000, keep_days=0, now_ns=lambda: OPEN)
        recorder.record(some(3, OPEN + number * MINUTE))
        recorder.on_time(TimeAdvanced(ts=CLOSE))
        recorder.close()
    assert len(on_tape(tmp_path)) == 6


@pytest.mark.parametrize("waits", [True, False], ids=["in time", "at the end"])
def test_a_day_that_could_not_be_sealed_is_tried_again(tmp_path: Path, *, waits: bool) -> None:
    """After a while, and as the run ends; not with the next day's first tick alone."""
    hand, now = Turns(), [OPEN]
    recorder = Recorder(
        tmp_path, CALENDAR, flush_s=1.0, queue_ticks=1000, keep_days=0, hand=lambda name: hand, now_ns=lambda: now[0]
    )  # fmt: skip
    recorder.record(some(3))
    in_the_way = tmp_path / f".{TODAY}.parquet.new"
    in_the_way.mkdir()
    recorder.on_time(TimeAdvanced(ts=CLOSE + QUIET_NS))
    with capture_logs() as logs:
        hand.turn()
        until(lambda: [line["event"] for line in logs] == ["a day could not be sealed, its reels are kept"])
    in_the_way.rmdir()
    hand.turn()
    if waits:
        now[0] += AGAIN_NS
        hand.turn()
        until(lambda: tape_path(tmp_path, TODAY).exists())
    recorder.close()
    assert len(on_tape(tmp_path)) == 3


def test_statuses_keep_their_place(recorder: Recorder, tmp_path: Path) -> None:
    """What the feed says of itself is on the tape, but for its end."""
    said = [
        FeedStatus(ts=OPEN + number, state=state, symbol=SBIN, reason=state.value)
        for number, state in enumerate(FeedState)
    ]
    recorder.record(tick(OPEN, 800.0))
    for status in said:
        recorder.note(status)
    recorder.on_time(TimeAdvanced(ts=CLOSE))
    recorder.close()
    assert told(tmp_path / "tapes") == ["connected", "stale"]


def test_one_process_records_in_a_directory(recorder: Recorder, tmp_path: Path) -> None:
    """A second one is told so in one line; when the first has let go it may."""
    with pytest.raises(UsageError, match=r"feed\.record\.path: another process records in"):
        open_recorder(tmp_path / "tapes")
    recorder.close()
    open_recorder(tmp_path / "tapes").close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"feed\.record\.path: .*file can't be written"):
        open_recorder(tmp_path / "file")


def test_old_tapes_are_deleted_where_that_is_asked_for(tmp_path: Path) -> None:
    """Those more than so many days older than the newest, and nothing that is named otherwise."""
    for name in ("2026-01-01", "2026-01-02", "2026-01-05", "mine"):
        write_tape(tmp_path / f"{name}.parquet", [OPEN], [800.0])
    assert prune(tmp_path, TODAY, 0) == []
    assert prune(tmp_path, TODAY, 3) == ["2026-01-01"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["2026-01-02", "2026-01-05", "mine"]


def test_an_old_tape_that_cannot_be_deleted_is_said(tmp_path: Path) -> None:
    """Whoever looks after the disk must hear of it."""
    directory = tmp_path / "tapes"
    tape_path(directory, "2025-12-01").mkdir(parents=True)
    with capture_logs() as logs:
        recorder = open_recorder(directory, keep_days=5)
        recorder.record(some(3))
        recorder.on_time(TimeAdvanced(ts=CLOSE + QUIET_NS))
        recorder.close()
    assert len(on_tape(directory)) == 3
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["an old tape could not be deleted"]


def test_a_reel_that_can_not_be_looked_at_ends_no_thread(tmp_path: Path) -> None:
    """Who seals goes on with the other days, and says what it couldn't read."""
    (tmp_path / "away").symlink_to(tmp_path / "away")
    with capture_logs() as logs:
        _inspect(tmp_path / "away" / "2026-01-05.1.ticks")
    assert [line["event"] for line in logs] == ["a recording can't be read"]
