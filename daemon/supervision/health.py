"""What was found at one look at the daemon → one check a subject, and one word over all of them. Pure.

A check says what it found, against which limit, and what to do. Invariant: a value at its limit doesn't flap: a check
gets worse at the limit and better only when the value has left it by a tenth; and one FAIL is enough for "unhealthy".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from daemon.core.events import HealthChange

MARGIN: Final = 0.1
"""By this share of its limit a value has to be better before its check is."""


class CheckStatus(StrEnum):
    """WARN is worth a look; FAIL is to be mended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"

    @property
    def rank(self) -> int:
        """0 is the best, 2 the worst."""
        return list(CheckStatus).index(self)


class Overall(StrEnum):
    """Of all checks: no FAIL and no WARN, no FAIL, or a FAIL."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One subject: what was found, and where it isn't as it should be what to do."""

    name: str
    status: CheckStatus
    text: str
    outline: str = ""
    """The text for who shows no token, without symbols and money; "" where that is the text itself."""
    value: float | None = None
    """What was measured; None where nothing was, or not enough."""
    limit: float | None = None
    """Of the value: what it has passed, else from where on it is worth a look."""
    unit: str = ""
    age_s: float | None = None
    """How old what was found is, where it isn't of now."""
    do: str = ""
    part_of: str = ""
    """The check that has the cause, and whose alert tells of this one, too; "" where it is a cause itself."""

    @property
    def said_to_all(self) -> str:
        """The text for who shows no token."""
        return self.outline or self.text


class Limits(msgspec.Struct, frozen=True):
    """Of a value: from `warn` on it is worth a look, from `fail` on (None: never) it is to be mended."""

    warn: float
    fail: float | None = None
    low: bool = False
    """Whether small values are the bad ones."""

    def grade(self, value: float, was: CheckStatus) -> CheckStatus:
        """What a value comes to; `was` is what its check was until now."""
        if self.fail is not None and self._passed(value, self.fail, held=was is CheckStatus.FAIL):
            return CheckStatus.FAIL
        return CheckStatus.WARN if self._passed(value, self.warn, held=was is not CheckStatus.OK) else CheckStatus.OK

    def of(self, status: CheckStatus) -> float:
        """The limit that a check with this status speaks of."""
        return self.fail if status is CheckStatus.FAIL and self.fail is not None else self.warn

    def _passed(self, value: float, limit: float, *, held: bool) -> bool:
        if self.low:
            return value < limit * (1 + MARGIN if held else 1)
        return value >= limit * (1 - MARGIN if held else 1)


Was = Mapping[str, CheckStatus]
"""What each check was at the look before."""


def was(before: Was, name: str) -> CheckStatus:
    """A check that was never made was fine."""
    return before.get(name, CheckStatus.OK)


def good(name: str, text: str, value: float | None = None, limit: float | None = None, unit: str = "") -> Check:
    """As it should be."""
    return Check(name=name, status=CheckStatus.OK, text=text, value=value, limit=limit, unit=unit)


def doubtful(name: str, text: str, do: str, outline: str = "") -> Check:
    """Worth a look."""
    return Check(name=name, status=CheckStatus.WARN, text=text, do=do, outline=outline)


def bad(name: str, text: str, do: str, outline: str = "") -> Check:
    """To be mended."""
    return Check(name=name, status=CheckStatus.FAIL, text=text, do=do, outline=outline)


def measured(name: str, value: float, unit: str, limits: Limits, before: Was, text: str, do: str) -> Check:
    """A value against its limits."""
    status = limits.grade(value, was(before, name))
    advice = "" if status is CheckStatus.OK else do
    return Check(name=name, status=status, text=text, value=value, limit=limits.of(status), unit=unit, do=advice)


def overall(checks: Iterable[Check]) -> Overall:
    """The one word."""
    worst = max((check.status.rank for check in checks), default=0)
    return list(Overall)[worst]


def texts(checks: Iterable[Check], status: CheckStatus) -> list[str]:
    """What the checks with this status say, in their order."""
    return [check.text for check in checks if check.status is status]


def changes(before: Was, checks: Sequence[Check]) -> tuple[HealthChange, ...]:
    """Checks whose status isn't what it was."""
    return tuple(
        HealthChange(check=check.name, before=old.value, now=check.status.value, text=check.text)
        for check in checks
        if (old := was(before, check.name)) is not check.status
    )
