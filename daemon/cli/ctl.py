"""`hrmd ctl`: turns a command line into one request to a running daemon, and its answer into a table or JSON.

Nothing is imported before it is needed: a kill switch starts at once. Invariant: the token goes to a loopback address
only, and no command is said to be done unless the daemon said so.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Collection
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from daemon.cli.lazy import Later, LazyGroup
from daemon.cli.options import AsJson, Config, Overrides, print_document
from daemon.control.auth import read_token
from daemon.control.finding import Address, Target, find, followed
from daemon.control.words import NOT_ON_DISK, HandSide
from daemon.core.errors import Fault, UsageError

if TYPE_CHECKING:
    from daemon.control.view import OrderAnswer

TIMEOUT_S = 5.0
WATCH_S = 2.0
LOADING_S = 120.0
"""Loading and trying a model takes seconds, and a kernel that has to be built first more of them."""

T = TypeVar("T")


def with_seconds(args: list[str], commands: Collection[str]) -> list[str]:
    """`args` with `WATCH_S` after a `--watch` that is followed by nothing, another option or one of `commands`."""
    made: list[str] = []
    for index, word in enumerate(args):
        made.append(word)
        after = args[index + 1] if index + 1 < len(args) else "--"
        if word == "--watch" and (after in commands or (after[:1] == "-" and not after[1:2].isdigit())):
            made.append(f"{WATCH_S:g}")
    return made


class Commands(LazyGroup):
    """What a kill switch doesn't wait for; `--watch` takes seconds or none."""

    later = {  # noqa: RUF012 — typed by LazyGroup
        "status": Later("daemon.cli.looks:status", "Show the daemon at a glance."),
        "health": Later("daemon.cli.looks:health", "Show every check of the daemon's health; exit 1 when it is "
                        "unhealthy."),
        "positions": Later("daemon.cli.looks:positions", "Show positions, at their last prices."),
        "orders": Later("daemon.cli.looks:orders", "Show working and recent orders, newest first."),
        "decisions": Later("daemon.cli.looks:decisions", "Show the newest decisions, newest first."),
        "trades": Later("daemon.cli.looks:trades", "Show the newest round trips, newest first."),
        "shadow": Later("daemon.cli.looks:shadow", "Show the agents that decide beside the one in charge, on paper."),
        "migration": Later("daemon.cli.migrating:migration_app", "From the one in charge to a candidate, step by "
                           "step."),
    }  # fmt: skip

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, with the seconds of its `--watch` where they were left out."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, with_seconds(rest, getattr(command, "commands", ()))


ctl_app = typer.Typer(cls=Commands, no_args_is_help=True, help="Speak to a running daemon over local HTTP.")

model_app = typer.Typer(no_args_is_help=True, help="Put another model in charge of a running daemon.")
ctl_app.add_typer(model_app, name="model")
canary_app = typer.Typer(help="Show the canary run; begin one, promote its candidate, or roll it back.")
ctl_app.add_typer(canary_app, name="canary")

