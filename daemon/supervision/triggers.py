"""Decisions of the strategy in charge → what is wrong with it: warnings, and trips that something is done about.

Failures are counted for each instrument and for all together, over the newest decisions; a share says nothing before
there are enough of them, and nothing that happened at fewer than `closes` bar closes trips, so that one bad moment of
the machine is one, however many instruments it cost. Invariant: loop-free, and nothing that the machine's speed
decides is looked at unless it is told (`elapsed_ns`), so that a replay comes to the same findings every time.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from daemon.core.clock import NS_PER_MS, NS_PER_S, india_day
from daemon.core.events import Action, Decision
from daemon.settings.run import TriggerSettings
from daemon.supervision.novelty import LastingNovelty, NoveltyLimits
from strategies.base import INVALID, LATE, NOT_FINITE

HOUR_NS = 3600 * NS_PER_S
NOVEL_SHARE = 0.9
"""Of twice `novel_bars`: a break of a few bars in a market that the model doesn't know changes nothing."""
DAYS_TO_1970 = dt.date(1970, 1, 1).toordinal()
SIDES: Mapping[Action, int] = {
    Action.BUY_LONG: 1, Action.SELL_SHORT: -1, Action.CLOSE_LONG: 0, Action.CLOSE_SHORT: 0,
}  # fmt: skip


class Trigger(StrEnum):
    """What can be wrong."""

    IN_A_ROW = "failed_in_a_row"
    """Too many bar closes without a good decision, or one hang too many; told by the ladder."""
    NOT_FINITE = "not_finite"
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    FLAPPING = "flapping"
    MODEL_AGE = "model_age"
    NOVELTY = "novelty"
    """The market has been unlike those that the model knows for long."""
    MEMORY = "memory"
    """The process holds more than it may."""
    BASELINE = "baseline"
    """It earns less than the shadow agent that it is measured by."""


class Finding(msgspec.Struct, frozen=True):
    """One trigger, on what evidence; `trips`: something is to be done, else it is only told."""

    trigger: Trigger
    evidence: str
    trips: bool = True


class Share:
    """How many of the newest decisions were bad, and at how many bar closes."""

    __slots__ = ("_bad", "_newest")

    def __init__(self, window: int) -> None:
        self._newest: deque[tuple[int, bool]] = deque(maxlen=window)
        self._bad = 0

    def add(self, close: int, *, bad: bool) -> None:
        """One more decision, on the bar that closed at `close`."""
        if len(self._newest) == self._newest.maxlen:
            self._bad -= self._newest[0][1]
        self._newest.append((close, bad))
        self._bad += bad

    @property
    def count(self) -> int:
        """Decisions looked at."""
        return len(self._newest)

    @property
    def bad(self) -> int:
        """Those that were."""
        return self._bad

    @property
    def percent(self) -> float:
        """Of all."""
        return 100 * self._bad / max(1, len(self._newest))

    def closes(self) -> int:
        """Different bar closes at which one was bad."""
        return len({close for close, bad in self._newest if bad})


