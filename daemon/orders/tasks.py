"""Calls of a broker → tasks of their own, so that the inbox never waits for the network.

Invariant: a call begins only while the stage runs, and none outlives the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Those of the execution stage; its parts share them."""

    def __init__(self) -> None:
        self.group: asyncio.TaskGroup | None = None
        """Of the present run; None before the first, and between two."""

    @property
    def running(self) -> bool:
        """Whether anything may be spawned; while it recovers nothing may."""
        return self.group is not None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Let it run beside the others; a fault of one ends the run."""
        assert self.group is not None  # whoever spawns has asked, or handles an event, which only `run` does
        self.group.create_task(work, name=name)
