"""Runs beside the path, and looks at it: what the stations say, what came and what is owed, what lies on the disk.

A look is from memory and takes no time; files and disks are read on threads, and one that doesn't answer is what the
look finds. Invariant: nobody is told twice: a `HealthReport` is published, and a line logged, only where a check's
status changed since the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import HrmdError
from daemon.core.events import Bar, Decision, Event, HealthReport, MemoryMeasured, StrategySwapped
from daemon.core.threads import ThreadWorker, Worker
from daemon.settings.health import HealthSettings
from daemon.supervision.health import Check, CheckStatus, Overall, changes, overall, texts
from daemon.supervision.health_checks import SharedLimits, all_checks
from daemon.supervision.health_readings import Measurements, ModelFile, Place, Readings, Stuck, Unanswered
from daemon.supervision.health_window import DecisionWindow, Failing, Lag, Overdue, Owed, Standstill

log = structlog.get_logger("health")

PULSES: Final = 240
"""The event loop's newest wakings that are looked at: a minute of them."""
PULSES_LEAST: Final = 100


class LoadedModel(msgspec.Struct, frozen=True):
    """A model that is loaded from a file; `read` gives the hash of what the file holds now, or raises `HrmdError`."""

    strategy: str
    file: str
    loaded: str
    read: Callable[[], str]


class Sources(msgspec.Struct, frozen=True):
    """Whom the monitor asks. All answer at once, from memory, but for the files of models and the disks of `places`."""

    readings: Callable[[], Readings]
    memory_bytes: Callable[[], int]
    models: Callable[[], Sequence[LoadedModel]]
    places: Sequence[Path]


