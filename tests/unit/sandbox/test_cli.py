from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from daemon.cli.sandbox import sandbox
from daemon.core.errors import SettingsError, TapeError, UsageError
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION
from daemon.tape.format import TapeWriter
from tests.unit.feed.ticks import make_batch
from tests.unit.sandbox.desk import SBIN

app = typer.Typer()
app.command()(sandbox)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def terminate_when_up(port: int) -> None:
    """Wait until something listens, then send ourselves SIGTERM."""
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
            return


def served(*arguments: str) -> Result:
    """Run the command until it listens, end it by SIGTERM, and return what it printed."""
    port = free_port()
    thread = threading.Thread(target=terminate_when_up, args=(port,))
    thread.start()
    result = CliRunner().invoke(app, ["--port", str(port), *arguments], catch_exceptions=False)
    thread.join()
    assert str(port) in result.stdout
    return result


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Write a tape of three ticks."""
    path = tmp_path / "day.parquet"
    with TapeWriter(path, columns=()) as writer:
        writer.write(make_batch((SBIN,), ltp=[100, 101, 102]))
    return path


def test_it_says_how_to_use_it() -> None:
    """Without a tape it says where prices come from, how to point the daemon at it, and ends on SIGTERM with 0."""
    result = served()
    assert result.exit_code == 0
    for words in (
        "POST /sandbox/prices",
        DEFAULT_AUTHORIZATION,
        "broker.fyers.api_url=http://127.0.0.1:",
        "ws://",
    ):
        assert words in result.stdout


@pytest.mark.parametrize(("speed", "words"), [("0", "by POST /sandbox/step"), ("20", "at 20 times real time")])
def test_a_tape(tape: Path, speed: str, words: str) -> None:
    """With a tape it says which one and how fast."""
    result = served("--tape", str(tape), "--speed", speed)
    assert str(tape) in result.stdout
    assert words in result.stdout


def test_json() -> None:
    """With `--json` stdout is one JSON document with the addresses."""
    places = msgspec.json.decode(served("--json", "--token", "A:b", "--limits").stdout)
    assert places["orders"].startswith("ws://127.0.0.1:")
    assert places["authorization"] == "A:b"
    assert places["data_socket"] == places["orders"].replace("/trade/v3", "/hsm/v1-5/prod")
    assert places["symbol_tokens"].endswith("/data/symbol-token")
    assert places["index_names"].endswith("/sym_details/index_hsm_mapping.json")


def test_a_day_with_hours() -> None:
    """It keeps NSE's hours and squares off; nothing more is printed of it."""
    assert served("--hours", "--square-off", "15:20").exit_code == 0


@pytest.mark.parametrize(("token", "closed"), [("A:b", True), (DEFAULT_AUTHORIZATION, False)])
def test_the_data_socket(token: str, closed: bool) -> None:
    """It says where the data socket is, and that a token without a key doesn't open it."""
    printed = served("--token", token).stdout
    assert "/hsm/v1-5/prod" in printed
    assert ("closed" in printed) is closed


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--cash", "much"], UsageError, "--cash much"),
        (["--cash", "-5"], UsageError, "--cash -5"),
        (["--cash", "nan"], UsageError, "--cash nan"),
        (["--token", "secret"], UsageError, "APP_ID:TOKEN"),
        (["--square-off", "25:00"], UsageError, "--square-off 25:00: expected a time of day"),
        (["--tape", "none.parquet"], TapeError, "none.parquet"),
        (["--set", "risk.nonsense=1"], SettingsError, "risk.nonsense"),
    ],
)
def test_bad_usage(arguments: Sequence[str], error: type[UsageError], words: str) -> None:
    """What can't be meant is refused in one line that names it."""
    with pytest.raises(error, match=words) as caught:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_it_speaks_as_openalgo_does() -> None:
    """And says how to point a daemon at it; as JSON, with the key."""
    shown = served("--speaks", "openalgo").stdout
    assert "--set broker.name=openalgo" in shown
    assert "/ws" in shown
    places = msgspec.json.decode(served("--speaks", "openalgo", "--json").stdout)
    assert places["key"] == DEFAULT_AUTHORIZATION.partition(":")[2]
    assert places["socket"] == places["url"].replace("http", "ws") + "/ws"
