"""A journal that another program holds halts trading until it lets go; every other trouble until a person resumes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.core.bus import Bus
from daemon.core.events import Event, Halt, Reduce, Resume, TradingState, TradingStateChanged
from daemon.journal import writer
from daemon.journal.writer import Journal
from daemon.run.journal_watch import JournalWatch
from tests.unit.orders.live import until

STATES = {Halt: TradingState.HALTED, Reduce: TradingState.REDUCING, Resume: TradingState.ACTIVE}


class Disk(sqlite3.Connection):
    """One that may be full."""

    full = False

    def commit(self) -> None:
        """Where there is room."""
        if self.full:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        super().commit()


class Room:
    """A journal, and risk's part played by the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.disk: Disk | None = None
        self.journal = Journal(path, safe=True, database=self._opened)
        self.bus = Bus()
        self.watch = JournalWatch(self.bus, self.journal)
        self.state = TradingState.ACTIVE
        self.bus.tap((Halt, Reduce, Resume), self._obey)
        self.watch.look(0)

    def _opened(self, path: Path) -> sqlite3.Connection:
        self.disk = sqlite3.connect(path, check_same_thread=False, factory=Disk)
        return self.disk

    def _obey(self, command: Event) -> None:
        if self.state is not STATES[type(command)]:
            self.state = STATES[type(command)]
            reason = getattr(command, "reason")  # noqa: B009
            self.bus.publish(TradingStateChanged(ts=1, state=self.state, reason=reason))

    async def in_trouble(self) -> str:
        """Something happens that can't be written."""
        self.journal.append(Halt(ts=1, reason="something"))
        await until(lambda: self.journal.trouble)
        self.watch.look(1)
        return self.journal.trouble

    async def well(self) -> TradingState:
        """How it stands once all is written."""
        await until(lambda: not self.journal.trouble)
        self.watch.look(2)
        return self.state

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """By another program."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """Nothing is wrong yet."""
    monkeypatch.setattr(writer, "LOCKED_MS", 20)
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    made = Room(tmp_path / "j.sqlite")
    yield made
    made.journal.close()


@pytest.mark.parametrize("before", [TradingState.ACTIVE, TradingState.REDUCING])
async def test_it_goes_on_as_it_was_when_the_other_lets_go(room: Room, before: TradingState) -> None:
    """Halted with the reason meanwhile, once."""
    if before is TradingState.REDUCING:
        room.bus.publish(Reduce(ts=0, reason="slowly", who="asha"))
    halts: list[Event] = []
    room.bus.tap((Halt,), halts.append)
    with room.held():
        trouble = await room.in_trouble()
        assert "another program holds it (database is locked)" in trouble
        room.watch.look(1)
        assert [getattr(it, "reason").startswith(trouble) for it in halts] == [True]  # noqa: B009
        assert room.state is TradingState.HALTED
    assert await room.well() is before


async def test_what_an_order_found_out_first_is_the_same_halt(room: Room) -> None:
    """Execution says it in the same words, before the service looks."""
    with room.held():
        room.journal.append(Halt(ts=1, reason="something"))
        await until(lambda: room.journal.trouble)
        room.bus.publish(Halt(ts=1, reason=room.journal.trouble, automatic=True, who="hrmd"))
        room.watch.look(1)
    assert await room.well() is TradingState.ACTIVE


@pytest.mark.parametrize("who", ["asha", "a full disk"])
async def test_what_somebody_or_something_else_stopped_stays_stopped(room: Room, who: str) -> None:
    """A person who halts meanwhile, or a disk that turned out to be full: a person resumes."""
    with room.held():
        await room.in_trouble()
        if who == "asha":
            room.bus.publish(Halt(ts=2, reason="let me see", who=who))
        else:
            assert room.disk is not None
            room.disk.full = True
    if who != "asha":
        await until(lambda: "full" in room.journal.trouble)
        room.watch.look(2)
        assert room.disk is not None
        room.disk.full = False
    assert await room.well() is TradingState.HALTED


async def test_a_full_disk_waits_for_a_person(room: Room) -> None:
    """Who made room has looked at it, and says so."""
    assert room.disk is not None
    room.disk.full = True
    assert "disk is full" in await room.in_trouble()
    assert room.state is TradingState.HALTED
    room.disk.full = False
    assert await room.well() is TradingState.HALTED


async def test_a_halt_of_an_earlier_process_waits_for_a_person(tmp_path: Path, room: Room) -> None:
    """Its reason may not be all that stopped trading then."""
    room.journal.close()
    after = Room(tmp_path / "again.sqlite")
    after.watch = JournalWatch(after.bus, after.journal)
    reason = f"{after.journal.held} (database is locked)"
    after.state = TradingState.HALTED
    after.bus.publish(TradingStateChanged(ts=1, state=after.state, reason=reason))
    after.watch.look(1)
    assert after.state is TradingState.HALTED
    after.bus.publish(Resume(ts=2, reason="seen", who="asha"))
    after.watch.look(2)
    with after.held():
        await after.in_trouble()
        assert after.state is TradingState.HALTED
    assert await after.well() is TradingState.ACTIVE
    after.journal.close()
