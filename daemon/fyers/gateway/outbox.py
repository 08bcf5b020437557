"""Ticks and news of the SDK's thread → frames on a socket, written by a thread of its own.

Invariant: whoever puts something in never waits for the daemon; what waits for it is bounded, and the bound ends the
gateway rather than lose a trade.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from daemon.core.clock import NS_PER_S, LiveClock
from daemon.feed.live.frames import ROWS_AT_ONCE, AnyNews, Counts, Refused, pack_news, pack_ticks
from daemon.fyers.gateway.messages import TickReader
from daemon.fyers.gateway.pending import PendingTicks

FLUSH_S: Final = 0.01
"""Ticks that come within so long leave in one frame."""
MAX_WAITING: Final = 500_000
"""So many ticks that the daemon didn't take, nearly all of them trades, end the gateway."""
COUNTS_EVERY_NS: Final = NS_PER_S


class Outbox:
    """What the gateway sends; `run` is its thread."""

    def __init__(
        self,
        channel: socket.socket,
        reader: TickReader,
        conflate_above: int,
        max_waiting: int = MAX_WAITING,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        """`end` ends the process: the SDK's threads would outlive anything gentler."""
        self.messages = 0
        self.swallowed: dict[str, int] = {}
        """The counter of the SDK's link, once there is one."""
        self._channel = channel
        self._reader = reader
        self._pending = PendingTicks(conflate_above)
        self._max_waiting = max_waiting
        self._end = end
        self._news: list[AnyNews] = []
        self._heard_ns = 0
        self._counted_ns = 0
        self._clock = LiveClock()
        self._changed = threading.Condition()

    def put_message(self, message: object) -> None:
        """A message of the data socket; called by the SDK's thread."""
        self.messages += 1
        read = self._reader.read(message)
        if read is None:
            return
        row, traded = read
        with self._changed:
            if not self._pending:
                self._heard_ns = self._clock.monotonic_ns()
                self._changed.notify()
            self._pending.add(row, traded)
            waiting = len(self._pending)
        if waiting > self._max_waiting:
            sys.stdout.write(f"the daemon left {waiting} ticks waiting\n")
            sys.stdout.flush()
            self._end(1)

    def put_news(self, news: AnyNews) -> None:
        """Tell the daemon something."""
        with self._changed:
            self._news.append(news)
            self._changed.notify()

    def run(self) -> None:
        """Write until the daemon is gone or something was refused; ends the process."""
        while True:
            with self._changed:
                self._changed.wait_for(self._something, timeout=1.0)
                hurried = bool(self._news)
            if not hurried:
                time.sleep(FLUSH_S)
            if not self._write():
                self._end(0)
                return

    def _something(self) -> bool:
        return bool(self._pending) or bool(self._news)

    def _write(self) -> bool:
        """One round; False when it was the last."""
        with self._changed:
            waiting, heard_ns = len(self._pending), self._heard_ns
            rows, news = self._pending.take(), self._news
            self._news = []
        frames = [pack_ticks(rows[at : at + ROWS_AT_ONCE], heard_ns) for at in range(0, len(rows), ROWS_AT_ONCE)]
        now = self._clock.monotonic_ns()
        if now - self._counted_ns >= COUNTS_EVERY_NS:
            self._counted_ns = now
            news = [*news, self._counts(waiting)]
        frames += [pack_news(item) for item in news]
        try:
            self._channel.sendall(b"".join(frames))
        except OSError:
            return False
        return not any(isinstance(item, Refused) for item in news)

    def _counts(self, waiting: int) -> Counts:
        return Counts(
            messages=self.messages,
            ticks=self._pending.taken,
            conflated=self._pending.conflated,
            waiting=waiting,
            peak_kb=_peak_kb(),
            refused=dict(self._reader.refused),
            unreadable=dict(self._reader.unreadable),
            swallowed=dict(self.swallowed),
        )


def _peak_kb() -> int:
    """The most memory that this program ever held. `getrusage` would count that of the daemon that forked it, too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
