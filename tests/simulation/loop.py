"""An asyncio loop on a time of its own: nothing waits, and the seed says what comes first where nobody could know.

Time jumps to the next timer (a little beyond it, as real loops wake late). Where several tasks are ready in one turn
their order is drawn, if the seed says so; callbacks that are no task keep theirs, for asyncio promises it to
transports. Whatever runs belongs to a `Process`, told by its context; of one that was killed nothing runs any more.
Invariant: the same seed and the same program give the same callbacks at the same times.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
import signal
from asyncio import Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from daemon.core.clock import NS_PER_S

LATEST_WAKE_NS = 300_000
TURN_NS = 2_000
"""What a turn of the loop takes."""
JOB_S = (0.0005, 0.02)
"""How long a job in the executor takes."""

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class DeadlockError(Exception):
    """Nothing is ready, no timer runs, and the simulation isn't over."""


class Process:
    """What a kill ends: every callback that was made in its context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.handlers: dict[int, Callable[[], object]] = {}
        """By signal."""
        self.tasks: list[SimTask] = []
        self.asleep = False
        self.woke_s = 0.0
        """When it last did."""
        self.terminated_s = math.inf
        """When it was first asked to end, seconds of the loop."""
        self.slept: list[Handle] = []
        """What became ready while it slept."""
        self._steps: int | None = None
        self._killed: Callable[[], None] = lambda: None

    @property
    def owner(self) -> Process:
        """Itself."""
        return self

    def context(self) -> contextvars.Context:
        """A context in which everything is this process's."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        return context

    def kill_after(self, steps: int, killed: Callable[[], None]) -> None:
        """Let it take so many more steps, and die between two of them."""
        self._steps, self._killed = steps, killed

    def step(self) -> bool:
        """Whether it takes one more."""
        if self._steps is not None and self.alive:
            if self._steps <= 0:
                self.alive, self._steps = False, None
                self._killed()
            else:
                self._steps -= 1
        return self.alive


class Side(Process):
    """A loop of its own beside the one that trades, in the same process: it may stand still alone."""

    def __init__(self, owner: Process, name: str) -> None:
        self.name = name
        self.tasks = []
        self._owner = owner
        self._ended = self._stands = False
        self._held: list[Handle] = []

    @property
    def owner(self) -> Process:
        """The process that it is a thread of."""
        return self._owner

    @property
    def alive(self) -> bool:  # type: ignore[override]
        """Until it is ended, or its process is."""
        return self._owner.alive and not self._ended

    @property
    def asleep(self) -> bool:  # type: ignore[override]
        """Whether it stands still, or its process does."""
        return self._stands or self._owner.asleep

    @property
    def slept(self) -> list[Handle]:  # type: ignore[override]
        """What became ready meanwhile."""
        return self._held if self._stands else self._owner.slept

    def step(self) -> bool:
        """Whether it takes one more."""
        return self.alive and self._owner.step()

    def stand(self, loop: SimLoop, seconds: float) -> None:
        """Do nothing for so long."""
        if not self._stands:
            self._stands = True
            loop.call_later(seconds, self._go_on, loop, context=contextvars.Context())

    def end(self) -> None:
        """Nothing of it runs any more."""
        self._ended = True

    def _go_on(self, loop: SimLoop) -> None:
        self._stands = False
        loop._ready.extend(self._held)
        self._held = []


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks are in the same order in every run."""

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)
        self._log_destroy_pending = False  # who is killed leaves some; who outlives a daemon breaks a promise

    def __hash__(self) -> int:
        return self._number


class SimHandle(Handle):
    """A handle that is made and cancelled without asking whether anybody debugs."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., Any], args: Any, loop: SimLoop, context: Any) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def cancel(self) -> None:
        """It doesn't run."""
        self._cancelled = True
        self._callback = self._args = None


class SimTimer(TimerHandle):
    """The same for a timer."""

    __slots__ = ()

    def __init__(self, when: float, callback: Callable[..., Any], args: Any, loop: SimLoop, context: Any) -> None:
        SimHandle.__init__(self, callback, args, loop, context)  # type: ignore[arg-type]
        self._when = when
        self._scheduled = True

    def cancel(self) -> None:
        """It doesn't run."""
        self._cancelled = True
        self._callback = self._args = None


def _is_task(handle: Handle) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)  # type: ignore[attr-defined]


