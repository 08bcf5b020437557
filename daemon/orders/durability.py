"""An order that wants to leave → whether the disk lets it. Without a disk trading halts, and only exits leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from daemon.core.clock import Clock
from daemon.core.errors import JournalError
from daemon.core.events import ITSELF, Event, Halt, OrderIntent

UNWRITTEN: Final = "not sent: the journal can't be written"


class Durable(Protocol):
    """The part of the journal that execution waits for."""

    def durable(self) -> Awaitable[None] | None:
        """None when everything published so far is safe, else what to await."""


async def may_leave(
    intent: OrderIntent, journal: Durable | None, clock: Clock, publish: Callable[[Event], None]
) -> bool:
    """Wait until what was published is on disk; where it can't be, publish the halt, and let nothing go but an exit."""
    try:
        waiting = journal.durable() if journal is not None else None
        if waiting is not None:
            await waiting
    except JournalError as error:
        publish(Halt(ts=clock.now_ns(), reason=str(error), automatic=True, who=ITSELF))
        return intent.reduces
    return True
