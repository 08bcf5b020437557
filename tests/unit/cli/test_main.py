"""The command line's frame: help, version, exit codes, and faults that must not pass as tracebacks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from daemon import __version__, cli
from daemon.cli import main
from daemon.cli.lazy import load
from daemon.cli.options import naming
from daemon.core.errors import Fault
from daemon.settings.loading import load_settings
from tests.samples import OPEN, wave, write_tape

Capture = pytest.CaptureFixture[str]


def test_version(capsys: Capture) -> None:
    """One line."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hrmd {__version__}\n"


COMMANDS = ("run", "replay", "verify", "check", "login", "train", "evaluate", "sandbox", "tape", "instruments",
            "history", "ctl", "model", "bench")  # fmt: skip
HEAVY = ("torch", "numpy", "pyarrow", "aiohttp", "msgspec", "structlog", "uvloop", "daemon.settings.loading")


def test_help_of_every_command(capsys: Capture) -> None:
    """Exit 0, the commands of the contract are there in their order, and `-h` is as good as `--help`."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[1] for line in out.partition("Commands")[2].splitlines() if line.startswith("│ ")]
    assert [word for word in listed if word in COMMANDS] == list(COMMANDS)
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == out
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        full = capsys.readouterr().out
        assert "Usage" in full
        assert main([command, "-h"]) == 0
        assert capsys.readouterr().out == full


def test_the_line_of_a_command_is_its_own(capsys: Capture) -> None:
    """What the group says of a command that is not imported is how the command's own help begins."""
    for name, later in cli.Commands.later.items():
        assert load(name, later.place).help.partition("\n\n")[0].replace("\n", " ") == later.help, name


def fresh(command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`hrmd COMMAND` in a process of its own; the last line of stderr names the heavy modules it imported."""
    program = f"import sys; from daemon.cli import main; code = main({command.split()!r})\n"
    program += f"sys.stderr.write('imported ' + ' '.join(name for name in {HEAVY!r} if name in sys.modules))\n"
    return subprocess.run(
        [sys.executable, "-c", program + "sys.exit(code)"], capture_output=True, text=True, check=False,
        env=os.environ | (environment or {}),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["--help", "--version", "ctl --help", "ctl halt --help", "run -h", "replay -h", "verify -h"]
)
def test_help_imports_nothing_heavy(command: str) -> None:
    """A page of help is text."""
    answer = fresh(command)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == "imported "


@pytest.mark.slow
def test_the_kill_switch_imports_nothing_heavy(tmp_path: Path) -> None:
    """`hrmd ctl halt` where nobody listens: one line, and no library that a daemon needs was loaded to say it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    token = tmp_path / "token"
    token.write_text("t" * 32)
    answer = fresh(f"ctl halt --set control.port={port} --set control.token_file={token}")
    assert answer.returncode == 2
    line, imported = answer.stderr.splitlines()
    assert line.startswith(f"error: no hrmd answers at http://127.0.0.1:{port}")
    assert imported == "imported "


@pytest.mark.slow
def test_a_replay_imports_no_client_of_a_broker(tmp_path: Path) -> None:
    """Nor torch: a day of ticks is played without either."""
    tape = write_tape(tmp_path / "t.parquet", *wave(20))
    answer = fresh(f"replay {tape} --strategy rules --json")
    assert answer.returncode == 0, answer.stderr
    imported = answer.stderr.splitlines()[-1].split()
    assert "pyarrow" in imported
    assert {"aiohttp", "torch"}.isdisjoint(imported)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"_HRMD_COMPLETE": "complete_bash", "COMP_WORDS": "hrmd ", "COMP_CWORD": "1"}, COMMANDS),
        ({"_HRMD_COMPLETE": "complete_bash", "COMP_WORDS": "hrmd ctl f", "COMP_CWORD": "2"}, ("flatten",)),
        ({"_HRMD_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hrmd "}, COMMANDS),
        ({"_HRMD_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hrmd ctl ha"}, ("halt",)),
        ({"_HRMD_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "hrmd ctl halt --to"}, ("--token-file",)),
    ],
)
def test_the_shell_completes(variables: dict[str, str], names: tuple[str, ...]) -> None:
    """Commands, their commands and options, without what they need to run."""
    program = "import atexit, sys; from daemon.cli import main\n"
    program += f"atexit.register(lambda: sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", program + "\nmain([])"], capture_output=True, text=True, check=False,
        env=os.environ | variables,
    )  # fmt: skip
    assert [name for name in names if name not in answer.stdout] == []
    assert answer.stderr == ""


def test_a_mistyped_command_is_asked_about(capsys: Capture) -> None:
    """Of the group and of a group in it."""
    assert main(["repaly"]) == 2
    assert capsys.readouterr().err == "error: No such command 'repaly'. Did you mean 'replay'?\n"
    assert main(["ctl", "hlat"]) == 2
    assert "Did you mean 'halt'" in capsys.readouterr().err


def test_a_word_that_is_none_of_those_asked_for(capsys: Capture) -> None:
    """The line says which there are, in the words of a person and not of the program."""
    assert main(["ctl", "order", "SBIN", "10", "buy"]) == 2
    assert capsys.readouterr().err == "error: Invalid value for 'side': 'SBIN' is not one of 'buy', 'sell'.\n"


