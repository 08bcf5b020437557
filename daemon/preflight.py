"""What was found of one subject before the market opens, and what to do about it; and the clock's finding.

Invariant: the tick filter takes the ticks of a machine whose clock is found good, or doubtful.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from daemon.core.clock import MAX_SKEW_NS, NS_PER_S

SKEW_NOTED_S: Final = 1.0
SKEW_TOO_MUCH_S: Final = MAX_SKEW_NS / NS_PER_S - 0.5  # what the tick filter takes, less what is uncertain here


class State(StrEnum):
    """WARN is worth a look and no reason to stay out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One subject: what was found and, where it isn't as it should be, what to do."""

    name: str
    ok: bool
    text: str
    state: State = State.OK
    do: str = ""


def good(name: str, text: str) -> Finding:
    """As it should be."""
    return Finding(name, True, text)


def doubtful(name: str, text: str, do: str) -> Finding:
    """Worth a look."""
    return Finding(name, True, text, State.WARN, do)


def bad(name: str, text: str, do: str = "") -> Finding:
    """To be mended first."""
    return Finding(name, False, text, State.FAIL, do)


def skew_finding(skew_s: float | None) -> Finding:
    """The broker's `Date` has whole seconds, so that less than one says nothing; the tick filter takes what passes."""
    do = "let the machine keep time (timedatectl set-ntp true)"
    if skew_s is None:
        return doubtful("clock", "the broker's answers carry no time", do)
    text = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the broker's (± 0.5 s)"
    if abs(skew_s) > SKEW_TOO_MUCH_S:
        return bad("clock", text, do)
    return doubtful("clock", text, do) if abs(skew_s) > SKEW_NOTED_S else good("clock", text)