class Watch:
    """What the newest decisions of the strategy in charge say; `clear` begins anew."""

    def __init__(self, settings: TriggerSettings, closes: int, deadline_ms: float) -> None:
        self._settings = settings
        self._closes = closes
        self._warn_ms, self._trip_ms = settings.latency_limits_ms(deadline_ms)
        self._not_finite = (0, 0)  # (day, count)
        bars = settings.novel_bars
        limits = None if bars is None else NoveltyLimits(bars, 2 * bars, NOVEL_SHARE)
        self._novelty = None if limits is None else LastingNovelty(limits)
        self.clear()

    def clear(self) -> None:
        """A strategy, or what was done about it, is new: what was before says nothing of it."""
        window = self._settings.window
        self._failed: dict[str | None, Share] = {None: Share(window)}
        self._slow, self._very_slow = Share(window), Share(window)
        self._sides: dict[str, int] = {}
        self._changes: dict[str, deque[int]] = {}
        self._not_finite = (0, 0)
        if self._novelty is not None:
            self._novelty.forget()

    def on_decision(self, decision: Decision, elapsed_ns: int | None) -> list[Finding]:
        """What is wrong by now, trips first; `elapsed_ns` of the machine's time, None where nobody measured."""
        found = [
            self._finite(decision), *self._errors(decision), self._latency(decision, elapsed_ns),
            self._flapping(decision), self._unknown(decision),
        ]  # fmt: skip
        wrong = [one for one in found if one is not None]
        return sorted(wrong, key=lambda one: not one.trips) if wrong else wrong

    def _unknown(self, decision: Decision) -> Finding | None:
        lasting = self._novelty.on_decision(decision) if self._novelty is not None else None
        return None if lasting is None else Finding(Trigger.NOVELTY, lasting)

    def _finite(self, decision: Decision) -> Finding | None:
        if decision.halt_reason not in (INVALID, NOT_FINITE):
            return None
        today = india_day(decision.ts_bar)
        day, count = self._not_finite
        count = count + 1 if day == today else 1
        self._not_finite = (today, count)
        if count < self._settings.not_finite_per_day:
            return None
        return Finding(Trigger.NOT_FINITE, f"{count} answers of no use today: {decision.reason}")

    def _errors(self, decision: Decision) -> list[Finding | None]:
        if decision.halt_reason == LATE:
            return []
        settings = self._settings
        found: list[Finding | None] = []
        for key, what in ((None, "all instruments"), (decision.symbol, decision.symbol)):
            share = self._failed.get(key)
            if share is None:
                share = self._failed[key] = Share(settings.window)
            share.add(decision.ts_bar, bad=decision.failed)
            if not share.bad or share.count < settings.at_least or share.percent < settings.error_warn_percent:
                continue
            trips = decision.failed and share.percent >= settings.error_trip_percent and share.closes() >= self._closes
            evidence = f"{share.bad} of {share.count} decisions failed ({what})"
            found.append(Finding(Trigger.ERROR_RATE, f"{evidence}: {decision.reason}" if trips else evidence, trips))
        return found

    def _latency(self, decision: Decision, elapsed_ns: int | None) -> Finding | None:
        if elapsed_ns is None:
            return None
        for share, limit_ms in ((self._very_slow, self._trip_ms), (self._slow, self._warn_ms)):
            share.add(decision.ts_bar, bad=elapsed_ns > limit_ms * NS_PER_MS)
        for share, limit_ms, trips in ((self._very_slow, self._trip_ms, True), (self._slow, self._warn_ms, False)):
            if share.count >= self._settings.at_least and share.percent > 1 and share.closes() >= self._closes:
                evidence = f"{share.bad} of {share.count} decisions took longer than {limit_ms:g} ms"
                return Finding(Trigger.LATENCY, evidence, trips)
        return None

    def _flapping(self, decision: Decision) -> Finding | None:
        side = SIDES.get(decision.action)
        if side is None or side == self._sides.get(decision.symbol, 0):
            return None
        self._sides[decision.symbol] = side
        changes = self._changes.setdefault(decision.symbol, deque())
        changes.append(decision.ts_bar)
        while changes[0] <= decision.ts_bar - HOUR_NS:
            changes.popleft()
        if len(changes) <= self._settings.flaps_per_hour:
            return None
        return Finding(Trigger.FLAPPING, f"{decision.symbol} changed sides {len(changes)} times within an hour")


def too_old(trained_to: str, allowed_days: int, now_ns: int) -> Finding | None:
    """Whether a model whose newest training day (ISO date, "" where nobody knows) is `trained_to` is past its time."""
    if not trained_to:
        return None
    age = india_day(now_ns) + DAYS_TO_1970 - dt.date.fromisoformat(trained_to).toordinal()
    if age <= allowed_days:
        return None
    return Finding(
        Trigger.MODEL_AGE, f"the model knows days up to {trained_to}, {age} days ago; {allowed_days} allowed"
    )
