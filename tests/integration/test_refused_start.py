"""A start that is refused leaves nothing behind: the next one is refused alike, or begins as if it were the first."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.cli import main
from tests.samples import LIVELY, OPEN, hill, write_tape

Undo = Callable[[], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a tape."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_tape(tmp_path / "t.parquet", *hill())
    return tmp_path


def _put(path: str, text: str, mode: int = 0o644) -> Undo:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    Path(path).chmod(mode)
    return Path(path).unlink


def _folder(path: str) -> Undo:
    Path(path).mkdir(parents=True)
    return Path(path).rmdir


def _listen(port: int = 28765) -> Undo:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken.close


def _hold_journal() -> Undo:
    Path("var").mkdir(exist_ok=True)
    held = os.open("var/journal.sqlite.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)

    def let_go() -> None:
        os.unlink("var/journal.sqlite.lock")
        os.close(held)

    return let_go


def _nothing() -> Undo:
    return lambda: None


def _bars() -> Undo:
    write_tape(Path("b.parquet"), [OPEN, OPEN + 60 * 10**9], [800, 801], notes={"bars": "1m"})
    return Path("b.parquet").unlink


RUN = ("feed.tape=[t.parquet]", "feed.speed=1000000", "control.port=28765", *LIVELY)
FYERS = (
    "broker.name=fyers", "feed.source=fyers", "feed.symbols=[NSE:SBIN-EQ]", "feed.rehearse=true",
    *(f"broker.fyers.{name}=http://127.0.0.1:9/{name}" for name in ("api_url", "data_url")),
    "broker.fyers.order_socket_url=ws://127.0.0.1:9", "broker.fyers.socket_url=ws://127.0.0.1:9",
    "broker.fyers.symbol_token_url=http://127.0.0.1:9/s", "broker.fyers.index_map_url=http://127.0.0.1:9/i",
    "market.symbol_master.use=never",
)  # fmt: skip
FAULTS: dict[str, tuple[Callable[[], Undo], tuple[str, ...], str]] = {
    "a journal that is a directory": (lambda: _folder("var/journal.sqlite"), (), "journal var/journal.sqlite"),
    "a journal that is something else": (lambda: _put("var/journal.sqlite", "x" * 9000), (), "journal"),
    "a journal where a file stands in the way": (lambda: _put("var", "x"), (), "var"),
    "a journal that is held": (_hold_journal, (), "is held by another process"),
    "a tape that is none": (lambda: _put("u.parquet", "x" * 99), ("feed.tape=[u.parquet]",), "not a Parquet file"),
    "a tape that is not there": (_nothing, ("feed.tape=[none.parquet]",), "no such tape"),
    "a model that is none": (
        lambda: _put("m.safetensors", "x" * 99),
        ("model_management.artifact=m.safetensors", "strategy.name=hrm", "strategy.interval=5m",
        "supervisor.strict=true"),
        "m.safetensors",
    ),
    "a port that is taken": (_listen, (), "control.port: 127.0.0.1:28765"),
    "a control token that is too short": (lambda: _put("var/control.token", "abc", 0o600), (), "expected a token"),
    "a control token that others may read": (lambda: _put("var/control.token", "a" * 40), (), "others may read"),
    "a calendar file that is none": (lambda: _put("c.yaml", "["), ("market.calendar_file=c.yaml",), "c.yaml"),
    "an events file that is none": (
        lambda: _put("e.yaml", "["), ("complexity_detection.events_file=e.yaml",), "e.yaml",
    ),
    "a place for tapes that is a file": (
        lambda: _put("tapes", "x"), ("feed.record.when=always", "feed.record.path=tapes"), "tapes",
    ),
    "bars, to be recorded": (
        _bars,
        ("feed.record.when=always", "feed.tape=[b.parquet]"), "b.parquet",
    ),
    "no symbol master": (
        lambda: _put("var/fyers.token", "a" * 40, 0o600), (*FYERS, "market.symbol_master.use=always", "market.symbol_master.url=http://127.0.0.1:9"),
        "market.symbol_master: ",
    ),
    "no lot": (
        lambda: _put("var/fyers.token", "a" * 40, 0o600), (*FYERS, "feed.symbols=[NSE:XYZ26JANFUT]"), "its lot is",
    ),
    "no Fyers token": (_nothing, FYERS, "fyers.token can't be read"),
    "an empty Fyers token": (lambda: _put("var/fyers.token", "", 0o600), FYERS, "is empty; hrmd login"),
    "a Fyers token that is none": (lambda: _put("var/fyers.token", "a b", 0o600), FYERS, "token"),
}  # fmt: skip

AWAITED = ("fyers.token can't be read", "is empty; hrmd login")
"""What a login mends, which is due each morning: such a start is tried again."""


def files() -> set[str]:
    """Everything below the working directory but directories, and the names of accounts that we hold."""
    mine = {os.readlink(link.path) for link in os.scandir("/proc/self/fd") if os.path.islink(link.path)}
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if "hrmd-account" in line]
    held = [row[-1] for row in rows if f"socket:[{row[6]}]" in mine]
    found = {str(path) for path in Path().rglob("*") if not path.is_dir()} | set(held)
    return found - {"var/fyers.calls"}  # the account's calls are counted over all processes, for good


def run(*changes: str) -> int:
    """`hrmd run`, in this process."""
    return main(["run", *(argument for change in (*RUN, *changes) for argument in ("--set", change))])


@pytest.fixture(params=list(FAULTS))
def fault(request: pytest.FixtureRequest, place: Path) -> tuple[Undo, tuple[str, ...], str]:
    """A fault that is there, what takes it away, the settings that it needs and what is said of it."""
    make, changes, says = FAULTS[request.param]
    return make(), changes, says


def test_a_refused_run_leaves_nothing_behind(
    fault: tuple[Undo, tuple[str, ...], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused twice in the same words, no file more than before; without the fault it runs to its end."""
    undo, changes, says = fault
    before = files()
    said = []
    for _ in range(2):
        assert run(*changes) == (3 if says in AWAITED else 2)
        said += [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert files() == before
    assert len(said) == 2
    assert said[0] == said[1]
    assert says in said[0]
    undo()
    assert run() == 0


def _damaged_journal() -> Undo:
    """A page of a replay's own journal is gone."""
    assert main(["replay", "t.parquet", "--strategy", "rules", "--journal", "j.sqlite"]) == 0
    with Path("j.sqlite").open("r+b") as file:
        file.seek(8192)
        file.write(bytes([0xFF]) * 4096)
    return Path("j.sqlite").unlink


REPLAY_FAULTS: dict[str, tuple[Callable[[], Undo], tuple[str, ...]]] = {
    "a tape that is none": (lambda: _put("u.parquet", "x" * 99), ("u.parquet",)),
    "a journal that is something else": (lambda: _put("j.sqlite", "x" * 9000), ("t.parquet", "--journal", "j.sqlite")),
    "a journal that is a directory": (lambda: _folder("j.sqlite"), ("t.parquet", "--journal", "j.sqlite")),
    "a journal that is damaged": (_damaged_journal, ("t.parquet", "--journal", "j.sqlite")),
    "a symbol that is not on it": (_nothing, ("t.parquet", "--symbol", "NSE:TCS-EQ", "--journal", "j.sqlite")),
    "bars that go nowhere": (_nothing, ("t.parquet", "--bars-out", "no/where.parquet", "--journal", "j.sqlite")),
    "a model that is none": (
        lambda: _put("m.safetensors", "x"),
        ("t.parquet", "--strategy", "hrm", "--model", "m.safetensors", "--journal", "j.sqlite"),
    ),
    "a calendar file that is none": (
        lambda: _put("c.yaml", "["), ("t.parquet", "--set", "market.calendar_file=c.yaml", "--journal", "j.sqlite"),
    ),
    "ticks that go to a directory": (lambda: _folder("o"), ("t.parquet", "--ticks-out", "o", "--journal", "j.sqlite")),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REPLAY_FAULTS))
def test_a_refused_replay_leaves_nothing_behind(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a run."""
    make, arguments = REPLAY_FAULTS[name]
    undo = make()
    before = files()
    said = []
    for _ in range(2):
        assert main(["replay", *arguments]) == 2
        said += [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert files() == before
    assert said[0] == said[1]
    undo()
    assert main(["replay", "t.parquet", "--strategy", "rules", "--journal", "j.sqlite"]) == 0
