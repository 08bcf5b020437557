"""Messages → services, each on a thread of its own, so that one that hangs holds up nobody: neither trading nor others.

A service that fails is tried again, after pauses that double; what waits meanwhile is sent in one piece, and where too
much waits the oldest is lost, and said to be. Invariant: `send` never waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from daemon.alerting.messages import Message, joined
from daemon.alerting.targets import HANGS, HANGS_AFTER, Target
from daemon.core.clock import NS_PER_S, stopwatch_ns
from daemon.settings.alerts import AlertSettings
from daemon.supervision.health_readings import AlertsReading

log = structlog.get_logger("alerts")

RETRY_FIRST_S: Final = 1.0


class Lane:
    """One service, and what waits for it."""

    def __init__(self, target: Target, settings: AlertSettings) -> None:
        self.target = target
        self.sent: deque[tuple[str, ...]] = deque(maxlen=1000)
        """Keys of the alerts that it was told of, until somebody takes them."""
        self.lost = 0
        self.told = 0
        """Messages that it took."""
        self._trouble = ""
        self._settings = settings
        self._wake = threading.Condition()
        self._waiting: list[Message] = []
        self._under_way: list[Message] = []
        self._began_ns = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"alerts {target.name}", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Queue it; where too many wait the oldest is lost."""
        with self._wake:
            self._waiting.append(message)
            lost = self._make_room()
            self._wake.notify()
        self._say_lost(lost)

    @property
    def waiting(self) -> int:
        """Messages that it was not told of yet."""
        return len(self._under_way) + len(self._waiting)

    @property
    def trouble(self) -> str:
        """Why it can't be told, "" where it can."""
        began = self._began_ns
        if began and stopwatch_ns() - began > HANGS_AFTER * self._settings.send_s * NS_PER_S:
            return HANGS
        return self._trouble

    def close(self) -> None:
        """Take nothing more; what waits is tried once more."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    def join(self, wait_s: float) -> list[Message]:
        """Wait so long for the end; what it was not told of."""
        self._thread.join(max(0.0, wait_s))
        with self._wake:
            return [*self._under_way, *self._waiting]

    def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closing)
                self._under_way, self._waiting = self._waiting, []
                last = self._closing
            if self._under_way and self._deliver(self._under_way):
                pause_s = RETRY_FIRST_S
                continue
            if last:
                return
            with self._wake:
                self._wake.wait_for(lambda: self._closing, pause_s)
            pause_s = min(2 * pause_s, self._settings.retry_longest_s)

    def _deliver(self, batch: Sequence[Message]) -> bool:
        message = joined(batch)
        self._began_ns = stopwatch_ns()
        trouble = self.target.deliver(message)
        self._began_ns = 0
        if trouble:
            if not self._trouble:
                log.error("alerts can't be sent", target=self.target.name, reason=trouble, waiting=len(batch))
            self._trouble = trouble
            with self._wake:
                self._under_way, self._waiting = [], [*batch, *self._waiting]
                lost = self._make_room()
            self._say_lost(lost)
            return False
        if self._trouble:
            log.info("alerts are sent again", target=self.target.name)
        self._trouble = ""
        self.told += 1
        self.sent.append(message.keys)
        self._under_way = []
        return True

    def _make_room(self) -> list[Message]:
        """The oldest that are too many are taken off."""
        lost = [self._waiting.pop(0) for _ in range(len(self._waiting) - self._settings.waiting)]
        self.lost += len(lost)
        return lost

    def _say_lost(self, lost: Sequence[Message]) -> None:
        for one in lost:
            log.error("an alert was lost", target=self.target.name, title=one.title, text=one.body)


class Sender:
    """All services."""

    def __init__(self, targets: Sequence[Target], settings: AlertSettings) -> None:
        self.lanes = [Lane(target, settings) for target in targets]

    def send(self, message: Message) -> None:
        """Tell every service, by and by."""
        for lane in self.lanes:
            lane.put(message)

    def taken(self) -> list[tuple[tuple[str, ...], str]]:
        """What services were told of since this was last asked: keys of alerts, and by whom they were taken."""
        found = []
        for lane in self.lanes:
            while lane.sent:
                found.append((lane.sent.popleft(), lane.target.name))
        return found

    def reading(self) -> AlertsReading:
        """For the daemon's health."""
        failing = {lane.target.name: lane.trouble for lane in self.lanes if lane.trouble}
        waiting, lost = sum(lane.waiting for lane in self.lanes), sum(lane.lost for lane in self.lanes)
        return AlertsReading(len(self.lanes), failing, waiting, lost)

    def close(self, wait_s: float) -> None:
        """Send what waits, for so long at most; what is left is said in the log."""
        for lane in self.lanes:
            lane.close()
        until_ns = stopwatch_ns() + int(wait_s * NS_PER_S)
        for lane in self.lanes:
            for message in lane.join((until_ns - stopwatch_ns()) / NS_PER_S):
                log.error("an alert was not sent", target=lane.target.name, title=message.title, text=message.body)
