"""The SDK's own calls to the account's API → calls of the one budget that all processes of the account share.

Invariant: a call waits for its grant, however long that takes: a link that comes late is nothing beside an account that
is blocked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.calls.budget import Purpose, RateBudget, RateLimits
from daemon.calls.call_record import CallRecord
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.fyers.gateway.assignment import Assignment


class CountedCalls:
    """Grants for the calls of one gateway; made by its threads, one at a time."""

    def __init__(self, assignment: Assignment) -> None:
        """Raises `SettingsError` where the record of calls can't be opened."""
        a_second, a_minute, a_day = assignment.calls
        record = CallRecord(Path(assignment.calls_file), a_minute) if assignment.calls_file else None
        self._budget = RateBudget(LiveClock(), RateLimits.of(a_second, a_minute, a_day), record)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait until a call may be made; it is made in the block, at the end of which it has left."""
        while isinstance(answer := self._budget.reserve(Purpose.ORDINARY), int):
            time.sleep(answer / NS_PER_S)
        try:
            yield
        finally:
            answer.sent()
