"""`hrmd top` at a real control server: what it shows, what its keys send, and that it notices when nobody answers."""

from __future__ import annotations

import asyncio
import getpass
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from daemon.cli import main
from daemon.cli.ctl import signed
from daemon.control.finding import Target, find
from daemon.control.server import ControlServer
from daemon.core.clock import Clock, LiveClock
from daemon.core.events import Flatten, Halt, Resume, SwapStrategy
from daemon.top.app import Top
from tests.unit.control.fakes import NOW, TOKEN, FakeDaemon, build_server

PATIENCE_S = 20.0
ME = {"who": getpass.getuser(), "reason": "by hrmd top"}


class Terminal:
    """80 × 24 with `hrmd top` on it, and the daemon that it looks at."""

    def __init__(
        self, top: Top, pilot: Pilot[None], daemon: FakeDaemon, server: ControlServer, where: dict[str, str]
    ) -> None:
        self.top, self.pilot, self.daemon, self.server, self.where = top, pilot, daemon, server, where

    def read(self) -> str:
        """What is to be read on it, without a question that stands before it."""
        return str(self.top._picture.content)

    async def until(self, look: Callable[[], object]) -> None:
        """Wait for something; raises `TimeoutError` with what is on the screen."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not look():
                    await self.pilot.pause(0.02)
        except TimeoutError:
            raise TimeoutError(self.read()) from None

    async def press(self, *keys: str) -> None:
        """One after the other."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()


@asynccontextmanager
async def terminal(tmp_path: Path, clock: Clock | None = None) -> AsyncIterator[Terminal]:
    """With the first look on it; unless there is a `clock` that goes, the daemon answers as it did before."""
    token_file = tmp_path / "control.token"
    token_file.write_text(TOKEN)
    daemon = FakeDaemon()
    server = build_server(daemon, clock)
    await server.start()
    url = server.url

    where = {"url": url, "token": str(token_file)}

    def found() -> Target:
        return find(None, None, where["url"], Path(where["token"]), {})

    top = Top(found, lambda body: signed(body, "by hrmd top"))
    try:
        async with top.run_test(size=(80, 24)) as pilot:
            there = Terminal(top, pilot, daemon, server, where)
            await there.until(lambda: "ACTIVE" in there.read())
            yield there
    finally:
        await server.stop()


async def test_it_shows_the_daemon(tmp_path: Path) -> None:
    """State, money, ladder, health, lists and log; told of changes by the stream."""
    async with terminal(tmp_path) as there:
        for shown in ("net +₹2,138.04", "rung 0", "healthy", "NSE:SBIN-EQ", "ACCEPTED", "buy long", "bar closed"):
            assert shown in there.read()
        await there.until(lambda: "⇄" in there.read())


async def test_a_halt_needs_a_second_key(tmp_path: Path) -> None:
    """Enter is no; y is yes, and the daemon's answer is shown."""
    async with terminal(tmp_path) as there:
        await there.press("h", "enter")
        assert "halt: not given" in there.read()
        await there.press("h", "h")
        assert there.daemon.submitted == []
        await there.press("h", "y")
        await there.until(lambda: "halt accepted at 09:15:00 IST" in there.read())
        assert there.daemon.submitted == [Halt(ts=NOW, **ME)]


@pytest.mark.parametrize(("key", "word", "event"), [("r", "resume", Resume), ("f", "flatten", Flatten)])
async def test_what_can_lose_money_needs_a_word(key: str, word: str, event: type, tmp_path: Path) -> None:
    """Another word, or Escape, and nothing is sent."""
    async with terminal(tmp_path) as there:
        await there.press(key, *"yes", "enter")
        await there.press(key, *word, "escape")
        assert (there.daemon.submitted, f"{word}: not given" in there.read()) == ([], True)
        await there.press(key, *word, "enter")
        await there.until(lambda: f"{word} accepted" in there.read())
        assert there.daemon.submitted == [event(ts=NOW, **ME)]


