"""What is known to be other than it was → why a recorded day came out otherwise, likeliest first.

Invariant: a cause is something that was found to differ, never a guess; where nothing is found, that is said.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from daemon import __version__
from daemon.core.code import code_sha256, file_sha256
from daemon.core.events import (
    Event,
    Flatten,
    Halt,
    LoadModel,
    ManualOrder,
    Reduce,
    Resume,
    RunCounted,
    SettingChanged,
    SwapStrategy,
)
from daemon.report.text import counted, ist_minute
from daemon.run.parity import Difference
from daemon.settings.tree import Settings

COMMANDS: Final[tuple[type[Event], ...]] = (
    Halt, Resume, Reduce, Flatten, ManualOrder, SwapStrategy, LoadModel, SettingChanged,
)  # fmt: skip
"""What people tell a daemon, and no tape has."""


class What(StrEnum):
    """What can be other than it was."""

    SETTINGS = "settings"
    MODEL = "model"
    TAPE = "tape"
    CODE = "code"
    LATENCY = "latency"
    COMMAND = "command"
    ACCOUNT = "account"
    VENUE = "venue"
    UNKNOWN = "unknown"


class Cause(msgspec.Struct, frozen=True):
    """Something that differs, in a line."""

    what: What
    text: str


_OF_THE_MARKET: Final = (What.TAPE, What.SETTINGS, What.CODE)
_OF_ORDERS: Final = (
    What.SETTINGS, What.VENUE, What.COMMAND, What.LATENCY, What.ACCOUNT, What.CODE, What.TAPE, What.MODEL,
)  # fmt: skip
_OF_DECISIONS: Final = (
    What.MODEL, What.SETTINGS, What.COMMAND, What.ACCOUNT, What.LATENCY, What.VENUE, What.CODE, What.TAPE,
)  # fmt: skip
_BY_KIND: Final = {
    "Bar": _OF_THE_MARKET,
    "FeedStatus": _OF_THE_MARKET,
    "RunCounted": _OF_THE_MARKET,
    "PriceAdjusted": _OF_THE_MARKET,
    "PriceJumped": _OF_THE_MARKET,
    "Complexity": (What.SETTINGS, What.CODE, What.TAPE),
    "Decision": _OF_DECISIONS,
    "StrategySwapped": (What.COMMAND, *_OF_DECISIONS),
}
_DEEP: Final = ("segments", "halt_reason", "latency_ns", "ts")
"""Fields of a decision that say how much time it had."""


def likeliest_first(causes: Sequence[Cause], difference: Difference) -> list[Cause]:
    """In the order in which they can lead to such a difference; where there are none, that."""
    order = list(_BY_KIND.get(difference.kind, _OF_ORDERS))
    if difference.kind == "Decision" and set(difference.fields) & set(_DEEP) and "model_hash" not in difference.fields:
        order.insert(0, What.LATENCY)
    if not causes:
        why = "settings, model, tape, code and latency are the recorded ones: the journal was altered, or this machine"
        return [Cause(What.UNKNOWN, f"{why} calculates otherwise (hrmd verify tells which)")]
    return sorted(causes, key=lambda cause: order.index(cause.what) if cause.what in order else len(order))


def of_settings(recorded: Settings, used: Settings) -> list[Cause]:
    """Every key that was changed for this replay."""
    was, now = _flat(recorded.model_dump(mode="json")), _flat(used.model_dump(mode="json"))
    changed = [name for name in now.keys() | was.keys() if was.get(name) != now.get(name)]
    told = [f"{name} was {was.get(name)!r}, is {now.get(name)!r}" for name in sorted(changed)]
    return [Cause(What.SETTINGS, line) for line in told]


def of_model(recorded: str, used: str, difference: Difference) -> list[Cause]:
    """Hashes of what made the decision that differs, where it says so, else of the ladder's HRM; "" where none was."""
    made = difference.fields.get("model_hash")
    if made is not None and "strategy" not in difference.fields:
        name = str((difference.recorded or {}).get("strategy", ""))
        own = ": its source, what it imports from its folder, or its parameters have changed" if ":" in name else ""
        was, now = made.recorded or "no model", made.replayed or "no model"
        return [Cause(What.MODEL, f"{name} decided on {was}, in this replay on {now}{own}")]
    if recorded == used:
        return []
    return [Cause(What.MODEL, f"the HRM on the ladder was {recorded or 'none'}, is {used or 'none'}")]


def of_code(metadata: dict[str, str]) -> list[Cause]:
    """Of hrmd itself, of Python and of the machine."""
    now = {"version": __version__, "code": code_sha256(), "python": platform.python_version()}
    now["machine"] = platform.machine()
    names = {"version": "hrmd", "code": "the source of hrmd", "python": "Python", "machine": "the machine"}
    changed = [key for key in now if metadata.get(key) and metadata[key] != now[key]]
    return [Cause(What.CODE, f"{names[key]} was {metadata[key]}, is {now[key]}") for key in changed]


def of_tapes(metadata: dict[str, str], tapes: Sequence[Path]) -> list[Cause]:
    """By their content, where it was recorded."""
    recorded: list[str] = msgspec.json.decode(metadata.get("tapes_sha256", "[]"))
    if not recorded:
        return []
    if len(recorded) != len(tapes):
        return [Cause(What.TAPE, f"the run was on {len(recorded)} tapes, this replay is on {len(tapes)}")]
    found = [(path, was, file_sha256(path)) for path, was in zip(tapes, recorded, strict=True)]
    return [
        Cause(What.TAPE, f"{path} has another content: its SHA-256 was {was}, is {now}")
        for path, was, now in found
        if was != now
    ]


def of_counts(recorded: Iterable[RunCounted], replayed: Iterable[RunCounted]) -> list[Cause]:
    """By the ticks that were accepted and rejected, where both runs ended in order."""
    was, now = list(recorded), list(replayed)
    if not was or not now:
        return []
    told = []
    for name in ("accepted", "repaired"):
        before, after = sum(getattr(one, name) for one in was), sum(getattr(one, name) for one in now)
        if before != after:
            many, more = abs(after - before), "more" if after > before else "fewer"
            were = f"{counted(many, 'tick')} {more} {'was' if many == 1 else 'were'} {name}"
            told.append(f"{were}: {before:,} then, {after:,} now")
    return [Cause(What.TAPE, line) for line in told]


def of_bar(difference: Difference) -> list[Cause]:
    """A bar of other ticks is a tape of other ticks."""
    ticks = difference.fields.get("ticks")
    if difference.kind != "Bar" or ticks is None:
        return []
    bar = f"the {(difference.recorded or {}).get('interval')} bar of {difference.symbol} that closed at "
    return [Cause(What.TAPE, f"{bar}{ist_minute(difference.ts)} had {ticks.recorded} ticks, has {ticks.replayed}")]


def of_commands(commands: Iterable[Event], until_ts: int) -> list[Cause]:
    """What people told the daemon before the difference."""
    told = []
    for event in commands:
        ts, who = int(getattr(event, "ts", 0)), getattr(event, "who", "") or "somebody"
        if ts <= until_ts and not getattr(event, "automatic", False):
            told.append(f"{type(event).__name__} at {ist_minute(ts)} by {who}")
    return [Cause(What.COMMAND, f"{line}: a replay has nobody who says it") for line in told]


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