@pytest.mark.parametrize("side", ["BUY", "Sell", "buy"])
def test_a_side_may_be_written_in_capitals(capsys: Capture, tmp_path: Path, side: str) -> None:
    """As it stands in every list of orders; that nobody answers is all that is wrong."""
    (tmp_path / "token").write_text("a-token-of-some-length-for-a-test")
    where = ("--url", "http://127.0.0.1:9", "--token-file", str(tmp_path / "token"))
    assert main(["ctl", "order", side, "10", "NSE:SBIN-EQ", *where]) == 2
    assert "no hrmd answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["ctl"], ["tape"]])
def test_a_bare_group_shows_its_help(capsys: Capture, arguments: list[str]) -> None:
    """Exit 2, the commands to choose from, and no empty error."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "Usage" in printed.out + printed.err
    assert "error:" not in printed.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Fault("inbox full\nof things"), 3, "error: inbox full of things\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (typer.Abort(), 130, "error: interrupted\n"),
        (ZeroDivisionError("1/0"), 3, "error: fault: ZeroDivisionError: 1/0\n"),
    ],
)
def test_errors_end_with_one_line_and_their_code(capsys: Capture, error: BaseException, code: int, line: str) -> None:
    """A fault, an interruption, and what nobody thought of."""

    def fail() -> None:
        raise error

    cli.app.command("fail-for-a-test")(fail)
    try:
        result = main(["fail-for-a-test"])
    finally:
        cli.app.registered_commands.pop()
    assert result == code
    assert capsys.readouterr().err.endswith(line)


def test_a_closed_pipe_is_no_error() -> None:
    """The reader has had enough: exit 0, and nothing is flushed at the interpreter's end."""
    reader, writer = os.pipe()
    os.close(reader)
    stdout = sys.stdout
    with os.fdopen(writer, "w", buffering=1 << 16) as pipe:
        sys.stdout = pipe
        try:
            assert main(["--version"]) == 0
        finally:
            sys.stdout = stdout


@pytest.mark.slow
def test_ctrl_c_before_the_command_is_there_is_one_line(tmp_path: Path) -> None:
    """What the command line is made of takes a while to be imported on a busy machine."""
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    words = [sys.executable, "-c", "import sys; from daemon.__main__ import start; sys.exit(start())"]
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(cli.__file__).parents[2]}"}
    ended = subprocess.run(words, capture_output=True, text=True, env=env)
    assert (ended.returncode, ended.stderr) == (130, "error: interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "command"),
    [(">&-", "--version"), (">&-", "tape info TAPE"), ("2>&-", "calendar show"), ("<&- >&- 2>&-", "tape info TAPE")],
)
def test_closed_streams_abort_nothing(tmp_path: Path, closed: str, command: str) -> None:
    """A cron job or an init script that closes them: the loop's library aborted the process (134)."""
    tape = write_tape(tmp_path / "t.parquet", [OPEN + 1], [800.0])
    words = f"{sys.executable} -m daemon {command.replace('TAPE', str(tape))} {closed}"
    ended = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stdout_without_the_letters_is_no_fault(tmp_path: Path, encoding: str) -> None:
    """An older locale has no blocks for the picture of a price: they are spelled, and JSON reads the same."""
    tape = write_tape(tmp_path / "café-\U0001f600.parquet", [OPEN + 1, OPEN + 2], [800.0, 801.0])
    env = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}

    def said(*more: str) -> bytes:
        words = [sys.executable, "-m", "daemon", "tape", "info", str(tape), *more]
        ended = subprocess.run(words, capture_output=True, env=env)
        assert (ended.returncode, ended.stderr) == (0, b"")
        return ended.stdout

    assert "800" in said().decode(encoding)
    document = json.loads(said("--json").decode("utf-8"))
    assert document["tapes"] == [str(tape)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "calendar show"])
def test_a_full_disk_under_stdout_is_one_line(command: str, unbuffered: str) -> None:
    """Exit 3 and why, and no traceback."""
    words, env = [sys.executable, "-m", "daemon", *command.split()], os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=env)
    assert ended.returncode == 3
    assert ended.stderr == "error: output: No space left on device: make room, and run it again\n"


@pytest.mark.parametrize("number", range(4))
def test_a_model_of_any_name_is_a_setting(number: int) -> None:
    """Commands that are given a model name it as `--set` does, which is YAML."""
    name = ("m😀 ü.safetensors", 'it\'s "m": [1] #2', "a\nb\t\\", "日本/{m}, &x *y")[number]
    assert load_settings(None, [naming(Path(name), "journal.path")]).journal.path == Path(name)


def test_check_finds_what_is_missing(capsys: Capture, tmp_path: Path) -> None:
    """No tape is named: exit 1, and the line says which finding failed."""
    arguments = [
        "check", "--set", "strategy.name=rules", "--set", f"journal.path={tmp_path}/var/j", "--set", "control.port=0",
    ]  # fmt: skip
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err == "error: not ready: feed\n"
    assert "FAIL feed       feed.tape: name at least one tape" in printed.out
