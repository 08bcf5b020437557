"""`hrmd sandbox`: a local exchange to try the live path against, without a broker and without money."""

from __future__ import annotations

import asyncio
import re
import sys
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.core.clock import LiveClock
from daemon.core.errors import UsageError
from daemon.fyers.rest import Endpoints
from daemon.run.process import on_ending
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION
from daemon.sandbox.server import SandboxOptions, SandboxServer
from daemon.sandbox.tokens import hsm_key_of


class Speaks(StrEnum):
    """Brokers whose words it knows."""

    FYERS = "fyers"
    OPENALGO = "openalgo"


def sandbox(
    tape: Annotated[
        list[Path] | None,
        typer.Option(help="Prices come from this tape; may repeat. Without one, POST /sandbox/prices."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any that is free.")] = 8790,
    speed: Annotated[float, typer.Option(min=0, help="Times real time; 0: only by POST /sandbox/step.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of faults that come by chance.")] = 0,
    cash: Annotated[str, typer.Option(help="Rupees in the account.")] = "1000000",
    token: Annotated[str, typer.Option(help="APP_ID:TOKEN that callers must show.")] = DEFAULT_AUTHORIZATION,
    limits: Annotated[
        bool, typer.Option("--limits", help="Answer 429 beyond 10 calls a second, 200 a minute.")
    ] = False,
    hours: Annotated[
        bool, typer.Option("--hours", help="Auctions, continuous trading and closed hours by NSE's calendar.")
    ] = False,
    square_off: Annotated[
        str, typer.Option(help="HH:MM in India when the broker closes INTRADAY positions; empty: never.")
    ] = "",
    speaks: Annotated[
        Speaks, typer.Option(help="Whose API it has: that of Fyers, or that of an OpenAlgo server.")
    ] = Speaks.FYERS,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Run a local exchange that speaks as Fyers does, or as an OpenAlgo server, until Ctrl-C."""
    settings = settings_and_logs(config, overrides)
    app_id, separator, secret = token.partition(":")
    if not (separator and app_id and secret):
        raise UsageError(f"--token: expected APP_ID:TOKEN, such as {DEFAULT_AUTHORIZATION}")
    options = SandboxOptions(
        port=port, tapes=tuple(tape or ()), seed=seed, starting_cash=_rupees(cash), authorization=token,
        enforce_limits=limits, market=settings.market, hours=hours, square_off=_time_of_day(square_off),
        speaks=speaks.value,
    )  # fmt: skip
    run_loop(_serve(options, speed, as_json=as_json))


async def _serve(options: SandboxOptions, speed: float, *, as_json: bool) -> None:
    """Serve until a signal asks for the end."""
    stop = asyncio.Event()
    on_ending(lambda _: stop.set())
    async with SandboxServer(options, LiveClock()) as server, asyncio.TaskGroup() as tasks:
        if as_json:
            print_json(_places(server, options))
        else:
            sys.stdout.write(_announcement(server, options, speed) + "\n")
        sys.stdout.flush()
        playing = tasks.create_task(_play(server, speed))
        keeping_time = tasks.create_task(server.keep_time())
        await stop.wait()
        playing.cancel()
        keeping_time.cancel()


async def _play(server: SandboxServer, speed: float) -> None:
    if server.player is not None and speed > 0:
        await server.player.run(speed)


def _places(server: SandboxServer, options: SandboxOptions) -> dict[str, str]:
    """Where its parts are, and how to be let in."""
    if options.speaks == "openalgo":
        key = options.authorization.partition(":")[2]
        return {"url": server.url, "socket": server.openalgo_socket_url, "key": key}
    endpoints = Endpoints.at(server.url)
    return {
        "url": server.url, "api": endpoints.api, "data": endpoints.data, "orders": endpoints.orders,
        "data_socket": server.data_socket_url, "symbol_tokens": server.symbol_tokens_url,
        "index_names": server.index_names_url, "authorization": options.authorization,
    }  # fmt: skip


def _announcement(server: SandboxServer, options: SandboxOptions, speed: float) -> str:
    """Where it is, and how to point the daemon at it."""
    prices = "POST /sandbox/prices"
    if options.tapes:
        pace = f"at {speed:g} times real time" if speed else "by POST /sandbox/step"
        prices = f"{', '.join(str(path) for path in options.tapes)}, {pace}"
    endpoints, (_, _, key) = Endpoints.at(server.url), options.authorization.partition(":")
    if options.speaks == "openalgo":
        return "\n".join(
            (
                f"a simulated exchange listens on {server.url} as OpenAlgo does (Ctrl-C ends it, and forgets its book)",
                f"  prices          {prices}",
                f"  API key         {key}",
                f"  WebSocket       {server.openalgo_socket_url}",
                f"  its book        curl -s {server.url}/sandbox/state",
                "  a daemon on it  hrmd run --set broker.name=openalgo \\",
                f"                    --set broker.openalgo.url={server.url} \\",
                f"                    --set broker.openalgo.socket_url={server.openalgo_socket_url}",
                "  its key         in the file broker.openalgo.key_file, chmod 600",
            )
        )
    return "\n".join(
        (
            f"a simulated exchange listens on {server.url} (Ctrl-C ends it, and forgets its book)",
            f"  prices          {prices}",
            f"  authorization   {options.authorization}",
            f"  data socket     {server.data_socket_url}{_closed(options)}",
            f"  symbol tokens   {server.symbol_tokens_url}",
            f"  index names     {server.index_names_url}",
            f"  its book        curl -s {server.url}/sandbox/state",
            "  a daemon on it  hrmd run --set broker.name=fyers \\",
            f"                    --set broker.fyers.api_url={endpoints.api} \\",
            f"                    --set broker.fyers.data_url={endpoints.data} \\",
            f"                    --set broker.fyers.order_socket_url={endpoints.orders}",
            "  its token       the part of the authorization behind the colon, in the file broker.fyers.token_file",
        )
    )


def _closed(options: SandboxOptions) -> str:
    """Why nobody gets into the data socket, where that is so."""
    token = options.authorization.partition(":")[2]
    return "" if hsm_key_of(token) is not None else " (closed: this token is no JWT with an hsm_key)"


def _time_of_day(text: str) -> str:
    if text and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise UsageError(f"--square-off {text}: expected a time of day, such as 15:20")
    return text


def _rupees(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not (amount.is_finite() and amount > 0):
        raise UsageError(f"--cash {text}: expected rupees above 0, such as 1000000")
    return amount
