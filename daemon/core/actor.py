"""An actor: one class, one inbox, one `run`. It moves messages; the arithmetic is in the plain class it wraps.

Invariant: every event taken from the inbox is settled exactly once, even when handling it raises.
"""

from __future__ import annotations

from collections.abc import Awaitable

from daemon.core.bus import Bus, Inbox
from daemon.core.events import Event


class Actor:
    """Base of all stages; subclasses give `name`, subscribe in their constructor and implement `handle`."""

    name = "actor"

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.inbox: Inbox

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Handle one event; an awaitable is awaited before the next event is taken."""
        raise NotImplementedError

    async def run(self) -> None:
        """Handle events until cancelled; an exception leaves through here to the supervisor."""
        inbox = self.inbox
        while True:
            event = inbox.take()
            if event is None:
                await inbox.wait()
                continue
            try:
                waiting = self.handle(event)
                if waiting is not None:
                    await waiting
            finally:
                inbox.done()
