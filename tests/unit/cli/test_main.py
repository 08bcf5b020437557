"""The command line's frame: help, version, exit codes, and faults that must not pass as tracebacks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import typer

from daemon import __version__, cli
from daemon.cli import main
from daemon.errors import Fault

Capture = pytest.CaptureFixture[str]


def test_version(capsys: Capture) -> None:
    """One line."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hrmd {__version__}\n"


def test_help_of_every_command(capsys: Capture) -> None:
    """Exit 0, and the commands of the contract are there."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("run", "replay", "verify", "check", "tape", "ctl"):
        assert command in out
        assert main([command, "--help"]) == 0
        assert "Usage" in capsys.readouterr().out


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
        (KeyboardInterrupt(), 130, ""),
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


def test_check_finds_what_is_missing(capsys: Capture, tmp_path: Path) -> None:
    """No tape is named: exit 1, and the line says which finding failed."""
    arguments = [
        "check", "--set", "strategy.name=rules", "--set", f"journal.path={tmp_path}/var/j", "--set", "control.port=0",
    ]  # fmt: skip
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err == "error: not ready: feed\n"
    assert "FAIL feed       feed.tape: name at least one tape" in printed.out
