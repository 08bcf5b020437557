from __future__ import annotations

import getpass
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.ctl import Method, ctl_app, exchange
from daemon.control.finding import Address
from daemon.control.tables import orders_table, positions_table
from daemon.control.view import AN_OPERATOR, NotDurableError
from daemon.core.clock import NS_PER_S
from daemon.core.errors import Fault, UsageError
from daemon.core.events import Flatten, Halt, Reduce, Resume, SwapStrategy, TradingState
from daemon.report.text import ist, ist_date
from daemon.settings.layers import DEFAULT_PATH
from daemon.supervision.health import Overall, doubtful
from tests.unit.control.fakes import NOW, ORDERS, POSITIONS, TIME, TOKEN, FakeDaemon, build_server, running_in_thread

ME = getpass.getuser()


class Operator:
    """Someone at a terminal 120 columns wide, and the daemon that runs beside."""

    def __init__(self, daemon: FakeDaemon, url: str, token_file: Path) -> None:
        self.daemon = daemon
        self.url = url
        self.token_file = token_file

    def run(self, *arguments: str) -> Result:
        """`hrmd ctl` with the daemon's address and token."""
        where = ["--url", self.url, "--token-file", str(self.token_file)]
        return CliRunner().invoke(ctl_app, [*arguments, *where], env={"COLUMNS": "120"})


def written(what: RenderableType) -> str:
    """A table as a terminal of 120 columns has it."""
    console = Console(width=120, file=io.StringIO())
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """An operator with the right token."""
    token_file = tmp_path / "control.token"
    token_file.write_text(TOKEN)
    daemon = FakeDaemon()
    with running_in_thread(build_server(daemon)) as url:
        yield Operator(daemon, url, token_file)


