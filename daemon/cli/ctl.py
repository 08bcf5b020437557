"""`hrmd ctl`: turns a command line into one request to a running daemon, and its answer into a table or JSON.

Invariant: the token goes to a loopback address only, and no command is said to be done unless the daemon said so.
"""

from __future__ import annotations

import asyncio
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import aiohttp
import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yarl import URL

from daemon.cli.options import AsJson, Config, Overrides
from daemon.control.auth import read_token
from daemon.control.tables import orders_table, positions_table, status_table
from daemon.control.view import Accepted, HandSide, OrderAnswer, OrderRow, PositionRow, Status
from daemon.errors import Fault, UsageError
from daemon.report.text import ist_time
from daemon.settings import load_settings

TIMEOUT_S = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

T = TypeVar("T")

ctl_app = typer.Typer(no_args_is_help=True, help="Speak to a running daemon over local HTTP.")

Url = Annotated[str | None, typer.Option("--url", help="Where the daemon listens, instead of the settings' port.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="The control token, instead of the settings'.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the journal.")]


class UnansweredError(Fault):
    """The request may have arrived; no answer came."""


class Method(StrEnum):
    """Of HTTP."""

    GET = "GET"
    POST = "POST"


class Client:
    """One daemon, by address and token."""

    def __init__(self, url: URL, token_file: Path) -> None:
        self._url = url
        self._token_file = token_file

    @classmethod
    def of(cls, config: Path | None, overrides: list[str] | None, url: str | None, token_file: Path | None) -> Client:
        """From `url` and `token_file`, and from the settings where one of them is missing; raises `UsageError`."""
        if url is not None and token_file is not None:
            return cls(_loopback_url(url), token_file)  # a broken settings file must not keep anyone from halting
        control = load_settings(config, overrides).control
        if url is None:
            if control.port == 0:
                raise UsageError("control.port: 0 lets the daemon pick a port; name its address with --url")
            address = URL.build(scheme="http", host=control.host, port=control.port)
        else:
            address = _loopback_url(url)
        return cls(address, token_file or control.token_file)

    def get(self, path: str) -> bytes:
        """The JSON of `path`; raises `UsageError` (not reachable, refused) or `Fault` (its own, or no answer)."""
        return self._request(Method.GET, path, None)

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The JSON answer to `body`; raises as `get` does."""
        return self._request(Method.POST, path, msgspec.json.encode(body))

    def _request(self, method: Method, path: str, body: bytes | None) -> bytes:
        token = read_token(self._token_file)
        try:
            status, answer = asyncio.run(_exchange(method, self._url.with_path(path), token, body))
        except TimeoutError:
            raise UnansweredError(f"{self._url} gave no answer within {TIMEOUT_S:.0f} s") from None
        except aiohttp.ClientConnectorError as error:
            raise UsageError(
                f"no hrmd answers at {self._url} ({error.strerror}); start it with `hrmd run`, or name another address "
                "with --url"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            why = str(error) or type(error).__name__
            raise UnansweredError(f"{self._url} broke off before it answered ({why})") from None
        if status < 300:
            return answer
        error_text = _error_text(answer)
        if status == 429:
            raise UsageError(
                f"{self._url} refused the token in {self._token_file} ({error_text}): too many wrong ones of late; the "
                "right one is always let in, name it with --token-file"
            )
        if status == 401:
            raise UsageError(
                f"{self._url} refused the token in {self._token_file} ({error_text}); name the daemon's own with "
                "--token-file"
            )
        if status < 500:
            raise UsageError(f"{self._url} refused: {error_text}")
        raise Fault(f"{self._url} answered {status}: {error_text}")


@ctl_app.command()
def status(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show the daemon at a glance."""
    answer = Client.of(config, overrides, url, token_file).get("/status")
    _show(answer, None if as_json else status_table(_decode(answer, Status)))


@ctl_app.command()
def positions(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show positions, at their last prices."""
    answer = Client.of(config, overrides, url, token_file).get("/positions")
    _show(answer, None if as_json else positions_table(_decode(answer, list[PositionRow])))


@ctl_app.command()
def orders(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show working and recent orders, newest first."""
    answer = Client.of(config, overrides, url, token_file).get("/orders")
    _show(answer, None if as_json else orders_table(_decode(answer, list[OrderRow])))


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
def order(
    side: Annotated[HandSide, typer.Argument(help="buy or sell.", show_default=False)],
    quantity: Annotated[int, typer.Argument(min=1, help="Units.", show_default=False)],
    symbol: Annotated[str, typer.Argument(help="Such as NSE:SBIN-EQ.", show_default=False)],
    price: Annotated[str | None, typer.Option("--price", help="Of a limit order; without it: at the market.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Repeats the order of that key without doubling it.")] = None,
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Place an order by hand, through risk and journal like any other; exit 1 where risk denies it."""
    client = Client.of(config, overrides, url, token_file)
    key = key or secrets.token_hex(8)
    body: dict[str, Any] = {"key": key, "symbol": symbol, "side": side.value, "quantity": quantity}
    body |= {"type": "market"} if price is None else {"type": "limit", "price": price}
    try:
        raw = client.post("/control/order", body if reason is None else {**body, "reason": reason})
    except UnansweredError as error:
        raise Fault(f"{error}; ask again with --key {key}: it places no second order") from None
    except Fault as error:
        raise Fault(f"{error} (--key {key})") from None
    answer = _decode(raw, OrderAnswer)
    _show(raw, None if as_json else _verdict(answer))
    if not answer.approved:
        raise typer.Exit(1)


@ctl_app.command()
def cancel(
    order_id: Annotated[str, typer.Argument(help="As `hrmd ctl orders --json` shows it.", show_default=False)],
    reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take one order off the market."""
    body = {"order_id": order_id} if reason is None else {"order_id": order_id, "reason": reason}
    answer = _give(Client.of(config, overrides, url, token_file), "cancel", body)
    accepted = _decode(answer, Accepted)
    _show(answer, None if as_json else Text(f"cancel accepted at {ist_time(accepted.ts)} IST (market time)"))


def _verdict(answer: OrderAnswer) -> Text:
    before = " (as before: this key was used)" if answer.repeated else ""
    if answer.approved:
        return Text.assemble(("approved", "bold green"), f" as {answer.order_id}{before}; `hrmd ctl orders` follows it")
    return Text.assemble(("denied", "bold red"), f" by {answer.check}: {answer.value}, limit {answer.limit}{before}")


def _command(client: Client, command: str, reason: str | None, as_json: bool) -> None:
    answer = _give(client, command, {} if reason is None else {"reason": reason})
    accepted = _decode(answer, Accepted)
    line = Text.assemble((f"{accepted.command} accepted", "bold"), f" at {ist_time(accepted.ts)} IST (market time)")
    _show(answer, None if as_json else line)


def _give(client: Client, command: str, body: dict[str, Any]) -> bytes:
    try:
        return client.post(f"/control/{command}", body)
    except UnansweredError as error:
        raise Fault(f"{error}; {command} may have been taken or not: give it again, twice does no harm") from None


async def _exchange(method: Method, url: URL, token: str, body: bytes | None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method.value, url, data=body, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.read()


def _loopback_url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme != "http" or url.host not in _LOOPBACK or url.path not in ("", "/"):
        raise UsageError(f"--url {text}: expected http://127.0.0.1:PORT (or localhost, [::1]): control is local only")
    return url.origin()


def _decode(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"what answers is not this version's hrmd ({error}); see control.port and --url") from None


def _error_text(answer: bytes) -> str:
    try:
        return str(msgspec.json.decode(answer, type=dict[str, str])["error"])
    except (msgspec.DecodeError, KeyError):
        return "no reason given"


def _show(answer: bytes, readable: Table | Text | None) -> None:
    if readable is None:
        typer.echo(answer.decode())
    else:
        Console(markup=False, highlight=False).print(readable)  # reasons and symbols are not markup
