"""Turns the daemon's life into systemd's notification protocol: READY, EXTEND_TIMEOUT_USEC, STATUS, WATCHDOG, STOPPING.

The protocol is sd_notify(3): newline-separated `KEY=value` in one datagram to the AF_UNIX socket named by
`$NOTIFY_SOCKET` (a leading `@` means the abstract namespace); the watchdog is sd_watchdog_enabled(3).
Invariant: without `$NOTIFY_SOCKET` nothing is sent, and a socket that went away never stops the daemon.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Self

from daemon.core.errors import UsageError

US_PER_S = 1_000_000


class Notifier:
    """Speaks to the service manager that started this process, if one did.

    `watchdog_interval_s` is how often `watchdog()` is due, seconds: half of what systemd allows; None when no
    watchdog watches.
    """

    def __init__(self, address: str | None, watchdog_interval_s: float | None) -> None:
        self._address = address
        self.watchdog_interval_s = watchdog_interval_s

    @property
    def managed(self) -> bool:
        """Whether a service manager started this process, and hears what it says."""
        return self._address is not None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """From `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`; raises `UsageError` for values systemd never sets."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            raise UsageError(f"NOTIFY_SOCKET={address}: expected an absolute path or an abstract name such as @hrmd")
        allowed_us = _positive_integer(environment, "WATCHDOG_USEC")
        watched_pid = _positive_integer(environment, "WATCHDOG_PID")
        watched = address is not None and watched_pid in (None, os.getpid())
        return cls(address, allowed_us / US_PER_S / 2 if allowed_us and watched else None)

    def ready(self, status: str = "running") -> bool:
        """Start-up is complete; systemd lets the units wait no longer. True when it was sent."""
        return self._send(f"READY=1\nSTATUS={_one_line(status)}\nMAINPID={os.getpid()}")

    def starting(self, status: str, seconds: float) -> bool:
        """Start-up goes on, and may take so much longer from now: systemd waits. True when it was sent."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * US_PER_S)}\nSTATUS={_one_line(status)}")

    def stopping(self, status: str = "stopping") -> bool:
        """The shutdown has begun. True when it was sent."""
        return self._send(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def watchdog(self) -> bool:
        """The event loop is alive; due every `watchdog_interval_s`. True when it was sent."""
        return self.watchdog_interval_s is not None and self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`. True when it was sent."""
        return self._send(f"STATUS={_one_line(text)}")

    def _send(self, message: str) -> bool:
        if self._address is None:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(message.encode(), address)
            except OSError:  # nobody listens, or its queue is full: systemd's own time-outs then decide, not we
                return False
        return True


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _positive_integer(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"{name}={text}: expected a positive whole number")
    return int(text)
