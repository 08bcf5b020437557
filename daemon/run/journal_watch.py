"""A journal that can't be written → trading is halted, and goes on by itself where another program only held the file.

A backup or a viewer lets go; a disk that was full, fails or hangs is looked at by a person, who says `resume`.
Invariant: only a halt of this process for a held file ends by itself, once the file can be written again and nothing
else stops trading.
"""

from __future__ import annotations

import structlog

from daemon.core.bus import Bus
from daemon.core.events import ITSELF, Halt, TradingState
from daemon.core.own_halt import OwnHalt
from daemon.journal.writer import Journal

log = structlog.get_logger("service")


class JournalWatch:
    """See the module; `look` is called all the time."""

    def __init__(self, bus: Bus, journal: Journal) -> None:
        self._bus = bus
        self._journal = journal
        self._held = OwnHalt(bus, journal.held)
        self._inherited: bool | None = None
        """Whether trading is halted as an earlier process left it: that may be for more than its reason says."""

    def look(self, ts: int) -> None:
        """Halt or go on, as the journal is now; `ts` in UTC nanoseconds."""
        held, trouble = self._held, self._journal.trouble
        halted = held.trading is TradingState.HALTED
        self._inherited = halted and self._inherited is not False
        if trouble:
            self._journal.leave_word()
        if trouble.startswith(self._journal.held):
            if not halted:
                held.halt(ts, trouble.removeprefix(self._journal.held))
        elif trouble:
            if not halted or held.alone:
                self._bus.publish(Halt(ts=ts, reason=trouble, automatic=True, who=ITSELF))
        elif held.alone and not self._inherited:
            log.warning("the journal can be written again: trading goes on")
            held.go_on(ts, "the journal can be written again")
