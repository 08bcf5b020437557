"""Conditions, look by look → alerts that are raised and cleared. Pure; its time is the run's.

A cause is told once until it has been gone for a while. Each time it comes back within an hour that while doubles, so
what flaps is told a few times an hour and not at every turn. Invariants: no key is raised twice without a clearing
between, unless it got graver or is to be told once more; a process that goes on where another one left off raises
nothing that was told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from daemon.alerting.conditions import Condition, without_advice
from daemon.alerting.kinds import KINDS
from daemon.core.clock import NS_PER_S
from daemon.core.events import AlertChanged, AlertSent, Event, Severity
from daemon.settings.alerts import AlertKind

HOUR_NS: Final = 3600 * NS_PER_S
LONGEST_NS: Final = HOUR_NS
"""So long gone is gone, however often it came back."""


class Standing(msgspec.Struct):
    """An alert that lasts."""

    kind: AlertKind
    severity: Severity
    """The gravest that was told."""
    text: str
    """The newest."""
    since: int
    times: int
    told: int
    """When it was last told."""
    gone: int | None = None
    """Since when its cause isn't there any more."""
    sent: bool = True
    """False where an earlier process raised it and nobody took it."""


class AlertBook:
    """Which alerts stand, and how often each was raised of late."""

    def __init__(self, clear_after_s: float, repeat_hours: float | None = None, warn_after_s: float = 0.0) -> None:
        self.standing: dict[str, Standing] = {}
        self._clear_after_ns = int(clear_after_s * NS_PER_S)
        self._repeat_ns = None if repeat_hours is None else int(repeat_hours * HOUR_NS)
        self._warn_after_ns = int(warn_after_s * NS_PER_S)
        self._seen: dict[str, int] = {}  # key: since when a look finds it, where it isn't told yet
        self._past: dict[str, tuple[int, int]] = {}  # key: when it cleared, how often it had been raised by then

    def note(self, now: int, found: Condition) -> list[AlertChanged]:
        """Something happened: raised, or nothing where that is told already."""
        known = self.standing.get(found.key)
        if known is None:
            return [self._raise(now, found)]
        known.text, known.gone = found.text, None
        if found.severity.rank > known.severity.rank:
            known.severity = found.severity
            return [self._told(now, found.key, known)]
        return []

    def look(self, now: int, found: Sequence[Condition]) -> list[AlertChanged]:
        """All that is so now: what is raised by it, told once more, or has cleared."""
        changes: list[AlertChanged] = []
        keys = {one.key for one in found}
        self._seen = {key: since for key, since in self._seen.items() if key in keys}
        for one in found:
            if not self._lasts(now, one):
                continue
            fresh = self.note(now, one)
            standing = self.standing[one.key]
            again = self._repeat_ns is not None and now - standing.told >= self._repeat_ns
            changes += fresh or ([self._told(now, one.key, standing)] if again or not standing.sent else [])
            standing.sent = True
        changes += self._clear(now, keys)
        return changes

    def _lasts(self, now: int, found: Condition) -> bool:
        """Whether it is to be told: a warning may be over in a blink, and then nobody needs to know."""
        if found.key in self.standing or found.severity is Severity.CRITICAL:
            self._seen.pop(found.key, None)
            return True
        since = self._seen.setdefault(found.key, now)
        if since > now:  # a tape that is played again begins earlier
            since = self._seen[found.key] = now
        return now - since >= self._warn_after_ns

    def restore(self, told: Iterable[Event]) -> None:
        """`AlertChanged` and `AlertSent` of earlier processes, oldest first: what they told isn't told again."""
        for event in told:
            if isinstance(event, AlertChanged):
                self._restore(event)
            elif isinstance(event, AlertSent):
                for key in event.keys:
                    if key in self.standing:
                        self.standing[key].sent = True

    def _restore(self, event: AlertChanged) -> None:
        if event.kind not in KINDS:
            return
        if not event.raised:
            self.standing.pop(event.key, None)
            self._past[event.key] = (event.ts, event.times)
            return
        kind = AlertKind(event.kind)
        before = self.standing.get(event.key)
        since = before.since if before is not None else event.ts
        self.standing[event.key] = Standing(
            kind, event.severity, event.text, since, event.times, event.ts, sent=KINDS[kind].news
        )  # fmt: skip

    def _raise(self, now: int, found: Condition) -> AlertChanged:
        cleared, times = self._past.pop(found.key, (0, 0))
        times = times + 1 if now - cleared < HOUR_NS else 1
        self.standing[found.key] = standing = Standing(found.kind, found.severity, found.text, now, times, now)
        return self._told(now, found.key, standing)

    def _told(self, now: int, key: str, standing: Standing) -> AlertChanged:
        standing.told = now
        return AlertChanged(
            ts=now, key=key, kind=standing.kind.value, severity=standing.severity, raised=True, text=standing.text,
            times=standing.times,
        )  # fmt: skip

    def _clear(self, now: int, present: Collection[str]) -> list[AlertChanged]:
        changes = []
        for key, standing in list(self.standing.items()):
            if key in present:
                continue
            if standing.gone is None or standing.gone > now:  # a tape that is played again begins earlier
                standing.gone = now
            if now - standing.gone < self._while(standing.times):
                continue
            del self.standing[key]
            self._past[key] = (now, standing.times)
            changes.append(
                AlertChanged(
                    ts=now, key=key, kind=standing.kind.value, severity=standing.severity, raised=False,
                    text=standing.text if KINDS[standing.kind].news else without_advice(standing.text),
                    times=standing.times,
                )
            )  # fmt: skip
        return changes

    def _while(self, times: int) -> int:
        """How long a cause has to be gone: doubled for each time that it came back."""
        return max(self._clear_after_ns, min(self._clear_after_ns << min(times - 1, 30), LONGEST_NS))
