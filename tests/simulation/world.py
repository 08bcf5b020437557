"""One session: the venue, a computer, the daemons that live on it one after the other, and what befalls them.

Invariant: everything that happens is decided by the plan and its seed, and what was broken says when.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import hashlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from daemon.core.errors import HrmdError
from daemon.core.events import Resume, TradingState
from daemon.orders.book import OrderState
from daemon.recovery.account import recover
from daemon.run.service import Service
from daemon.sandbox.exchange import Status
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION
from daemon.settings.tree import Settings
from tests.samples import MINUTE, OPEN, settings_of
from tests.simulation.brains import Brain, Mood
from tests.simulation.computer import Computer
from tests.simulation.deeds import DEEDS
from tests.simulation.link import TickLinks
from tests.simulation.loop import Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.plan import ACTIVE_WITHIN_S, END_S, HEALED_S, Action, Plan
from tests.simulation.venue import SYMBOLS, Venue
from tests.simulation.watch import Broken, Watch

BEGINS_NS = OPEN + 45 * MINUTE
MAX_POSITION, MAX_ORDER, MAX_A_MINUTE = 40, 12, 6
KEPT: list[Any] = []
"""What dead daemons left: were it collected, their coroutines would run to an end that no killed process has."""
SETTLES_S = 8.0
"""After a fault, or a command, the venue's book follows within so long."""
RESTART_S = 5.0
"""systemd's pause before the next start."""
TOKEN = DEFAULT_AUTHORIZATION.partition(":")[2]


class Result(msgspec.Struct, kw_only=True):
    """What became of a session."""

    plan: Plan
    broken: list[Broken]
    pairs: list[str]
    """Faults and operators' deeds, each with how the system stood, such as `disk.full@active:none:fresh`."""
    counts: dict[str, int]
    digest: str
    """Of every journaled event in order, the journal's rows, and how many steps the loop took."""
    lives: int
    cpu_s: float
    log: list[str]


@cache
def _base_settings() -> Settings:
    return settings_of(
        "strategy.name=hrm", "strategy.interval=1m", "bars.intervals=[1m, 5m, 30m]",
        "supervisor.ladder=[hrm, rules, flat]", "supervisor.triggers.flaps_per_hour=1000",
        "supervisor.max_steps_per_day=1000", "supervisor.health.every_s=5", "supervisor.health.disk_warn_gb=0.001",
        "supervisor.health.disk_fail_gb=0.0001", "model_management.artifact=null", "control.enabled=false",
        f"feed.symbols=[{', '.join(SYMBOLS)}]", "feed.source=fyers", "feed.record.when=never",
        "broker.name=fyers", "broker.live.answer_s=3", "execution.working_timeout_s=20",
        f"risk.max_position_quantity={MAX_POSITION}", f"risk.max_order_quantity={MAX_ORDER}",
        f"risk.max_orders_per_minute={MAX_A_MINUTE}", "market.symbol_master.use=never",
    )  # fmt: skip


def settings_at(port: int, directory: Path, *, limits: bool) -> Settings:
    """Of a daemon on the sandbox at this port; `limits`: entries are limit orders at the last price."""
    base, here = _base_settings(), f"127.0.0.1:{port}"
    live = base.feed.live.model_copy(
        update={
            "socket_url": f"ws://{here}/hsm/v1-5/prod", "symbol_token_url": f"http://{here}/data/symbol-token",
            "index_map_url": f"http://{here}/sym_details/index_hsm_mapping.json",
        }
    )  # fmt: skip
    account = base.broker.fyers.model_copy(
        update={
            "api_url": f"http://{here}/api/v3", "data_url": f"http://{here}/data",
            "order_socket_url": f"ws://{here}/trade/v3", "token_file": directory / "token",
            "calls_file": directory / "calls",
        }
    )  # fmt: skip
    entries = {"order_type": "LIMIT", "limit_offset_bp": 0.0} if limits else {}
    return base.model_copy(
        update={
            "execution": base.execution.model_copy(update=entries),
            "feed": base.feed.model_copy(update={"live": live}),
            "broker": base.broker.model_copy(update={"fyers": account}),
            "journal": base.journal.model_copy(update={"path": directory / "journal.sqlite"}),
        }
    )


