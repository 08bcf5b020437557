"""The computer under a simulated daemon: clocks, a disk, threads that are moments of the loop, chance from the seed.

One `Computer` outlives the daemons that run on it, as a real one does. The journal's file is a real SQLite file in
memory; what a kill or a power cut leaves of it is what was in the file by then: whole commits, and of a commit that
nobody was told of any part of its frames. Invariant: nothing here reads the machine's own time or chance.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import math
import random
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from daemon.core.clock import NS_PER_S
from daemon.core.threads import Job, Turn, Worker
from daemon.feed.live.frames import Link
from daemon.fyers.gateway.assignment import Assignment
from daemon.journal import writer
from daemon.machine import Machine
from daemon.strategy.switching import Loader
from tests.simulation.files import SmallFiles, beside
from tests.simulation.loop import JOB_S, PROCESS, Side, SimLoop
from tests.simulation.plan import HEALED_S
from tests.simulation.reels import SimSealer, TapeDisk

ON_DISK = ("disk", "models", "digest", "candidate", "reels", "token", "feed token", "recorder ends")
"""Threads that read what stays the same beside the loop, from the disk."""
ASKED = (*ON_DISK, "control ends", "control tokens")
BOOTED_NS = 5_000 * NS_PER_S
"""How long the machine had run when the simulation began."""
IDLE_S = 1.0
"""A hand that has nothing to do looks again so much later."""
FULL = ("database or disk is full", sqlite3.SQLITE_FULL)
LOCKED = ("database is locked", sqlite3.SQLITE_BUSY)
BROKEN = ("disk I/O error", sqlite3.SQLITE_IOERR)


class Clocks:
    """Implements `Readings`; `offset_ns` is by how much the wall clock is wrong."""

    def __init__(self, loop: SimLoop, wall_ns: int) -> None:
        self._loop = loop
        self._wall_ns = wall_ns
        self.offset_ns = 0
        self._passed_ns = self._asleep_ns = 0
        self._booted_ns = -BOOTED_NS
        self._drift, self._drifts_from = 0.0, 0

    def wall_ns(self) -> int:
        """As the machine believes."""
        now = self._loop.now_ns
        drifted = int(self._drift * (now - self._drifts_from)) if self._drift else 0
        return self._wall_ns + self._passed_ns + now + self.offset_ns + drifted

    def steady_ns(self) -> int:
        """Since the machine was switched on: never jumps; a sleep counts."""
        return self._passed_ns + self._loop.now_ns - self._booted_ns

    def monotonic_ns(self) -> int:
        """Of the time in which the machine was awake since."""
        return self.steady_ns() - self._asleep_ns

    def drift(self, rate: float) -> None:
        """From now on the wall clock gains so many seconds a second; what it is wrong by stays."""
        self.offset_ns = self.wall_ns() - self._wall_ns - self._passed_ns - self._loop.now_ns
        self._drift, self._drifts_from = rate, self._loop.now_ns

    def sleep(self, ns: int) -> None:
        """The machine slept."""
        self._asleep_ns += ns

    def pass_night(self, ns: int) -> None:
        """So much time passed at once, as for everybody."""
        self._passed_ns += ns

    def reboot(self) -> None:
        """The clocks that count from when it was switched on begin anew."""
        self._booted_ns, self._asleep_ns = self._passed_ns + self._loop.now_ns, 0


class Disk:
    """How the journal's disk is at the moment; the recording lies on it, too (`TapeDisk`)."""

    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng
        self._failing: dict[tuple[str, int], float] = {}
        self.slow_until = self.hung_until = 0.0
        self.forgets_until = 0.0
        """Until when what is said to be on the disk is in its cache, and lost with the power."""

    def fail(self, how: tuple[str, int], seconds: float) -> None:
        """Every commit fails like that for so long, but not once all is well: an end waits where the loop doesn't."""
        self._failing[how] = min(self._loop.time() + seconds, HEALED_S)

    def slow(self, seconds: float) -> None:
        """Every commit takes long."""
        self.slow_until = self._loop.time() + seconds

    def hang(self, seconds: float) -> None:
        """No commit comes back for so long."""
        self.hung_until = max(self.hung_until, self._loop.time() + seconds)

    def heal(self) -> None:
        """All is well."""
        self._failing.clear()
        self.slow_until = self.forgets_until = self.hung_until = 0.0

    @property
    def hangs(self) -> float:
        """How long it gives no answer yet, seconds; 0 where it does."""
        return max(0.0, self.hung_until - self._loop.time())

    def check(self) -> None:
        """Raise what a commit raises now."""
        for (text, code), until in self._failing.items():
            if self._loop.time() < until:
                error = sqlite3.OperationalError(text)
                error.sqlite_errorcode = code
                raise error

    def fails(self, code: int) -> bool:
        """Whether writing a file fails with that code of the system now."""
        how = FULL if code == errno.ENOSPC else BROKEN
        return self._loop.time() < self._failing.get(how, 0.0)

    def commit_s(self) -> float:
        """How long a commit takes."""
        if self._loop.time() < self.slow_until:
            return self._rng.uniform(0.2, 3.0)
        return self._rng.uniform(0.0002, 0.004)


