"""`hrmd ctl … --watch`: again and again, on a screen and in a pipe, over a daemon that goes away and comes back."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from daemon.cli.ctl import Client, ctl_app, with_seconds
from daemon.cli.pictures import picture
from daemon.cli.watching import Roll, Screen, watch
from daemon.control.finding import find
from daemon.control.routes import MAX_ROWS
from daemon.core.errors import UsageError
from tests.unit.control.fakes import TIME, TOKEN, FakeDaemon, build_server, running_in_thread


class Beside:
    """A daemon that a test starts and ends while somebody looks at it."""

    def __init__(self, token_file: Path) -> None:
        self.daemon = FakeDaemon()
        self._token_file = token_file
        token_file.write_text(TOKEN)
        self._open = contextlib.ExitStack()
        self.url = ""

    def start(self) -> None:
        """Listen, each time on another port."""
        self.url = self._open.enter_context(running_in_thread(build_server(self.daemon)))

    def end(self) -> None:
        """Listen no more."""
        self._open.close()

    def connect(self, before: Client | None = None) -> Client:
        """As `hrmd ctl` finds it."""
        return Client(find(None, None, self.url, self._token_file, {}))


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    """A daemon that listens."""
    beside = Beside(tmp_path / "control.token")
    beside.start()
    yield beside
    beside.end()


def turns(*happenings: Callable[[], None]) -> Callable[[], None]:
    """What happens in each pause; after the last one somebody presses Ctrl-C."""
    coming = iter(happenings)

    def pause() -> None:
        happening = next(coming, None)
        if happening is None:
            raise KeyboardInterrupt
        happening()

    return pause


def nothing() -> None:
    """Time passes."""


def on_screen(path: str, height: int = 40) -> tuple[Screen, Callable[[], str]]:
    """A terminal 100 columns wide, and what is to be read on it."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=height, markup=False, highlight=False)
    screen = Screen("hrmd ctl", lambda answer: picture(path, answer), console)
    return screen, lambda: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue().rsplit("\x1b[H", 1)[-1])


def test_json_is_a_document_a_line(beside: Beside, capsys: pytest.CaptureFixture[str]) -> None:
    """As many as there were looks; Ctrl-C ends it without a word."""
    watch(beside.connect, "/positions", Roll(None), turns(nothing, nothing))
    printed = capsys.readouterr()
    documents = [json.loads(line) for line in printed.out.splitlines()]
    assert [document[0]["symbol"] for document in documents] == ["NSE:SBIN-EQ"] * 3
    assert printed.err == ""


def test_a_pipe_is_told_once_that_the_daemon_is_lost_and_that_it_is_back(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr; no figures meanwhile, and it is found where it listens now."""
    pause = turns(beside.end, nothing, nothing, beside.start)
    watch(beside.connect, "/positions", Roll(lambda answer: picture("/positions", answer)), pause)
    printed = capsys.readouterr()
    assert printed.out.count("NSE:SBIN-EQ") == 2
    lost, back = printed.err.splitlines()
    assert re.match(r"lost at \d\d:\d\d:\d\d IST: no hrmd answers at http://127", lost)
    assert re.fullmatch(r"back at \d\d:\d\d:\d\d IST", back)


def test_a_screen_shows_the_newest_look(beside: Beside) -> None:
    """In the place of the one before."""
    screen, read = on_screen("/status")

    def change() -> None:
        beside.daemon.shown = msgspec.structs.replace(beside.daemon.shown, trading_reason="lunch")
        beside.connect().post("/control/resume", {})  # after a command nothing is remembered

    watch(beside.connect, "/status", screen, turns(change))
    assert "lunch" in read()
    assert read().count("net P&L") == 1


def test_a_screen_says_that_the_daemon_is_lost(beside: Beside) -> None:
    """Above what was known, which is of another time; found again, nothing of it is left."""
    screen, read = on_screen("/positions")
    watch(beside.connect, "/positions", screen, turns(beside.end))
    assert re.match(r"LOST at \d\d:\d\d:\d\d IST: no hrmd answers", read())
    assert re.search(r"\(as it was at \d\d:\d\d:\d\d IST\)", read())
    assert "NSE:SBIN-EQ" in read()
    beside.start()
    watch(beside.connect, "/positions", screen, turns(nothing))
    assert "LOST" not in read()


def test_a_screen_that_is_low_says_what_is_missing(beside: Beside) -> None:
    """And never scrolls."""
    screen, read = on_screen("/status", height=6)
    watch(beside.connect, "/status", screen, turns(nothing))
    assert read().splitlines()[-1] == "… more than this terminal is high"
    assert len(read().splitlines()) < 6


def test_the_first_look_fails_as_ever(beside: Beside) -> None:
    """A wrong address is the user's mistake, not a daemon that comes back."""
    beside.end()
    with pytest.raises(UsageError, match="no hrmd answers"):
        watch(beside.connect, "/status", Roll(None), turns(nothing))


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["--watch"], ["--watch", "2"]),
        (["--watch", "5"], ["--watch", "5"]),
        (["--watch", "--json"], ["--watch", "2", "--json"]),
        (["--watch", "-1"], ["--watch", "-1"]),
        (["--watch", "soon"], ["--watch", "soon"]),
        (["--watch", "begin", "fast"], ["--watch", "2", "begin", "fast"]),
    ],
)
def test_seconds_may_be_left_out(typed: list[str], read: list[str]) -> None:
    """And what is meant as seconds is never taken for something else."""
    assert with_seconds(typed, ("begin",)) == read


@pytest.mark.parametrize("word", ["0.1", "-1", "soon", "4000"])
def test_other_seconds_are_refused(word: str) -> None:
    """With what would be right."""
    result = CliRunner().invoke(ctl_app, ["status", "--watch", word])
    assert result.exit_code == 2
    assert "--watch" in result.output


def test_a_command_of_the_canary_is_not_watched() -> None:
    """It is given once."""
    error = CliRunner().invoke(ctl_app, ["canary", "--watch", "begin", "fast"]).exception
    assert isinstance(error, UsageError)
    assert "--watch shows the canary run; leave it out of begin" in str(error)


def test_decisions_and_round_trips_are_tables(beside: Beside, tmp_path: Path) -> None:
    """Newest first, as many as asked for, up to what the route gives."""
    where = ["--url", beside.url, "--token-file", str(tmp_path / "control.token")]

    def run(*words: str) -> str:
        result = CliRunner().invoke(ctl_app, [*words, *where], env={"COLUMNS": "120"})
        assert result.exit_code == 0, result.output
        return result.stdout

    decisions = run("decisions", "--limit", "2")
    assert "buy long" in decisions or "hold" in decisions
    assert decisions.count("NSE:SBIN-EQ") == 2
    assert beside.daemon.asked_for.limit == 2
    assert "61 %" in decisions
    trades = run("trades")
    assert ("LONG" in trades, "+₹3.90" in trades, "348.20" in trades) == (True, True, True)
    assert json.loads(run("trades", "--json"))[0]["entry_time"] == TIME
    assert run("decisions", "--limit", str(MAX_ROWS))
    assert CliRunner().invoke(ctl_app, ["trades", "--limit", str(MAX_ROWS + 1), *where]).exit_code == 2
