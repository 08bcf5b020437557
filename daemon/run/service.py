"""`hrmd run` as a service: the `App` with control server, metrics, systemd notifications and signals around it.

Invariant: READY is sent only when the control server listens and the path is running, STOPPING before anything is taken
down, and the watchdog is fed from the event loop itself and only while decisions come, so a stuck loop is a restart,
and so is a path that stands still.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from daemon.alerting.sender import Sender
from daemon.alerting.targets import read_targets
from daemon.app import App
from daemon.brokers.choice import check_feed, real_ticks
from daemon.budget.keeper import keeper_of
from daemon.control.auth import check_server_token, server_token, server_token_file
from daemon.control.metrics import MEASURED, Metrics
from daemon.control.rendezvous import Announcement, Running, announce
from daemon.control.tokens import read_tokens
from daemon.control.tuning import Tuning
from daemon.core import ids
from daemon.core.aside import Aside
from daemon.core.clock import NS_PER_S, PacedClock
from daemon.core.errors import HrmdError, JournalError, SettingsError, TapeError, Unavailable
from daemon.core.events import ITSELF, Event, Halt, InferenceMeasured, TradingState
from daemon.core.files import is_there
from daemon.core.latency import MeasuredLatency
from daemon.feed.live.time import live_clock
from daemon.machine import Machine
from daemon.market.calendar import MarketCalendar
from daemon.market.opening import CalendarWatch
from daemon.plan import RunPlan
from daemon.run.alerts import alert_desk
from daemon.run.control import ControlService
from daemon.run.gauges import build_of, gauges_of
from daemon.run.greeting import greet
from daemon.run.journal_watch import JournalWatch
from daemon.run.log import set_level
from daemon.run.notify import Notifier
from daemon.run.process import on_ending
from daemon.run.recording import (
    END_S,
    bring_to_its_end,
    follow,
    open_recorder,
    record_published,
    reels_of_today,
    wants_recorder,
)
from daemon.run.reloading import Reloading
from daemon.run.tape_notes import none_usable, not_chosen
from daemon.run.totals import TOTALLED, RunTotals
from daemon.run.trail import TRAILED, Trail
from daemon.run.view import DaemonView
from daemon.settings.alerts import AlertKind
from daemon.settings.tree import Settings
from daemon.shadow.agents import Agent
from daemon.strategy.openings import opens_nothing
from daemon.supervision.supervisor import Kept
from strategies.base import Strategy

log = structlog.get_logger("service")

PULSE_S = 0.25
"""How often the loop's lag is looked at."""
ANNOUNCE_S = 2.0
"""So long may the disk take on which a daemon writes down where it is found; it trades without."""
RECORDER_HANGS_S = 2.0
"""Where the journal's disk hangs."""
START_TOLD_S = 20.0
"""How often systemd is told that a start goes on, where it waits for the broker or a login."""
GAUGES_EVERY = 4
"""Pulses: what the metrics show of positions and queues is at most a second old."""