class _EndedError(BaseException):
    """The process ended, and with it a thread that waited for the disk."""


T = TypeVar("T")

_here = threading.local()


class HeldTurn:
    """A turn that a disk holds up: in a thread of its own, which never runs while the loop does."""

    def __init__(self, turn: Turn) -> None:
        self.over = False
        self._turn = turn
        self._rest_s: float | None = None
        self._raised: BaseException | None = None
        self._goes, self._rests = threading.Semaphore(0), threading.Semaphore(0)
        self._ended = False
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True)
        self._thread.start()
        self._rests.acquire()

    def go_on(self) -> None:
        """Let it run until it is over, or the disk holds it up again."""
        self._goes.release()
        self._rests.acquire()

    def end(self) -> None:
        """It comes to nothing."""
        self._ended = True
        while not self.over:
            self.go_on()

    def outcome(self) -> float | None:
        """What the turn said, or raised."""
        if self._raised is not None:
            raise self._raised
        return self._rest_s

    def give_way(self) -> None:
        """In its thread: the loop runs, until it says otherwise."""
        self._rests.release()
        self._goes.acquire()
        if self._ended:
            raise _EndedError

    def _run(self) -> None:
        _here.turn = self
        try:
            self._rest_s = self._turn()
        except BaseException as error:  # noqa: BLE001 — it is raised where the turn is taken
            self._raised = error
        finally:
            self.over = True
            self._rests.release()


class _Connection(sqlite3.Connection):
    """A connection to a file on the simulated disk."""

    disk: Disk | None = None

    def commit(self) -> None:
        if self.disk is not None and self.in_transaction:
            held = getattr(_here, "turn", None)
            while held is not None and self.disk.hangs:
                try:
                    held.give_way()
                except _EndedError:
                    super().rollback()
                    raise
            self.disk.check()
        super().commit()


