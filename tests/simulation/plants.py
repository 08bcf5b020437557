"""Bugs that can be planted in hrmd, to see that the simulation finds them: `python -m tests.simulation --plant NAME`.

Each swaps one method of one class for a wrong one, in a process that simulates and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from daemon.journal.writer import Journal
from daemon.orders.live_execution import LiveExecutionActor

Plant = tuple[type, str, Callable[..., Any]]


def _not_awaited(self: Journal) -> None:
    """Nobody waits for the disk before an order leaves."""


def _nothing(self: Any, *arguments: Any, **options: Any) -> None:
    """Left out."""


PLANTS: dict[str, Plant] = {
    "order_before_its_intent": (Journal, "durable", _not_awaited),
    "halt_lets_entries_work": (LiveExecutionActor, "cancel_entries", _nothing),
    "restart_distrusts_nothing": (LiveExecutionActor, "_distrust", _nothing),
}
"""Name: (class, method, what is put in its place)."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """A bug in the block; "" is none."""
    if not name:
        yield
        return
    owner, method, wrong = PLANTS[name]
    right = getattr(owner, method)
    setattr(owner, method, wrong)
    try:
        yield
    finally:
        setattr(owner, method, right)
