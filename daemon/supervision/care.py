"""Decisions of the strategy in charge → what is to be done about it now: one step, the way back, or nothing.

Puts the watch (what is wrong), the stairs (which step) and probation (when back) together. Invariant: loop-free; of one
decision comes one step at most; in a replay (`timed` false) nothing is done that the machine's speed or the wait for
something better would decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec
import structlog

from daemon.core.clock import india_day
from daemon.core.events import Decision, Mitigation, ShadowResult
from daemon.settings.run import SupervisorSettings
from daemon.supervision.baseline import Baseline, Rival
from daemon.supervision.memory import MemoryWatch
from daemon.supervision.mitigation import Probation, Stairs
from daemon.supervision.triggers import Finding, Trigger, Watch, too_old

log = structlog.get_logger("supervisor")

PROBATION = "probation"
SHADOW_SHARE = 0.5
"""The shadow begins when so much of the probation is over, so that a model that isn't in charge rests before."""


def _nobody_knows(_decision: Decision) -> str:
    return ""


class Traits(msgspec.Struct, frozen=True):
    """What the supervisor has to know of the strategies."""

    knows: Mapping[str, frozenset[Mitigation]] = {}
    trained_to: Callable[[Decision], str] = _nobody_knows
    """Newest training day of the model that made a decision, an ISO date; "" where nobody knows."""
    missing: Mapping[str, str] = {}
    """Rungs that can't be built, and why."""
    deadline_ms: float = 0.0
    memory_limit_gb: float | None = None
    rival: Rival | None = None
    """The baseline."""


class Step(msgspec.Struct, frozen=True):
    """What is to be done, for which trigger, on what evidence."""

    step: Mitigation
    trigger: str
    evidence: str


class Below(msgspec.Struct, frozen=True):
    """The next rung, and the next that wasn't trained in a market; None where there is none."""

    any: str | None
    unlearned: str | None


