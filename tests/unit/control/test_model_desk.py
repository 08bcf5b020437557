"""A wish for another model: on the bus and on disk, and the answer that the journal has."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from daemon.control.manual_desk import ManualDesk
from daemon.control.model_desk import ModelDesk
from daemon.control.view import ModelTicket, NotTradingError
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.errors import JournalError
from daemon.core.events import LoadModel, ModelLoaded, ModelRefused
from daemon.journal.writer import Journal
from daemon.orders.book import OrderBook
from daemon.recovery.account import Account
from tests.samples import journaled

TICKET = ModelTicket(model="v2", who="asha", reason="retrained")


class Broken:
    """A journal that can't be written."""

    def durable(self) -> None:
        """Say so."""
        raise JournalError("the disk is full")


class Desk:
    """A bus with both desks; commands are answered at once by `reply`."""

    def __init__(self, journal: Journal | Broken | None = None) -> None:
        self.bus, clock = Bus(), ReplayClock(7)
        self.commands: list[LoadModel] = []
        if isinstance(journal, Journal):
            self.bus.tap((LoadModel, ModelLoaded, ModelRefused), journal.append)
        self.manual = ManualDesk(self.bus, clock, Account(Decimal(1)), OrderBook(), journal, ())
        self.manual.open = True
        self.models = ModelDesk(self.bus, clock, self.manual, lambda loaded: f"a restart loads {loaded.name}")
        self.bus.tap((LoadModel,), self.commands.append)

    def reply(self, *, loaded: bool) -> None:
        """Answer every command, and one that nobody here gave before it."""

        def answer(command: LoadModel) -> None:
            self.bus.publish(ModelRefused(ts=8, key="other", model="other", reason="other"))
            if not loaded:
                return self.bus.publish(ModelRefused(ts=9, key=command.key, model=command.model, reason="no such"))
            self.bus.publish(
                ModelLoaded(
                    ts=9, key=command.key, name="two", model_hash="b", before="a", after_bar=5, runtime="torch fp32",
                    file="/two", closes=False, reason="model two: retrained",
                )
            )  # fmt: skip

        self.bus.tap((LoadModel,), answer)


async def test_loaded(tmp_path: Path) -> None:
    """Command and answer are in the journal, in this order, with who and why."""
    journal = Journal(tmp_path / "j.sqlite", safe=True)
    journal.describe({"version": "t"})
    desk = Desk(journal)
    desk.reply(loaded=True)
    answer = await desk.models.load_model(TICKET)
    assert (answer.loaded, answer.model, answer.model_hash, answer.before) == (True, "two", "b", "a")
    assert (answer.after_restart, answer.ts) == ("a restart loads two", 9)
    journal.close()
    command, *_, became = journaled(tmp_path / "j.sqlite")
    assert (command.model, command.who, command.reason) == ("v2", "asha", "retrained")
    assert (became.key, became.model_hash) == (command.key, "b")


async def test_refused() -> None:
    """The reason is the answer's own, not somebody else's."""
    desk = Desk()
    desk.reply(loaded=False)
    answer = await desk.models.load_model(TICKET)
    assert (answer.loaded, answer.model, answer.reason, answer.after_restart) == (False, "v2", "no such", "")


async def test_no_answer() -> None:
    """Nothing is said of the model; an answer that comes later disturbs nobody."""
    desk = Desk()
    desk.models.answer_s = 0.01
    with pytest.raises(TimeoutError):
        await desk.models.load_model(TICKET)
    (command,) = desk.commands
    desk.bus.publish(ModelRefused(ts=9, key=command.key, model="v2", reason="late"))


async def test_not_taken() -> None:
    """Before trading begins, and while nothing can be journaled: the command never reaches the bus."""
    desk = Desk(Broken())
    with pytest.raises(NotTradingError, match="the disk is full"):
        await desk.models.load_model(TICKET)
    desk.manual.open = False
    with pytest.raises(NotTradingError, match="has not begun to trade"):
        await desk.models.load_model(TICKET)
    assert desk.commands == []
