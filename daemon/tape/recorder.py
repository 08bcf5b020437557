"""Raw ticks, as a feed hands them over → a tape a day, whatever happens to the process or the disk.

`record` and `note` (on the loop, microseconds) queue; one hand appends to the day's reel and waits for the disk
every `flush_s`; a worker seals a day that is over into its tape. Invariant: nothing here makes the loop wait or raises
into it; what could not be kept (the queue was full, the disk was) is counted, and the tape says where it is missing.

A replay cuts a tape by `ts_recv`. Its bars are those that were made live when the feed keeps its promises: what is due
is told before later ticks, and ticks after a `TimeAdvanced` or a `FeedStatus` were received later than it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import structlog

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_S, stopwatch_ns, wall_ns
from daemon.core.errors import TapeError
from daemon.core.events import FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.core.files import is_there
from daemon.core.growing import DiskFile, GrowingFile
from daemon.core.threads import Hand, ThreadHand, ThreadWorker, Worker
from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_date, ist_ns
from daemon.tape.marks import Mark, hole
from daemon.tape.recorded import RecordedDirectory, next_reel, prune, reels_by_day
from daemon.tape.reel import ReelReader, ReelWriter
from daemon.tape.sealing import Sealed, seal, sealed_reels

log = structlog.get_logger("recorder")

QUIET_NS = 900 * NS_PER_S
"""A day is sealed when its session is over and no tick has come for so long (some come after the close)."""
AGAIN_NS = 600 * NS_PER_S
"""A day that couldn't be sealed is tried again after so long."""
STANDS_S = 15.0
"""A disk that has given no answer for so long takes no ticks."""
HURRY_TICKS = 65_536
"""So many queued ticks are written before their time."""