@contextmanager
def other_server(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server that knows nothing of hrmd; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        """Sends what `answers` holds for the path."""

        def do_GET(self) -> None:
            """Answer."""
            status, body = answers[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Stay silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def settings_with(tmp_path: Path, port: int) -> list[str]:
    """Options that name a settings file, a port and a token file."""
    token_file = tmp_path / "control.token"
    return ["-c", str(DEFAULT_PATH), "--set", f"control.port={port}", "--set", f"control.token_file={token_file}"]


def test_a_step_of_the_migration_has_a_name_under_it(operator: Operator) -> None:
    """Forwards only with --sign; back with the user's name where none is given; refused is exit 1 with the reason."""
    assert operator.run("migration", "advance").exit_code == 2
    done = operator.run("migration", "advance", "--sign", "asha", "--reason", "it is time")
    assert (done.exit_code, done.output) == (0, "parallel → gradual, signed by asha\n")
    assert operator.run("migration", "rollback").exit_code == 0
    (forwards, asha), (back, user) = operator.daemon.signed
    assert (forwards, asha.who, asha.reason, back, bool(user.who)) == (
        "advance",
        "asha",
        "it is time",
        "rollback",
        True,
    )
    refused = operator.run("migration", "advance", "--sign", "nobody")
    assert (refused.exit_code, refused.output) == (
        1, "refused: advance: sessions: 3, at least 20; nothing has changed\n",
    )  # fmt: skip


def test_the_migration_is_shown(operator: Operator) -> None:
    """The way with its stage, the candidate, every gate in words."""
    shown = operator.run("migration", "status").output
    assert "none → baseline → training → parallel → gradual → full" in shown
    assert "fast (hrm cafe)" in shown
    assert "3 whole sessions on paper, at least 20" in shown
    assert "not ready" in shown


def test_the_report_is_written(operator: Operator, tmp_path: Path) -> None:
    """On stdout or into a Markdown file; other names and places that can't be written are one line."""
    text = operator.run("migration", "report").output
    assert "| session | stage | in charge, bp | candidate, bp | difference |" in text
    assert "| 2021-04-05 | parallel | +1.50 | −0.25 | −1.75 | 75 | 0 | 2 | 75.0 % | 9.5 |" in text
    assert "By asha: trained \\| on &lt;2020>" in text
    assert operator.run("migration", "report", "-o", str(tmp_path / "r.md")).exit_code == 0
    assert (tmp_path / "r.md").read_text(encoding="utf-8") == text
    for path in (tmp_path / "r.html", tmp_path / "nowhere" / "r.md"):
        failed = operator.run("migration", "report", "-o", str(path))
        assert isinstance(failed.exception, UsageError)
        assert str(path) in str(failed.exception)


def test_a_model_is_put_in_charge(operator: Operator, tmp_path: Path) -> None:
    """A file by its whole path, a version as it is; what a restart loads is said, and who asked is told."""
    (tmp_path / "new").write_text("")
    for word, sent in (("v2", "v2"), (str(tmp_path / "new"), str(tmp_path / "new")),
                       ("x.safetensors", str(Path.cwd() / "x.safetensors"))):  # fmt: skip
        done = operator.run("model", "load", word, "--reason", "retrained")
        assert done.exit_code == 0
        assert done.stdout == "new (abc) decides from the next bar on; a restart loads it, too\n"
        ticket = operator.daemon.models[-1]
        assert (ticket.model, ticket.reason, bool(ticket.who)) == (sent, "retrained", True)
    assert operator.run("model", "rollback").exit_code == 0
    assert operator.daemon.models[-1].model == "previous"


def test_a_model_that_is_refused_is_exit_1(operator: Operator) -> None:
    """With the reason, for people and for programs."""
    refused = operator.run("model", "load", "bad")
    assert (refused.exit_code, refused.stdout) == (1, "refused: bad: no such version; nothing has changed\n")
    document = operator.run("model", "load", "bad", "--json")
    assert (document.exit_code, json.loads(document.stdout)["loaded"]) == (1, False)


def test_a_strategy_is_put_in_charge(operator: Operator) -> None:
    """By name, with the reason; an unknown one is refused with those that there are, exit 2."""
    done = operator.run("strategy", "hrm", "--reason", "mended")
    assert (done.exit_code, done.stdout.startswith("strategy accepted at ")) == (0, True)
    assert operator.daemon.submitted == [SwapStrategy(ts=NOW, name="hrm", reason="mended", who=ME)]
    refused = operator.run("strategy", "ppo").exception
    assert isinstance(refused, UsageError)
    assert "name: expected one of hrm, rules, flat, got 'ppo'" in str(refused)


def test_rollback_and_locks(operator: Operator) -> None:
    """The answer says who is in charge after a rollback; status shows lock, steps, the way back, what is missing."""
    assert operator.run("rollback", "--reason", "odd").stdout.startswith("rollback to rules accepted at ")
    assert operator.run("lock").stdout.startswith("lock accepted at ")
    assert operator.run("unlock").stdout.startswith("unlock accepted at ")
    operator.daemon.shown = msgspec.structs.replace(
        operator.daemon.shown, strategy_lock="I watch it", strategy_steps=["less_depth"],
        strategy_back="hrm: never by itself", strategies_missing={"ppo": "no PPO policy is shipped"},
    )  # fmt: skip
    shown = " ".join(operator.run("status").stdout.split())
    for text in ("locked I watch it", "steps less_depth", "back to hrm: never by itself", "missing ppo: no PPO policy"):
        assert text in shown


def test_status_is_readable(operator: Operator) -> None:
    """State, model, ticks, path and money."""
    result = operator.run("status")
    assert result.exit_code == 0
    for text in ("ACTIVE", "healthy", "simulated ticks", "untrained (seed 7)", "951,204", "46,827 rejected",
                 "+₹2,138.04", "₹10,02,138.04"):  # fmt: skip
        assert text in result.stdout


def test_status_tells_of_the_session_and_of_what_is_worth_knowing(operator: Operator) -> None:
    """When the market opens next, and every note."""
    closed = "no session today (Guru Nanak Jayanti); next: Wed 25 Nov 2026 09:15 IST"
    operator.daemon.shown = msgspec.structs.replace(operator.daemon.shown, session=closed, notes=["one [a]", "two"])
    shown = " ".join(operator.run("status").stdout.split())
    assert f"session {closed}" in shown
    assert "note one [a] note two" in shown


def test_health_is_a_table(operator: Operator) -> None:
    """Every check, what is to be mended first; exit 1 when unhealthy, and not when only degraded."""
    well = operator.run("health")
    assert (well.exit_code, well.stdout.splitlines()[-1]) == (0, "healthy")
    operator.daemon.checks.append(doubtful("disk", "3.1 GB free [a]", "make room"))
    operator.run("resume")  # after a command nothing is remembered
    degraded = operator.run("health")
    assert (degraded.exit_code, degraded.stdout.splitlines()[-1]) == (0, "degraded")
    operator.daemon.sicken("no tick for 75 s")
    operator.run("resume")
    ill = operator.run("health")
    assert (ill.exit_code, ill.stdout.splitlines()[-1]) == (1, "unhealthy")
    rows = [line.split() for line in ill.stdout.splitlines() if line]
    assert [row[0] for row in rows[2:6]] == ["ticks", "disk", "running", "memory"]
    assert rows[2][1:4] == ["fail", "-", "-"]
    assert "look at the feed" in ill.stdout
    assert "3.1 GB free [a]" in ill.stdout
    assert rows[5][:6] == ["memory", "ok", "0.41", "GB", "3", "GB"]


def test_health_as_json_of_an_unhealthy_daemon(operator: Operator) -> None:
    """The document is printed all the same, and the exit code is 1."""
    operator.daemon.sicken("no tick for 75 s")
    result = operator.run("health", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["healthy"], found["reasons"]) == (1, False, ["no tick for 75 s"])


def test_status_tells_of_what_is_worth_a_look(operator: Operator) -> None:
    """A degraded daemon isn't shown as healthy."""
    operator.daemon.shown = msgspec.structs.replace(
        operator.daemon.shown, health=Overall.DEGRADED, warnings=["rules decides instead of hrm"]
    )
    assert "degraded: rules decides instead of hrm" in operator.run("status").stdout


def test_status_of_a_halted_sick_daemon(operator: Operator) -> None:
    """The reason of the halt and of the illness are shown."""
    operator.daemon.sicken("no tick for 75 s")
    operator.daemon.shown = msgspec.structs.replace(
        operator.daemon.shown, trading_state=TradingState.HALTED, trading_reason="lunch", model="", mode="[red]"
    )
    result = operator.run("status")
    assert "HALTED · lunch" in result.stdout
    assert "no tick for 75 s" in result.stdout
    assert "[red]" in result.stdout
    assert "model" not in result.stdout


def test_stops_and_targets_are_shown_where_there_are_any() -> None:
    """Columns of positions, and the price of an order that waits for it."""
    held = msgspec.structs.replace(POSITIONS[0], stop=Decimal("351.05"))
    plain, shown = (written(positions_table([row])) for row in (POSITIONS[0], held))
    assert "stop" not in plain
    assert "stop" in shown
    assert "351.05" in shown
    stop = msgspec.structs.replace(ORDERS[0], average_price=None, limit_price=None, stop_price=Decimal("351.05"))
    assert "351.05" in written(orders_table([stop]))


def test_orders_say_of_which_day_they_are() -> None:
    """Once where all are of one, as in the morning those of yesterday; else each."""
    order, day = ORDERS[0], 86_400 * NS_PER_S
    one, two = (written(orders_table([order, msgspec.structs.replace(order, ts=order.ts - ago)])) for ago in (1, day))
    assert one.count(ist_date(order.ts)) == 1
    assert f"{ist(order.ts):%d %b %H:%M:%S}" not in one
    for ts in (order.ts, order.ts - day):
        assert f"{ist(ts):%d %b %H:%M:%S}" in two


def test_positions_and_orders_are_tables(operator: Operator) -> None:
    """Every row is there, with its sign and state."""
    positions, orders = operator.run("positions").stdout, operator.run("orders").stdout
    assert all(row.symbol in positions for row in POSITIONS)
    assert "\N{MINUS SIGN}500" in positions
    assert all(row.state in orders and row.order_id in orders for row in ORDERS)
    assert "₹347.05" in orders


def test_empty_lists_say_so(operator: Operator) -> None:
    """No table head without a row."""
    operator.daemon.held = []
    operator.daemon.known_orders = []
    assert operator.run("positions").stdout == "No position.\n"
    assert operator.run("orders").stdout == "No order.\n"


@pytest.mark.parametrize("command", ["status", "positions", "orders"])
def test_json_is_the_daemons_answer(operator: Operator, command: str) -> None:
    """Exactly one document, nothing else."""
    result = operator.run(command, "--json")
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout)


@pytest.mark.parametrize(("command", "kind"), [("halt", Halt), ("resume", Resume), ("reduce", Reduce),
                                               ("flatten", Flatten)])  # fmt: skip
def test_commands_reach_the_bus(operator: Operator, command: str, kind: type[Halt]) -> None:
    """With the reason given, and what the daemon accepted is said."""
    result = operator.run(command, "--reason", "lunch")
    assert result.exit_code == 0
    assert f"{command} accepted at 09:15:00 IST" in result.stdout
    assert operator.daemon.submitted == [kind(ts=NOW, reason="lunch", who=ME)]
    document = json.loads(operator.run(command, "--json").stdout)
    already = "trading was ACTIVE already" if kind is Resume else ""
    assert document == {"command": command, "ts": str(NOW), "time": TIME, "already": already}


def test_a_second_halt_is_taken_and_says_that_it_stood_already(operator: Operator) -> None:
    """A person means it, whatever halted before: the command goes out, and nobody believes that it was the first."""
    operator.daemon.shown = msgspec.structs.replace(
        operator.daemon.shown, trading_state=TradingState.HALTED, trading_reason="lunch (asha)"
    )
    said = "halt accepted at 09:15:00 IST (market time); trading was HALTED already: lunch (asha)\n"
    assert operator.run("halt").stdout == said
    assert [type(one) for one in operator.daemon.submitted] == [Halt]


@pytest.mark.parametrize(
    ("name", "who"),
    [("asha", "asha"), ("two words", "two words"), ("a\nb", AN_OPERATOR), ("\u202etxet", AN_OPERATOR),
     ("  ", AN_OPERATOR),
     ("x" * 500, "x" * 200)],
)  # fmt: skip
def test_a_command_says_who_gives_it(operator: Operator, monkeypatch: pytest.MonkeyPatch, name: str, who: str) -> None:
    """The login name; one that can't be shown in a line keeps nobody from halting."""
    monkeypatch.setenv("LOGNAME", name)
    assert operator.run("halt").exit_code == 0
    (halt,) = operator.daemon.submitted
    assert isinstance(halt, Halt)
    assert halt.who == who


def test_every_command_says_who_gives_it(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders by hand, cancellations, strategies, locks and models, too."""
    monkeypatch.setenv("LOGNAME", "asha")
    for words in (("strategy", "hrm"), ("rollback",), ("lock",), ("unlock",), ("model", "rollback"),
                  ("order", "buy", "1", "NSE:SBIN-EQ"), ("cancel", "H0")):  # fmt: skip
        assert operator.run(*words).exit_code == 0, words
    daemon = operator.daemon
    assert {event.who for event in daemon.submitted} == {"asha"}  # type: ignore[attr-defined]
    assert len(daemon.submitted) == 4
    assert [one.who for one in (*daemon.models, *daemon.tickets)] == ["asha", "asha"]
    assert daemon.cancelled == [("H0", "by the operator", "asha")]


def test_status_says_who(operator: Operator) -> None:
    """Behind the reason; what the daemon does by itself needs no name."""
    operator.daemon.shown = msgspec.structs.replace(
        operator.daemon.shown, trading_state=TradingState.HALTED, trading_reason="lunch", trading_who="asha",
        strategy_reason="3 failed", strategy_who="hrmd", strategy_lock="I watch", strategy_lock_who="ravi",
    )  # fmt: skip
    shown = operator.run("status").stdout
    assert "lunch (asha)" in shown
    assert "I watch (ravi)" in shown
    assert "3 failed" in shown
    assert "(hrmd)" not in shown


def test_address_and_token_come_from_the_settings(operator: Operator, tmp_path: Path) -> None:
    """Without `--url` and `--token-file`, `control.port` and `control.token_file` say where."""
    options = settings_with(tmp_path, int(operator.url.rpartition(":")[2]))
    assert CliRunner().invoke(ctl_app, ["halt", *options]).exit_code == 0
    assert operator.daemon.submitted


def test_a_refused_token_names_its_file(operator: Operator) -> None:
    """Exit 2, and what to give instead."""
    operator.token_file.write_text("another-token-of-some-length")
    result = operator.run("status")
    assert isinstance(result.exception, UsageError)
    assert str(operator.token_file) in str(result.exception)
    assert "--token-file" in str(result.exception)


def test_a_daemon_that_is_not_there(tmp_path: Path) -> None:
    """Exit 2 in one line that names the address and how to start."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    (tmp_path / "control.token").write_text(TOKEN)
    result = CliRunner().invoke(ctl_app, ["status", *settings_with(tmp_path, port)])
    assert isinstance(result.exception, UsageError)
    assert f"no hrmd answers at http://127.0.0.1:{port}" in str(result.exception)
    assert "hrmd run" in str(result.exception)
    assert "\n" not in str(result.exception)


@contextmanager
def saying(*pieces: bytes, hold: bool) -> Iterator[int]:
    """A server that takes one request, sends the pieces and then hangs up, or holds the line; gives its port."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        link, _ = listener.accept()
        with link:
            link.recv(65536)
            for piece in pieces:
                link.sendall(piece)
            if hold:
                done.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        done.set()
        thread.join()


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 202",), (b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{",)])
def test_an_order_whose_answer_breaks_off_names_its_key(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    """The request was sent: nobody may say that it wasn't, and the key repeats it without doubling it."""
    (tmp_path / "token").write_text(TOKEN)
    with saying(*pieces, hold=False) as port:
        where = ["--url", f"http://127.0.0.1:{port}", "--token-file", str(tmp_path / "token")]
        result = CliRunner().invoke(ctl_app, ["order", "buy", "1", "NSE:SBIN-EQ", "--key", "mine", *where])
    assert isinstance(result.exception, Fault)
    assert "ask again with --key mine: it places no second order" in str(result.exception)


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 202 Accepted\r\n\r\n", b"{")])
def test_an_answer_that_does_not_end_is_late(pieces: tuple[bytes, ...]) -> None:
    """However much of it came, and whether or not its length was said."""
    with saying(*pieces, hold=True) as port, pytest.raises(TimeoutError):
        exchange(Method.POST, Address("127.0.0.1", port), "/control/halt", TOKEN, b"{}", timeout_s=0.2)


def test_no_proxy_sees_the_token(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert operator.run("halt").exit_code == 0


def test_a_port_that_the_daemon_picks_needs_the_address(tmp_path: Path) -> None:
    """`control.port: 0` tells a client nothing."""
    result = CliRunner().invoke(ctl_app, ["status", *settings_with(tmp_path, 0)])
    assert isinstance(result.exception, UsageError)
    assert "--url" in str(result.exception)


def test_either_of_address_and_token_may_come_from_the_settings(operator: Operator, tmp_path: Path) -> None:
    """`--url` alone takes the settings' token file; a broken settings file matters only where it is needed."""
    assert CliRunner().invoke(ctl_app, ["halt", "--url", operator.url, *settings_with(tmp_path, 0)]).exit_code == 0
    assert operator.run("halt", "-c", str(tmp_path / "missing.yaml")).exit_code == 0


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "http://example.com", "127.0.0.1:8642", "http://localhost:1/x", "http://[", ""]
)
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    """The token never leaves the machine."""
    (tmp_path / "control.token").write_text(TOKEN)
    result = CliRunner().invoke(ctl_app, ["status", "--url", url, "--token-file", str(tmp_path / "control.token")])
    assert isinstance(result.exception, UsageError)
    assert f"--url {url}" in str(result.exception)


def test_a_command_that_was_not_taken_is_a_fault(operator: Operator) -> None:
    """The daemon's own failure is not the user's mistake."""
    operator.daemon.full = True
    result = operator.run("halt")
    assert isinstance(result.exception, Fault)
    assert "halt was not taken" in str(result.exception)


@pytest.mark.parametrize("command", [["halt"], ["flatten"], ["cancel", "H0"]])
def test_a_command_that_may_be_forgotten_is_a_fault(operator: Operator, command: list[str]) -> None:
    """Exit 3, and both halves are said, first that it is in force, then that it isn't on disk."""
    operator.daemon.trouble = NotDurableError("disk full")
    result = operator.run(*command)
    assert isinstance(result.exception, Fault)
    told = f"{command[0]} is in force but not on disk yet, a restart may not know of it: disk full"
    assert str(result.exception) == told


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "refused: Host: expected"), (429, "too many wrong ones of late; the right one is always let in"),
     (401, "name the daemon's own with --token-file"), (408, "refused: body")],
)  # fmt: skip
def test_refusals_are_the_users_to_mend(tmp_path: Path, status: int, says: str) -> None:
    """One line for each kind of no."""
    (tmp_path / "control.token").write_text(TOKEN)
    error = {403: "Host: expected 127.0.0.1", 408: "body: expected within seconds"}.get(status, "no")
    with other_server({"/status": (status, msgspec.json.encode({"detail": error}))}) as url:
        options = ["--url", url, "--token-file", str(tmp_path / "control.token")]
        result = CliRunner().invoke(ctl_app, ["status", *options])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("command", [["halt"], ["cancel", "H0"], ["order", "buy", "1", "NSE:SBIN-EQ", "--key", "mine"]])
