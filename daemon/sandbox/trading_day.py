"""The time, and what somebody rules → the phase of each part of the market, and what is due when it changes.

Without a calendar the market is open. Shares and derivatives have hours of their own. Pure. Invariant: every change of
a phase is told once; between two days of the calendar the market was closed, whether or not anybody looked meanwhile.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from daemon.market.calendar import ist_date, ist_ns
from daemon.sandbox.hours import Hours, Phase


class Turn(msgspec.Struct, frozen=True):
    """Shares, or derivatives, go from one phase to the next."""

    derivative: bool
    before: Phase
    phase: Phase


class TradingDay:
    """Of an exchange and its broker, who closes INTRADAY positions at `square_off_at` ("HH:MM" in India; "": never)."""

    def __init__(self, hours: Hours | None, square_off_at: str) -> None:
        self._hours = hours
        self._square_off_at = square_off_at
        self._squared_off: dt.date | None = None
        self._ruled: Phase | None = None
        self._phases: dict[bool, Phase] = {}
        self._turned: dt.date | None = None
        """The day of the last call."""

    def rule(self, phase: Phase | None) -> None:
        """The phase of everything from now on; None: by the calendar, or open where there is none."""
        self._ruled = phase

    @property
    def known(self) -> bool:
        """Whether anybody said what the phases are."""
        return self._ruled is not None or self._hours is not None

    def phase(self, now_ns: int, *, derivative: bool) -> Phase:
        """What is done at `now_ns` (UTC ns)."""
        if self._ruled is not None or self._hours is None:
            return self._ruled or Phase.OPEN
        return self._hours.phase(now_ns, derivative=derivative)

    def turns(self, now_ns: int) -> list[Turn]:
        """What changed since the last call."""
        found = []
        day = ist_date(now_ns)
        night = self._hours is not None and self._turned not in (None, day)
        self._turned = day
        for derivative in (False, True):
            phase = self.phase(now_ns, derivative=derivative)
            before = self._phases.get(derivative, phase)
            self._phases[derivative] = phase
            if night and Phase.CLOSED not in (before, phase):
                found.append(Turn(derivative, before, Phase.CLOSED))
                before = Phase.CLOSED
            if phase is not before:
                found.append(Turn(derivative, before, phase))
        return found

    def square_off_due(self, now_ns: int) -> bool:
        """Whether the broker is to close INTRADAY positions, and hasn't today."""
        if not self._square_off_at or self.squared_off(now_ns):
            return False
        return now_ns >= ist_ns(ist_date(now_ns), self._square_off_at)

    def note_square_off(self, now_ns: int) -> None:
        """He does so."""
        self._squared_off = ist_date(now_ns)

    def squared_off(self, now_ns: int) -> bool:
        """Whether he has done so today."""
        return self._squared_off is not None and self._squared_off == ist_date(now_ns)
