"""`hrmd budget`: one risk budget for several daemons; what it lends, and a person's word on one that is gone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import AsJson, Config, Overrides, print_document, run_loop, settings_and_logs

if TYPE_CHECKING:
    from daemon.settings.tree import Settings

budget_app = typer.Typer(no_args_is_help=True, help="One risk budget for several daemons: lend it, look at it.")

Url = Annotated[str | None, typer.Option("--url", help="Where it listens, instead of budget.host and budget.port.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Its token, instead of budget.token_file.")]


@budget_app.command()
def run(config: Config = None, overrides: Overrides = None) -> None:
    """Lend it, until Ctrl-C."""
    from daemon.run.log import without_waiting

    settings = settings_and_logs(config, overrides)
    with without_waiting():
        run_loop(_serve(settings))


async def _serve(settings: Settings) -> None:
    from daemon.budget.keeping import BooksFile
    from daemon.budget.server import BudgetServer
    from daemon.control.auth import server_token
    from daemon.control.gate import Gate
    from daemon.control.tokens import Keyring, read_tokens
    from daemon.core.clock import LiveClock
    from daemon.run.process import on_ending

    wanted, clock, stop = settings.budget, LiveClock(), asyncio.Event()
    read_tokens(settings.control.tokens_file)
    token = server_token(wanted.token_file, {}, "budget.token_file")
    books = BooksFile(wanted.books_file)
    try:
        gate = Gate(token, clock, Keyring(settings.control.tokens_file))
        server = BudgetServer(wanted, books, clock.passed_ns, gate)
        on_ending(lambda _: stop.set())
        await server.start()
        sys.stdout.write(
            f"budget    {server.url}\nlends     ₹{wanted.max_gross_notional:,} gross; all halt at a day's loss of "
            f"₹{wanted.max_daily_loss:,}\ndaemons   risk.budget.url={server.url}, each its own risk.budget.name, "
            f"risk.budget.token_file={wanted.token_file}\n"
        )
        sys.stdout.flush()
        await stop.wait()
        await server.stop()
    finally:
        books.close()


@budget_app.command("show")
def show_all(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show what every daemon has, and may have."""
    answer = _ask(config, overrides, url, token_file, None)
    if as_json:
        return print_document(answer)
    _print(answer)


@budget_app.command()
def release(
    name: Annotated[str, typer.Argument(help="Of the daemon, as show has it.", show_default=False)],
    holding: Annotated[str, typer.Option(help="Rupees, gross, of what it still holds, by the broker's own book.")],
    reason: Annotated[str, typer.Option("--why", "--reason", help="Why.")],
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Say what a daemon that is gone still has, so that the others may have the rest."""
    from daemon.cli.ctl import signed

    body = signed({"name": name, "holding": _rupees(holding), "who": "an operator"}, reason)
    answer = _ask(config, overrides, url, token_file, body)
    if as_json:
        return print_document(answer)
    _print(answer)


def _rupees(text: str) -> str:
    from decimal import Decimal, InvalidOperation

    from daemon.core.errors import UsageError

    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and amount >= 0):
        raise UsageError(f"--holding {text!r}: expected rupees, such as 250000, or 0 for nothing")
    return format(amount, "f")


def _ask(
    config: Path | None, overrides: list[str] | None, url: str | None, token_file: Path | None,
    body: dict[str, Any] | None,
) -> bytes:  # fmt: skip
    """What the service answers. Raises `UsageError` and `Fault`."""
    from http.client import HTTPException
    from urllib.parse import urlsplit

    import msgspec

    from daemon.budget.server import RELEASE, SHOW
    from daemon.cli.ctl import Method, exchange
    from daemon.control.auth import read_token
    from daemon.control.finding import Address
    from daemon.core.errors import Fault, UsageError
    from daemon.settings.budget import BudgetShare

    settings = settings_and_logs(config, overrides).budget
    place = Address(settings.host, settings.port)
    if url is not None:
        try:
            parts = urlsplit(BudgetShare(url=url, name="x").url or "")
        except ValueError:
            raise UsageError(f"--url {url!r}: expected http://127.0.0.1:PORT") from None
        place = Address(parts.hostname or "", parts.port or 80)
    token = read_token(token_file or settings.token_file, "budget.token_file", "hrmd budget")
    raw = None if body is None else msgspec.json.encode(body)
    try:
        status, answer = exchange(
            Method.GET if raw is None else Method.POST, place, SHOW if raw is None else RELEASE, token, raw
        )
    except (TimeoutError, HTTPException) as error:
        raise Fault(f"{place} gave no answer ({type(error).__name__})") from None
    except OSError as error:
        raise UsageError(
            f"no budget answers at {place} ({error.strerror}); start hrmd budget run, or name its --url"
        ) from None
    if status == 200:
        return answer
    try:
        why = msgspec.json.decode(answer)["detail"]
    except (msgspec.DecodeError, KeyError, TypeError):
        why = f"HTTP {status}"
    raise (Fault if status >= 500 else UsageError)(f"{place} refused: {why}")


def _print(answer: bytes) -> None:
    import msgspec

    from daemon.budget.messages import Standing
    from daemon.core.errors import UsageError
    from daemon.report.tables import show, table

    try:
        found = msgspec.json.decode(answer, type=Standing)
    except msgspec.DecodeError as error:
        raise UsageError(f"it isn't this version's hrmd budget that answered ({error})") from None
    rows = table("=daemon", ">has", ">may have", ">lease", ">day", "released", "of")
    for one in found.members:
        left = f"{one.lease_left_s:.0f} s" if one.lease_left_s else "over"
        rows.add_row(
            one.name, f"{one.used:,}", f"{one.charged:,}", left, f"{one.day_pnl:+,}", one.released, one.of
        )  # fmt: skip
    show(rows)
    typer.echo(f"{found.charged:,} of {found.max_gross_notional:,} rupees; {found.halted or 'not halted'}")