class World:
    """Everything of one session."""

    def __init__(self, plan: Plan, directory: Path, port: int) -> None:
        self.plan = plan
        self.loop = SimLoop(plan.seed, shuffled=plan.shuffled)
        self.network = self.loop.network = Network(self.loop, plan.seed)
        self.computer = Computer(self.loop, plan.seed, BEGINS_NS, directory)
        self.ticks = TickLinks(self.loop, plan.seed, self.computer.clocks.monotonic_ns)
        self.computer.connect = self.ticks.connect
        self.mood = Mood(self.loop.time)
        self.watch = Watch(self.loop.time, MAX_ORDER, MAX_A_MINUTE)
        self.settings = settings_at(port, directory, limits=plan.limits)
        self.venue = Venue(self.loop, plan.seed, BEGINS_NS, port, self.ticks)
        self.service: Service | None = None
        self.process: Process | None = None
        self.down_s = RESTART_S
        self.torn = False
        self.lives = 0
        self.troubled_until = 0.0
        """Until when the last fault may be felt."""
        self.asked = 0
        """Commands that operators gave."""
        self.pairs: list[str] = []
        self.log: list[str] = []
        self.ends: Counter[str] = Counter()
        """How lives ended."""
        self._died: asyncio.Event | None = None
        self._over = False
        self._tasks: list[asyncio.Task[Any]] = []
        (directory / "token").write_text(TOKEN)
        self.loop.set_exception_handler(self._on_loop_error)

    # -- how the system stands ----------------------------------------------------------------------------------------

    def standing(self) -> str:
        """Trading, orders and feed in three words, such as `active:working:fresh`."""
        service, process = self.service, self.process
        if service is None or process is None or not process.alive:
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
            self.loop.run_until_complete(self._session())
        finally:
            self.loop.set_exception_handler(lambda loop, context: None)

    async def _session(self) -> None:
        tasks = self._tasks = [asyncio.create_task(self.venue.run())]
        await asyncio.sleep(0.1)
        tasks += [
            asyncio.create_task(self._live()),
            asyncio.create_task(self._act()),
            asyncio.create_task(self._look()),
        ]
        ending = asyncio.create_task(self._end())
        done, _ = await asyncio.wait((*tasks, ending), return_when=asyncio.FIRST_COMPLETED)
        if ending not in done:
            next(iter(done)).result()
            await asyncio.wait((*tasks[2:], ending), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await asyncio.wait((ending,))
        ending.result()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._check_venue()

    async def _live(self) -> None:
        """One life after the other, as systemd has it."""
        while not self._over:
            self.lives += 1
            process = self.process = Process(f"life {self.lives}")
            self._died = asyncio.Event()
            self.down_s = RESTART_S
            self.watch.begin_life(_journaled(self.computer.journal, "Fill", "fill_id"))
            task = self.loop.create_task(self._daemon(process), context=process.context())
            died = asyncio.create_task(self._died.wait())
            await asyncio.wait((task, died), return_when=asyncio.FIRST_COMPLETED)
            if process.alive:
                died.cancel()
                await asyncio.sleep(1.0)
                self._check_tasks(process, task)
            KEPT.append((self.service, process, task))
            self.service = None
            if not self._over:
                await asyncio.sleep(self.down_s)

    async def _daemon(self, process: Process) -> None:
        strategies = {
            name: Brain(name, self.plan.seed, self.mood, in_thread=name == "hrm") for name in ("hrm", "rules")
        }
        try:
            service = Service(self.settings, strategies, self.computer.machine())
        except HrmdError as error:
            self.ends["refused"] += 1
            self._note(f"refused: {error}")
            self.computer.hands.clear()
            return
        journal = service.app.journal
        assert journal is not None
        self.computer.hands[-1].busy = lambda: journal.appended > journal.committed
        self.watch.follow(service.app.bus)
        self.service = service
        try:
            await service.run()
            self.ends["orderly"] += 1
        except HrmdError as error:
            self.ends["fault"] += 1
            self._note(f"fault: {error}")
            if self.loop.time() > HEALED_S + 1:
                self.watch.breaks("no faults in peace", str(error))
        except Exception as error:
            self.watch.breaks("no exception ends a daemon", f"{type(error).__name__}: {error}")
            raise
        finally:
            if process.alive:
                self.computer.hands.clear()

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
            for hold in self.service.app._holds:  # the system lets go of what a dead process held
                hold.release()
        self.computer.lose_process(torn=torn)
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
            await asyncio.sleep(min(left, 0.05) if waiting else left)
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
        self.troubled_until = max(self.troubled_until, self.loop.time() + action.seconds + SETTLES_S)
        self.pairs.append(f"{action.do}@{standing}")
        self._note(f"{action.do} ({action.seconds:g} s, {action.number}) while {standing}")
        DEEDS[action.do](self, action)

    def command(self, made: Any) -> asyncio.Task[Any] | None:
        """Have the daemon do what an operator asks, by a coroutine of its own desk; None while there is none."""
        service, process = self.service, self.process
        if service is None or process is None or not process.alive:
            return None
        return self.loop.create_task(made(service), context=process.context())

    async def _look(self) -> None:
        """Every second: what must always be so."""
        while True:
            await asyncio.sleep(1.0)
            service, process = self.service, self.process
            if service is not None and process is not None and process.alive and service.app.desk.open:
                self.watch.overdue(service.app.strategy.superseded)
                self._check_entries(service)
            for symbol in SYMBOLS:
                net = self.venue.exchange.ledger.net(symbol)
                if abs(net) > MAX_POSITION + self.venue.foreign:
                    self.watch.breaks("limits hold", f"{net} {symbol} held, {MAX_POSITION} allowed")

    def _check_entries(self, service: Service) -> None:
        """Nothing that opens a position works at the venue while trading is halted or reducing, in quiet times."""
        watch, now = self.watch, self.loop.time()
        quiet_s = now - max(self.troubled_until, watch.state_s)
        if watch.state is TradingState.ACTIVE or quiet_s < 0 or now - watch.state_s < SETTLES_S:
            return
        for order in self.venue.exchange.orders.values():
            intent = watch.intents.get(order.wanted.tag)
            if order.status is not Status.PENDING or intent is None or intent.reduces:
                continue
            closes = max(0, -intent.side.sign * self.venue.exchange.ledger.net(intent.symbol))
            if order.remaining > closes:  # by now it may close what it was not made to close, and may then stay
                watch.breaks("entries are taken off", f"{intent.order_id} works while {watch.state}")

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Faults stop; the daemon must come to trade again, agree with the venue, and end."""
        await asyncio.sleep(HEALED_S - self.loop.time())
        self.heal()
        self.mood.calm_from = HEALED_S + 65
        await asyncio.sleep(15)
        for _ in range(7):  # an operator who looks every ten seconds
            if self.standing().startswith(("reducing", "halted")):
                self.watch.must_stand = None
                self.command(lambda service: _quietly(service, Resume(ts=_now(service), reason="well again")))
            await asyncio.sleep(10)
        await asyncio.sleep(HEALED_S + ACTIVE_WITHIN_S - 5 - self.loop.time())
        self._check_quiet()
        await asyncio.sleep(END_S - self.loop.time())
        self._over = True
        service, process = self.service, self.process
        if service is None or process is None:
            return
        told = service.app.snapshot()
        self.loop.terminate(process)
        await asyncio.sleep(25)
        if self.service is not None:
            self.watch.breaks("it ends when it is asked to", "it still runs 25 s later")
            return
        self._check_replay(told)

    def heal(self) -> None:
        """Nothing fails any more."""
        self.network.heal()
        self.computer.heal()
        self.ticks.heal()
        self.mood.heal()
        self.venue.server.plan.clear()

    def _check_quiet(self) -> None:
        """Long after the last fault: trading, in agreement, nothing in doubt."""
        watch, service, exchange = self.watch, self.service, self.venue.exchange
        standing = self.standing()
        if service is None or not standing.startswith("active:"):
            reasons = [] if service is None else service.view.health().reasons
            watch.breaks(
                "it trades again", f"{ACTIVE_WITHIN_S - 5:g} s after the last fault it is {standing}: {reasons}"
            )
            return
        if not standing.endswith(":fresh"):
            watch.breaks("it trades again", f"its feed is stale: {service.view.health().reasons}")
        app = service.app
        doubtful = [it.intent.order_id for it in app.orders.working.values() if it.state is OrderState.UNKNOWN]
        never = (OrderState.INTENT, OrderState.APPROVED, OrderState.SENT)
        stuck = [it.intent.order_id for it in app.orders.working.values() if it.state in never]
        if stuck:
            watch.breaks("every order comes to an end", f"{stuck} neither left nor was written off")
        if doubtful or app.risk.book.unknown:
            watch.breaks("what is unknown is found out", f"{doubtful} {app.risk.book.unknown}")
        ours = {item.symbol: item.quantity for item in app.portfolio.portfolio.positions() if item.quantity}
        if ours != watch.summed():
            watch.breaks("a position is the sum of its fills", f"{ours} held, fills make {watch.summed()}")
        venues = {symbol: net for symbol in SYMBOLS if (net := exchange.ledger.net(symbol))}
        if ours != venues:
            watch.breaks("ours is the venue's", f"positions: we say {ours}, the venue {venues}")
        if app.risk.book.halted:
            watch.breaks("it trades again", f"symbols are stopped: {app.risk.book.halted}")
        cash = app.portfolio.portfolio.cash
        if ours == venues and cash != exchange.ledger.cash:
            watch.breaks("ours is the venue's", f"cash: we say {cash}, the venue {exchange.ledger.cash}")

    def _check_tasks(self, process: Process, own: asyncio.Task[Any]) -> None:
        left = [task.get_name() for task in process.tasks if not task.done() and task is not own]
        if left:
            self.watch.breaks("no task outlives its daemon", ", ".join(sorted(left)))

    def _check_replay(self, told: Any) -> None:
        """The journal tells the account as the daemon had it, and holds every fill once."""
        path = self.computer.journal
        account = recover(path, self.settings.broker.live.starting_cash)
        assert account is not None, "it was journaled"
        positions = {it.symbol: it.quantity for it in account.portfolio.positions() if it.quantity}
        for name, ours, again in (
            ("positions", {it.symbol: it.quantity for it in told.holdings if it.quantity}, positions),
            ("cash", told.cash, account.portfolio.cash),
        ):
            if ours != again:
                self.watch.breaks("the journal tells the same account", f"{name}: {ours} in memory, {again} on record")

    def _check_venue(self) -> None:
        """Nothing at the venue that the journal doesn't know, and nothing twice."""
        intents = _journaled(self.computer.journal, "OrderIntent", "order_id")
        tags: Counter[str] = Counter(order.wanted.tag for order in self.venue.exchange.orders.values())
        for tag, count in tags.items():
            if tag and count > 1:
                self.watch.breaks("no order twice", f"{tag} stands in the venue's book {count} times")
            intent = self.watch.intents.get(tag)
            if intent is not None and intent.reduces:
                continue  # where the journal can't be written exits leave all the same
            if tag and tag not in intents:
                self.watch.breaks("an intent before its order", f"{tag} is at the venue and not in the journal")
        if self.venue.server.meter.refused and not any(
            it.do.startswith(("wire.", "process.")) for it in self.plan.actions
        ):
            self.watch.breaks("the venue's rate limits hold", f"{self.venue.server.meter.refused} calls were refused")

    # -- what is written down -----------------------------------------------------------------------------------------

    def _note(self, line: str) -> None:
        self.log.append(f"{self.loop.time():9.3f} s  {line}")

    def hear(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """A line of the daemon's log."""
        words = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "exc_info"))
        self._note(f"  {method}: {event.get('event')} {words}"[:300])
        raise structlog.DropEvent

    def _on_loop_error(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._note(f"loop: {context.get('message')} {error!r} {context.get('future') or context.get('task')}")
        self.watch.breaks("no exception is lost", f"{context.get('message')}: {error!r}")


async def _quietly(service: Service, command: Any) -> None:
    with contextlib.suppress(HrmdError):
        await service.app.desk.command(command)


def _now(service: Service) -> int:
    return service.app.plan.clock.now_ns()


def _journaled(path: Path, kind: str, field: str) -> set[str]:
    """That field of every event of a kind, read in a copy: to close a database is to change it.

    Nothing where there is no journal yet.
    """
    if not path.exists():
        return set()
    peeked = path.with_name("peeked.sqlite")
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", f"{peeked}{suffix}")
    db = sqlite3.connect(peeked)
    try:
        rows = db.execute("SELECT body FROM events WHERE type = ?", (kind,)).fetchall()
    finally:
        db.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{peeked}{suffix}").unlink(missing_ok=True)
    return {msgspec.json.decode(body)[field] for (body,) in rows}


def journal_rows(path: Path) -> bytes:
    """Every event of a journal as it is on disk."""
    db = sqlite3.connect(path)
    try:
        rows = db.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq").fetchall()
    finally:
        db.close()
    return repr(rows).encode()


def warm() -> None:
    """Read now what every session needs, so that a process that is forked has it."""
    _base_settings()


def simulate(plan: Plan) -> Result:
    """Run one session, in a directory of its own, whose name nothing that happens depends on."""
    began = time.process_time()
    directory = Path(tempfile.mkdtemp(prefix="hrmd-simulation-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    port = 10_000 + os.getpid() % 50_000  # an account is held by its address, and others simulate at the same time
    collects = gc.isenabled()
    gc.disable()
    try:
        with contextlib.chdir(directory):
            world = World(plan, Path(), port)
            structlog.configure(
                processors=[world.hear],
                wrapper_class=structlog.make_filtering_bound_logger(30),
                cache_logger_on_first_use=False,
            )
            world.run()
            rows = journal_rows(world.computer.journal)
    finally:
        if collects:
            gc.enable()
        shutil.rmtree(directory, ignore_errors=True)
        structlog.reset_defaults()
    digest = hashlib.sha256(world.watch.digest.digest() + rows + str(world.loop.steps).encode()).hexdigest()
    counts = {**world.watch.counts, **world.ends, "steps": world.loop.steps, "bytes": world.network.bytes_sent}
    return Result(
        plan=plan, broken=world.watch.broken, pairs=world.pairs, counts=counts, digest=digest, lives=world.lives,
        cpu_s=time.process_time() - began, log=world.log,
    )  # fmt: skip
