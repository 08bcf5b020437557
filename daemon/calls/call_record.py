"""Calls that were granted ↔ a small file that all processes of an account share, and that outlives each of them.

The venue counts calls, not processes: a daemon that is restarted again and again, its gateway and a download beside it
spend one budget. Times are of the machine's monotonic clock, which goes on between processes; after a reboot they lie
far ahead of it, and then count as just now. The file says itself how many calls it remembers, is written in place under
a lock (`flock`), and left to the operating system to bring to disk: it outlives the process, and a power cut costs
longer than the minute it is about. Invariant: a call is in the file before it is made, unless the file stands still (a
frozen file system, a disk that hangs) or fails: then it is counted in memory, and in the file once that goes on.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from daemon.calls.pen import Pen
from daemon.core.clock import NS_PER_S
from daemon.core.errors import SettingsError

MAGIC: Final = b"HRMDCAL2"
MAGIC_1: Final = b"HRMDCAL1"
"""Of files that don't say how many calls they remember; they are taken over."""

LONGEST_DISTRUST_NS: Final = 60 * NS_PER_S
"""What a hold from before a reboot, whose time can't be told, still counts for."""

LONGEST_WAY_NS: Final = 5 * NS_PER_S
"""From the grant of a call until it has left this machine, at the most: a connection may have to be made first."""

_HEADER: Final = struct.Struct("<8sqqqqqq")  # magic, slots, written, day, calls of the day, held until, held at
_HEADER_1: Final = struct.Struct("<8sqqqqq")
_TIME: Final = struct.Struct("<q")
_TRIES: Final = 20
_NAP_S: Final = 0.001
"""Whoever holds the lock has it for microseconds; one that stands still is not waited for, for an exit must leave."""

log = structlog.get_logger("broker")


class Calls:
    """The latest calls by when each left this machine (monotonic ns), those of a day, and the hold, if any.

    A call that may not have left yet has the latest time at which it can.
    """

    def __init__(self, slots: int) -> None:
        self.times: list[int] = [0] * slots
        self.written = self.day = self.used = self.held_until = self.held_at = 0

    def latest(self, now: int) -> list[int]:
        """When the remembered calls were made, oldest first; those that are on their way count as made now."""
        known = self.times if self.written >= len(self.times) else self.times[: self.written]
        return sorted(min(moment, now) for moment in known)

    def add(self, moment: int) -> int:
        """One more; its number."""
        number = self.written
        self.times[number % len(self.times)] = moment
        self.written += 1
        return number

    def stamp(self, number: int, moment: int) -> None:
        """The call of that number left at `moment`; one that a newer has replaced is left alone."""
        if number >= self.written - len(self.times):
            self.times[number % len(self.times)] = moment

    def doubt(self, now: int) -> None:
        """What lies further ahead of `now` than can be is from before a reboot, and counts as just now."""
        self.times = [now if moment > now + LONGEST_WAY_NS else moment for moment in self.times]
        if self.held_at > now:
            self.held_until = now + min(self.held_until - self.held_at, LONGEST_DISTRUST_NS)
            self.held_at = now

    def take_over(self, ours: Calls, since: int) -> None:
        """Calls that this process made from number `since` on while the file stood still, and its hold."""
        count = min(ours.written - since, len(ours.times))
        for number in range(ours.written - count, ours.written):
            self.add(ours.times[number % len(ours.times)])
        if ours.day > self.day:
            self.day, self.used = ours.day, ours.used
        elif ours.day == self.day:
            self.used += ours.written - since
        if ours.held_until > self.held_until:
            self.held_until, self.held_at = ours.held_until, ours.held_at

    def grow(self, slots: int) -> None:
        """Remember at least so many from now on."""
        if slots > len(self.times):
            count = min(self.written, len(self.times))
            kept = [self.times[number % len(self.times)] for number in range(self.written - count, self.written)]
            self.times = kept + [0] * (slots - count)
            self.written = count


