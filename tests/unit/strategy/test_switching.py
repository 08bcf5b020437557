"""Another model in charge: from one bar on, on trial, back where it fails, and nothing where it is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from daemon.core.clock import ReplayClock
from daemon.core.errors import ArtifactError
from daemon.core.events import Action, Decision, LoadModel, ModelLoaded, ModelRefused
from daemon.strategy.switching import Known, ModelSwitch
from strategies.base import RAISED, Moment, Strategy, decision, hold
from tests.unit.feed.ticks import OPEN_NS
from tests.unit.strategies.moments import MINUTE
from tests.unit.strategy.test_actor import Noting, Stage, stage


class Model:
    """A strategy with a hash; it thinks, unless it is `unread` (a market that can't be read) or `broken`."""

    name = "hrm"
    in_thread = True
    runtime = "torch fp32"

    def __init__(self, model_hash: str) -> None:
        self.model_hash = model_hash
        self.description = f"model {model_hash}"
        self.artifact = Path(f"/{model_hash}.safetensors")
        self.unread = False
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()

    def decide(self, moment: Moment) -> Decision:
        """Hold, after one segment."""
        self.gate.wait(20)
        if self.broken:
            raise ArithmeticError("of no use")
        if self.unread:
            return hold(moment, self.name, "too few bars", model_hash=self.model_hash)
        thought = decision(moment, self.name, Action.HOLD, 1, 0.5, "1 segment", model_hash=self.model_hash)
        return msgspec.structs.replace(thought, segments=1, halt_reason="q_halt")


class Shelf:
    """A loader that has models by name; `kept` is what the store would be told."""

    def __init__(self, *models: Strategy) -> None:
        self.models = {str(getattr(model, "model_hash", "")): model for model in models}
        self.asked: list[tuple[str, Known | None, Known]] = []
        self.kept: list[str] = []
        self.kept_twice = threading.Event()
        self.full = False
        self.gate = threading.Event()
        self.gate.set()

    def load(self, wanted: str, before: Known | None, deciding: Known, runtime: str, seen: Moment | None) -> Strategy:
        """What it has of that name; what decided before for previous."""
        self.gate.wait(20)
        self.asked.append((wanted, before, deciding))
        wanted = before.model_hash if wanted == "previous" and before is not None else wanted
        if wanted not in self.models:
            raise ArtifactError(f"{wanted}: no such version")
        return self.models[wanted]

    def keep(self, model_hash: str) -> None:
        """Note it, or have no room."""
        if self.full:
            raise ArtifactError("can't be written (No space left on device)")
        self.kept.append(model_hash)
        if len(self.kept) == 2:
            self.kept_twice.set()


class Switched(Stage):
    """The stage, the switch beside it, and what was answered."""

    def __init__(self, made: Stage, shelf: Shelf, on_swap: str) -> None:
        self.bus, self.heard, self.actor = made.bus, made.heard, made.actor
        self.answers: list[ModelLoaded | ModelRefused] = []
        self.told = asyncio.Event()
        self.bus.tap((ModelLoaded, ModelRefused), self._hear)
        self.switch = ModelSwitch(self.bus, ReplayClock(OPEN_NS), self.actor, lambda: shelf, on_swap)

    def _hear(self, event: ModelLoaded | ModelRefused) -> None:
        self.answers.append(event)
        self.told.set()

    def wish(self, model: str) -> None:
        """Ask for a model."""
        self.bus.publish(LoadModel(ts=OPEN_NS, key=model, model=model, who="a tester", reason="a test"))

    async def answered(self, count: int = 1) -> ModelLoaded | ModelRefused:
        """The newest of so many answers."""
        async with asyncio.timeout(60):
            while len(self.answers) < count:
                self.told.clear()
                await self.told.wait()
        return self.answers[-1]

    @property
    def decided(self) -> list[tuple[int, str, str]]:
        """(number of the bar, symbol, hash of the model)."""
        return [((one.ts_bar - OPEN_NS) // (5 * MINUTE) - 1, one.symbol, one.model_hash) for one in self.decisions]


@asynccontextmanager
async def switched(old: Strategy, shelf: Shelf, on_swap: str = "keep") -> AsyncIterator[Switched]:
    """Run both."""
    async with stage(old, Noting("rules", in_thread=False)) as made:
        it = Switched(made, shelf, on_swap)
        task = asyncio.create_task(it.switch.run())
        try:
            yield it
        finally:
            task.cancel()


async def test_a_switch_waits_for_the_next_bar() -> None:
    """Instruments of a bar that has closed are decided by the old one, though it was switched while they waited."""
    old, new = Model("old"), Model("new")
    old.gate.clear()
    async with switched(old, Shelf(new)) as it:
        it.close_bar(0, "AAA", "BBB")
        it.wish("new")
        loaded = await it.answered()
        old.gate.set()
        await it.idle()
        it.close_bar(1, "AAA", "BBB")
        await it.idle()
    assert it.decided == [(0, "AAA", "old"), (0, "BBB", "old"), (1, "AAA", "new"), (1, "BBB", "new")]
    assert loaded == ModelLoaded(
        ts=OPEN_NS, key="new", name="model new", model_hash="new", before="old", after_bar=OPEN_NS + 5 * MINUTE,
        runtime="torch fp32", file="/new.safetensors", closes=False, reason="model model new: a test",
    )  # fmt: skip


async def test_the_old_one_decides_while_the_new_one_is_loaded() -> None:
    """However long that takes."""
    shelf = Shelf(Model("new"))
    shelf.gate.clear()
    async with switched(Model("old"), shelf) as it:
        it.wish("new")
        for n in range(3):
            it.close_bar(n)
            await it.idle()
        assert [who for _, _, who in it.decided] == ["old"] * 3
        assert it.answers == []
        shelf.gate.set()
        await it.answered()
        it.close_bar(3)
        await it.idle()
    assert it.decided[-1] == (3, "AAA", "new")
    assert shelf.kept == ["new"]


async def test_what_is_refused_changes_nothing() -> None:
    """A model that isn't there; a store that has no room."""
    shelf = Shelf(Model("new"))
    async with switched(Model("old"), shelf) as it:
        it.wish("none")
        assert await it.answered() == ModelRefused(
            ts=OPEN_NS, key="none", model="none", reason="none: no such version"
        )  # fmt: skip
        shelf.full = True
        it.wish("new")
        refused = await it.answered(2)
        it.close_bar(0)
        await it.idle()
    assert isinstance(refused, ModelRefused)
    assert refused.reason == "can't be written (No space left on device)"
    assert it.decided == [(0, "AAA", "old")]
    assert shelf.kept == []


async def test_a_loader_that_breaks_is_a_refusal() -> None:
    """Of no kind that it raises on purpose."""

    class Broken(Shelf):
        def load(self, *_: object) -> Strategy:
            raise KeyError("a bug")

    async with switched(Model("old"), Broken()) as it:
        it.wish("new")
        refused = await it.answered()
    assert isinstance(refused, ModelRefused)
    assert refused.reason == "KeyError: 'a bug'"


async def test_in_the_end_nobody_is_left_without_an_answer() -> None:
    """Neither who asked for the model that is being loaded, nor who waits behind."""
    shelf = Shelf(Model("new"), Model("newer"))
    shelf.gate.clear()
    async with switched(Model("old"), shelf) as it:
        it.wish("new")
        it.wish("newer")
        it.close_bar(0)
        await it.idle()
        assert it.answers == []
    last = await it.answered(2)
    shelf.gate.set()
    assert [(type(one), one.key) for one in it.answers] == [(ModelRefused, "new"), (ModelRefused, "newer")]
    assert isinstance(last, ModelRefused)
    assert last.reason == "hrmd ended before it was loaded; give the command again"


async def test_without_a_rung_for_it() -> None:
    """Rules alone have no model."""
    async with switched(Noting("rules", in_thread=False), Shelf(Model("new"))) as it:
        it.wish("new")
        refused = await it.answered()
    assert isinstance(refused, ModelRefused)
    assert refused.reason.startswith("no HRM is on the ladder")


async def test_one_that_fails_first_gives_way_to_the_one_before() -> None:
    """Its bar is a HOLD that failed, the next is the old one's; the store is told."""
    new = Model("new")
    new.broken = True
    shelf = Shelf(new)
    async with switched(Model("old"), shelf) as it:
        it.close_bar(0)
        await it.idle()
        it.wish("new")
        await it.answered()
        it.close_bar(1, "AAA", "BBB")
        await it.idle()
        back = await it.answered(2)
        it.close_bar(2)
        await it.idle()
        await asyncio.to_thread(shelf.kept_twice.wait, 60)
    assert it.decided == [(0, "AAA", "old"), (1, "AAA", "new"), (1, "BBB", "new"), (2, "AAA", "old")]
    assert [(one.failed, one.halt_reason) for one in it.decisions[1:3]] == [(True, RAISED)] * 2
    assert isinstance(back, ModelLoaded)
    assert (back.key, back.model_hash, back.before, back.after_bar) == ("", "old", "new", OPEN_NS + 10 * MINUTE)
    assert back.reason == "the new model failed (raised): ArithmeticError: of no use"
    assert len(it.answers) == 2
    assert shelf.kept == ["new", "old"]


@pytest.mark.parametrize(("thinks", "decided", "answers"), [(True, ["new"] * 4, 1), (False, ["new", "new", "old"], 2)])
async def test_a_market_that_cannot_be_read_proves_nothing(thinks: bool, decided: list[str], answers: int) -> None:
    """It stays on trial until it has thought; once it has, a failure is one like any other."""
    new = Model("new")
    new.unread = True
    async with switched(Model("old"), Shelf(new)) as it:
        it.wish("new")
        await it.answered()
        it.close_bar(0)
        await it.idle()
        if thinks:
            new.unread = False
            it.close_bar(1)
            await it.idle()
        new.unread, new.broken = False, True
        it.close_bar(2)
        await it.idle()
        it.close_bar(3)
        await it.idle()
    assert [who for _, _, who in it.decided] == decided
    assert len(it.answers) == answers


async def test_the_proven_one_comes_back_over_two_switches() -> None:
    """The first switch had proved nothing when the second came, and that one fails."""
    middle, new = Model("middle"), Model("new")
    new.broken = True
    async with switched(Model("old"), Shelf(middle, new)) as it:
        it.wish("middle")
        await it.answered()
        it.wish("new")
        await it.answered(2)
        it.close_bar(0)
        await it.idle()
        back = await it.answered(3)
        it.close_bar(1)
        await it.idle()
    assert it.decided == [(0, "AAA", "new"), (1, "AAA", "old")]
    assert isinstance(back, ModelLoaded)
    assert back.before == "new"


async def test_back_and_forth() -> None:
    """Previous is what decided before, in this process; after a failure there is none."""
    shelf = Shelf(Model("old"), Model("new"))
    async with switched(Model("old"), shelf) as it:
        for n, wish in enumerate(["new", "previous", "previous"], 1):
            it.wish(wish)
            await it.answered(n)
            it.close_bar(n)
            await it.idle()
    assert [who for _, _, who in it.decided] == ["new", "old", "new"]
    old, new = (Known(Path(f"/{name}.safetensors"), name) for name in ("old", "new"))
    assert shelf.asked == [("new", None, old), ("previous", old, new), ("previous", new, old)]


@pytest.mark.parametrize("on_swap", ["keep", "close"])
async def test_what_is_held(on_swap: str) -> None:
    """Handed over, or closed, as the settings say."""
    async with switched(Model("old"), Shelf(Model("new")), on_swap) as it:
        it.wish("new")
        loaded = await it.answered()
    assert isinstance(loaded, ModelLoaded)
    assert loaded.closes is (on_swap == "close")
