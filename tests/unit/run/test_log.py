from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daemon.run.log import MOST_WAITING, REDACTED, configure, is_secret_name, without_waiting
from daemon.settings.run import LogSettings

ROOT = Path(__file__).parents[3]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Leave the process' logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(stream: io.StringIO, **values: object) -> dict[str, object]:
    """What one log line with `values` says."""
    structlog.get_logger("test").info("something", **values)
    line: dict[str, object] = json.loads(stream.getvalue().splitlines()[-1])
    return line


@pytest.fixture
def stream() -> io.StringIO:
    """A stream that receives JSON logs."""
    stream = io.StringIO()
    configure(LogSettings(format="json"), stream)
    return stream


def test_json_line_starts_with_time_level_and_event(stream: io.StringIO) -> None:
    """A line is JSON, its first keys in the order in which a reader looks for them, its time UTC ISO."""
    line = logged(stream, ticks=5)
    assert list(line) == ["timestamp", "level", "event", "ticks"]
    assert line["level"] == "info"
    assert str(line["timestamp"]).endswith("Z")
    assert len(str(line["timestamp"])) == len("2021-04-05T03:45:00.000000Z")


def test_auto_is_json_on_a_pipe_and_console_on_a_terminal() -> None:
    """`auto` looks at the stream."""
    pipe, terminal = io.StringIO(), Terminal()
    configure(LogSettings(format="auto"), pipe)
    structlog.get_logger().info("hello")
    configure(LogSettings(format="auto"), terminal)
    structlog.get_logger().info("hello")
    assert json.loads(pipe.getvalue())["event"] == "hello"
    assert "\x1b[" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def test_default_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written to stdout, where `--json` prints its one document."""
    configure(LogSettings(format="json"))
    structlog.get_logger().warning("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "careful"


def test_level_filters() -> None:
    """Lines below the level are not written, by structlog or by logging."""
    stream = io.StringIO()
    configure(LogSettings(level="warning", format="json"), stream)
    structlog.get_logger().info("no")
    logging.getLogger("aiohttp.server").info("no")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "name",
    ["token", "access_token", "accessToken", "Authorization", "client_secret", "API_KEY", "apiKey", "password", "pin",
     "X-Auth-Code", "cookie", "privateKey"],
)  # fmt: skip
def test_secret_names(name: str) -> None:
    """Names of secrets, in the cases that APIs use."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["token_file", "symbol", "pinned", "key", "authorised", "", "api", "tokenizer"])
def test_harmless_names(name: str) -> None:
    """A path to a token, and words that merely contain one, are shown."""
    assert not is_secret_name(name)


def test_secrets_are_redacted_at_any_depth(stream: io.StringIO) -> None:
    """Under secret-looking keys, in nested mappings and lists, and inside texts."""
    logged(
        stream,
        access_token="s3cr3t",
        headers={"Authorization": "Bearer s3cr3t", "Host": "localhost"},
        rows=[{"password": "s3cr3t"}],
        text="sent Authorization: Bearer s3cr3t to x?access_token=s3cr3t&y=1",
        raw='{"api_key": "s3cr3t"}',
    )
    assert "s3cr3t" not in stream.getvalue()
    line = json.loads(stream.getvalue())
    assert line["headers"] == {"Authorization": REDACTED, "Host": "localhost"}
    assert line["text"].endswith(f"access_token={REDACTED}&y=1")


def test_what_is_no_secret_stays(stream: io.StringIO) -> None:
    """Numbers, booleans and None keep their types, also under a secret-looking key where they tell nothing."""
    line = logged(stream, count=3, ratio=0.5, has_token=True, token=None, path=("a", "b"))
    assert (line["count"], line["ratio"], line["has_token"], line["token"]) == (3, 0.5, True, None)
    assert line["path"] == ["a", "b"]


def test_exceptions_are_told_and_redacted(stream: io.StringIO) -> None:
    """A traceback is in the line, without the token that its message holds."""
    try:
        raise ValueError("Bearer s3cr3t refused")
    except ValueError:
        structlog.get_logger().exception("failed")
    line = json.loads(stream.getvalue())
    assert "ValueError" in line["exception"]
    assert "s3cr3t" not in stream.getvalue()


def test_stdlib_records_look_the_same(stream: io.StringIO) -> None:
    """Libraries' records become the same JSON, with the logger's name and redacted."""
    logging.getLogger("aiohttp.server").error("Error with %s", "Bearer s3cr3t")
    line = json.loads(stream.getvalue())
    assert line["event"] == f"Error with Bearer {REDACTED}"
    assert (line["level"], line["logger"]) == ("error", "aiohttp.server")