class CallRecord:
    """The file of an account's calls; `shared` is the only way to them."""

    def __init__(self, path: Path, slots: int, pen: Callable[[int], Pen] = Pen) -> None:
        """Open or create `path`, for at least `slots` calls. Raises `SettingsError` where that can't be.

        `pen`: what writes into the open file from then on.
        """
        self._path = path
        self._known = Calls(slots)
        self._written = 0
        """So many calls were in the file when it was last written to its end."""
        self._behind: int | None = None
        """Where the file stands still, or fails: the first call that isn't in it."""
        self.trouble = ""
        """Why calls can't be recorded now, for people; "" while they are."""
        self._file = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._pen = pen(self._file)
            with self._locked() as refused:
                if refused is not None:
                    raise refused
                found = _parsed(self._bytes()) or Calls(slots)
                found.grow(slots)
                os.pwrite(self._file, _content(found), 0)  # all of it now: later writes need no room on the disk
                os.ftruncate(self._file, len(_content(found)))
        except OSError as error:
            self.close()
            raise SettingsError(
                f"broker.fyers.calls_file: {path} can't be written ({error.strerror}); expected a file of hrmd's own"
            ) from None
        self._known, self._written = found, found.written

    @contextmanager
    def shared(self, now: int) -> Iterator[Calls]:
        """All calls of all processes; what is changed is on record at the end of the block, nobody writing meanwhile.

        A file that can't be read or written costs the memory of other processes' calls, not the call: an exit must
        leave. This process's own calls are counted on.
        """
        with self._locked() as refused:
            if refused is not None:
                self._fails(refused)
            if refused is not None or not self._goes_on():
                yield self._known
                return
            ours, (readable, found) = self._known, self._read()
            self._known = found or ours
            times, header, since = self._known.times.copy(), _header(self._known), self._known.written
            if found is not None and self._behind is not None:
                found.take_over(ours, self._behind)
            if readable:
                self._behind, self._written = None, since
            # on record as well: doubted anew at every look, a call would be of just now for ever
            self._known.doubt(now)
            yield self._known
            self._write(times, header)

    def _goes_on(self) -> bool:
        """Whether what was last written is in the file by now."""
        try:
            free = self._file < 0 or self._pen.is_free()
        except OSError as error:
            self._fails(error)
            return True
        if free and self._behind is not None and not self.trouble:
            log.info("past calls are recorded again", path=str(self._path))
        return free

    def close(self) -> None:
        """Let go of the file; closed already, does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            self._pen.close()

    @contextmanager
    def _locked(self) -> Iterator[OSError | None]:
        """Nobody else writes meanwhile, but where somebody holds it for long; or why it can't be locked at all."""
        held = False
        refused: OSError | None = None
        for _ in range(_TRIES if self._file >= 0 else 0):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
                break
            except BlockingIOError:
                time.sleep(_NAP_S)
            except OSError as error:
                refused = error
                break
        try:
            yield refused
        finally:
            if held and self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read(self) -> tuple[bool, Calls | None]:
        """Whether the file can be read, and what it holds; None where that is nothing of ours, or it is closed."""
        if self._file < 0:
            return True, None
        try:
            content = self._bytes()
        except OSError as error:
            self._fails(error)
            return False, None
        return True, _parsed(content)

    def _bytes(self) -> bytes:
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def _write(self, times: list[int], header: bytes) -> None:
        """What has changed since, the times first: a call that is cut off before the header was never made."""
        known, after = self._known.times, _header(self._known)
        if self._file < 0 or self._behind is not None or (known == times and after == header):
            return
        changed = [(slot, moment) for slot, moment in enumerate(known) if times[slot] != moment]
        parts = [(_HEADER.size + slot * _TIME.size, _TIME.pack(moment)) for slot, moment in changed]
        try:
            if not self._pen.put([*parts, (0, after)]):
                self._behind = self._known.written
                log.error("the file of past calls stands still: they are counted in memory", path=str(self._path))
        except OSError as error:
            self._fails(error)
            return
        if self._behind is not None:  # it stands still
            return
        self._written = self._known.written
        if self.trouble:
            self.trouble = ""
            log.info("past calls are recorded again", path=str(self._path))

    def _fails(self, error: OSError) -> None:
        """What the file says is old from here on, until it can be read and written again: each call tries."""
        self._behind = self._written
        if not self.trouble:
            self.trouble = f"past calls can't be recorded in {self._path} ({error.strerror or error})"
            log.error(
                "past calls can't be recorded: those of other processes aren't counted, and a restart forgets ours",
                path=str(self._path), why=str(error),
            )  # fmt: skip


def _header(calls: Calls) -> bytes:
    numbers = (calls.written, calls.day, calls.used, calls.held_until, calls.held_at)
    return _HEADER.pack(MAGIC, len(calls.times), *numbers)


def _content(calls: Calls) -> bytes:
    return _header(calls) + struct.pack(f"<{len(calls.times)}q", *calls.times)


def _parsed(content: bytes) -> Calls | None:
    """The calls in a file of either format; None for anything else."""
    if content.startswith(MAGIC) and len(content) >= _HEADER.size:
        _, slots, *numbers = _HEADER.unpack_from(content)
        times = content[_HEADER.size :]
    elif content.startswith(MAGIC_1) and len(content) >= _HEADER_1.size:
        _, *numbers = _HEADER_1.unpack_from(content)
        times = content[_HEADER_1.size :]
        slots = len(times) // _TIME.size
    else:
        return None
    if slots < 1 or len(times) != slots * _TIME.size or numbers[0] < 0:
        return None
    calls = Calls(slots)
    calls.times = list(struct.unpack(f"<{slots}q", times))
    calls.written, calls.day, calls.used, calls.held_until, calls.held_at = numbers
    return calls