class Care:
    """Of the strategy in charge."""

    def __init__(self, settings: SupervisorSettings, traits: Traits, *, timed: bool) -> None:
        self.watch = Watch(settings.triggers, settings.max_failed_decisions, traits.deadline_ms)
        self.stairs = Stairs(traits.knows, settings.max_steps_per_day)
        self.memory = MemoryWatch(traits.memory_limit_gb if timed else None, settings.triggers.memory_rest_s)
        self.baseline = Baseline(settings.triggers, traits.rival)
        self.probation = Probation(settings.probation_minutes, settings.triggers.at_least)
        self.warnings: dict[Trigger, str] = {}
        """What is told and not acted on."""
        self.wanted = ""
        """The step that would have been taken, and why it wasn't; "" where nothing is held back."""
        self.came_from: list[str] = []
        """Better strategies that were left by themselves, best first: those that may be tried again."""
        self._settings = settings
        self._traits = traits
        self._timed = timed

    def on_decision(
        self, decision: Decision, failed: str | None, elapsed_ns: int | None, below: Below, now_ns: int
    ) -> Step | None:
        """What is to be done after a decision of the rung in charge; `failed`: why the ladder leaves it at once."""
        found = self.watch.on_decision(decision, elapsed_ns if self._timed else None)
        days = self._settings.triggers.model_age_days
        old = None if days is None else too_old(self._traits.trained_to(decision), days, now_ns)
        if old is not None:
            found.insert(0, old)
        worse = self.baseline.finding(decision.strategy, decision.model_hash)
        if worse is not None:
            found.insert(0, worse)
        if failed is not None:
            found.insert(0, Finding(Trigger.IN_A_ROW, failed))
        self._tell({one.trigger: one.evidence for one in found if not one.trips})
        trip = next((one for one in found if one.trips), None)
        if trip is None:
            self.wanted = "" if not found else self.wanted
            if found:
                self.probation.trip(now_ns)  # a warning isn't well, either
            return self._back(decision, now_ns)
        return self._do(trip, decision.strategy, below, now_ns)

    def on_session(self, result: ShadowResult, below: Below, now_ns: int) -> Step | None:
        """What is to be done after a session of the rung in charge beside the baseline, before its next decision."""
        trip = self.baseline.finding(result.real_strategy, result.real_model_hash)
        return None if trip is None else self._do(trip, result.real_strategy, below, now_ns)

    def on_memory(self, trip: Finding, rung: str, below: Below, now_ns: int) -> Step | None:
        """What is to be done about too much memory: what nobody needs, then what `rung` remembers, then `rung`."""
        step = self.stairs.next(trip.trigger, rung, below.any) if self.memory.freed else Mitigation.FREE_MEMORY
        if step in (None, Mitigation.FLAT, Mitigation.HALT):
            return None  # frees nothing: health says that a person must start it again
        barred = self.stairs.barred(india_day(now_ns))
        if not barred:
            return Step(step, trip.trigger.value, trip.evidence)
        if not self.memory.wanted:
            log.error("no automatic step", step=step, evidence=trip.evidence, why=barred)
        self.memory.wanted = f"{step.value} is wanted ({trip.evidence}) and not done: {barred}"
        return None

    def _do(self, trip: Finding, rung: str, below: Below, now_ns: int) -> Step | None:
        """The next step about `rung`, unless none is left or none may be taken."""
        self.probation.trip(now_ns)
        next_rung = below.unlearned if trip.trigger is Trigger.NOVELTY else below.any
        step = self.stairs.next(trip.trigger, rung, next_rung)
        return None if step is None else self._may(Step(step, trip.trigger.value, trip.evidence), now_ns)

    def shadow_wanted(self, now_ns: int) -> str:
        """Who should decide in the shadow, "" where nobody should."""
        if not self._may_go_back(now_ns) or self.stairs.eased or not self.came_from:
            return ""
        half = Probation(self.probation.minutes * SHADOW_SHARE, 0)
        half.since = self.probation.since
        return self.came_from[-1] if half.waited(now_ns) else ""

    def swapped(self, rung: str, *, by_itself: bool, old: str, now_ns: int) -> None:
        """`rung` is in charge: a clean record, and a clean watch."""
        if by_itself and rung in self.came_from:  # the way back
            self.came_from = self.came_from[: self.came_from.index(rung)]
        elif by_itself:
            self.came_from.append(old)
        if rung == "flat" or not by_itself:  # a person's word, and nobody comes back from flat by himself
            self.came_from = []
        self.stairs.begin()
        self.begin(now_ns)

    def never_back_to(self, rung: str) -> None:
        """`rung` isn't tried again by itself."""
        self.came_from = [one for one in self.came_from if one != rung]

    def begin(self, now_ns: int) -> None:
        """What was done is to show what it does: nothing of before counts."""
        self.watch.clear()
        self.warnings, self.wanted = {}, ""
        self.probation.trip(now_ns)

    def back(self, rung: str, now_ns: int) -> str:
        """When something better is tried again, in words; "" where there is nothing better."""
        settings, better = self._settings, "all its depth" if self.stairs.eased else next(reversed(self.came_from), "")
        if not better or rung == "flat":
            return ""
        if not self._timed or not settings.tries_per_day:
            return f"{better}: never by itself (supervisor.tries_per_day)"
        left = settings.tries_per_day - self.stairs.tries(india_day(now_ns))
        if left <= 0:
            return f"{better}: not today any more, {settings.tries_per_day} tries were made"
        minutes = math.ceil(self.probation.left_ns(now_ns) / 60e9)
        shadow = (
            "" if self.stairs.eased else f", {self.probation.fine} of {self.probation.wanted} shadow decisions fine"
        )
        return f"{better}: in {minutes} min without a trip{shadow}, {left} tries left today"

    def _back(self, decision: Decision, now_ns: int) -> Step | None:
        """All depth again, or the better strategy, where probation is over."""
        probation = self.probation
        if decision.failed or not self._may_go_back(now_ns) or not probation.waited(now_ns):
            return None
        if self.stairs.eased:
            return Step(Mitigation.BACK, PROBATION, f"{probation.minutes:g} min without a trip")
        if not self.came_from or probation.fine < probation.wanted:
            return None
        evidence = f"{probation.minutes:g} min without a trip, {probation.fine} fine decisions in the shadow"
        return Step(Mitigation.BACK, PROBATION, evidence)

    def _may_go_back(self, now_ns: int) -> bool:
        if not self._timed:
            return False
        day, tries = india_day(now_ns), self._settings.tries_per_day
        return not self.stairs.barred(day) and self.stairs.tries(day) < tries

    def _may(self, step: Step, now_ns: int) -> Step | None:
        """The step, unless it is barred, which is said once."""
        barred = self.stairs.barred(india_day(now_ns))
        if not barred:
            return step
        wanted = f"{step.step.value} is wanted ({step.evidence}) and not done: {barred}"
        if not self.wanted:
            log.error("no automatic step", step=step.step, evidence=step.evidence, why=barred)
        self.wanted = wanted
        return None

    def _tell(self, warnings: dict[Trigger, str]) -> None:
        for trigger, evidence in warnings.items():
            if trigger not in self.warnings:
                log.warning("the strategy in charge is not well", trigger=trigger, evidence=evidence)
        self.warnings = warnings
