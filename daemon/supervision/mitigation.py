"""A trip → the one step that is taken about it, in a fixed order, with a daily limit and a lock.

Each trigger has its remedies, mildest first; while a strategy is in charge the steps taken about it only ever go
forward, those that it doesn't know are left out, and each is given new decisions to show what it did (the record is
cleared with it). Invariant: no step before a milder one of the same trigger that the strategy knows and that wasn't
passed; never more steps in a day than the limit; none while locked.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.core.clock import NS_PER_S
from daemon.core.events import Mitigation
from daemon.supervision.triggers import Trigger

MILD = (Mitigation.LESS_DEPTH, Mitigation.CLEAR_CACHES, Mitigation.SINGLE_CYCLE, Mitigation.RENEW)
"""What leaves the strategy in charge, in the order in which it is taken."""
ORDER = (*MILD, Mitigation.STEP_DOWN, Mitigation.FLAT, Mitigation.HALT)
REMEDIES: Mapping[Trigger, tuple[Mitigation, ...]] = {
    Trigger.LATENCY: MILD,
    Trigger.ERROR_RATE: (Mitigation.CLEAR_CACHES, Mitigation.RENEW),
    Trigger.FLAPPING: (Mitigation.CLEAR_CACHES, Mitigation.RENEW),
    Trigger.NOT_FINITE: (),
    Trigger.IN_A_ROW: (),
    Trigger.MODEL_AGE: (),
    Trigger.NOVELTY: (),
    Trigger.MEMORY: (Mitigation.CLEAR_CACHES, Mitigation.RENEW),
    Trigger.BASELINE: (),
}
"""What may help before the next strategy takes over; of no use where nothing good comes any more."""
NS_PER_MINUTE = 60 * NS_PER_S


class Stairs:
    """Names the next step; loop-free. `knows`: the mild steps that each strategy can take."""

    def __init__(self, knows: Mapping[str, frozenset[Mitigation]], per_day: int) -> None:
        self._knows = dict(knows)
        self.per_day = per_day
        self.locked = ""
        """Why nothing is done by itself, "" where it is."""
        self.taken: list[Mitigation] = []
        """About the strategy in charge, oldest first."""
        self._day = 0
        self._count = 0
        self._tries = 0

    def next(self, trigger: Trigger, rung: str, below: str | None) -> Mitigation | None:
        """What is to be done about `rung`, with `below` under it; None where nothing is left."""
        if Mitigation.HALT in self.taken:
            return None
        last = max((ORDER.index(step) for step in self.taken), default=-1)
        knows = self._knows.get(rung, frozenset())
        for step in REMEDIES[trigger]:
            if step in knows and ORDER.index(step) > last:
                return step
        if below is None:
            return Mitigation.HALT
        return Mitigation.FLAT if below == "flat" else Mitigation.STEP_DOWN

    def barred(self, day: int) -> str:
        """Why no step may be taken on `day`, "" where one may."""
        if self.locked:
            return f"locked: {self.locked}"
        if self.left(day) <= 0:
            return f"{self._count} automatic steps were taken today, no more is allowed"
        return ""

    def took(self, step: Mitigation, day: int) -> None:
        """It was taken. Raises `ValueError` where it may not be."""
        if self.barred(day):
            raise ValueError(self.barred(day))
        self.remember(step, day)
        if step in ORDER:
            self.taken.append(step)

    def remember(self, step: Mitigation, day: int) -> None:
        """It was taken on `day`, perhaps by an earlier process."""
        if day != self._day:
            self._day, self._count, self._tries = day, 0, 0
        self._count += 1
        self._tries += step is Mitigation.BACK

    def left(self, day: int) -> int:
        """Steps that may still be taken on `day`."""
        return self.per_day - (self._count if day == self._day else 0)

    def tries(self, day: int) -> int:
        """How often the way back was taken on `day`."""
        return self._tries if day == self._day else 0

    @property
    def eased(self) -> bool:
        """Whether the strategy in charge thinks less than it could."""
        return Mitigation.LESS_DEPTH in self.taken or Mitigation.SINGLE_CYCLE in self.taken

    def begin(self) -> None:
        """Another strategy is in charge, or the same one with all its depth: a clean record."""
        self.taken = []


class Probation:
    """When what was stepped down from may be tried again: so long without a trip, and enough fine shadow decisions."""

    def __init__(self, minutes: float, wanted: int) -> None:
        self.minutes = minutes
        self.wanted = wanted
        """Decisions in the shadow, in a row, that must have been fine."""
        self.fine = 0
        self.since: int | None = None
        """The last trip, or the first look."""

    def trip(self, now_ns: int) -> None:
        """Something was wrong: begin anew."""
        self.since, self.fine = now_ns, 0

    def shadow(self, *, failed: bool) -> None:
        """What the strategy on probation would have decided."""
        self.fine = 0 if failed else self.fine + 1

    def waited(self, now_ns: int) -> bool:
        """Whether the time has passed; it begins with the first look."""
        return self.left_ns(now_ns) <= 0

    def left_ns(self, now_ns: int) -> int:
        """How much of the time is still to pass."""
        if self.since is None:
            self.since = now_ns
        return max(0, self.since + int(self.minutes * NS_PER_MINUTE) - now_ns)
