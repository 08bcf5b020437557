"""A file of scheduled events (results, budgets, policy days) → their impact on a symbol at a moment, in [0, 1].

The file is YAML, a list of `{at: ISO time with offset, impact: 0..1, before_minutes: n, after_minutes: n, symbols:
[..]}`; without `symbols` an event touches every instrument. Impact rises linearly from 0 at `before_minutes` before
`at` to its full value, and falls back to 0 over `after_minutes`. Invariant: 0 wherever no event is near; overlapping
events don't add, the largest counts.
"""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.core.documents import DocumentError, read_texts
from daemon.core.errors import SettingsError
from daemon.core.texts import moment, number


class ScheduledEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file; `at` needs a UTC offset."""

    at: dt.datetime
    impact: float
    before_minutes: float = 30.0
    after_minutes: float = 60.0
    symbols: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no impact can be made of."""
        if not 0.0 <= self.impact <= 1.0:
            raise ValueError(f"impact between 0 and 1, got {self.impact}")
        if self.at.tzinfo is None:
            raise ValueError(f"at with a UTC offset such as +05:30, got {self.at.isoformat()}")
        if not (0.0 < self.before_minutes < math.inf and 0.0 < self.after_minutes < math.inf):
            raise ValueError("before_minutes and after_minutes above 0 and finite")

    def impact_at(self, ts: int) -> float:
        """Impact at `ts` (UTC nanoseconds)."""
        minutes = (ts / NS_PER_S - self.at.timestamp()) / 60.0
        reach = self.after_minutes if minutes >= 0 else self.before_minutes
        return self.impact * max(0.0, 1.0 - abs(minutes) / reach)


class ScheduledEvents:
    """All events of a file; an empty collection has no impact anywhere."""

    def __init__(self, events: tuple[ScheduledEvent, ...] = ()) -> None:
        self._events = events

    @classmethod
    def load(cls, path: Path | None) -> ScheduledEvents:
        """Read `path` (None: no events). Raises `SettingsError` naming the file and what is wrong in it."""
        if path is None:
            return cls()
        try:
            return cls(_events(read_texts(path) or []))
        except OSError as error:
            raise SettingsError(f"complexity_detection.events_file: {path}: {error.strerror}") from None
        except (DocumentError, ValueError) as error:  # of msgspec, too
            raise SettingsError(f"complexity_detection.events_file: {path}: {error}") from None

    def impact(self, symbol: str, ts: int) -> float:
        """The largest impact on `symbol` at `ts` (UTC nanoseconds), in [0, 1]."""
        if not self._events:
            return 0.0
        near = (event.impact_at(ts) for event in self._events if not event.symbols or symbol in event.symbols)
        return max(near, default=0.0)


_READERS = {"at": moment, "impact": number, "before_minutes": number, "after_minutes": number}


def _events(rows: Any) -> tuple[ScheduledEvent, ...]:
    """Events of texts as YAML has them; raises `ValueError` that says what is wrong in which."""
    if isinstance(rows, list):
        rows = [_typed(row, place) if isinstance(row, dict) else row for place, row in enumerate(rows, 1)]
    return msgspec.convert(rows, tuple[ScheduledEvent, ...])


def _typed(row: dict[Any, Any], place: int) -> dict[Any, Any]:
    values = dict(row)
    for key, read in _READERS.items():
        if isinstance(row.get(key), str):
            try:
                values[key] = read(row[key])
            except ValueError as error:
                raise ValueError(f"entry {place}: {key}: expected {error}, got {row[key][:40]!r}") from None
    return values
