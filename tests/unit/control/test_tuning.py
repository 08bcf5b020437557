"""Settings that are changed: on the bus, in force, and told apart from the file."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.control.manual_desk import ManualDesk
from daemon.control.tuning import ConfigTicket, Tuning
from daemon.control.view import NotDurableError, NotTradingError
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.errors import JournalError, SettingsError
from daemon.core.events import SettingChanged
from daemon.recovery.account import Account
from daemon.settings.loading import load_settings
from daemon.settings.tree import Settings
from tests.threads import Hung

FILE = load_settings(None, ["risk.max_daily_loss=20000"])


class Room:
    """A tuning desk, its bus, and a file that may change."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.said: list[SettingChanged] = []
        self.levels: list[str] = []
        self.file: Settings = FILE
        self.bus.tap((SettingChanged,), self.said.append)
        self.account = Account(Decimal(1))
        self.bus.tap((SettingChanged,), self.account.follow)
        self.desk = ManualDesk(self.bus, ReplayClock(7), self.account, self.account.orders, None, ())
        self.tuning = Tuning(FILE, FILE, self.desk, ReplayClock(7), self.levels.append, lambda: self.file)

    def value(self, key: str) -> object:
        """What the document says of a key."""
        return next(row.value for row in self.tuning.config().changeable if row.key == key)


async def test_a_change_is_said_with_who_and_why() -> None:
    """Each key that is another than before; the document shows what holds."""
    room = Room()
    ticket = ConfigTicket(
        changes={"risk.max_daily_loss": "5000", "log.level": "debug", "risk.max_orders_per_day": 5000}, reason="bad day"
    )
    document = await room.tuning.change(ticket, "anna")
    assert room.said == [
        SettingChanged(ts=7, who="anna", key="risk.max_daily_loss", before='"20000"', after='"5000"', reason="bad day"),
        SettingChanged(ts=7, who="anna", key="log.level", before='"info"', after='"debug"', reason="bad day"),
    ]
    assert document.changed == ["risk.max_daily_loss", "log.level"]
    assert (room.value("risk.max_daily_loss"), room.levels) == ("5000", ["debug"])
    assert document.settings["risk"]["max_daily_loss"] == "5000"
    assert '"max_daily_loss":"5000"' in room.tuning.settings_json()
    assert room.account.settings_changed() == {"risk.max_daily_loss": "5000", "log.level": "debug"}


async def test_the_files_value_again_is_no_change_of_ours_any_more() -> None:
    """The next start has nothing to remember."""
    room = Room()
    await room.tuning.change(ConfigTicket(changes={"risk.max_daily_loss": "5000"}), "anna")
    await room.tuning.change(ConfigTicket(changes={"risk.max_daily_loss": "20000.0"}), "bela")
    assert [(it.who, it.as_in_file) for it in room.said] == [("anna", False), ("bela", True)]
    assert room.account.settings_changed() == {}


async def test_of_several_changes_all_or_none() -> None:
    """One that can't be leaves the others as they were."""
    room = Room()
    with pytest.raises(SettingsError):
        await room.tuning.change(ConfigTicket(changes={"log.level": "debug", "risk.max_daily_loss": "30000"}), "anna")
    assert (room.said, room.levels) == ([], [])


async def test_a_reload_takes_what_may_change_and_names_the_rest() -> None:
    """Wider than before is fine where the file says so; what was tightened by hand is as the file says, too."""
    room = Room()
    await room.tuning.change(ConfigTicket(changes={"risk.max_orders_per_day": 10}), "anna")
    room.file = load_settings(None, ["risk.max_daily_loss=30000", "feed.speed=2"])
    document = await room.tuning.reload("new file", "bela")
    assert document.changed == ["risk.max_daily_loss", "risk.max_orders_per_day"]
    assert document.needs_restart == ["feed.speed"]
    assert {it.as_in_file for it in room.said[1:]} == {True}
    await room.tuning.change(ConfigTicket(changes={"risk.max_daily_loss": "30000"}), "anna")
    with pytest.raises(SettingsError, match="at most 30000"):
        await room.tuning.change(ConfigTicket(changes={"risk.max_daily_loss": "30001"}), "anna")


async def test_a_file_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    """One line, as at a start."""
    room = Room()
    path = tmp_path / "settings.yaml"
    path.write_text("risk: {max_daily_loss: -1}")
    room.tuning = Tuning(FILE, FILE, room.desk, ReplayClock(7), room.levels.append, lambda: load_settings(path))
    with pytest.raises(SettingsError, match=r"risk\.max_daily_loss"):
        await room.tuning.reload("", "anna")
    assert room.said == []