async def test_a_strategy_is_chosen_by_its_digit(tmp_path: Path) -> None:
    """And confirmed; flat, which closes everything, by its name."""
    async with terminal(tmp_path) as there:
        await there.press("s", "2", "n")
        await there.press("s", "9")
        assert there.daemon.submitted == []
        await there.press("s", "2", "y")
        await there.until(lambda: there.daemon.submitted)
        await there.press("s", "3", "y")
        assert len(there.daemon.submitted) == 1
        await there.press("escape", "s", "3", *"flat", "enter")
        await there.until(lambda: len(there.daemon.submitted) == 2)
        assert there.daemon.submitted == [SwapStrategy(ts=NOW, name=name, **ME) for name in ("rules", "flat")]


async def test_the_chosen_order_is_cancelled(tmp_path: Path) -> None:
    """Only one that works, and only once it was chosen."""
    async with terminal(tmp_path) as there:
        await there.press("c")
        assert "choose an order" in there.read()
        await there.press("down", "down", "c")
        assert "there is nothing to cancel" in there.read()
        await there.press("up", "c", "y")
        await there.until(lambda: there.daemon.cancelled)
        assert there.daemon.cancelled == [("H0", ME["reason"], ME["who"])]
        await there.until(lambda: "cancel accepted" in there.read())


async def test_a_daemon_that_is_gone_is_lost(tmp_path: Path) -> None:
    """At once, with why; a command then is said not to be given; it is found again when it is back."""
    async with terminal(tmp_path) as there:
        port = int(there.server.url.rpartition(":")[2])
        await there.server.stop()
        await there.until(lambda: there.read().startswith(" LOST "))
        assert "no hrmd answers" in there.read()
        await there.press("h", "y")
        await there.until(lambda: "halt was NOT given" in there.read())
        again = build_server(there.daemon, port=port)
        await again.start()
        await there.until(lambda: there.read().startswith(" ACTIVE "))
        await again.stop()


async def test_another_daemon_gets_no_command(tmp_path: Path) -> None:
    """Where the one that was looked at is gone, and another one is found in its place."""
    async with terminal(tmp_path) as there:
        (tmp_path / "another.token").write_text(TOKEN)
        other = build_server(there.daemon)
        await other.start()
        there.where |= {"url": other.url, "token": str(tmp_path / "another.token")}
        await there.server.stop()
        await there.until(lambda: "another daemon runs at" in there.read())
        assert there.read().startswith(" LOST ")
        await there.press("h", "y")
        await there.until(lambda: there.top.seen.notice_bad)
        assert there.daemon.submitted == []
        await other.stop()


async def test_a_daemon_that_fails_inside_is_lost(tmp_path: Path) -> None:
    """One route that can't be read is no look at all."""
    async with terminal(tmp_path, LiveClock()) as there:
        there.daemon.broken = True
        await there.until(lambda: there.read().startswith(" LOST ") and "refused (500)" in there.read())


async def test_a_command_that_is_refused_says_why(tmp_path: Path) -> None:
    """As the daemon says it."""
    async with terminal(tmp_path) as there:
        there.daemon.full = True
        await there.press("h", "y")
        await there.until(lambda: "halt was not taken" in there.read())


async def test_a_stream_that_ends_is_made_up_for(tmp_path: Path) -> None:
    """What is shown goes on being of now."""
    async with terminal(tmp_path, LiveClock()) as there:
        await there.until(lambda: "⇄" in there.read())
        there.daemon.stream.let_everybody_go()
        await there.until(lambda: "↻" in there.read())
        asked = there.daemon.asked["status"]
        await there.until(lambda: there.daemon.asked["status"] > asked + 1)
        assert there.read().startswith(" ACTIVE ")


async def test_q_ends_it(tmp_path: Path) -> None:
    """At once."""
    async with terminal(tmp_path) as there:
        await there.press("q")
        await there.until(lambda: not there.top.is_running)


def test_without_a_terminal_it_says_what_there_is_instead(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, exit 2."""
    assert main(["top"]) == 2
    assert capsys.readouterr().err == (
        "error: hrmd top: expected a terminal; for a pipe there is hrmd ctl status --watch\n"
    )


@pytest.mark.slow
def test_without_textual_it_says_what_is_missing(tmp_path: Path) -> None:
    """In one line, exit 2, in a process where nothing of that name can be imported."""
    block = "import sys; sys.modules['textual'] = None; from daemon.cli import main; sys.exit(main(['top']))"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "textual is not installed; install hrmd[top]" in done.stderr