class Service:
    """One daemon process."""

    def __init__(
        self, settings: Settings, strategies: Mapping[str, Strategy] | None = None, machine: Machine | None = None,
        load: Callable[[], Settings] | None = None, agents: Sequence[Agent] | None = None,
    ) -> None:  # fmt: skip
        """Build the path, on the settings' strategies and shadow agents unless others are given.

        `machine`: what it runs on, by default this computer; `load`: reads the settings anew. Raises `UsageError` for
        settings, tapes or models that can't be used.
        """
        live = settings.feed.source != "tape"
        self._machine = machine = machine if machine is not None else Machine()
        if not live and not settings.feed.tape:
            raise SettingsError("feed.tape: expected at least one tape for feed.source tape (--set feed.tape=[FILE])")
        if live:
            check_feed(settings)
        clock = live_clock(settings, machine.readings) if live else PacedClock(settings.feed.speed)
        if settings.control.enabled:
            check_server_token(settings.control.token_file, os.environ)
            read_tokens(settings.control.tokens_file)
        targets = read_targets(settings.alerts, os.environ)
        self.recorder = (
            open_recorder(settings, MarketCalendar.load(settings.market.calendar_file), machine)
            if wants_recorder(settings)
            else None
        )
        plan = RunPlan(
            tapes=[] if live else settings.feed.tape,
            symbols=[],
            clock=clock,
            latency=MeasuredLatency(),
            journal=settings.journal.path,
            durable=True,
            restarts=True,
            order_prefix=order_prefix(machine),
            record=self.recorder.record if self.recorder is not None else None,
            recover=True,
            reels=reels_of_today(settings, clock, machine) if live else [],
            machine=machine,
        )
        self._made_token: Path | None = None
        app = None
        try:
            self.app = app = App(settings, plan, strategies, agents)
            if self.recorder is not None:
                follow(app.bus, self.recorder, app.venue_time)
                if not live:
                    record_published(app.bus, self.recorder, app.tapes)
            self._budget = keeper_of(
                app.bus, clock, app.risk.book, app.settings.risk.budget, settings.journal.path
            )  # fmt: skip
            token = self._token() if settings.control.enabled else None
            sender = Sender(targets, settings.alerts)
            mode = f"{settings.broker.name} · {_ticks(settings)}"
            self.view = DaemonView(app, mode, self.recorder, sender.reading)
            self.alerts = alert_desk(app, self.view, sender)
        except HrmdError:
            if app is not None:
                app.close()
            if self.recorder is not None:
                self.recorder.close()
            raise
        self.metrics = Metrics()
        self._calendar_watch = CalendarWatch(self.app.calendar)
        self._journal_watch = JournalWatch(app.bus, app.journal) if app.journal is not None else None
        self._notifier = Notifier.from_environment(os.environ)
        self.app.bus.tap(MEASURED, self.metrics.record)
        self.app.bus.tap((InferenceMeasured,), self._measure)
        self.totals = RunTotals(self.app.account.portfolio, self.app.account.state)
        self.app.bus.tap(TOTALLED, self.totals.record)
        self.app.bus.tap(TRAILED, Trail(app.orders.find).record)
        self._still = False
        self.tuning = tuning = Tuning(
            settings, app.settings, app.desk, clock, set_level, load, Aside("settings", machine.thread)
        )
        self._reloading = Reloading(tuning, self._notifier)
        self._control: ControlService | None = None
        self._announcement: Announcement | None = None
        if token is not None:
            self._control = ControlService(settings, self.app, self.view, self.metrics, token, tuning)

    def _token(self) -> str:
        """The daemon's own, made now where there is none."""
        file = server_token_file(self.app.settings.control.token_file, os.environ)
        with suppress(OSError):  # which is said of the token then
            self._made_token = None if is_there(file) else file
        return server_token(self.app.settings.control.token_file, os.environ)

    @property
    def control_url(self) -> str:
        """Where control listens, "" where it is off; to be asked while it runs."""
        return self._control.url if self._control is not None else ""

    async def run(self, alongside: tuple[Callable[[], Awaitable[None]], ...] = ()) -> None:
        """Run until the feed ends or a signal comes; `alongside` begin when the path has recovered.

        Raises `TapeError` when the tape came to its end and no tick of it could be used.
        """
        on_ending(self._on_signal)
        starting: list[asyncio.Task[None]] = []
        try:
            if self._control is not None:
                await self._listen(self._control)
                log.info("control listens", url=self._control.url)
                await self._announce(self._control.url)
                greet(await self._control.owners_link(), sys.stdout)
            log.info("running", strategy=self.app.settings.strategy.name, model=self.app.model)
            if self.app.untried:
                log.warning("untried model", reason=self.app.untried)
            if why := opens_nothing(self.app.settings):
                log.warning("no position will be opened", reason=why)
            if self.app.tapes.paths and (why := not_chosen(self.app.settings.feed, self.app.symbols)):
                log.warning("symbols", reason=why)
            for line in self.app.market.idle:
                log.warning(line)
            kept = (
                Kept("pulse", self._pulse), Kept("health", self.view.monitor.run), Kept("alerts", self.alerts.run),
                Kept("reload", self._reloading.run),
                *([Kept("budget", self._budget.run)] if self._budget is not None else []),
            )  # fmt: skip
            keep = self.app.supervisor.keep
            starting = [
                asyncio.create_task(self.alerts.run_until_it_trades(), name="alerts"),
                asyncio.create_task(self._tell_of_the_start(), name="start"),
            ]
            await self.app.run(alongside=(*(partial(keep, one) for one in kept), *alongside))
        finally:
            self._notifier.stopping()
            for task in starting:
                task.cancel()
            if self._announcement is not None:
                self._announcement.close()
            if self._control is not None:
                await self._control.stop()
            with suppress(JournalError):  # which the run itself has raised
                self.app.close()
            if self.app.hangs:
                self.alerts.last_word(AlertKind.JOURNAL, f"the daemon has ended: {self.app.hangs}")
            await asyncio.to_thread(self.alerts.close)
            await self._close_recorder()
            log.info("summary", **self.totals.words(), rung=self.app.supervisor.ladder.active)
        log.info("stopped", positions=[row.symbol for row in self.view.positions() if row.quantity])
        tapes, rejected = self.app.plan.tapes, self.totals.all_rejected
        if tapes and rejected is not None:
            raise TapeError(none_usable(tapes, rejected))

    async def _close_recorder(self) -> None:
        """A disk that hangs is waited for no longer: the next start seals what is left, as after a kill."""
        if self.recorder is None:
            return
        patience_s = RECORDER_HANGS_S if self.app.hangs else END_S
        try:
            await bring_to_its_end(self.recorder, self.app.settings.feed.record.path, self._machine, patience_s)
        except Unavailable as error:
            log.error("the recording was not brought to its end", reason=str(error))

    async def _listen(self, control: ControlService) -> None:
        try:
            await control.start()
        except HrmdError:
            if self._made_token is not None:
                self._made_token.unlink(missing_ok=True)
            raise

    async def _announce(self, url: str) -> None:
        """Write down where `hrmd ctl` finds this daemon; one that can't is found by its settings or `--url`."""
        token_file = server_token_file(self.app.settings.control.token_file, os.environ).resolve()
        running = Running(os.getpid(), url, str(token_file), os.getcwd())
        aside = Aside("announcement", self._machine.thread)
        try:
            self._announcement = await aside.ask(partial(announce, running, os.environ), ANNOUNCE_S)
        except OSError as error:  # a disk that gives no answer in time is one
            log.warning("hrmd ctl can't find this daemon by itself", reason=str(error))

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self._notifier.managed:
            self._reloading.ask()
            return
        self._notifier.stopping(f"{number.name} received")
        self.app.stop(f"{number.name} received", number.name)

    async def _tell_of_the_start(self) -> None:
        """Have systemd wait for as long as the start goes on: who kills it finds the broker no nearer."""
        while self.app.why_idle and not self.app.ending:
            self._notifier.starting(self.app.why_idle, 3 * START_TOLD_S)
            await asyncio.sleep(START_TOLD_S)

    async def _pulse(self) -> None:
        """Say that the path runs, then measure how late the loop wakes, and feed the watchdog."""
        self._notifier.ready()
        fed_ns = 0
        build, pulses = build_of(self.app), itertools.count()
        while True:
            if self._control is not None and not next(pulses) % GAUGES_EVERY:  # nobody else asks for them
                self.metrics.gauges = gauges_of(self.app, self.alerts, build)
            before = self._machine.stopwatch()
            await asyncio.sleep(PULSE_S)
            now = self._machine.stopwatch()
            lag_s = (now - before) / NS_PER_S - PULSE_S
            self.metrics.loop_lag(lag_s)
            self.view.monitor.loop_lag(lag_s)
            if self._journal_watch is not None:
                self._journal_watch.look(self.app.plan.clock.now_ns())
            self._watch_recorder()
            self._calendar_watch.look(self.app.plan.clock.now_ns())
            interval_s = self._notifier.watchdog_interval_s
            if self._stands_still() or interval_s is None:
                continue
            if now - fed_ns >= interval_s * NS_PER_S - PULSE_S * NS_PER_S:
                self._notifier.watchdog()
                fed_ns = now

    def _stands_still(self) -> bool:
        """Whether decisions are owed: systemd is then not told that all is well, and starts another process."""
        overdue = self.view.monitor.overdue
        if bool(overdue) is not self._still:
            self._still = bool(overdue)
            if overdue is not None:
                log.error("decisions are owed: the watchdog is not fed", symbol=overdue.symbol, count=overdue.count)
            else:
                log.info("decisions come again: the watchdog is fed")
        return self._still

    def _watch_recorder(self) -> None:
        """Without a tape trading goes on, unless the settings say that it shall not."""
        app, trouble = self.app, self.recorder.trouble if self.recorder is not None else ""
        halts = app.settings.feed.record.on_failure == "halt"
        if trouble and halts and app.risk.book.state is not TradingState.HALTED:
            app.bus.publish(Halt(ts=app.plan.clock.now_ns(), reason=trouble, automatic=True, who=ITSELF))

    def _measure(self, event: Event) -> None:
        if isinstance(event, InferenceMeasured):
            self.metrics.inference(event.elapsed_ns / NS_PER_S)


def _ticks(settings: Settings) -> str:
    """Where they come from, in two words."""
    if settings.feed.source == "tape":
        return f"tape ×{settings.feed.speed:g}"
    return f"{settings.feed.source}, {'live' if real_ticks(settings) else 'rehearsal'}"


def order_prefix(machine: Machine) -> str:
    """What client order ids of this run begin with: unique across restarts and machines, alphanumeric."""
    return ids.order_prefix(machine.readings.wall_ns() // NS_PER_S, machine.chance(3))