def test_a_connection_that_breaks_off_says_nothing_of_the_command(tmp_path: Path, command: list[str]) -> None:
    """It may have been taken: not "no hrmd answers", and what is safe to do is said."""
    (tmp_path / "control.token").write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            line, _ = listener.accept()
            line.recv(65_536)
            line.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        options = ["--url", f"http://127.0.0.1:{listener.getsockname()[1]}"]
        result = CliRunner().invoke(ctl_app, [*command, *options, "--token-file", str(tmp_path / "control.token")])
        thread.join()
    assert isinstance(result.exception, Fault)
    assert "broke off before it answered" in str(result.exception)
    assert ("give it again" in str(result.exception)) or ("ask again with --key mine" in str(result.exception))


def test_a_bad_reason_is_the_users(operator: Operator) -> None:
    """The daemon's 400 reaches the user."""
    result = operator.run("halt", "--reason", "x" * 300)
    assert isinstance(result.exception, UsageError)
    assert "reason: expected" in str(result.exception)


def test_something_else_on_the_port(tmp_path: Path) -> None:
    """An HTTP server that isn't hrmd: exit 2, not a traceback."""
    answers = {"/status": (200, b"<html>"), "/positions": (404, b"<html>")}
    (tmp_path / "control.token").write_text(TOKEN)
    with other_server(answers) as url:
        for command, expected in (("status", "is not this version's hrmd"), ("positions", "is not hrmd (HTTP 404)")):
            options = ["--url", url, "--token-file", str(tmp_path / "control.token")]
            result = CliRunner().invoke(ctl_app, [command, *options])
            assert isinstance(result.exception, UsageError)
            assert expected in str(result.exception)


