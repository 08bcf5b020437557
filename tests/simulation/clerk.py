"""An operator at the HTTP control API, over the simulated network: asks again under one key until there is an answer.

The server is the daemon's own (`ControlService`), on a loop beside the one that trades (`SimSideLoop`), which may stand
still by itself. Invariant: one wish is one key, however often it is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from daemon.control.idempotency import HEADER
from daemon.core.events import TradingState
from tests.simulation.plan import HEALED_S, Action
from tests.simulation.promises import SETTLES_S
from tests.simulation.settings import MOST_UNITS, PORT

if TYPE_CHECKING:
    from tests.simulation.world import World

ANSWER_S = 3.0
HURRY_S = 0.04
"""Who waits no longer hangs up before, while or after it is answered."""
LOOKS = ("/status", "/orders")
TRIES = 6
OVERTAKEN_S = 100.0
"""So long after it was asked a command may still arrive, behind one that was asked later."""
STANDS = {"halt": TradingState.HALTED, "reduce": TradingState.REDUCING, "flatten": TradingState.REDUCING}
COMMANDS = {
    "halt": "Halt", "resume": "Resume", "reduce": "Reduce", "flatten": "Flatten", "model": "LoadModel",
    "canary": "", "cancel": "CancelOrder", "strategy": "SwapStrategy",
}  # fmt: skip
"""By the last word of a path, the event that a command is on the bus."""
TUNES = ("config", "reload")
"""Words that change settings."""


class Clerk:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked = self._leaves = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._tunes: dict[str, float] = {}
        """When each wish for other settings was asked, or answered: one may be heard, or told of, behind a newer."""

    def ask(self, word: str, action: Action, **body: Any) -> None:
        """Ask for it, in the clerk's own time."""
        world = self._world
        self._asked += 1
        world.asked += 1
        key = f"asked-{word.replace('/', '-')}-{self._asked}"
        if word == "order":
            body = {"key": key, **body}
        elif word == "resume":
            world.watch.must_stand = None
            world.lifted_until = world.loop.time() + OVERTAKEN_S
        if word in TUNES:
            self._tunes[key] = world.loop.time()
        self._begin(self._ask(word, key, {**body, "reason": key}, world.asked))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self, number: int) -> None:
        for path in LOOKS:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with asyncio.timeout(ANSWER_S if number % 3 else HURRY_S):
                    async with self.session() as session, session.get(self.url(path), headers=self.signed()) as answer:
                        await answer.read()

    def crowd(self, people: int) -> None:
        """So many look at once, each a few times, and some go before they are answered."""
        for number in range(people):
            self._begin(self._look(number))

    def leave_next(self, times: int) -> None:
        """Who asks next hangs up before the answer is there."""
        self._leaves += times

    def leave(self) -> None:
        """Nobody asks any more."""
        for task in list(self._tasks):
            task.cancel()

    @property
    def _away(self) -> bool:
        """Whether the daemon's machine sleeps, as over a night, or the daemon was told to end."""
        process = self._world.process
        return process is not None and (process.asleep or process.terminated_s < math.inf)

    async def _ask(self, word: str, key: str, body: dict[str, Any], asked: int) -> None:
        world = self._world
        began_s = world.loop.time()
        for _ in range(TRIES):
            if world.loop.time() >= HEALED_S - ANSWER_S:
                return
            life = world.lives
            world.troubled_until = max(world.troubled_until, world.loop.time() + ANSWER_S + SETTLES_S)
            asked_s, tried = world.loop.time(), world.loop.time() - began_s < 0.001
            quiet = tried and asked_s > world.upset_until and world.running() is not None and not self._leaves
            quiet = quiet and not self._away
            status, said = await self._once(word, key, body)
            quiet = quiet and asked_s > world.upset_until and not self._away
            if word == "halt" and quiet and status in (0, 429):
                world.watch.breaks("a halt waits for nobody", f"{key}: {status or 'no answer'} after {ANSWER_S:g} s")
            world.ends[f"http {status or 'silent'}"] += 1
            if 0 < status < 300:
                self._answered(word, key, body, said, asked=asked, same_life=life == world.lives)
                if asked == world.asked and life == world.lives:
                    self._promised(word, body, began_s)
                return
            if status and status not in (409, 429) and status < 500:
                return
            if word == "resume":
                world.lifted_until = world.loop.time() + OVERTAKEN_S
            await asyncio.sleep(world.network.rng.uniform(0.2, 2.0))

    async def _once(self, word: str, key: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body; 0 where there is no answer."""
        method, path = ("PUT", "/api/config") if word == "config" else ("POST", f"/control/{word}")
        patience_s = ANSWER_S
        if self._leaves:
            self._leaves, patience_s = self._leaves - 1, self._world.network.rng.uniform(0.0, HURRY_S)
        try:
            async with asyncio.timeout(patience_s), self.session() as session:
                headers = {**self.signed(), HEADER: key}
                async with session.request(method, self.url(path), json=body, headers=headers) as answer:
                    return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, b""

    def session(self, patience_s: float | None = ANSWER_S) -> aiohttp.ClientSession:
        """Whose requests take so long at most."""
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience_s))

    def url(self, path: str) -> str:
        """Of the daemon."""
        return f"http://127.0.0.1:{PORT}{path}"

    def signed(self) -> dict[str, str]:
        """With the daemon's own token, as `hrmd ctl` does. Raises `OSError` where there is none yet."""
        return {"Authorization": f"Bearer {self._world.settings.control.token_file.read_text().strip()}"}

    def _answered(self, word: str, key: str, body: dict[str, Any], said: bytes, *, asked: int, same_life: bool) -> None:
        world = self._world
        kind = COMMANDS.get(word)
        if kind == "":
            kind = "BeginCanary" if body["do"] == "begin" else "EndCanary"
        if kind:
            world.watch.answered.add((kind, key))
        if word.startswith("migration/") and msgspec.json.decode(said)["moved"]:
            world.watch.answered.add(("MigrationChanged", key))
        if word in TUNES:
            self._tuned(key, msgspec.json.decode(said), newest_wish=asked == world.asked and same_life)
        if word == "model" and asked == world.asked:
            answer = msgspec.json.decode(said)
            if answer["loaded"] and world.store.named != answer["model_hash"]:
                told = f"{answer['model_hash']} decides, and {world.store.named} is named for the next start"
                world.watch.breaks("a model that was put in charge stays", told)

    def _promised(self, word: str, body: dict[str, Any], began_s: float) -> None:
        """What the newest wish, which was answered, makes so for as long as nobody wishes otherwise."""
        world = self._world
        if word in STANDS and world.loop.time() > world.lifted_until:
            world.watch.stand(STANDS[word], began_s)
        if word == "strategy":
            world.watch.put_in_charge(body["name"], began_s)

    def _tuned(self, key: str, said: dict[str, Any], *, newest_wish: bool) -> None:
        """What is answered is in force, and would be after a restart."""
        world, says = self._world, int(said["settings"]["risk"]["max_order_quantity"])
        if said["changed"]:
            world.watch.answered.add(("SettingChanged", key))
        del self._tunes[key]
        alone = not any(world.loop.time() - at_s < OVERTAKEN_S for at_s in self._tunes.values())
        self._tunes[key] = world.loop.time()
        if newest_wish and alone and not world.ends["forgot"] and world.most_units() > says:
            told = f"{MOST_UNITS} is {says}, and {world.most_units()} for the next start"
            world.watch.breaks("what was answered is on record", told)


def asking(word: str, body: Callable[[Action], dict[str, Any]] = lambda action: {}) -> Callable[[World, Action], None]:
    """A deed that asks for it."""

    def do(world: World, action: Action) -> None:
        world.clerk.ask(word, action, **body(action))

    return do
