"""Every command that has `--json`: one document on stdout in the form of docs/json.md, and nothing else."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
import typer.main

from daemon.budget.keeping import BooksFile
from daemon.budget.ledger import Books, Member
from daemon.budget.server import BudgetServer
from daemon.cli import app, main
from daemon.cli.lazy import LazyGroup, load
from daemon.control.gate import Gate
from daemon.core.clock import LiveClock
from daemon.run import log
from daemon.sandbox.market_rest import SECRET
from daemon.settings.budget import BudgetSettings
from daemon.settings.loading import load_settings
from daemon.settings.run import LogSettings
from daemon.strategy.store import Store
from models.agent import HRMAgent
from tests.samples import hill, write_tape
from tests.unit.alerting.services import service, urls_file
from tests.unit.control.fakes import TOKEN, FakeDaemon, build_server, running_in_thread
from tests.unit.market.test_holiday_list import DAYS, rows

DAY = "2026-01-05"
APP, ACCESS = "HRMD-100", "an-access-token"
MONEY = {
    "average_price", "average_trade", "costs", "equity", "last_price", "limit_price", "net_pnl", "price",
    "realised_pnl", "starting_equity", "tick_size", "unrealised_pnl",
}  # fmt: skip
"""Keys of rupees."""
SHORT = (
    "training_params.steps=1", "training_params.batch_sessions=2", "training_params.min_sessions=4",
    "training_params.validation_sessions=4", "training_params.validate_every=1", "training_params.checkpoint_every=1",
    "training_params.estimate_sessions=200", "training_params.novelty_sessions=200",
    "hierarchical_reasoning_model.act.max_segments=2", "hierarchical_reasoning_model.act.complexity_steps=[]",
    "performance.runtime=torch",
)  # fmt: skip


class Place:
    """Where the commands find a tape, a journal, a model, a daemon and an exchange."""

    def __init__(self, root: Path, url: str, exchange: dict[str, str], hook: str, budget: str) -> None:
        self.root, self.url, self.exchange, self.hook, self.budget = root, url, exchange, hook, budget
        self.tape = write_tape(root / "hill.parquet", *hill(), notes={"simulated": "true"})
        self.recorded = write_tape(root / "recorded.parquet", *hill())
        (root / "control.token").write_text(TOKEN)
        (root / "fyers.token").write_text(ACCESS)
        (root / "fyers.token").chmod(0o600)
        self.model = root / "model.safetensors"
        HRMAgent.untrained(
            load_settings().hierarchical_reasoning_model, 1, instruments=["SIM"], timeframes=["5m"]
        ).save_model(self.model)

    def settings(self, *changes: str) -> list[str]:
        """As options."""
        return [part for change in changes for part in ("--set", change)]

    def fyers(self) -> list[str]:
        """Settings of the exchange."""
        return self.settings(
            f"broker.fyers.app_id={APP}", f"broker.fyers.api_url={self.exchange['api']}",
            f"broker.fyers.data_url={self.exchange['data']}", f"broker.fyers.calls_file={self.root}/fyers.calls",
            f"broker.fyers.token_file={self.root}/fyers.token", "broker.fyers.redirect_url=https://example.invalid/",
            f"market.symbol_master.url={self.exchange['url']}/sym_details", "market.symbol_master.min_rows=1",
            f"market.symbol_master.directory={self.root}/symbols",
        )  # fmt: skip

    def store(self) -> list[str]:
        """Settings of the models' store, in which one model was put before."""
        directory = self.root / "models"
        if not directory.exists():
            hrm = load_settings().hierarchical_reasoning_model
            HRMAgent.untrained(hrm, 2).save_model(self.root / "earlier.safetensors")
            Store(directory, hrm.network()).install(self.root / "earlier.safetensors", None, 1)
        return self.settings(f"model_management.store={directory}")

    def holidays(self) -> Path:
        """A list as NSE's holiday master has it."""
        path = self.root / "holidays.json"
        path.write_text(json.dumps(rows(DAYS)))
        return path

    def code(self) -> str:
        """What the browser would end a login with."""
        query = {"client_id": APP, "response_type": "code", "redirect_uri": f"{self.url}/healthz", "state": "s"}
        with urllib.request.urlopen(f"{self.exchange['api']}/generate-authcode?{urllib.parse.urlencode(query)}") as got:
            return urllib.parse.parse_qs(urllib.parse.urlsplit(got.url).query)["auth_code"][0]