@pytest.mark.parametrize("key", ["", " "])
def test_an_empty_key_places_no_order(operator: Operator, key: str) -> None:
    """A script whose variable is empty believes that a repetition is safe; each would be an order of its own."""
    result = operator.run("order", "buy", "10", "NSE:SBIN-EQ", "--key", key)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == f"--key: expected the order's key, got {key!r}; leave it out for a new order"
    assert operator.daemon.tickets == []  # type: ignore[attr-defined]


def test_an_order_by_hand(operator: Operator) -> None:
    """Approved: the id, exit 0; every run has a key of its own, and a given one is sent as it is."""
    result = operator.run("order", "buy", "10", "NSE:SBIN-EQ", "--reason", "news")
    assert result.exit_code == 0
    assert "approved as H7" in result.stdout
    result = operator.run("order", "sell", "5", "NSE:SBIN-EQ", "--price", "820.05", "--key", "mine")
    assert result.exit_code == 0
    again = operator.run("order", "sell", "5", "NSE:SBIN-EQ", "--price", "820.05", "--key", "mine", "--json")
    assert json.loads(again.stdout)["repeated"] is True
    first, second, _ = operator.daemon.tickets
    assert (first.side, first.type, first.price, first.reason) == ("buy", "market", None, "news")
    assert (second.key, second.type, str(second.price)) == ("mine", "limit", "820.05")
    assert len(first.key) == 16


