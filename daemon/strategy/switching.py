"""Commands to put another model in charge → the model, deciding from the next bar on, and the event that says so.

The one in charge decides on while the new one is loaded and tried on a thread of its own. Invariant: every command is
answered by one `ModelLoaded` or `ModelRefused`, in the end, too; what is refused changes nothing of who decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import structlog

from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.errors import HrmdError
from daemon.core.events import LoadModel, ModelLoaded, ModelRefused
from daemon.core.threads import ThreadWorker, Worker
from daemon.strategy.actor import StrategyActor
from daemon.strategy.thinking import Broken, Thinker
from strategies.base import Moment, Strategy, model_hash_of

log = structlog.get_logger("models")

RUNG = "hrm"
LOAD_S = 50.0
"""Loading, building a kernel and trying it take seconds; who takes longer hangs, and is left behind."""
ENDED = "hrmd ended before it was loaded; give the command again"
BROKEN_OFF = "loading it was broken off, for hrmd ended or failed; see which one decides, and give the command again"


T = TypeVar("T")


class Known(msgspec.Struct, frozen=True):
    """A model that decides, or decided before: its file (None: seeded weights) and its hash."""

    file: Path | None
    model_hash: str


class Loader(Protocol):
    """What may take long, for a thread (`daemon.strategy.loading.ModelLoader`)."""

    def load(self, wanted: str, before: Known | None, deciding: Known, runtime: str, seen: Moment | None) -> Strategy:
        """The strategy on the model `wanted`; raises `ArtifactError`."""

    def keep(self, model_hash: str) -> None:
        """What the store has for the next start; raises `ArtifactError`."""


class ModelSwitch:
    """Serves one command after the other, as long as the daemon runs."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        stage: StrategyActor,
        loader: Callable[[], Loader],
        on_swap: str,
        thread: Callable[[str], Worker] = ThreadWorker,
    ) -> None:
        """`loader` is called on the thread: it may import for seconds. `on_swap`: keep or close."""
        self._bus = bus
        self._clock = clock
        self._stage = stage
        self._make_loader = loader
        self._closes = on_swap == "close"
        self._aside = Thinker(thread)
        self._before: Known | None = None
        self._queue: asyncio.Queue[LoadModel | ModelLoaded] = asyncio.Queue()
        bus.tap((LoadModel,), self._queue.put_nowait)
        bus.tap((ModelLoaded,), self._queue.put_nowait, where=lambda event: not event.key)

    def compare(self, earlier: ModelLoaded | None) -> None:
        """Say it where this process decides by another model than the one that `earlier` put in charge before it."""
        now = self._stage.succession.newest(RUNG)
        if earlier is not None and now is not None and known(now).model_hash != earlier.model_hash:
            log.warning(
                "another model than before the restart decides", before=earlier.name, file=earlier.file,
                now=str(getattr(now, "description", "")),
            )  # fmt: skip

    async def run(self) -> None:
        """Until cancelled; who asked for a model and waits by then is told that it won't be."""
        try:
            while True:
                event = await self._queue.get()
                await (self._came_back(event) if isinstance(event, ModelLoaded) else self._serve(event))
        except asyncio.CancelledError:
            while not self._queue.empty():
                left = self._queue.get_nowait()
                if isinstance(left, LoadModel):
                    self._refuse(left, ENDED)
            raise

    async def _serve(self, command: LoadModel) -> None:
        """One answer, whatever becomes of the loading."""
        answer: Strategy | _Refused = _Refused(BROKEN_OFF)
        try:
            answer = await self._load(command)
        finally:
            if isinstance(answer, _Refused):
                self._refuse(command, answer.why)
            else:
                self._put_in_charge(answer, command)

    def _refuse(self, command: LoadModel, why: str) -> None:
        log.error("model refused", model=command.model, reason=why)
        self._bus.publish(ModelRefused(ts=self._clock.now_ns(), key=command.key, model=command.model, reason=why))

    async def _load(self, command: LoadModel) -> Strategy | _Refused:
        """The new strategy, ready; the store names it by then."""
        now = self._stage.succession.newest(RUNG)
        if now is None:
            return _Refused("no HRM is on the ladder (strategy.name, supervisor.ladder)")
        runtime = str(getattr(now, "runtime", ""))
        ready = await self._in_thread(
            lambda loader: loader.load(command.model, self._before, known(now), runtime, self._stage.seen)
        )
        if isinstance(ready, _Refused):
            return ready
        kept = await self._in_thread(lambda loader: loader.keep(known(ready).model_hash))
        if isinstance(kept, _Refused):
            return kept
        if self._stage.is_being_renewed(RUNG):
            return _Refused("the model in charge has hung and is being made anew; give the command again")
        return ready

    async def _in_thread(self, work: Callable[[Loader], T]) -> T | _Refused:
        answer = self._aside.aside(partial(_expected, self._make_loader, work))
        await asyncio.wait((answer,), timeout=LOAD_S)
        if not answer.done():
            answer.cancel()
            return _Refused(f"not loaded within {LOAD_S:g} s")
        result = answer.result()
        return _Refused(result.why) if isinstance(result, Broken) else result

    def _put_in_charge(self, fresh: Strategy, command: LoadModel) -> None:
        """Between two bars, in one step."""
        stage = self._stage
        before = stage.succession.newest(fresh.name)
        assert before is not None, "it was there when the command came, and rungs don't go away"
        after, self._before = stage.newest_bar, known(before)
        stage.succession.follow(fresh, after)
        name, now = str(getattr(fresh, "description", "")), known(fresh)
        log.warning("model switched", new=name, old=self._before.model_hash, who=command.who, reason=command.reason)
        self._bus.publish(
            ModelLoaded(
                ts=self._clock.now_ns(), key=command.key, name=name, model_hash=now.model_hash,
                before=self._before.model_hash, after_bar=after, runtime=str(getattr(fresh, "runtime", "")),
                file=str(now.file or ""), closes=self._closes, reason=f"model {name}: {command.reason}",
            )
        )  # fmt: skip

    async def _came_back(self, event: ModelLoaded) -> None:
        """The next start is to load what decides now, not what failed."""
        self._before = None
        kept = await self._in_thread(lambda loader: loader.keep(event.model_hash))
        if isinstance(kept, _Refused):
            log.error("the store still names the model that failed", reason=kept.why)


class _Refused(msgspec.Struct, frozen=True):
    """Why nothing was changed."""

    why: str


def known(strategy: Strategy) -> Known:
    """What identifies the model of a strategy."""
    file: Path | None = getattr(strategy, "artifact", None)
    return Known(file, model_hash_of(strategy))


def _expected(make_loader: Callable[[], Loader], work: Callable[[Loader], T]) -> T | _Refused:
    """On the thread: the work's result, or the refusal that it raised on purpose."""
    try:
        return work(make_loader())
    except HrmdError as error:
        return _Refused(str(error))