@contextmanager
def budget(root: Path) -> Iterator[str]:
    """A service that lends; where it listens. It knows a daemon that is gone."""
    books = BooksFile(root / "budget.json")
    books.write(msgspec.json.encode(Books(members={"banks": Member(of="here", used=Decimal("2500.50"))})))
    server = BudgetServer(BudgetSettings(port=0), books, time.monotonic_ns, Gate(TOKEN, LiveClock()))
    with running_in_thread(server) as url:
        yield url
    books.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All of it, once."""
    root = tmp_path_factory.mktemp("json")
    tape = write_tape(root / "played.parquet", *hill())
    command = [sys.executable, "-m", "daemon", "sandbox", "--port", "0", "--speed", "0", "--json"]
    command += ["--tape", str(tape), "--token", f"{APP}:{ACCESS}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        exchange = json.loads(process.stdout.readline())
        with running_in_thread(build_server(FakeDaemon())) as url, service() as hook, budget(root) as lends:
            yield Place(root, url, exchange, hook.url, lends)
        process.terminate()
        assert process.stdout.read() == ""


def ctl(*words: str) -> Callable[[Place], list[str]]:
    """A command to the daemon."""
    return lambda place: [*words, "--url", place.url, "--token-file", str(place.root / "control.token")]


COMMANDS: dict[str, Callable[[Place], list[str]]] = {
    "replay": lambda place: [str(place.tape), "--strategy", "rules", "--journal", str(place.root / "j.sqlite")],
    "verify": lambda place: [str(place.root / "j.sqlite")],
    "explain": lambda place: [str(place.root / "j.sqlite")],
    "sweep": lambda place: [
        str(place.tape), "--param", "strategy.rules.slow=20:21", "--trials", "1", "--workers", "1", "-o",
        str(place.root / "sweep"), "--set", "strategy.name=rules", "--metric", "total_return",
    ],
    "report": lambda place: [str(place.root / "j.sqlite")],
    "check": lambda place: place.settings(
        f"feed.tape=[{place.tape}]", "strategy.name=rules", f"journal.path={place.root}/new.sqlite", "control.port=0"
    ),
    "brokers": lambda place: [],
    "login": lambda place: ["--paste", *place.fyers()],
    "train": lambda place: ["-o", str(place.root / "run"), "--sessions", "12", *place.settings(*SHORT)],
    "evaluate": lambda place: [str(place.root / "run" / "model.safetensors"), "--sessions", "12", "--seeds", "1",
                               *place.settings(*SHORT)],
    "tape info": lambda place: [str(place.tape)],
    "tape import": lambda place: [str(place.tape), "-o", str(place.root / "again.parquet")],
    "tape simulate": lambda place: ["-o", str(place.root / "made.parquet"), "--sessions", "1", "--ticks", "50"],
    "tape record": lambda place: place.settings(
        f"feed.tape=[{place.recorded}]", f"feed.record.path={place.root}/tapes", "feed.speed=20000"
    ),
    "tape seal": lambda place: [str(place.root / "tapes")],
    "instruments update": lambda place: place.fyers(),
    "instruments show": lambda place: ["NSE:SBIN-EQ", *place.fyers()],
    "history download": lambda place: ["NSE:SBIN-EQ", "--from", DAY, "--to", DAY, "-o", str(place.root / "b.parquet"),
                                       *place.fyers()],
    "calendar show": lambda place: ["2027"],
    "calendar hours": lambda place: ["--day", "2026-01-05"],
    "calendar update": lambda place: ["--from", str(place.holidays()),
                                      *place.settings(f"market.calendar_file={place.root}/calendar.yaml")],
    "alert list": lambda place: [],
    "alert test": lambda place: place.settings(f"alerts.urls_file={urls_file(place.root, place.hook)}"),
    "ctl status": ctl(),
    "ctl health": ctl(),
    "ctl positions": ctl(),
    "ctl orders": ctl(),
    "ctl decisions": ctl("--limit", "3"),
    "ctl trades": ctl(),
    "ctl page": ctl(),
    "ctl shadow": ctl(),
    "ctl canary": ctl(),
    "ctl canary begin": ctl("fast", "--why", "a test"),
    "ctl canary promote": ctl(),
    "ctl canary rollback": ctl(),
    "ctl halt": ctl(),
    "ctl resume": ctl(),
    "ctl reduce": ctl(),
    "ctl flatten": ctl(),
    "ctl strategy": ctl("flat"),
    "ctl rollback": ctl(),
    "ctl reload": ctl(),
    "ctl lock": ctl(),
    "ctl unlock": ctl(),
    "ctl order": ctl("buy", "5", "NSE:SBIN-EQ"),
    "ctl cancel": ctl("H0"),
    "ctl migration status": ctl(),
    "ctl migration advance": ctl("--sign", "asha"),
    "ctl migration rollback": ctl(),
    "ctl model load": ctl("first"),
    "ctl model rollback": ctl(),
    "budget show": lambda place: ["--url", place.budget, "--token-file", str(place.root / "control.token")],
    "budget release": lambda place: ["banks", "--holding", "0", "--why", "flat", "--url", place.budget, "--token-file",
                                     str(place.root / "control.token")],
    "token new": lambda place: ["anna", "--scope", "trade", "--days", "30",
                                *place.settings(f"control.tokens_file={place.root}/tokens")],
    "token list": lambda place: place.settings(f"control.tokens_file={place.root}/tokens"),
    "token revoke": lambda place: ["anna", *place.settings(f"control.tokens_file={place.root}/tokens")],
    "model info": lambda place: [str(place.model), *place.settings("performance.runtime=torch")],
    "model export": lambda place: [str(place.model), "--format", "float32", "-o", str(place.root / "f.safetensors")],
    "model calibrate": lambda place: [str(place.model), "-o", str(place.root / "c.safetensors"),
                                      *place.settings(*SHORT, "training_params.novelty_sessions=40")],
    "model verify": lambda place: [str(place.model)],
    "model install": lambda place: [str(place.model), "--name", "first", *place.store()],
    "model list": lambda place: place.store(),
    "model rollback": lambda place: place.store(),
    "model archive": lambda place: ["previous", *place.store()],
    "bench latency": lambda place: ["--rounds", "1", "--busy-decisions", "2", "--runtime", "torch"],
    "bench replay": lambda place: ["--ticks", "1000", "--rounds", "1"],
    "bench train": lambda place: [
        "--steps", "1", "--set", "training_params.batch_sessions=2", "--set", "deep_supervision.segments=1",
    ],
    "bench agreement": lambda place: ["--model", str(place.model), "--observations", "2", "--segments", "1",
                                      *place.settings(*SHORT)],
}  # fmt: skip
"""In this order: some read what an earlier one made. `sandbox` is started by the fixture."""


def with_json() -> set[str]:
    """Commands that have the option, by asking them."""
    found = set()
    root = typer.main.get_command(app)
    assert isinstance(root, LazyGroup)
    for name, later in root.later.items():
        command = load(name, later.place)
        found |= {f"{name} {sub}".strip() for sub in _with_json(command)}
    return found


def _with_json(command: Any) -> set[str]:
    """Of a command or a group, groups in groups too."""
    own = {""} if any("--json" in option.opts for option in command.params) else set()
    later = command.later if isinstance(command, LazyGroup) else {}
    inner = getattr(command, "commands", {}) | {name: load(name, one.place) for name, one in later.items()}
    return own | {f"{name} {sub}".strip() for name, one in inner.items() for sub in _with_json(one)}


def check_form(value: Any, where: str = "$") -> None:
    """Raises AssertionError where it isn't as docs/json.md says."""
    if isinstance(value, list):
        for one in value:
            check_form(one, where)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        here = f"{where}.{key}"
        if key == "ts" or key.endswith("_ts"):
            beside = key[:-2] + "time"
            assert (item is None) == (value[beside] is None), here
            assert item is None or (isinstance(item, str) and int(item) >= 0 and "+05:30" in value[beside]), here
        elif key in MONEY and not isinstance(item, list):
            assert item is None or (isinstance(item, str) and Decimal(item).is_finite() and "E" not in item), here
        check_form(item, here)


def test_every_command_is_in_the_table() -> None:
    """A new one with `--json` has to be added."""
    assert with_json() == {*COMMANDS, "sandbox"}


@pytest.mark.parametrize("name", COMMANDS)
def test_one_document(
    name: str, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 0, one line on stdout, times and money as strings."""
    log.configure(LogSettings(), sys.__stderr__)  # the daemon of `ctl` logs in this process
    if name == "login":
        monkeypatch.setenv("FYERS_SECRET_KEY", SECRET)
        monkeypatch.setattr(sys, "stdin", io.StringIO(place.code() + "\n"))
    code = main([*name.split(), *COMMANDS[name](place), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    (line,) = printed.out.splitlines()
    check_form(json.loads(line))


def test_all_settings(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """And of each where it comes from."""
    assert main(["check", "--show", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line).keys() == {"settings", "origins"}


def test_a_check_that_fails_is_a_document_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What fails is in it; the exit code is 1, the line for people is on stderr."""
    assert main(["check", "--set", "feed.tape=[/nowhere.parquet]", "--json"]) == 1
    printed = capsys.readouterr()
    assert [row["name"] for row in json.loads(printed.out) if not row["ok"]] == ["feed"]
    assert "not ready: feed" in printed.err