async def test_without_a_file_there_is_no_reload() -> None:
    """It says so."""
    room = Room()
    room.tuning = Tuning(FILE, FILE, room.desk, ReplayClock(7), room.levels.append, None)
    with pytest.raises(NotTradingError, match="not started from a settings file"):
        await room.tuning.reload("", "anna")


async def test_what_is_in_force_and_not_on_disk_is_shown_as_in_force() -> None:
    """The asker is told; the document doesn't lie."""
    room = Room()

    def fail(event: SettingChanged) -> None:
        raise JournalError("disk full")

    room.bus = Bus()
    room.bus.tap((SettingChanged,), fail)
    desk = ManualDesk(room.bus, ReplayClock(7), room.account, room.account.orders, None, ())
    room.tuning = Tuning(FILE, FILE, desk, ReplayClock(7), room.levels.append, None)
    with pytest.raises(NotDurableError):
        await room.tuning.change(ConfigTicket(changes={"risk.max_daily_loss": "5000"}), "anna")
    assert room.value("risk.max_daily_loss") == "5000"


async def test_what_may_not_be_on_disk_is_written_again_before_it_is_answered() -> None:
    """Whoever asks again, for that or another setting, isn't told that it is done while a restart may forget it."""
    room, full = Room(), [True]
    written: list[str] = []

    def journal(event: SettingChanged) -> None:
        if full[0]:
            raise JournalError("disk full")
        written.append(event.key)

    room.bus.tap((SettingChanged,), journal)
    tightened = ConfigTicket(changes={"risk.max_daily_loss": "5000"})
    with pytest.raises(NotDurableError):
        await room.tuning.change(tightened, "anna")
    with pytest.raises(NotDurableError):
        await room.tuning.change(tightened, "anna")
    full[0] = False
    document = await room.tuning.change(ConfigTicket(changes={"log.level": "debug"}), "anna")
    assert document.changed == written == ["log.level", "risk.max_daily_loss"]
    assert (await room.tuning.change(tightened, "anna")).changed == []


async def test_a_disk_that_hangs_reloads_nothing_and_holds_up_nobody() -> None:
    """The loop goes on, what holds stays, and once the disk answers the file is read."""
    room, disk = Room(), Hung()
    room.file = load_settings(None, ["risk.max_daily_loss=3000"])
    room.tuning = Tuning(
        FILE, FILE, room.desk, ReplayClock(7), room.levels.append, lambda: room.file, Aside("settings", disk.thread)
    )
    with pytest.raises(NotTradingError, match=r"the settings can't be read \(no answer for 3 s\)"):
        await room.tuning.reload("new file", "bela")
    assert room.value("risk.max_daily_loss") == "20000"
    disk.goes_on.set()
    assert (await room.tuning.reload("new file", "bela")).changed == ["risk.max_daily_loss"]


class Disk:
    """A journal's: what was published is on it when somebody says so."""

    trouble = ""

    def __init__(self) -> None:
        self.written = asyncio.Event()

    def durable(self) -> asyncio.Task[bool]:
        """Until it is."""
        return asyncio.ensure_future(self.written.wait())

    def leave_word(self) -> None:
        """Nothing is lost here."""


async def test_two_changes_at_one_moment_are_made_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what was before it, the last one that is on the bus holds, and none waits for ever for the other."""
    room, disk = Room(), Disk()
    room.desk = ManualDesk(room.bus, ReplayClock(7), room.account, room.account.orders, disk, ())
    room.tuning = Tuning(FILE, FILE, room.desk, ReplayClock(7), room.levels.append, None)
    wishes = [ConfigTicket(changes={"risk.max_daily_loss": most}) for most in ("5000", "3000")]
    asked = [asyncio.create_task(room.tuning.change(wish, "anna")) for wish in wishes]
    await asyncio.sleep(0.01)
    disk.written.set()
    await asyncio.gather(*asked)
    assert [(it.before, it.after) for it in room.said] == [('"20000"', '"5000"'), ('"5000"', '"3000"')]
    assert room.value("risk.max_daily_loss") == "3000"
    disk.written.clear()
    monkeypatch.setattr("daemon.control.tuning.READ_S", 0.01)
    stands = asyncio.create_task(room.tuning.change(ConfigTicket(changes={"log.level": "debug"}), "anna"))
    with pytest.raises(NotTradingError, match="another change of settings waits for the disk"):
        await asyncio.gather(asyncio.sleep(0), room.tuning.change(ConfigTicket(changes={"log.level": "error"}), "asha"))
    disk.written.set()
    await stands
    assert room.value("log.level") == "debug"
