"""One session: the venue, a computer, the daemons that live on it one after the other, and what befalls them.

Invariant: everything that happens is decided by the plan and its seed, and what was broken says when.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from daemon.core.clock import NS_PER_S
from daemon.core.errors import HrmdError, UsageError
from daemon.core.events import CanaryChanged, MigrationChanged, Resume, SettingChanged, TradingState
from daemon.core.passing import passes
from daemon.orders.book import OrderState
from daemon.run.service import Service
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION
from daemon.sandbox.tokens import FAR_S, make_token
from daemon.settings.shadow import ShadowAgentSettings
from daemon.shadow.agents import Agent, own_settings
from strategies.base import Strategy
from tests.simulation import promises
from tests.simulation.brains import CANDIDATE, Brain, Mood, Store
from tests.simulation.clerk import Clerk
from tests.simulation.computer import Computer
from tests.simulation.corporate import name_it_late, split_of
from tests.simulation.deeds import DEEDS
from tests.simulation.link import TickLinks
from tests.simulation.listener import Listeners
from tests.simulation.loop import Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.own_class import OWN, own_strategy
from tests.simulation.plan import ACTIVE_WITHIN_S, ASKS_ONLY, EXCUSES_NOTHING, HEALED_S, Action, Plan
from tests.simulation.promises import SETTLES_S, at_its_end
from tests.simulation.record import journaled, newest
from tests.simulation.recorded import Recorded
from tests.simulation.scenes import STAGES, Night
from tests.simulation.settings import MAX_A_MINUTE, MAX_LOSS, settings_at
from tests.simulation.succession import write_what_was_shown
from tests.simulation.venue import Venue
from tests.simulation.watch import Watch

KEPT: list[Any] = []
"""What dead daemons left: were it collected, their coroutines would run to an end that no killed process has."""
RESTART_S = 5.0
"""systemd's pause before the next start."""
ENDS_WITHIN_S = 25
"""So long an orderly end may take."""
LOOK_S = 0.5
"""How the system stands is looked at so often, and after everything that it says."""
MARKED_S = 2.0
"""So long after a disk can take it, and the machine is awake, the mark of a journal that wasn't written is there."""
APP_ID = DEFAULT_AUTHORIZATION.partition(":")[0]

RAISED = ("actor crashed", "strategy raised", "a shadow agent crashed")
"""Lines with a trace of what is meant to go wrong here."""


