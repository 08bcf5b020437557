"""What must be so of a recording: of every tick it is known whether it was kept, and what was kept is read.

Looked at from outside: what the recorder says of itself, the ticks on the daemon's bus, the files that are left.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.core.bus import Bus
from daemon.core.errors import TapeError
from daemon.core.events import TickBatch
from daemon.market.calendar import ist_date
from daemon.tape.format import TapeReader
from daemon.tape.marks import Mark, marks_of
from daemon.tape.recorded import reels_by_day, tape_path
from daemon.tape.recorder import Recorder
from daemon.tape.reel import ReelReader

if TYPE_CHECKING:
    from tests.simulation.world import World

TELLS_WITHIN_S = 20.0
"""So long after the last fault the recorder has noticed that its disk is well."""
UNREADABLE = "what was recorded is read"
KEPT = "a tick is recorded, or said to be lost"

Ticks = Counter[tuple[str, int, int]]
"""By symbol, exchange time and the day's volume: no two ticks of the market are the same."""


class Recorded:
    """What the recorders of a session's lives were given and said."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._recorder: Recorder | None = None
        self._seen = Ticks()
        self._given = self._written = self._lost = 0
        self._begun = 0
        self._owing: list[list[Path]] = []
        """Reels of lives that lost ticks and ended in order."""

    def begin_life(self, world: World, recorder: Recorder | None, bus: Bus) -> None:
        """A daemon begins, and may record."""
        self._recorder, self._begun = recorder, len(world.computer.tapes.files)
        if recorder is not None:
            bus.tap((TickBatch,), self._see)

    def end_life(self, world: World, *, orderly: bool) -> None:
        """It ended: what it said of its ticks is final."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        told = f"{recorder.given} given, {recorder.recorded} recorded, {recorder.lost} lost"
        open_ = recorder.given - recorder.recorded - recorder.lost
        if open_ < 0 or (orderly and open_):
            world.watch.breaks(KEPT, told)
        if orderly and recorder.lost:
            self._owing.append(list(world.computer.tapes.files)[self._begun :])
        self._given += recorder.given
        self._written += recorder.recorded
        self._lost += recorder.lost

    def always(self, world: World) -> None:
        """Every second: nothing is counted twice, and no trouble outlasts what caused it."""
        recorder = self._recorder
        if recorder is None:
            return
        if recorder.recorded + recorder.lost > recorder.given:
            world.watch.breaks(KEPT, f"{recorder.given} given, {recorder.recorded} recorded, {recorder.lost} lost")
        if recorder.trouble and world.loop.time() > world.healed_at + TELLS_WITHIN_S:
            world.watch.breaks("it records again once its disk is well", recorder.trouble)

    def look(self, world: World) -> None:
        """At all that is left, when all is over."""
        if not self._path.exists():
            return
        breaks, disk = world.watch.breaks, world.computer.tapes
        for name in disk.out_of_order:
            breaks("reels lie in the order in which they were begun", f"{name} is not the last")
        for name in disk.unwanted:
            breaks(UNREADABLE, f"{name}: what had been taken back could be read behind its end")
        kept, telling = Ticks(), set[Path]()
        for day, reels in reels_by_day(self._path).items():
            if day < ist_date(world.venue.clock.now_ns()).isoformat():
                breaks("a day that is over is sealed", f"{[path.name for path in reels]} are left")
            for path in reels:
                if self._read(world, path, kept):
                    telling.add(path)
        for path in sorted(self._path.glob("*.parquet")):
            reader = TapeReader([path])
            if any(_tells(mark) for mark in marks_of(reader.notes)):
                telling.add(path)
            for batch in reader.batches(4096):
                _count(batch, kept)
        rows, missing = kept.total(), (self._seen - kept).total()
        words = f"{self._given} given, {self._written} recorded, {self._lost} lost, {rows} kept"
        if rows > self._given:
            breaks("no tick is recorded twice", words)
        if rows < self._written and not disk.forgot:
            breaks(KEPT, words)
        if missing > self._given - self._written and not disk.forgot:
            breaks(KEPT, f"{missing} of the ticks that were acted on are missing: {words}")
        for reels in self._owing:
            left = [path if path.exists() else tape_path(self._path, path.name[:10]) for path in reels]
            if telling.isdisjoint(left) and any(path.exists() for path in left):
                breaks("a recording says where ticks are missing", words)

    def counts(self) -> dict[str, int]:
        """Of all lives."""
        return {"ticks given": self._given, "ticks recorded": self._written, "ticks lost": self._lost}

    def _see(self, batch: TickBatch) -> None:
        _count(batch, self._seen)

    def _read(self, world: World, path: Path, kept: Ticks) -> bool:
        """A reel: no other frames than were written, whole; whether it says that something is missing."""
        marks = []
        try:
            reader = ReelReader(path)
            for item in reader:
                if isinstance(item, Mark):
                    marks.append(item)
                else:
                    _count(item, kept)
        except TapeError as error:
            world.watch.breaks(UNREADABLE, str(error))
            return True
        content, file = path.read_bytes(), world.computer.tapes.files[path]
        whole = len(content) - reader.torn_bytes
        if content[:whole] != file.wanted[:whole]:
            world.watch.breaks(UNREADABLE, f"{path.name}: of {whole} bytes that are read some were never to be there")
        return not reader.ended or any(map(_tells, marks))


def _tells(mark: Mark) -> bool:
    """Whether it is of a hole that the recording has, rather than of the feed's own."""
    return any(words in mark.status.reason for words in ("not recorded", "cut off"))


def _count(batch: TickBatch, into: Ticks) -> None:
    codes, times, volumes = batch.code.tolist(), batch.ts_event.tolist(), batch.volume.tolist()
    into.update((batch.symbols[code], ts, volume) for code, ts, volume in zip(codes, times, volumes, strict=True))
