"""Calls that were granted ↔ a small file, so that the rate budget survives a crash.

The venue counts calls, not processes: a daemon that is restarted again and again must not spend each minute's budget
anew. Times are of the machine's monotonic clock, which goes on between processes; after a reboot they lie ahead of it,
and then count as just now. The file is of one size, written in place, and left to the operating system to bring to
disk: it outlives the process, and a power cut costs longer than the minute it is about. Invariant: a call is in the
file before it is made.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

import msgspec
import structlog

from daemon.clock import NS_PER_S
from daemon.errors import SettingsError

MAGIC: Final = b"HRMDCAL1"
LONGEST_DISTRUST_NS: Final = 60 * NS_PER_S
"""What a hold from before a reboot, whose time can't be told, still counts for."""

_HEADER: Final = struct.Struct("<8sqqqqq")  # magic, slots written, day, calls of the day, held until, held at
_TIME: Final = struct.Struct("<q")

log = structlog.get_logger("broker")


class PastCalls(msgspec.Struct, frozen=True):
    """What earlier processes did: ages of the latest calls (ns, oldest first), calls of `day`, and time still held."""

    ages_ns: list[int]
    day: int
    used: int
    held_ns: int


class CallRecord:
    """The latest `slots` calls of an account, and how many the day has had."""

    def __init__(self, path: Path, slots: int) -> None:
        """Open or create `path`. Raises `SettingsError` where that can't be."""
        self._path = path
        self._slots = slots
        self._written = self._day = self._used = self._held_until = self._held_at = 0
        self._silent = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            content = os.pread(self._file, self._size, 0)
            if len(content) != self._size or not content.startswith(MAGIC):
                content = _HEADER.pack(MAGIC, 0, 0, 0, 0, 0).ljust(self._size, b"\0")
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, content, 0)  # all of it now: later writes need no room on the disk
        except OSError as error:
            raise SettingsError(
                f"broker.fyers.calls_file: {path} can't be written ({error.strerror}); expected a file of hrmd's own"
            ) from None
        _, self._written, self._day, self._used, self._held_until, self._held_at = _HEADER.unpack_from(content)
        self._times = [time for (time,) in _TIME.iter_unpack(content[_HEADER.size :])]

    def past(self, now: int) -> PastCalls:
        """What is on record at `now`, monotonic ns."""
        count = max(0, min(self._written, self._slots))
        latest = [self._times[number % self._slots] for number in range(self._written - count, self._written)]
        held = self._held_until - now
        if self._held_at > now:
            held = min(held, LONGEST_DISTRUST_NS)
        return PastCalls(sorted((max(0, now - time) for time in latest), reverse=True), self._day, self._used, held)

    def note(self, now: int, day: int, used: int) -> None:
        """A call is about to be made; `used` of `day` with it."""
        slot = self._written % self._slots
        self._times[slot] = now
        self._write(_TIME.pack(now), _HEADER.size + slot * _TIME.size)
        self._written += 1
        self._day, self._used = day, used
        self._write_header()

    def hold(self, now: int, until: int) -> None:
        """Nothing is to be granted before `until`, monotonic ns."""
        self._held_at, self._held_until = now, until
        self._write_header()

    def close(self) -> None:
        """Let go of the file; closed already, does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    @property
    def _size(self) -> int:
        return _HEADER.size + self._slots * _TIME.size

    def _write_header(self) -> None:
        self._write(
            _HEADER.pack(MAGIC, self._written, self._day, self._used, self._held_until, self._held_at), 0
        )  # fmt: skip

    def _write(self, content: bytes, offset: int) -> None:
        """In place. A file that can't be written costs the memory of past calls, not the call: an exit must leave."""
        if self._file < 0:
            return
        try:
            os.pwrite(self._file, content, offset)
        except OSError as error:
            if not self._silent:
                self._silent = True
                log.error("past calls can't be recorded: a restart forgets them", path=str(self._path), why=str(error))