class World:
    """Everything of one session."""

    def __init__(self, plan: Plan, directory: Path, port: int) -> None:
        self.plan = plan
        self.loop = SimLoop(plan.seed, shuffled=plan.shuffled)
        self.network = self.loop.network = Network(self.loop, plan.seed)
        self.stage = stage = STAGES[plan.scene]
        self.computer = Computer(self.loop, plan.seed, stage.begins_ns, directory)
        self.ticks = TickLinks(self.loop, plan.seed, self.computer.clocks.monotonic_ns)
        self.computer.connect = self.ticks.connect
        self.mood = Mood(self.loop.time)
        self.store = Store(plan.seed, self.mood)
        self.computer.models = lambda: self.store
        self.files = self.computer.files
        self.files.waited = self._on_waiting
        self.tapes, self.recorded = self.computer.tapes, Recorded(directory / "tapes")
        self.clerk, self.listeners = Clerk(self), Listeners(self)
        self.lifted_until = 0.0
        """Until when a resume that was asked for may still arrive."""
        self.watch = Watch(self.loop.time, MAX_A_MINUTE, MAX_LOSS)
        self.watch.disk_fails, self.watch.spoilt = plan.has("disk."), self.mood.spoilt
        self.settings = self.file = settings_at(port, directory, stage, plan)
        """Of the first start, and as the settings file has them by now."""
        self.split = split_of(plan) if stage.off_s is not None and stage.night is Night.OFF else None
        if self.split is not None and self.split.in_time:
            self.split.name(self)
        self.venue = Venue(self.loop, plan, stage, port, self.ticks)
        self.ticks.token_holds = lambda: not self.venue.gate.expired
        if plan.has("migration."):
            write_what_was_shown(self.computer.journal, stage.begins_ns, plan.migration)
        self.service: Service | None = None
        self.process: Process | None = None
        self.down_s = RESTART_S
        self.off_until = 0.0
        """Until when the computer is off."""
        self.lives = 0
        self.healed_at = self.active_s = float("inf")
        self.forgotten: set[str] = set()
        """Orders that had left when a disk lost what it had said was on it."""
        self.troubled_until = 0.0
        """Until when the last fault may be felt."""
        self.cancels_to_spoil = 0
        """How many cancellations the venue is yet to lose or refuse."""
        self.works_since: dict[str, float] = {}
        """Since when an order that was asked to be cancelled has been seen to work at the venue."""
        self.upset_until = 0.0
        """The same of what may be felt by who asks over HTTP."""
        self.asked = 0
        """Commands that operators gave."""
        self.pairs: list[str] = []
        self.log: list[str] = []
        self.ends: Counter[str] = Counter()
        """How lives ended."""
        self._died: asyncio.Event | None = None
        self._over = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._commands: list[asyncio.Task[Any]] = []
        """What operators of this life ask for; the end of the daemon hangs up on them, as its server does."""
        self._token_file = directory / "token"
        self._tokens, self._token = 0, ""
        self.log_in()
        self.loop.set_exception_handler(self._on_loop_error)

    # -- how the system stands ----------------------------------------------------------------------------------------

    def standing(self) -> str:
        """Trading, orders and feed in three words, such as `active:working:fresh`."""
        service = self.running()
        if service is None:
            return "down"
        app = service.app
        if not app.desk.open:
            return "starting"
        states = {order.state for order in app.orders.working.values()}
        orders = "none" if not states else "unknown" if OrderState.UNKNOWN in states else "working"
        return f"{self.watch.state.value.lower()}:{orders}:{'stale' if self.watch.stale else 'fresh'}"

    # -- the session --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """All of it, in simulated time."""
        try:
            with self.files.under():
                self.loop.run_until_complete(self._session())
        finally:
            self.loop.set_exception_handler(lambda loop, context: None)

    async def _session(self) -> None:
        tasks = self._tasks = [asyncio.create_task(self.venue.run())]
        await asyncio.sleep(0.1)
        living = asyncio.create_task(self._live())
        tasks += [
            living,
            asyncio.create_task(self._act()),
            asyncio.create_task(self._look()),
        ]
        if self.stage.off_s is not None:
            tasks.append(asyncio.create_task(self._spend_the_night()))
        ending = asyncio.create_task(self._end(living))
        left = {*tasks, ending}
        while not ending.done():
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        self.clerk.leave()
        self.listeners.leave()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        promises.at_the_venue(self)
        promises.past_calls(self)
        self.recorded.look(self)

    async def _live(self) -> None:
        """One life after the other, as systemd has it."""
        while not self._over:
            self.lives += 1
            process = self.process = Process(f"life {self.lives}")
            self._commands.clear()
            self._died = asyncio.Event()
            self.down_s = RESTART_S
            self.watch.begin_life(
                journaled(self.computer.journal, "Fill", "fill_id"),
                journaled(self.computer.journal, "PositionRestated", "symbol"),
                journaled(self.computer.journal, "OrderIntent", "order_id"),
                journaled(self.computer.journal, "CancelOrder", "order_id"), self.store.named,
                newest(self.computer.journal, CanaryChanged), self.most_units(),
                newest(self.computer.journal, MigrationChanged),
            )  # fmt: skip
            task = self.loop.create_task(self._daemon(process), context=process.context())
            died = asyncio.create_task(self._died.wait())
            await asyncio.wait((task, died), return_when=asyncio.FIRST_COMPLETED)
            service, self.service = self.service, None
            if process.alive:
                died.cancel()
                await asyncio.sleep(1.0)
                self._check_tasks(process, task)
            KEPT.append((service, process, task))
            if not self._over:
                await asyncio.sleep(self.down_s)
                await asyncio.sleep(self.off_until - self.loop.time())  # it may have been switched off meanwhile

    def most_units(self) -> int:
        """Of one order, as the settings file and what is on record of operators' wishes have it together."""
        told, most = newest(self.computer.journal, SettingChanged), self.file.risk.max_order_quantity
        return most if told is None or told.as_in_file else min(most, int(told.after))

    def running(self) -> Service | None:
        """The daemon, if one lives."""
        return self.service if self.process is not None and self.process.alive else None

    def log_in(self) -> None:
        """Somebody gets today's token, and the file of the daemon has it."""
        self._tokens += 1
        self._token = token = make_token(expires_s=FAR_S + self._tokens)
        self.venue.gate.renew(f"{APP_ID}:{token}")
        self._token_file.touch(0o600)
        self._token_file.write_text(token)

    async def _daemon(self, process: Process) -> None:
        strategies: dict[str, Strategy] = {name: self.store.brain(name) for name in ("hrm", "rules")}
        if self.plan.has("own."):
            strategies[OWN] = own_strategy(self.plan.seed, self.mood)
        agents = []
        if self.plan.has("canary.", "migration."):
            brain = Brain("hrm", self.plan.seed, self.mood, in_thread=True, model=CANDIDATE)
            own = own_settings(ShadowAgentSettings(name=CANDIDATE, strategy="hrm"), self.settings)
            agents = [Agent(CANDIDATE, brain, own)]
        try:
            service = Service(self.file, strategies, self.computer.machine(), lambda: self.file, agents)
        except HrmdError as error:
            self._check_end(error)
            self.ends["refused"] += 1
            self._note(f"refused: {error}")
            self.computer.let_go()
            return
        except Exception as error:
            self.watch.breaks("no exception ends a daemon", f"{type(error).__name__}: {error}")
            raise
        journal = service.app.journal
        assert journal is not None
        self.computer.hands[-1].busy = lambda: journal.appended > journal.committed
        self.watch.follow(service.app.bus)
        self.listeners.begin_life(service.app.bus)
        self.recorded.begin_life(self, service.recorder, service.app.bus)
        self.service = service
        try:
            await service.run()
            self.ends["orderly"] += 1
            self.watch.end_life()
            at_its_end(self, service)
        except HrmdError as error:
            self._check_end(error)
            self.ends["fault"] += 1
            self._note(f"fault: {error}")
            if min(self.loop.time() - 1, process.terminated_s) > HEALED_S:  # an end takes a while
                self.watch.breaks("no faults in peace", str(error))
        except Exception as error:
            self.watch.breaks("no exception ends a daemon", f"{type(error).__name__}: {error}")
            raise
        finally:
            if process.alive:
                for command in self._commands:
                    command.cancel()
                let_go(service)
                self.computer.let_go()
                self.recorded.end_life(self, orderly=True)

    def die(self, steps: int, seconds: float, *, torn: bool) -> None:
        """The daemon's process ends after so many steps, and stays down for so long."""
        process = self.process
        if process is not None and process.alive and self.service is not None:
            process.kill_after(steps, lambda: self._on_death(process, seconds, torn=torn))

    def _on_death(self, process: Process, seconds: float, *, torn: bool) -> None:
        self.ends["torn" if torn else "killed"] += 1
        self.down_s = seconds
        self.network.kill(process)
        self.ticks.forget()
        if self.service is not None:
            let_go(self.service)
            self.recorded.end_life(self, orderly=False)
        service = self.service
        unwritten = service is not None and service.app.journal is not None and service.app.journal.trouble
        well_from = max(self.files.bad_until, self.computer.disk.hung_until, process.woke_s)
        marked = self.loop.time() - well_from > MARKED_S
        if unwritten and marked and self.watch.state is TradingState.HALTED:
            self.watch.must_stand = TradingState.HALTED
        if self.computer.lose_process(torn=torn):
            self.watch.must_decide = None
            self.ends["forgot"] += 1
            self.forgotten |= self.watch.sent
            self.watch.must_stand = None
        assert self._died is not None
        self._died.set()

    async def _act(self) -> None:
        """Do what the plan says."""
        own = contextvars.copy_context()
        waiting = [action for action in self.plan.actions if action.when]
        timed = [action for action in self.plan.actions if not action.when]
        for action in timed:
            waiting = await self._wait_until(action.at, waiting)
            if action.after:
                do = partial(self._do, action)
                self.watch.waiting.setdefault(action.after, []).append(partial(self.loop.call_soon, do, context=own))
            else:
                self._do(action)
        await self._wait_until(HEALED_S - 2, waiting)

    async def _wait_until(self, at: float, waiting: list[Action]) -> list[Action]:
        """Wait, and do what waits for the system to stand in a way that it stands now."""
        while (left := at - self.loop.time()) > 0:
            await (self.watch.stirred(min(left, LOOK_S)) if waiting else asyncio.sleep(left))
            if waiting:
                standing, now = self.standing(), self.loop.time()
                for action in [it for it in waiting if it.when == standing and it.at <= now]:
                    waiting = [it for it in waiting if it is not action]
                    self._do(action)
        return waiting

    def _do(self, action: Action) -> None:
        standing = self.standing()
        if self.loop.time() >= HEALED_S:
            return
        if action.do not in EXCUSES_NOTHING:
            self.troubled_until = max(self.troubled_until, self.loop.time() + action.seconds + SETTLES_S)
        if action.do not in ASKS_ONLY:
            self.upset_until = max(self.upset_until, self.loop.time() + action.seconds + SETTLES_S)
        self.pairs.append(f"{action.do}@{standing}")
        self._note(f"{action.do} ({action.seconds:g} s, {action.number}) while {standing}")
        DEEDS[action.do](self, action)

    def command(self, made: Any) -> asyncio.Task[Any] | None:
        """Have the daemon do what an operator asks, by a coroutine of its own desk; None while there is none."""
        service, process = self.service, self.process
        if service is None or process is None or not process.alive:
            return None
        task = self.loop.create_task(made(service), context=process.context())
        self._commands.append(task)
        return task

    async def _look(self) -> None:
        """Every second: what must always be so."""
        while True:
            await asyncio.sleep(1.0)
            promises.always(self)

    async def _spend_the_night(self) -> None:
        """The computer is switched off, in order if it can be, or put to sleep, or neither; and time passes."""
        assert self.stage.off_s is not None
        (begins, ends), night, clocks = self.stage.off_s, self.stage.night, self.computer.clocks
        await asyncio.sleep(begins - self.loop.time())
        process = self.process
        if night is Night.OFF:
            await self._switch_off(ends)
        elif night is Night.ASLEEP and process is not None and process.alive:
            self.loop.suspend(process, ends - begins)
            self.watch.wait(ends - begins)
        await asyncio.sleep(ends - 1 - self.loop.time())
        clocks.pass_night(self.stage.skipped_ns)
        if night is Night.OFF:
            clocks.reboot()
        elif night is Night.ASLEEP and self.process is process:
            clocks.sleep(self.stage.skipped_ns + round((ends - begins) * NS_PER_S))
        self.venue.clock.pass_night(self.stage.skipped_ns)
        self.watch.pass_night()
        if self.split is not None:
            self.venue.split(self.split.symbol, self.split.ratio)
            name_it_late(self, self.split)

    async def _switch_off(self, until_s: float) -> None:
        self.off_until = until_s
        process = self.process
        if process is not None and process.alive and self.service is not None:
            self.loop.terminate(process)
            await asyncio.sleep(ENDS_WITHIN_S)
            if self.process is process and self.service is not None:
                self.die(0, RESTART_S, torn=False)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end(self, living: asyncio.Task[None]) -> None:
        """Faults stop; the daemon must come to trade again, agree with the venue, and end, leaving nothing."""
        await asyncio.sleep(HEALED_S - self.loop.time())
        self.heal()
        self.mood.calm_from = HEALED_S + 65
        self.healed_at = self.loop.time()
        await asyncio.sleep(15)
        quiet = 0
        while quiet < 2 and self.loop.time() < HEALED_S + ACTIVE_WITHIN_S - 5:
            for _ in range(2):
                await asyncio.sleep(5)
                found = list(promises.unquiet(self))
                quiet = 0 if found else quiet + 1
                if not found:
                    self.active_s = min(self.active_s, self.loop.time() - HEALED_S)
            if self.standing().startswith(("reducing", "halted")):  # an operator looks every ten seconds
                self.watch.must_stand = None
                self.command(lambda service: _quietly(service, Resume(ts=_now(service), reason="well again")))
        for promise, told in promises.unquiet(self):
            self.watch.breaks(promise, f"{self.loop.time() - HEALED_S:.0f} s after the last fault {told}")
        self._over = True
        service, process = self.service, self.process
        if service is None or process is None:
            return
        self.loop.terminate(process)
        for _ in range(ENDS_WITHIN_S):
            await asyncio.sleep(1)
            if living.done():
                break
        else:
            self.watch.breaks("it ends when it is asked to", f"it still runs {ENDS_WITHIN_S} s later")
            return
        promises.on_record(self, service.app.snapshot())  # with what was filled while it ended

    def heal(self) -> None:
        """Nothing fails any more."""
        self.network.heal()
        self.computer.heal()
        if self.plan.speaks == "openalgo":  # a server on this machine says no other time than it does
            self.computer.clocks.offset_ns = 0
        if self.venue.gate.expired or self._token_file.read_text() != self._token:
            self.log_in()
        self.ticks.heal()
        self.mood.heal()
        self.venue.heal()

    def _check_tasks(self, process: Process, own: asyncio.Task[Any]) -> None:
        left = [task.get_name() for task in process.tasks if not task.done() and task is not own]
        if left:
            self.watch.breaks("no task outlives its daemon", ", ".join(sorted(left)))

    # -- what is written down -----------------------------------------------------------------------------------------

    def _check_end(self, error: HrmdError) -> None:
        refused = isinstance(error, UsageError) and not passes(error)
        if refused:  # exit 2 (`RestartPreventExitStatus=` in systemd/hrmd.service)
            self.watch.breaks("systemd starts it again", str(error))

    def _note(self, line: str) -> None:
        self.log.append(f"{self.loop.time():9.3f} s  {line}")

    def hear(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """A line of the daemon's log."""
        words = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "exc_info"))
        if event.get("exc_info") and event.get("event") not in RAISED:
            self.watch.breaks("nothing is raised that nobody meets", f"{event.get('event')} {words}"[:300])
        self._note(f"  {method}: {event.get('event')} {words}"[:300])
        raise structlog.DropEvent

    def _on_waiting(self, call: str) -> None:
        """The loop waits for a disk that hangs; a start may, and is looked after from outside."""
        service = self.running()
        if service is not None and (service.app.desk.open or not service.app._closed):
            self.watch.breaks("the loop waits for no disk", f"{call} while it hangs")

    def _on_loop_error(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._note(f"loop: {context.get('message')} {error!r} {context.get('future') or context.get('task')}")
        self.watch.breaks("no exception is lost", f"{context.get('message')}: {error!r}")


def let_go(service: Service) -> None:
    """The system lets go of what a process held, even where a hanging disk kept it from giving it back."""
    for hold in service.app._holds:
        hold.release()
    if service.recorder is not None:
        service.recorder._directory.release()


async def _quietly(service: Service, command: Any) -> None:
    with contextlib.suppress(HrmdError):
        await service.app.desk.command(command)


def _now(service: Service) -> int:
    return service.app.plan.clock.now_ns()
