"""Halts of one cause, and every other command → whether this cause alone stops trading, and how to go on afterwards.

A daemon that halts itself may go on by itself only where nothing else has stopped it meanwhile: a person who halts
while trading is halted changes no state, and means it all the same. A restart knows no more than the state's reason,
which is the newest where the first was a machine's (`daemon.recovery.account`). Invariant: nobody's command is ever
undone but the cause's own.
"""

from __future__ import annotations

from typing import Final

from daemon.core.bus import Bus
from daemon.core.events import ITSELF, Flatten, Halt, Reduce, Resume, TradingState, TradingStateChanged

REDUCED_BEFORE: Final = "; until then positions were only reduced"
"""How such a halt ends where that was so: a restart knows no more than the reason."""

AS_BEFORE: Final = ", as before: "
"""Between why positions were only reduced before, and why they are so again."""


class OwnHalt:
    """Of the cause with whose words its halts begin."""

    def __init__(self, bus: Bus, cause: str) -> None:
        self.trading = TradingState.ACTIVE
        self.alone = False
        """Whether trading is halted for this cause, and nothing besides asks for a stop."""
        self._bus = bus
        self._cause = cause
        self._reduced_before = self._asked = self._besides = False
        self._newest, self._why_reduced = "", ""
        """Why trading is as it is, and why it was reduced before the halt, as far as this process heard."""
        bus.tap((TradingStateChanged,), self._note)
        bus.tap((Halt, Reduce, Flatten), self._hear)

    def halt(self, ts: int, text: str) -> None:
        """Halt, for the cause and `text`."""
        before = REDUCED_BEFORE if self.trading is TradingState.REDUCING else ""
        reason = f"{self._cause}{text}{before}"
        self._bus.publish(Halt(ts=ts, reason=reason, automatic=True, who=ITSELF))

    def go_on(self, ts: int, reason: str) -> None:
        """Back to how it was before, where the cause alone had stopped it."""
        if not self.alone:
            return
        if self._reduced_before:
            why = f"{self._why_reduced}{AS_BEFORE}{reason}" if self._why_reduced else reason
            self._bus.publish(Reduce(ts=ts, reason=why, who=ITSELF))
        else:
            self._bus.publish(Resume(ts=ts, reason=reason, automatic=True, who=ITSELF))

    def _note(self, change: TradingStateChanged) -> None:
        ours = change.state is TradingState.HALTED and change.reason.startswith(self._cause)
        self._besides = self._besides and ours
        reduced = self.trading is TradingState.REDUCING
        self._reduced_before = change.reason.endswith(REDUCED_BEFORE) or reduced
        self._why_reduced, self._newest = self._newest.partition(AS_BEFORE)[0] if reduced else "", change.reason
        self.trading, self.alone, self._asked = change.state, ours and not self._besides, False

    def _hear(self, command: Halt | Reduce | Flatten) -> None:
        """Somebody asks for a stop; a stop that changes no state would otherwise be forgotten."""
        if isinstance(command, Halt) and command.shutdown:
            return
        if command.reason.startswith(self._cause):
            self._asked = True
        elif self._asked or self.trading is TradingState.HALTED:
            self._besides, self.alone = True, False