Url = Annotated[str | None, typer.Option("--url", help="Where the daemon listens, instead of the settings' port.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="The control token, instead of the settings'.")]
Watch = Annotated[
    float | None,
    typer.Option("--watch", min=0.2, max=3600, metavar="[SECONDS]", show_default=False,
                 help=f"Look again every so many seconds ({WATCH_S:g}), until Ctrl-C."),
]  # fmt: skip
Why = Annotated[str | None, typer.Option("--why", "--reason", help="Why, for the journal.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the journal.")]


class UnansweredError(Fault):
    """The request may have arrived; no answer came."""


class UnreadableError(UsageError):
    """Something answered that isn't this version's hrmd."""


class Method(StrEnum):
    """Of HTTP."""

    GET = "GET"
    POST = "POST"


class Client:
    """One daemon, by address and token."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._url = target.address
        self._token_file = target.token_file

    @classmethod
    def of(
        cls, config: Path | None, overrides: list[str] | None, url: str | None, token_file: Path | None,
        before: Client | None = None,
    ) -> Client:  # fmt: skip
        """The daemon that is meant (`daemon.control.finding`); raises `UsageError`. After `before` only the same."""
        target = find(config, overrides, url, token_file)
        if before is not None:
            followed(before._target, target)
        elif target.remark:
            typer.echo(target.remark, err=True)
        return cls(target)

    def get(self, path: str) -> bytes:
        """The JSON of `path`; raises `UsageError` (not reachable, refused) or `Fault` (its own, or no answer)."""
        return self._request(Method.GET, path, None)

    def post(self, path: str, body: dict[str, Any], timeout_s: float = TIMEOUT_S) -> bytes:
        """The JSON answer to `body`; raises as `get` does."""
        return self._request(Method.POST, path, json.dumps(body).encode(), timeout_s)

    def _request(self, method: Method, path: str, body: bytes | None, timeout_s: float = TIMEOUT_S) -> bytes:
        token = read_token(self._token_file)
        try:
            status, answer = exchange(method, self._url, path, token, body, timeout_s)
        except TimeoutError:
            raise UnansweredError(f"{self._url} gave no answer within {timeout_s:.0f} s") from None
        except http.client.HTTPException as error:
            why = str(error) or type(error).__name__
            raise UnansweredError(f"{self._url} broke off before it answered ({why})") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise UsageError(
                f"no hrmd answers at {self._url} ({why}); start it with `hrmd run`, or name another address with --url"
            ) from None
        if status < 300:
            return answer
        error_text = _error_text(answer)
        if status == 429 and "too many requests" not in error_text:
            raise UsageError(
                f"{self._url} refused the token in {self._token_file} ({error_text}): too many wrong ones of late; the "
                "right one is always let in, name it with --token-file"
            )
        if status == 401:
            raise UsageError(
                f"{self._url} refused the token in {self._token_file} ({error_text}); name the daemon's own with "
                "--token-file"
            )
        if status < 500 and not _problem(answer):
            raise UsageError(f"what answers at {self._url} is not hrmd (HTTP {status}); see control.port and --url")
        if status < 500:
            raise UsageError(f"{self._url} refused: {error_text}")
        if _problem(answer).get("type") == NOT_ON_DISK:  # it was done, which must be read first
            raise Fault(error_text)
        raise Fault(f"{self._url} answered {status}: {error_text}")


@ctl_app.command("page")
def live_page(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show a link that opens the live page signed in, once and soon."""
    answer = Client.of(config, overrides, url, token_file).post("/api/auth/link", {})
    if as_json:
        return print_document(answer)
    from daemon.control.login_codes import LIFETIME_S, PageLink

    typer.echo(decoded(answer, PageLink).link)
    typer.echo(f"opens once, within {LIFETIME_S // 60} minutes, on this machine", err=True)


@ctl_app.command()
def halt(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Stop trading; open positions stay."""
    _command(Client.of(config, overrides, url, token_file), "halt", reason, as_json)


@ctl_app.command()
def resume(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Trade again."""
    _command(Client.of(config, overrides, url, token_file), "resume", reason, as_json)


@ctl_app.command()
def reduce(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Only close from now on."""
    _command(Client.of(config, overrides, url, token_file), "reduce", reason, as_json)


@ctl_app.command()
def flatten(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Cancel working orders and close every position at the market."""
    _command(Client.of(config, overrides, url, token_file), "flatten", reason, as_json)


@ctl_app.command()
def strategy(
    name: Annotated[str, typer.Argument(help="One of the ladder, as /status lists them.", show_default=False)],
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put another strategy in charge, such as the best one again after a step down; flat closes everything."""
    _command(Client.of(config, overrides, url, token_file), "strategy", reason, as_json, name=name)


@ctl_app.command()
def rollback(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put the strategy in charge that was before, else the next of the ladder; never flat, never who failed."""
    _command(Client.of(config, overrides, url, token_file), "rollback", reason, as_json)


@ctl_app.command()
def reload(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Read the settings anew: risk limits and log level change at once, the rest is named and waits for a restart."""
    answer = _give(Client.of(config, overrides, url, token_file), "reload", signed({}, reason))
    if as_json:
        return print_document(answer)
    from daemon.control.tuning import ConfigDocument

    document = decoded(answer, ConfigDocument)
    rows = {row.key: row.value for row in document.changeable}
    typer.echo("\n".join(f"{key} is {rows[key]}" for key in document.changed) or "nothing that may change differs")
    if document.needs_restart:
        typer.echo(f"needs a restart: {', '.join(document.needs_restart)}")


@ctl_app.command()
def lock(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let nothing be done by itself about the strategy in charge, over restarts too, until unlock."""
    _command(Client.of(config, overrides, url, token_file), "lock", reason, as_json)


@ctl_app.command()
def unlock(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """End lock."""
    _command(Client.of(config, overrides, url, token_file), "unlock", reason, as_json)


@ctl_app.command()
def order(
    side: Annotated[HandSide, typer.Argument(help="buy or sell.", show_default=False, case_sensitive=False)],
    quantity: Annotated[int, typer.Argument(min=1, help="Units.", show_default=False)],
    symbol: Annotated[str, typer.Argument(help="Such as NSE:SBIN-EQ.", show_default=False)],
    price: Annotated[str | None, typer.Option("--price", help="Of a limit order; without it: at the market.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Repeats the order of that key without doubling it.")] = None,
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Place an order by hand, through risk and journal; exit 1 where it is denied or comes to nothing."""
    import secrets

    from daemon.control.view import OrderAnswer

    if key is not None and not key.strip():
        raise UsageError(f"--key: expected the order's key, got {key!r}; leave it out for a new order")
    client = Client.of(config, overrides, url, token_file)
    key = secrets.token_hex(8) if key is None else key
    body: dict[str, Any] = {"key": key, "symbol": symbol, "side": side.value, "quantity": quantity}
    body |= {"type": "market"} if price is None else {"type": "limit", "price": price}
    try:
        raw = client.post("/control/order", signed(body, reason))
        answer = decoded(raw, OrderAnswer)
    except (UnansweredError, UnreadableError) as error:
        raise Fault(f"{error}; ask again with --key {key}: it places no second order") from None
    except Fault as error:
        raise Fault(f"{error} (--key {key})") from None
    if as_json:
        print_document(raw)
    else:
        typer.echo(_verdict(answer))
    if answer.came_to_nothing:
        raise typer.Exit(1)


@ctl_app.command()
def cancel(
    order_id: Annotated[str, typer.Argument(help="The id that `hrmd ctl orders` shows.", show_default=False)],
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take one order off the market."""
    from daemon.control.accepted import Accepted

    answer = _give(Client.of(config, overrides, url, token_file), "cancel", signed({"order_id": order_id}, reason))
    accepted = decoded(answer, Accepted)
    if as_json:
        return print_document(answer)
    typer.echo(f"cancel accepted {accepted.when}")


@model_app.command("load")
def load(
    model: Annotated[str, typer.Argument(help="A file, or a version of the store (current, previous, a name).",
                                         show_default=False)],
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Load a model beside the one in charge, try it, and let it decide from the next bar on; exit 1 where refused."""
    is_file = "/" in model or model.endswith(".safetensors") or Path(model).is_file()
    _switch(Client.of(config, overrides, url, token_file), str(Path(model).resolve()) if is_file else model, reason,
            as_json)  # fmt: skip


@model_app.command("rollback")
def roll_back_model(
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let the model that decided before decide again; exit 1 where refused."""
    _switch(Client.of(config, overrides, url, token_file), "previous", reason, as_json)


@canary_app.callback(invoke_without_command=True)
def canary(
    context: typer.Context, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show the canary run; begin one, promote its candidate, or roll it back."""
    if context.invoked_subcommand is None:
        from daemon.cli.looks import Where, look

        look(Where(config, overrides, url, token_file), "/canary", as_json, seconds)
    elif seconds is not None:
        raise UsageError(f"--watch shows the canary run; leave it out of {context.invoked_subcommand}")


@canary_app.command("begin")
def begin_canary(
    agent: Annotated[str, typer.Argument(help="A shadow agent's name.", show_default=False)],
    why: Why = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let a shadow agent decide for real, on a share of the instruments and of the size."""
    _canary(Client.of(config, overrides, url, token_file), "begin", why, as_json, agent=agent)


@canary_app.command("promote")
def promote_canary(
    why: Why = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Put the candidate in charge of everything, whatever is proved by now."""
    _canary(Client.of(config, overrides, url, token_file), "promote", why, as_json)


@canary_app.command("rollback")
def roll_back_canary(
    why: Why = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let the one in charge decide on everything again."""
    _canary(Client.of(config, overrides, url, token_file), "rollback", why, as_json)


def _canary(client: Client, do: str, why: str | None, as_json: bool, **body: str) -> None:
    _command(client, "canary", why, as_json, do=do, **body)


def _switch(client: Client, model: str, reason: str | None, as_json: bool) -> None:
    from daemon.control.view import ModelAnswer

    try:
        raw = client.post("/control/model", signed({"model": model}, reason), LOADING_S)
    except UnansweredError as error:
        raise Fault(f"{error}; the model may still be put in charge: hrmd ctl status says which decides") from None
    answer = decoded(raw, ModelAnswer)
    if as_json:
        print_document(raw)
    elif answer.loaded:
        said = typer.style(f"{answer.model} decides from the next bar on", bold=True)
        typer.echo(f"{said}; {answer.after_restart}")
    else:
        typer.echo(f"{typer.style('refused', 'red', bold=True)}: {answer.reason}; nothing has changed")
    if not answer.loaded:
        raise typer.Exit(1)


def _verdict(answer: OrderAnswer) -> str:
    before = " (as before: this key was used)" if answer.repeated else ""
    colour = "red" if answer.came_to_nothing else "green"
    word = typer.style("approved" if answer.approved else "denied", colour, bold=True)
    name = f" as {answer.order_id}" if answer.approved else ""
    follow = "" if answer.came_to_nothing else "; `hrmd ctl orders` follows it"
    return f"{word}{name}{answer.standing}{before}{follow}"


def _command(client: Client, command: str, reason: str | None, as_json: bool, **body: str) -> None:
    answer = _give(client, command, signed(dict(body), reason))
    from daemon.control.accepted import Accepted

    accepted = decoded(answer, Accepted)
    if as_json:
        return print_document(answer)
    said = typer.style(f"{accepted.command} accepted", bold=True)
    typer.echo(f"{said} {accepted.when}")


def signed(body: dict[str, Any], reason: str | None) -> dict[str, Any]:
    """With who asks, by the login name, and why; a name that can't be printed is left out: no command fails for it."""
    import getpass

    with suppress(OSError, KeyError, ImportError):  # a user without a name
        who = getpass.getuser()[:200]
        if who.strip() and who.isprintable():
            body["who"] = who
    return body if reason is None else {**body, "reason": reason}


def _give(client: Client, command: str, body: dict[str, Any]) -> bytes:
    try:
        return client.post(f"/control/{command}", body)
    except UnansweredError as error:
        raise Fault(f"{error}; {command} may have been taken or not: give it again, twice does no harm") from None


def exchange(
    method: Method, address: Address, path: str, token: str, body: bytes | None, timeout_s: float = TIMEOUT_S
) -> tuple[int, bytes]:
    """Status and body of one request, no proxy and no redirection, `timeout_s` for all of the answer.

    Raises `OSError` where nobody listens; once the request may have gone out, `TimeoutError` or `HTTPException`.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    if address.path:
        connection.sock = _knock(address.path, timeout_s)
    else:
        connection.connect()
    late = threading.Event()
    timer = threading.Timer(timeout_s, _give_up, (connection.sock, late))  # an answer that trickles is late, too
    timer.daemon = True
    timer.start()
    try:
        connection.request(method.value, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if late.is_set():
            raise TimeoutError
        return answer.status, content
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError from None
        raise http.client.HTTPException(str(error)) from None
    finally:
        timer.cancel()
        connection.close()


def _knock(path: str, timeout_s: float) -> socket.socket:
    """A connection to a unix socket; raises `OSError`."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(timeout_s)
    try:
        link.connect(path)
    except OSError:
        link.close()
        raise
    return link


def _give_up(link: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):  # closed by now
        link.shutdown(socket.SHUT_RDWR)


def decoded(answer: bytes, kind: type[T]) -> T:
    """An answer as what it is; raises `UnreadableError`."""
    import msgspec

    try:
        return msgspec.json.decode(answer, type=kind, strict=False)  # times are strings
    except msgspec.DecodeError as error:
        raise UnreadableError(
            f"what answers is not this version's hrmd ({error}); see control.port and --url"
        ) from None


def _error_text(answer: bytes) -> str:
    return str(_problem(answer).get("detail", "no reason given"))


def _problem(answer: bytes) -> dict[str, Any]:
    """Why it was refused; empty where that isn't said in our form."""
    try:
        said = json.loads(answer)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