class Recorder:
    """Keeps every tick that it is given. `record`, `note` and `on_time` belong to one thread, the loop's."""

    def __init__(
        self, directory: Path, calendar: MarketCalendar, *, flush_s: float, queue_ticks: int, keep_days: int,
        hand: Callable[[str], Hand] = ThreadHand, worker: Callable[[str], Worker] = ThreadWorker,
        create: Callable[[Path], GrowingFile] = DiskFile, now_ns: Callable[[], int] = wall_ns,
        stands_s: float = STANDS_S,
    ) -> None:  # fmt: skip
        """Open the directory and seal what earlier runs left. Raises `UsageError` where it can't be used.

        `hand` writes the files that `create` makes, `worker` seals, and `now_ns` is the wall clock. A disk that
        gives no answer for `stands_s` is a trouble.
        """
        self.venue_time: Callable[[int], int] = lambda ts: ts
        """The venue's time at a moment of the clock's: receipts that are hours wrong would make a day's ticks late."""
        self._directory = RecordedDirectory(directory)
        self.path = directory
        self._calendar = calendar
        self._flush_s, self._queue_ticks, self._keep_days = flush_s, queue_ticks, keep_days
        self._queue: deque[TickBatch | Mark] = deque()  # append and popleft are atomic: one side each
        self._given = self._taken = self._written = self._refused = self._lost = 0
        self._untold_refusals = 0
        self._in_reel = 0  # of the written ones, in the reel that is open
        self._now = self._newest = 0  # told, and received, as the loop knows it
        self._last_ts = 0  # as the writer does
        self._day = ""
        self._reel: ReelWriter | None = None
        self._trouble = ""
        self._stands_s, self._asked_ns = stands_s, 0  # when the writer's hand took up what it does on the disk
        self._untold: Mark | None = None  # of the writer: ticks that a full disk cost
        self._closing = False
        self._create, self._wall_ns = create, now_ns
        self._unsealed: dict[str, int] = {}  # days that couldn't be, and when (UTC ns)
        self._sealer = worker("seal")
        self._seal_what_is_over(now_ns())
        self._look_at_what_is_left()
        self._hand = hand("recorder")
        self._hand.begin(self._turn)

    @property
    def given(self) -> int:
        """Ticks that it was handed: recorded, lost, or still to be written."""
        return self._given + self._refused

    @property
    def recorded(self) -> int:
        """Ticks that are on the disk."""
        return self._written

    @property
    def lost(self) -> int:
        """Ticks that were not kept: the queue was full, or the disk was."""
        return self._refused + self._lost

    @property
    def trouble(self) -> str:
        """Why nothing can be written at the moment, "" where it can."""
        if not self._hand.alive and not self._closing:
            return f"recording to {self.path}: the writer has ended"
        asked_ns = self._asked_ns
        if asked_ns and stopwatch_ns() - asked_ns > self._stands_s * NS_PER_S:
            return f"recording to {self.path}: its disk has given no answer for more than {self._stands_s:g} s"
        return self._trouble

    def record(self, batch: TickBatch) -> None:
        """Queue ticks in the order of their receipt."""
        n = len(batch)
        if n == 0:
            return
        if self._given - self._taken + n > self._queue_ticks:
            self._untold_refusals += n
            self._refused += n
            return
        self._tell_gap()
        received = int(batch.ts_recv[0])
        apart = self.venue_time(received) - received
        if apart:
            batch = msgspec.structs.replace(batch, ts_recv=batch.ts_recv + apart)
        self._newest = max(self._newest, int(batch.ts_recv[-1]))
        self._given += n
        self._queue.append(batch)
        if self._given - self._taken >= HURRY_TICKS:
            self._hand.wake()

    def note(self, status: FeedStatus) -> None:
        """Queue what the feed says of itself, so that a replay can repeat it; its end needs no repeating."""
        if status.state is not FeedState.ENDED and status.ts:
            status = msgspec.structs.replace(status, ts=self.venue_time(status.ts))
            self._queue.append(Mark(status=status, told=self._now, after=self._newest))

    def on_time(self, advanced: TimeAdvanced) -> None:
        """Time has come to `advanced.ts`: a day may be over."""
        self._now = self.venue_time(advanced.ts)

    def close(self) -> None:
        """Write what is queued, seal the day if its session is over, let go; calling it again does nothing."""
        with self._hand.lock:
            if self._closing:
                return
            self._tell_gap()
            self._closing = True
            self._hand.wake()
        self._hand.join()
        self._sealer.end(wait=True)
        self._directory.release()

    def _tell_gap(self) -> None:
        count, self._untold_refusals = self._untold_refusals, 0
        if count:
            log.error("ticks were not recorded: the disk is too slow", path=str(self.path), ticks=count)
            self._queue.append(hole(self._newest, f"{count} ticks were not recorded: the disk was too slow"))

    # -- the writer's hand ---------------------------------------------------------------------------------------------

    def _turn(self) -> float | None:
        """Write what is queued; seconds of rest, None after the last turn."""
        with self._hand.lock:
            closing = self._closing
        now = self._now  # before the queue is emptied: what was given by then is written before the day can end
        parts = list(self._by_day([self._queue.popleft() for _ in range(len(self._queue))]))
        if not parts and self._trouble:  # whether the disk works again is not left to the next tick, maybe tomorrow's
            parts = [(self._day, [])]
        self._asked_ns = stopwatch_ns()
        try:
            for day, items in parts:
                self._append(day, items)
            self._end_day(now, orderly_stop=closing)
            self._seal_again(at_once=closing and not self._queue)
        finally:
            self._asked_ns = 0
        if closing and not self._queue:
            return None
        return 0.0 if closing or self._given - self._taken >= HURRY_TICKS else self._flush_s

    def _by_day(self, items: list[TickBatch | Mark]) -> Iterator[tuple[str, list[TickBatch | Mark]]]:
        """Queued items in their order, cut where a day in India ends."""
        day, part = self._day, list[TickBatch | Mark]()
        for item in items:
            for piece in _days_of(item) if isinstance(item, TickBatch) else [item]:
                ts = int(piece.ts_recv[0]) if isinstance(piece, TickBatch) else max(piece.place, piece.status.ts)
                own = ist_date(ts).isoformat()
                if own > day:
                    if part:
                        yield day, part
                    day, part = own, []
                part.append(piece)
        if part:
            yield day, part

    def _append(self, day: str, items: list[TickBatch | Mark]) -> None:
        """Write, and wait for the disk. What a disk that fails costs is counted, and told when it works again."""
        ticks = [item for item in items if isinstance(item, TickBatch)]
        count = sum(map(len, ticks))
        try:
            reel = self._open(day)
            reel.append(items if self._untold is None else [self._untold, *items])
        except OSError as error:
            if not self._trouble:
                log.error("recording stopped, trading goes on", path=str(self.path), error=error.strerror or str(error))
            self._trouble = f"recording to {self.path}: {error.strerror or error}"
            self._lost += count
            if isinstance(error, FileNotFoundError):
                self._forget()
            if items and self._untold is None:
                self._untold = hole(self._last_ts, "ticks were not recorded: the disk failed or was full")
        else:
            if self._trouble:
                log.warning("recording again", path=str(self.path), lost=self.lost)
            self._trouble, self._untold = "", None
            self._written += count
            self._in_reel += count
        self._taken += count
        if ticks:
            self._last_ts = max(self._last_ts, int(ticks[-1].ts_recv[-1]))

    def _forget(self) -> None:
        """The open reel was taken away, with all that was in it: the next turn begins another."""
        reel, self._reel = self._reel, None
        if reel is not None:
            reel.abandon()
            self._written -= self._in_reel
            self._lost += self._in_reel

    def _open(self, day: str) -> ReelWriter:
        """The reel of `day`, a new one where none is open; the one of an earlier day ends."""
        if self._reel is None or day != self._day:
            self._finish()
            self._day, self._in_reel = day, 0
            self._reel = ReelWriter(next_reel(self.path, day, self._wall_ns(), self._known(day)), self._create)
            for earlier in self._reels():
                if earlier < day:
                    self._submit(earlier)
        return self._reel

    def _known(self, day: str) -> list[str]:
        """Names of the day's reels, those included that are in its tape by now."""
        sealed: tuple[str, ...] = ()
        with contextlib.suppress(TapeError, OSError):  # a tape that can't be read takes no reel in either
            sealed = sealed_reels(self.path, day)
        return [*sealed, *(path.name for path in self._reels().get(day, []))]

    def _finish(self) -> None:
        """End the open reel; without an end mark where the disk is full or owes a hole, which sealing then says."""
        reel, self._reel = self._reel, None
        if reel is None:
            return
        if self._untold is not None:
            reel.abandon()
            return
        try:
            reel.finish()
        except FileNotFoundError as error:
            log.error("a recording is gone", reel=reel.path.name, ticks=self._in_reel, error=error.strerror)
            self._reel = reel
            self._forget()
        except OSError:  # it has no end mark then, which sealing says
            pass

    def _end_day(self, now: int, *, orderly_stop: bool) -> None:
        """End the reel when the session is over and it has become quiet, or the run ends."""
        if self._reel is None:
            return
        over = self._over_at(self._day)
        if orderly_stop or now >= max(over, self._last_ts) + QUIET_NS:
            self._finish()
            if now >= over:
                self._submit(self._day)

    def _seal_what_is_over(self, now_ns: int) -> None:
        """Seal the reels that earlier runs left of every day whose session is over."""
        for day in reels_by_day(self.path):
            if now_ns >= self._over_at(day) + QUIET_NS:
                self._submit(day)

    def _seal_again(self, *, at_once: bool) -> None:
        """The disk may be well by now."""
        for day, failed_ns in list(self._unsealed.items()):
            if at_once or abs(self._wall_ns() - failed_ns) >= AGAIN_NS:
                del self._unsealed[day]
                self._submit(day)

    def _look_at_what_is_left(self) -> None:
        """Say how the reels of a day that goes on were left; they are sealed at its end."""
        for reels in reels_by_day(self.path).values():
            for path in reels:
                self._sealer.give(partial(_inspect, path))

    def _over_at(self, day: str) -> int:
        """When a day's session ends (UTC ns): its close, or midnight in India where there is none."""
        date = dt.date.fromisoformat(day)
        try:
            session = self._calendar.session(date)
        except CalendarRangeError:
            session = None
        return session.close_ns if session is not None else ist_ns(date + dt.timedelta(days=1), "00:00")

    def _submit(self, day: str) -> None:
        self._sealer.give(partial(self._seal, day, self._reels().get(day, [])))

    def _reels(self) -> dict[str, list[Path]]:
        """By day; none where the directory can't be read, for writing must go on: the next start finds them."""
        try:
            return reels_by_day(self.path)
        except OSError as error:
            log.error("days may stay unsealed until the next start", path=str(self.path), error=str(error))
            return {}

    # -- the sealer's jobs ---------------------------------------------------------------------------------------------

    def _seal(self, day: str, reels: list[Path]) -> None:
        try:
            report(seal(self.path, day, [path for path in reels if is_there(path)]))
        except (TapeError, OSError) as error:
            log.error("a day could not be sealed, its reels are kept", day=day, error=str(error))
            self._unsealed[day] = self._wall_ns()
            return
        try:
            for gone in prune(self.path, day, self._keep_days):
                log.info("an old tape was deleted", day=gone, keep_days=self._keep_days)
        except OSError as error:
            log.error("an old tape could not be deleted", error=str(error))