def test_an_order_that_was_approved_and_came_to_nothing(operator: Operator) -> None:
    """Exit 1, and why: it is not on the market."""
    operator.daemon.order_state, operator.daemon.order_reason = "CANCELLED", "not sent: the journal can't be written"
    result = operator.run("order", "buy", "10", "NSE:SBIN-EQ")
    assert result.exit_code == 1
    assert result.stdout == "approved as H7, but cancelled: not sent: the journal can't be written\n"


def test_an_order_that_risk_denies(operator: Operator) -> None:
    """Exit 1; check, value and limit are shown."""
    result = operator.run("order", "buy", "1001", "NSE:SBIN-EQ")
    assert result.exit_code == 1
    assert "denied by lot_size: 1001, limit a multiple of 75" in result.stdout


def test_an_order_without_a_verdict_names_its_key(operator: Operator) -> None:
    """So that it can be asked for again without being doubled."""
    operator.daemon.trouble = TimeoutError()
    result = operator.run("order", "buy", "1", "NSE:SBIN-EQ", "--key", "mine")
    assert isinstance(result.exception, Fault)
    assert "--key mine" in str(result.exception)


def test_one_order_is_cancelled(operator: Operator) -> None:
    """By its id, with the reason; one that doesn't work is the user's mistake."""
    assert "cancel accepted" in operator.run("cancel", "H0", "--reason", "mistake").stdout
    assert operator.daemon.cancelled == [("H0", "mistake", ME)]
    result = operator.run("cancel", "H9")
    assert isinstance(result.exception, UsageError)
    assert "no such order works" in str(result.exception)