class SimHand:
    """Implements `Hand`: each turn is a moment of the loop, of the process that began it."""

    def __init__(self, computer: Computer, write_s: Callable[[], float]) -> None:
        self._write_s = write_s
        self._loop = computer.loop
        self._disk = computer.disk
        self._awake_ns = computer.clocks.monotonic_ns
        self._held: HeldTurn | None = None
        self._held_since_ns = 0
        self._context = contextvars.copy_context()
        self._process = PROCESS.get()
        self._turn: Turn | None = None
        self._due: Any = None
        self._idle = False
        self.busy: Callable[[], bool] = lambda: False
        """Whether there is something to write; asked before time passes."""
        computer.loop.before_jump.append(self._look)

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Nobody else runs."""
        return contextlib.nullcontext()

    @property
    def alive(self) -> bool:
        """Until it has taken its last turn."""
        return self._turn is not None

    @property
    def held_s(self) -> float:
        """For how long the disk has held up the present turn, while the machine was awake."""
        return (self._awake_ns() - self._held_since_ns) / NS_PER_S if self._held is not None else 0.0

    def begin(self, turn: Turn) -> None:
        """The first turn comes soon."""
        self._turn = beside(turn)
        self._schedule(self._write_s())

    def wake(self) -> None:
        """The next turn comes as soon as the disk lets it."""
        self._schedule(self._write_s())

    def join(self, wait_s: float | None = None) -> bool:
        """Take what turns are left; while a disk hangs and between turns the process waits, and time passes for all."""
        while self._turn is not None:
            self._take()
            if self._held is not None:
                hangs = self._disk.hangs
                self._loop.now_ns += math.ceil(min(hangs, hangs if wait_s is None else wait_s) * NS_PER_S)
                if self._disk.hangs:
                    return False
                self._go_on()
            elif self._due is not None:
                self._loop.now_ns = max(self._loop.now_ns, math.ceil(self._due.when() * NS_PER_S))
        return True

    def take_one(self) -> None:
        """A turn now, for whoever pulls the plug in the middle of it."""
        if self._held is not None:
            self._held.go_on()
        elif self._turn is not None:
            self._turn()

    def retire(self) -> None:
        """Its process is gone."""
        self._turn = None
        if self._held is not None:
            self._held.end()
            self._held = None
        if self._look in self._loop.before_jump:
            self._loop.before_jump.remove(self._look)

    def look_again(self) -> None:
        """The disk answers again before it was to."""
        self._loop.call_soon(self._go_on, context=self._context)

    def _look(self) -> None:
        if self._turn is not None and self._held is None and self.busy() and (self._due is None or self._idle):
            self._schedule(self._write_s())

    def _schedule(self, seconds: float, *, idle: bool = False) -> None:
        at = self._loop.time() + seconds
        if self._due is not None and not self._due.cancelled() and self._due.when() <= at:
            return
        if self._due is not None:
            self._due.cancel()
        self._idle = idle
        self._due = self._loop.call_at(at, self._take, context=self._context)

    def _take(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._turn is None or self._held is not None:
            return
        if self._disk.hangs:
            self._held, self._held_since_ns = HeldTurn(self._turn), self._awake_ns()
            self._wait()
        else:
            self._follow(self._turn)

    def _wait(self) -> None:
        """For the disk, if it holds the turn up."""
        held = self._held
        if held is not None and held.over:
            self._held = None
            self._follow(held.outcome)
        elif held is not None:
            self._loop.call_later(self._disk.hangs, self._go_on, context=self._context)

    def _go_on(self) -> None:
        """The disk may answer again."""
        if self._held is not None:
            self._held.go_on()
            self._wait()

    def _follow(self, turn: Turn) -> None:
        """What comes after it."""
        try:
            rest_s = turn()
        except BaseException:
            self.retire()
            raise
        if rest_s is None:
            self.retire()
        elif rest_s == writer.IDLE_S:
            self._schedule(IDLE_S, idle=True)
        else:
            self._schedule(rest_s)


class SimWorker:
    """Implements `Worker`: a job is done when the computer says that its thinking is over, or never."""

    def __init__(self, computer: Computer, name: str) -> None:
        self._computer = computer
        self._name = name
        self._free_s = 0.0

    def give(self, job: Job) -> None:
        """After the earlier ones."""
        loop = self._computer.loop
        takes_s = self._computer.thinking_s(self._name)
        if takes_s is None:
            self._free_s = float("inf")
        if self._free_s == float("inf"):
            return
        self._free_s = max(self._free_s, loop.time()) + (takes_s or 0.0)
        loop.call_at(self._free_s, beside(job))

    def end(self, *, wait: bool) -> None:
        """What it was given is done all the same; nobody waits while something is open."""


class SimFlag:
    """Implements `Flag`: nobody can wait in a moment of the loop, so who comes too early goes away at once."""

    def __init__(self) -> None:
        self._up = False

    def set(self) -> None:
        """Who comes goes on."""
        self._up = True

    def clear(self) -> None:
        """Who comes goes away."""
        self._up = False

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it is set."""
        return self._up


class SimSideLoop:
    """Implements `SideLoop`: the same loop, as a thread of the process that may stand still by itself."""

    def __init__(self, computer: Computer, name: str) -> None:
        process = PROCESS.get()
        assert process is not None, "a thread is a process's"
        self.side = Side(process, f"{process.name}, {name}")
        self._loop = computer.loop
        self._context = self.side.context()

    def start(self) -> None:
        """It runs as long as its process."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it, in the thread's own steps."""
        done: T = await self._loop.create_task(work, context=self._context)
        return done

    async def stop(self) -> None:
        """Nothing of it runs any more."""
        self.side.end()