def _inspect(path: Path) -> None:
    """Say what is whole of a reel that an earlier run of today left."""
    try:
        if not is_there(path):  # sealed meanwhile
            return
        reader = ReelReader(path)
        for _ in reader:
            pass
    except (TapeError, OSError) as error:
        log.error("a recording can't be read", reel=path.name, error=str(error))
        return
    if not reader.ended:
        log.warning(
            "an earlier recording of the day was cut off: up to its last flush is kept", reel=path.name,
            ticks=reader.ticks, torn_bytes=reader.torn_bytes,
        )  # fmt: skip


def report(said: Sealed) -> None:
    """Say in the log what was sealed, and what was torn."""
    for name in said.cut_off:
        log.warning(
            "a recording was cut off: up to its last flush is kept", reel=name, torn_bytes=said.torn.get(name, 0)
        )
    log.info("tape sealed", day=said.day, tape=said.tape, ticks=said.ticks, added=said.added)


def _days_of(batch: TickBatch) -> Iterator[TickBatch]:
    """A batch as its days in India; nearly always one."""
    days = (batch.ts_recv + IST_OFFSET_NS) // DAY_NS
    if days[0] == days[-1]:
        yield batch
        return
    edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
    for start, stop in pairwise(edges):
        yield batch.slice(start, stop)