def test_shadow_shows_everybody_side_by_side(operator: Operator) -> None:
    """One row each, what was dropped and why, and the sessions, one that was seen in part said to be so."""
    result = operator.run("shadow")
    assert result.exit_code == 0
    for part in (
        "in charge", "+₹2,138.04", "fast", "75.0 %", "−₹2,238.54", "fast was dropped: hung, 4 times today",
        "2021-04-05", "+₹2,138.04 (part)", "fast: continue · 12 whole sessions, −3.25 bp a session (1 cut",
    ):  # fmt: skip
        assert part in result.stdout, part


def test_shadow_as_json(operator: Operator) -> None:
    """What the daemon sent."""
    rows = json.loads(operator.run("shadow", "--json").stdout)
    assert [row["name"] for row in rows] == ["in charge", "fast"]
    assert rows[1]["difference"] == "-2238.54"
    assert rows[1]["sessions"][0]["since_time"] == TIME


def test_a_halt_over_a_unix_socket(tmp_path: Path) -> None:
    """The kill switch by its path."""
    (tmp_path / "control.token").write_text(TOKEN)
    daemon = FakeDaemon()
    path = tmp_path / "control.sock"
    with running_in_thread(build_server(daemon, socket=path)):
        assert main(["ctl", "halt", "--url", f"unix:{path}", "--token-file", str(tmp_path / "control.token")]) == 0
    assert len(daemon.submitted) == 1


@pytest.mark.parametrize(("simulated", "said"), [(False, True), (True, False)])
def test_status_says_what_a_model_has_never_seen(operator: Operator, simulated: bool, said: bool) -> None:
    """Real ticks, and a model that learned from simulated markets alone."""
    operator.daemon.shown = msgspec.structs.replace(
        operator.daemon.shown, simulated=simulated, model_simulated=True, model="tiny"
    )
    shown = " ".join(operator.run("status").stdout.split())
    assert ("tiny has learned from simulated markets alone, and these ticks are real" in shown) is said