class Computer:
    """What stays when a daemon dies."""

    def __init__(self, loop: SimLoop, seed: int, wall_ns: int, directory: Path) -> None:
        self.loop = loop
        self.rng = random.Random(f"computer:{seed}")
        self.clocks = Clocks(loop, wall_ns)
        self.disk = Disk(loop, random.Random(f"disk:{seed}"))
        self.tapes = TapeDisk(loop, random.Random(f"tapes:{seed}"), self.disk)
        self.files = SmallFiles(loop, seed, directory, SimFlag)
        self.files.journal_hangs = lambda: self.disk.hangs
        self.directory = directory
        self.journal = directory / "journal.sqlite"
        self.connect: Callable[[Sequence[str]], Link] | None = None
        self.hands: list[SimHand] = []
        """Who write the journal."""
        self.recorders: list[SimHand] = []
        self.slow_thought_until = 0.0
        self.no_thought_until = 0.0
        self.no_load_until = 0.0
        """Until when loading a model doesn't end."""
        self.models: Callable[[], Loader] | None = None
        self.answers: SimSideLoop | None = None
        """Who answers at the control API, of the newest process."""
        self._buried = 0

    def machine(self) -> Machine:
        """As the daemon is given it."""
        return Machine(
            readings=self.clocks, stopwatch=self.clocks.monotonic_ns, thread=self._worker,
            hand=self._hand, database=self._database, file=self.tapes.create, pen=self.files.pen, gateway=self._gateway,
            chance=self.rng.randbytes, flag=SimFlag, models=self.models, side_loop=self._side_loop, memory=None,
        )  # fmt: skip

    def thinking_s(self, name: str) -> float | None:
        """How long the next thought takes; None where it never ends."""
        now = self.loop.time()
        if name in ASKED:
            return self.loop.rng.uniform(*JOB_S) + (self.files.hangs if name in ON_DISK else 0.0)
        if name != "inference":
            if now < self.no_load_until:
                return None
            return self.rng.uniform(0.01, 0.2)
        if now < self.no_thought_until:
            return None
        if now < self.slow_thought_until:
            return self.rng.uniform(0.05, 6.0)
        return self.rng.uniform(0.001, 0.03)

    def heal(self) -> None:
        """Disk and thoughts are well again."""
        self.disk.heal()
        for hand in self.hands:
            hand.look_again()
        self.tapes.heal()
        self.files.heal()
        self.clocks.drift(0.0)
        self.slow_thought_until = self.no_thought_until = self.no_load_until = 0.0

    def let_go(self) -> None:
        """A daemon ended by itself; what it still had on the disk's hands ends with it."""
        for hand in (*self.hands, *self.recorders):
            hand.retire()
        self.hands.clear()
        self.recorders.clear()

    def forget_from_now_on(self, seconds: float) -> None:
        """What is synced from now on is only said to be: the power takes it, within so long."""
        if self.loop.time() >= self.disk.forgets_until and self.journal.exists():
            for suffix in ("", "-wal"):
                _put(Path(f"{self.journal}{suffix}"), Path(f"{self.journal}.synced{suffix}"))
        self.disk.forgets_until = max(self.disk.forgets_until, self.loop.time() + seconds)

    def lose_process(self, *, torn: bool) -> bool:
        """A daemon died; `torn`: the power went in the middle of a commit. What is left takes the journal's place.

        Whether more is lost than what was never said to be on the disk.
        """
        forgets = torn and self.loop.time() < self.disk.forgets_until
        before = _size(Path(f"{self.journal}-wal"))
        for recorder in self.recorders:
            self.tapes.lose(recorder.take_one, torn=torn)
            recorder.retire()
        self.recorders.clear()
        mark = Path(f"{self.journal}.unwritten")
        marked = mark.exists()
        if torn:
            self.disk.heal()
            for hand in self.hands:
                hand.take_one()
            if marked:  # it is only taken away after the commit that the plug was pulled in
                mark.touch()
        for hand in self.hands:
            hand.retire()
        self.hands.clear()
        self._buried += 1
        grave = self.directory / f"grave{self._buried}"
        grave.mkdir()
        for suffix in ("", "-wal", "-shm"):
            old = Path(f"{self.journal}{suffix}")
            if old.exists():
                old.rename(grave / old.name)
        for suffix in ("", "-wal"):
            left = grave / f"{self.journal.name}{suffix}"
            _put(Path(f"{self.journal}.synced{suffix}") if forgets else left, Path(f"{self.journal}{suffix}"))
        wal = Path(f"{self.journal}-wal")
        after = _size(wal)
        if torn and not forgets and after > before:
            with wal.open("r+b") as file:
                file.truncate(self.rng.randrange(before, after))
        if torn:
            self.files.lose_power()
            self.clocks.reboot()
        return forgets

    def _hand(self, name: str) -> SimHand:
        journals = name == "journal"
        hand = SimHand(self, self.disk.commit_s if journals else self.tapes.write_s)
        (self.hands if journals else self.recorders).append(hand)
        return hand

    def _side_loop(self, name: str) -> SimSideLoop:
        self.answers = SimSideLoop(self, name)
        return self.answers

    def _worker(self, name: str) -> Worker:
        return SimSealer(self.tapes) if name == "seal" else SimWorker(self, name)

    def _database(self, path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, factory=_Connection, check_same_thread=False)
        db.disk = self.disk
        return db

    def _gateway(self, asked: Assignment | Sequence[str]) -> AbstractAsyncContextManager[Link]:
        assert self.connect is not None, "the venue is there before the daemon"
        connect = self.connect

        @asynccontextmanager
        async def running() -> AsyncIterator[Link]:
            link = connect(asked.symbols if isinstance(asked, Assignment) else asked)
            try:
                yield link
            finally:
                link.kill()

        return running()


def _put(one: Path, other: Path) -> None:
    """The other becomes a copy of the one, if there is one."""
    other.unlink(missing_ok=True)
    if one.exists():
        shutil.copy(one, other)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
