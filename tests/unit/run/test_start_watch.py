"""Who looks after a start that stands still: which disk it is, who is told, and when it is given up."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.core.errors import SettingsError, Unavailable
from daemon.run.start_watch import ask_disk, in_time, places_of, watched
from daemon.settings.tree import Settings
from tests.samples import settings_of

SOON_S = 0.05
LONG_S = 30.0


class Disk:
    """One place of two that hangs until the test says otherwise."""

    def __init__(self, bad: Path) -> None:
        self.goes_on = threading.Event()
        self.asked = threading.Event()
        self._bad = bad

    def probe(self, place: Path) -> None:
        """An answer, or none yet."""
        if place == self._bad:
            self.asked.set()
            self.goes_on.wait()


class Ended:
    """What was told, and the exit code of the end."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.heard, self.over = threading.Event(), threading.Event()
        self.code = 0

    def tell(self, reason: str) -> None:
        """Somebody is told."""
        self.told.append(reason)
        self.heard.set()

    def end(self, code: int) -> None:
        """As `os._exit`."""
        self.code = code
        self.over.set()


def test_a_disk_that_hangs_is_named_and_the_start_given_up(tmp_path: Path) -> None:
    """The one of several, once; the exit code is that of what may pass by itself."""
    disk, ended = Disk(tmp_path / "b"), Ended()
    places = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    with (
        capture_logs() as said,
        watched(places, ended.tell, probe=disk.probe, look_s=SOON_S, given_up_s=SOON_S, end=ended.end),
    ):
        assert ended.over.wait(LONG_S)
        assert ended.heard.wait(LONG_S)
    disk.goes_on.set()
    reason = f"{tmp_path}/b: its disk gives no answer, and the start waits for it"
    assert (ended.told[0], ended.code) == (reason, 3)
    assert [it["reason"] for it in said if it["event"] == "the start stands still"] == [reason]


def test_a_disk_that_goes_on_ends_nothing(tmp_path: Path) -> None:
    """It is told, the start goes on, and what comes after is not looked at any more."""
    disk, ended = Disk(tmp_path), Ended()
    with watched([tmp_path], ended.tell, probe=disk.probe, look_s=SOON_S, given_up_s=LONG_S, end=ended.end):
        assert ended.heard.wait(LONG_S)
        disk.goes_on.set()
    assert (len(ended.told), ended.over.is_set()) == (1, False)


def test_a_start_that_takes_its_time_is_left_alone(tmp_path: Path) -> None:
    """Every disk answers: nobody is told, however long it takes."""
    ended, asked = Ended(), threading.Semaphore(0)

    def probe(place: Path) -> None:
        ask_disk(place)
        asked.release()

    with watched([tmp_path, tmp_path / "none"], ended.tell, probe=probe, look_s=SOON_S, given_up_s=0, end=ended.end):
        for _ in range(6):
            assert asked.acquire(timeout=LONG_S)
    assert (ended.told, ended.over.is_set(), list(tmp_path.iterdir())) == ([], False, [])


def test_the_directories_of_the_settings_are_asked(tmp_path: Path) -> None:
    """The journal's first."""
    places = places_of(settings_of(f"journal.path={tmp_path}/deep/j.sqlite", f"feed.record.path={tmp_path}/tapes"))
    assert places[0] == tmp_path / "deep"
    assert tmp_path / "tapes" in places


def test_settings_on_a_disk_that_hangs_are_given_up_with_their_name(tmp_path: Path) -> None:
    """What they are, and what is wrong with them, comes as ever."""
    never, file = threading.Event(), tmp_path / "s.yaml"

    def hangs() -> Settings:
        never.wait()
        raise AssertionError

    def wrong() -> Settings:
        raise SettingsError("risk.x: no such setting")

    for named, said in ((file, f"{file}, or a file that it names"), (None, "the settings, or a file that they name")):
        with pytest.raises(Unavailable, match=f"^{said}: its disk gives no answer; given up after 0.05 s$"):
            in_time(hangs, named, SOON_S)
    never.set()
    with pytest.raises(SettingsError, match="no such setting"):
        in_time(wrong, file)
    assert in_time(settings_of, file) == settings_of()