class HealthMonitor:
    """The daemon's health, for whoever asks, and for the journal where it changes."""

    def __init__(
        self, bus: Bus, clock: Clock, settings: HealthSettings, shared: SharedLimits, owed_limit_s: float,
        sources: Sources, decided: Callable[[Bar], bool], thread: Callable[[str], Worker] = ThreadWorker,
    ) -> None:  # fmt: skip
        """`decided` says which bars a decision is owed on, at the latest `owed_limit_s` after they closed.

        `thread`: who asks the disks.
        """
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._shared = shared
        self._owed_limit_s = owed_limit_s
        self._sources = sources
        self._window = DecisionWindow(settings.window_decisions, settings.window_minutes)
        self._owed = Owed()
        self._failing = Failing()
        self._lag = Lag(PULSES)
        self._standstill = Standstill()
        self._stages: dict[str, Standstill] = {}
        self._exits: dict[str, int] = {}
        """Since when each is wanted, nanoseconds."""
        self._models: Sequence[ModelFile] | None = None
        self._models_ns = 0
        self._models_aside = Aside("models", thread)
        self._disks: dict[Path, Aside] = {}
        self._rooms: dict[Path, tuple[Place | None, int]] = {}
        """And when each was found, nanoseconds."""
        self._thread = thread
        self._ran = False
        self._in_charge = sources.readings().strategy
        self._was: dict[str, CheckStatus] = {}
        self._seen: tuple[Check, ...] = ()
        self._seen_ns = 0
        self._said: dict[str, CheckStatus] = {}
        bus.tap((Bar,), self._on_bar, where=decided)
        bus.tap((Decision, StrategySwapped), self._note)

    def look(self) -> tuple[Check, ...]:
        """Every check, as of now."""
        return self._look_at(self._sources.readings())

    def _look_at(self, readings: Readings) -> tuple[Check, ...]:
        checks = all_checks(readings, self._measure(readings), self._settings, self._shared, self._was)
        self._was = {check.name: check.status for check in checks}
        self._seen, self._seen_ns = checks, self._clock.monotonic_ns()
        return checks

    def recent(self) -> tuple[Check, ...]:
        """Every check of the last look, where that is younger than the pause between looks, else as of now."""
        age_ns = self._clock.monotonic_ns() - self._seen_ns
        return self._seen if self._seen and age_ns < self._settings.every_s * NS_PER_S else self.look()

    @property
    def overdue(self) -> Overdue | None:
        """Decisions that are owed for too long; before it trades, and while it ends, none is."""
        found = self._owed.overdue(self._clock.monotonic_ns(), self._owed_limit_s)
        return found if found is not None and not self._sources.readings().idle else None

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke so late."""
        self._lag.add(seconds)

    async def run(self) -> None:
        """Look, and read what has to be read from disk, until cancelled; begun again it waits a look's time first.

        So a reason to crash that passes by itself doesn't use up the budget of restarts at once.
        """
        settings = self._settings
        if self._ran:
            await asyncio.sleep(settings.every_s)
        self._ran = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_reading(self.read_models, settings.model_check_minutes * 60), name="models")
            for path in self._sources.places:
                group.create_task(
                    self._keep_reading(partial(self.read_place, path), settings.disk_check_s), name="disk"
                )
            while True:
                self.tell()
                await asyncio.sleep(settings.every_s)

    def tell(self) -> None:
        """Look, and say what has changed; nothing before the run has a time, and nothing while it doesn't trade."""
        now = self._clock.now_ns()
        readings = self._sources.readings()
        if not now or readings.idle:
            return
        self._bus.publish(MemoryMeasured(ts=now, used_bytes=self._sources.memory_bytes()))
        checks = self._look_at(readings)
        changed = changes(self._said, checks)
        if not changed:
            return
        state = overall(checks)
        by_name = {check.name: check for check in checks}
        for change in changed:
            self._said[change.check] = CheckStatus(change.now)
            _log(by_name[change.check])
        self._bus.publish(
            HealthReport(
                ts=now, healthy=state is not Overall.UNHEALTHY, reasons=tuple(texts(checks, CheckStatus.FAIL)),
                state=state.value, changes=changed,
            )
        )  # fmt: skip

    # -- what comes over the bus --------------------------------------------------------------------------------------

    def _on_bar(self, bar: Bar) -> None:
        self._owed.closed(bar.symbol, bar.ts_close, self._clock.monotonic_ns())

    def _note(self, event: Event) -> None:
        if isinstance(event, StrategySwapped):
            self._in_charge = event.new
            self._window.forget()
        elif isinstance(event, Decision):
            self._owed.decided(event.symbol, event.ts_bar)
            self._failing.add(event)
            if event.strategy == self._in_charge:
                self._window.add(event)

    # -- what is measured ---------------------------------------------------------------------------------------------

    def _overdue(self, readings: Readings) -> Overdue | None:
        return None if readings.idle else self._owed.overdue(self._clock.monotonic_ns(), self._owed_limit_s)

    def _measure(self, readings: Readings) -> Measurements:
        now, journal = self._clock.monotonic_ns(), readings.journal
        self._exits = {symbol: self._exits.get(symbol, now) for symbol in readings.exits}
        places = [place for place, _ in self._rooms.values() if place is not None]
        return Measurements(
            figures=self._window.figures(),
            failing=self._failing.symbols,
            overdue=self._overdue(readings),
            owed_limit_s=self._owed_limit_s,
            journal_lag_s=self._standstill.seconds(journal.waiting, journal.committed, now) if journal else 0.0,
            stuck=self._stuck(readings, now),
            exits_s={symbol: (now - since) / NS_PER_S for symbol, since in self._exits.items()},
            loop_lag_ms=self._lag.p99_ms(PULSES_LEAST),
            loop_worst_ms=self._lag.worst_ms(),
            memory_bytes=self._sources.memory_bytes(),
            models=self._models,
            models_age_s=(now - self._models_ns) / NS_PER_S if self._models else None,
            models_unanswered_s=self._models_aside.owes_s,
            places=places,
            places_age_s=max(((now - at) / NS_PER_S for _, at in self._rooms.values()), default=None),
            unanswered=self._unanswered(),
        )

    def _unanswered(self) -> Unanswered | None:
        owed = [Unanswered(str(path), disk.owes_s) for path, disk in self._disks.items()]
        worst = max(owed, key=lambda one: one.seconds, default=None)
        return worst if worst is not None and worst.seconds else None

    def _stuck(self, readings: Readings, now: int) -> Stuck | None:
        """Before the stations run, and when they are taken down, none is."""
        found = [
            Stuck(stage.name, stage.waiting, self._stages.setdefault(stage.name, Standstill()).seconds(
                stage.waiting, stage.taken, now))
            for stage in readings.stages
        ]  # fmt: skip
        worst = max(found, key=lambda stuck: stuck.seconds, default=None)
        return None if readings.idle or worst is None or not worst.seconds else worst

    # -- what is read from disk, on threads ---------------------------------------------------------------------------

    async def _keep_reading(self, read: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await read()
            await asyncio.sleep(every_s)

    async def read_models(self) -> None:
        """Compare every model that is loaded with its file; where the disk gives no answer, leave it at that."""
        compare = partial(_all_compared, self._sources.models())
        with contextlib.suppress(TimeoutError):
            self._models = await self._models_aside.ask(compare, self._settings.model_check_minutes * 60)
            self._models_ns = self._clock.monotonic_ns()

    async def read_place(self, path: Path) -> None:
        """Ask how much room there is; where the disk gives no answer, leave it at that."""
        with contextlib.suppress(TimeoutError):
            disk = self._disks.setdefault(path, Aside("disk", self._thread))
            room = await disk.ask(partial(_room, path), self._settings.disk_answer_fail_s)
            self._rooms[path] = room, self._clock.monotonic_ns()


def _all_compared(models: Sequence[LoadedModel]) -> list[ModelFile]:
    return [_compared(model) for model in models]


def _compared(model: LoadedModel) -> ModelFile:
    """What its file holds now."""
    try:
        return ModelFile(model.strategy, model.file, model.loaded, found=model.read())
    except (HrmdError, OSError) as error:
        return ModelFile(model.strategy, model.file, model.loaded, trouble=str(error))


def _room(path: Path) -> Place | None:
    """On the disk of a directory that may not be there yet; None where nobody says."""
    try:
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
        return Place(str(path), shutil.disk_usage(existing).free)
    except (OSError, StopIteration):
        return None


def _log(check: Check) -> None:
    """One line, as grave as the check."""
    level = {CheckStatus.OK: log.info, CheckStatus.WARN: log.warning, CheckStatus.FAIL: log.error}[check.status]
    advice = {"do": check.do} if check.do else {}
    level("health", check=check.name, status=check.status.value, text=check.text, **advice)
