"""What was found of one subject before the market opens, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


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