def test_values_that_json_cannot_hold_do_not_raise(stream: io.StringIO) -> None:
    """Integers beyond 64 bits, lone surrogates, NaN, sets, deep nesting and foreign objects."""
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    line = logged(stream, big=2**80, odd="\ud800", nan=float("nan"), some={1}, deep=deep, thing=object())
    assert line["big"] == 2**80
    assert line["odd"] == "\ud800"


LEAVES = st.text() | st.binary() | st.integers() | st.floats()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values=st.dictionaries(st.text(), VALUES))
def test_any_values_give_one_json_line(values: dict[str, object]) -> None:
    """Whatever is logged is one line of JSON."""
    stream = io.StringIO()
    configure(LogSettings(format="json"), stream)
    structlog.get_logger().info("something", values=values)
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["event"] == "something"


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def write(self, text: str) -> int:
        """No."""
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        """No."""
        raise BrokenPipeError


@pytest.mark.parametrize("kind", ["json", "console"])
def test_a_reader_that_is_gone_is_nobodys_fault(kind: str) -> None:
    """Neither our lines nor a library's raise: a closed terminal must not end a run that is about to end in order."""
    configure(LogSettings(format=kind), Gone())  # type: ignore[arg-type]
    structlog.get_logger().info("something")
    logging.getLogger("aiohttp").error("something")


@pytest.mark.parametrize("format", ["json", "console"])
def test_journald_is_told_the_priority_of_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """Ours, the libraries', and every line of a trace: where systemd connected the stream, and only there."""
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure(LogSettings.model_validate({"format": format, "level": "debug"}), stream)
        logger = structlog.get_logger("test")
        logger.debug("a detail")
        logger.info("a step")
        logger.warning("a doubt")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logger.exception("a fault")
        logging.getLogger("library").critical("the worst")
        stream.seek(0)
        lines = stream.read().splitlines()
    priorities = [re.match(r"<(\d)>", line) for line in lines]
    assert all(priorities), lines
    found_priorities = [match[1] for match in priorities if match is not None]
    assert list(dict.fromkeys(found_priorities)) == ["7", "6", "4", "3", "2"]
    assert found_priorities.count("3") == (1 if format == "json" else len(lines) - 4)


def test_another_stream_than_journalds_gets_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO
) -> None:
    """A child of a service that writes into a file inherits the variable."""
    assert logged(stream)["event"] == "something"
    with (tmp_path / "log").open("w+", encoding="utf-8") as file:
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
        configure(LogSettings(format="json"), file)
        structlog.get_logger("test").error("something")
        file.seek(0)
        assert file.read().startswith('{"timestamp"')


@pytest.mark.parametrize("waits", [True, False])
def test_a_reader_that_takes_nothing_holds_nobody_up(waits: bool) -> None:
    """A stopped terminal, a pager: what it takes later is in order, and how much was lost is said.

    `waits`: another program that has the same pipe may have made it one that raises where it is full.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, waits)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        configure(LogSettings(format="json"), stream)
        with without_waiting():
            for number in range(3 * MOST_WAITING):  # several times what a pipe holds
                structlog.get_logger("test").info("something", number=number)
            said = [json.loads(reader.readline())]
            while "number" in said[-1]:
                said.append(json.loads(reader.readline()))
        numbers = [line["number"] for line in said[:-1]]
        assert numbers == sorted(set(numbers))
        assert said[-1]["count"] == 3 * MOST_WAITING - len(said) + 1


@pytest.mark.slow
def test_a_reader_that_takes_nothing_does_not_keep_a_process_that_has_ended() -> None:
    """Its last word (`error: …`) is lost, and whoever starts it again may do so; the same where stdout goes there."""
    code = (
        "import sys, structlog\n"
        "from daemon.cli import main\n"
        "from daemon.run.log import configure, without_waiting\n"
        "from daemon.settings.run import LogSettings\n"
        "configure(LogSettings(format='json'))\n"
        "with without_waiting():\n"
        "    for _ in range(5000):\n"
        "        structlog.get_logger('test').info('something')\n"
        "print('said')\n"
        "sys.exit(main(['check', '-c', '/nowhere' * 30]))\n"
    )
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=writing, stderr=writing, cwd=ROOT)
        try:
            assert process.wait(60) == 2
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(reading)
        os.close(writing)


def test_every_line_is_written_before_the_end() -> None:
    """In their order; after it lines are written at once again, and by whom they are isn't seen."""
    stream = io.StringIO()
    configure(LogSettings(format="json"), stream)
    with without_waiting():
        for number in range(100):
            structlog.get_logger("test").info("something", number=number)
    structlog.get_logger("test").info("something", number=100)
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == list(range(101))