class SimLoop(asyncio.BaseEventLoop):
    """One simulated time for everybody: the daemon, the venue, the operators."""

    def __init__(self, seed: int, *, shuffled: bool) -> None:
        super().__init__()
        self.rng = random.Random(f"loop:{seed}")
        self.shuffled = shuffled
        self.steps = 0
        """Callbacks that ran."""
        self.now_ns = 0
        self.before_jump: list[Callable[[], None]] = []
        """Called before time passes: threads look here whether there is work."""
        self.network: Any = None
        self._tasks = 0
        self._timers = 0
        self._due: list[tuple[float, int, SimTimer]] = []
        """Of timers: when, in what order they were made."""
        self._ready: deque[Handle] = deque()
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now_ns / NS_PER_S

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> SimHandle:  # type: ignore[override]
        """In the next turn."""
        handle = SimHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> SimHandle:  # type: ignore[override]
        """What a loop beside gives to the one that trades is done there, whatever becomes of who gave it."""
        process = PROCESS.get()
        if process is not None and process.owner is not process:
            context = process.owner.context()
        return self.call_soon(callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> SimTimer:  # type: ignore[override]
        """Not before then."""
        timer = SimTimer(when, callback, args, self, context)
        self._timers += 1
        heapq.heappush(self._due, (when, self._timers, timer))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> SimTimer:  # type: ignore[override]
        """Not before so many seconds have passed."""
        return self.call_at(self.now_ns / NS_PER_S + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """A turn: time passes, timers that are due become ready, and what is ready now runs."""
        ready, due = self._ready, self._due
        while due and due[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(due)
        self._pass_time()
        now = self.now_ns / NS_PER_S
        while due and due[0][0] <= now:
            ready.append(heapq.heappop(due)[2])
        count = len(ready)
        if self.shuffled and count > 1:
            self._shuffle()
        for _ in range(count):
            handle = ready.popleft()
            self._run(handle)

    def _pass_time(self) -> None:
        """To the next timer, or a moment on where something is ready."""
        self.now_ns += TURN_NS
        if self._ready or self._stopping:  # type: ignore[attr-defined]
            return
        for look in self.before_jump:
            look()
        if self._ready:
            return
        if not self._due:
            raise DeadlockError(f"at {self.time():.3f} s nobody has anything to do any more")
        due = math.ceil(self._due[0][0] * NS_PER_S)
        self.now_ns = max(self.now_ns, due + int(self.rng.random() * LATEST_WAKE_NS))

    def _run(self, handle: Any) -> None:
        """A callback, if its process still takes steps."""
        context = handle._context
        process = context.get(PROCESS)
        if process is not None:
            if process.asleep and process.alive:
                process.slept.append(handle)
                return
            if not process.step():
                return
        self.steps += 1
        if handle._cancelled:
            return
        try:
            context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 — as a loop does
            self.call_exception_handler({"message": "a callback failed", "exception": error, "handle": handle})

    def _shuffle(self) -> None:
        """Draw the order of the tasks that are ready."""
        ready = self._ready
        places = [place for place, handle in enumerate(ready) if _is_task(handle)]
        if len(places) > 1:
            handles = [ready[place] for place in places]
            self.rng.shuffle(handles)
            for place, handle in zip(places, handles, strict=True):
                ready[place] = handle

    def _make_task(self, loop: Any, coro: Coroutine[Any, Any, Any], **options: Any) -> SimTask:
        self._tasks += 1
        task = SimTask(coro, self._tasks, loop=loop, **options)
        process = PROCESS.get() if (context := options.get("context")) is None else context.get(PROCESS)
        if process is not None:
            process.tasks.append(task)
            if len(process.tasks) > 512:
                process.tasks = [it for it in process.tasks if not it.done()]
        return task

    def suspend(self, process: Process, seconds: float) -> bool:
        """Its machine sleeps: what it does waits, its timers count on when it wakes. Whether it was awake before."""
        if process.asleep:
            return False
        process.asleep = True
        for place, (when, number, timer) in enumerate(self._due):
            of = timer._context.get(PROCESS)
            if of is not None and of.owner is process:
                timer._when = when + seconds
                self._due[place] = (timer._when, number, timer)
        heapq.heapify(self._due)

        def wake() -> None:
            process.asleep, process.woke_s = False, self.time()
            self._ready.extend(process.slept)
            process.slept = []

        self.call_later(seconds, wake, context=contextvars.Context())
        return True

    # -- what a loop has besides time ---------------------------------------------------------------------------------

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Do it at once, a moment later."""
        future = self.create_future()

        def do() -> None:
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001 — as an executor does
                future.set_exception(error)

        self.call_later(self.rng.uniform(*JOB_S), do)
        return future

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """Of the present process."""
        process = PROCESS.get()
        assert process is not None, "signals go to processes"
        context = contextvars.copy_context()
        process.handlers[int(sig)] = lambda: self.call_soon(callback, *args, context=context)

    def remove_signal_handler(self, sig: int) -> bool:
        """Of the present process."""
        process = PROCESS.get()
        return process is not None and process.handlers.pop(int(sig), None) is not None

    def terminate(self, process: Process) -> None:
        """SIGTERM."""
        process.terminated_s = min(process.terminated_s, self.time())
        handler = process.handlers.get(int(signal.SIGTERM))
        if handler is not None:
            handler()

    # -- sockets ------------------------------------------------------------------------------------------------------

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Numbers alone: nobody has a name here."""
        raise OSError(f"{host}: names don't resolve in the simulation")

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """The first half of a connection."""
        await self.network.knock(sock, address)

    async def create_connection(self, protocol_factory: Any, *args: Any, sock: Any = None, **options: Any) -> Any:
        """The second half."""
        return self.network.connect(protocol_factory, sock)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Listen."""
        return self.network.listen(protocol_factory, host, port)
