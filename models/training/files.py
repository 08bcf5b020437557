"""Files of bars → their sessions, on both sides of a border in time.

Invariant: however many files there are, sessions lie one symbol behind another and each in time order; a border that
leaves a side empty is refused by the option that named it and with what the files hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

from models.training.adjusting import Actions, Broken, adjusted, never, no_actions, separated
from models.training.errors import DataError
from models.training.ingest import Report, read_bars
from models.training.sessions import Hours, Sessions, in_order, join, split_by_time, usual_hours


@dataclass(frozen=True)
class FileData:
    """Bars of files or folders of stored sessions; training ends before ``border``, validation begins there.

    ``intervals_s``: trained on in turns; validation and evaluation use the first. ``actions``: what happened between
    sessions, so that windows reach across; where a price has ``broken`` away all the same, none does. ``columns``:
    names of the files' columns by those of bars; ``option``: what the user gave the border by; ``hours``: when the
    market was open, which the bars of a file that ends early don't tell.
    """

    files: Sequence[Path]
    intervals_s: Sequence[int]
    border: date
    actions: Actions = no_actions
    broken: Broken = never
    columns: Mapping[str, str] = field(default_factory=dict)
    option: str = "--border"
    hours: Hours = usual_hours


class Schedule(StrEnum):
    """How often a walk forward trains anew."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"

    @property
    def months(self) -> int:
        """Months between two trainings."""
        return {Schedule.MONTHLY: 1, Schedule.QUARTERLY: 3, Schedule.YEARLY: 12}[self]


def scheduled(sessions: Sessions, schedule: Schedule, first: date) -> list[date]:
    """Borders from ``first`` on, the first day of every month, quarter or year that has sessions behind it."""
    start = sessions.start_ns()
    borders = [first]
    number = first.year * 12 + first.month - 1
    while True:
        number += schedule.months - number % schedule.months
        border = date(number // 12, number % 12 + 1, 1)
        if border_ns(border) > int(start.max()):
            break
        if ((start >= border_ns(borders[-1])) & (start < border_ns(border))).any():
            borders.append(border)
    return borders


def load(data: FileData, interval_s: int) -> tuple[Sessions, list[Report]]:
    """Read all files as bars of one interval.

    Folders hold sessions stored by `Sessions.save`, which stay memory-mapped if they are alone.
    """
    parts, reports = [], []
    for path in data.files:
        if path.is_dir():
            parts.append(Sessions.open(path))
            continue
        sessions, found = read_bars(path, interval_s, columns=data.columns, hours=data.hours)
        parts.append(sessions)
        reports += found
    whole = adjusted(parts[0] if len(parts) == 1 else in_order(join(parts)), data.actions)
    whole = replace(whole, hours_ns=data.hours(whole.start_ns()))
    return separated(whole, data.broken), reports


def divided(data: FileData, sessions: Sessions, border: date) -> tuple[Sessions, Sessions]:
    """Sessions before a border, a day of them purged, and from it on. Raises DataError where either side is empty."""
    try:
        return split_by_time(sessions, border_ns(border))
    except DataError:
        raise DataError(
            f"{data.option} {border}: leaves one side without sessions: {data_words(data)} has {span_words(sessions)}"
        ) from None


def data_words(data: FileData) -> str:
    """The files, at most three by name."""
    names = [path.name for path in data.files]
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def span_words(sessions: Sessions) -> str:
    """First and last day."""
    if not len(sessions):
        return "no session"
    start = sessions.start_ns()
    return f"sessions from {day_of(int(start.min()))} to {day_of(int(start.max()))}"


def day_of(ns: int) -> str:
    """The UTC day of a time, ISO."""
    return datetime.fromtimestamp(ns // 1_000_000_000, tz=UTC).date().isoformat()


def border_ns(day: date) -> int:
    """Return the UTC start of a day in nanoseconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000
