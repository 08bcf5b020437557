"""A live day with logins, refusals and an expired token, and then everything it wrote, searched for every secret."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from daemon.calls.secret import Secret
from daemon.core.clock import NS_PER_S, wall_ns
from daemon.core.events import TradingStateChanged
from daemon.fyers.credentials import read_token, write_token
from daemon.sandbox.faults import FaultKind
from daemon.sandbox.market_rest import SECRET, make_token
from tests.integration.daemons import Daemon, hrmd, running
from tests.integration.test_login import Login
from tests.samples import LIVELY, journaled, wave, write_tape
from tests.unit.sandbox.desk import APP_ID, Desk, opened


def settings_at(desk: Desk, token_file: Path) -> list[str]:
    """A daemon on this sandbox, with a token of its own."""
    places = desk.endpoints
    return [
        "broker.name=fyers", f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
        f"broker.fyers.order_socket_url={places.orders}", f"broker.fyers.token_file={token_file}",
        f"broker.fyers.calls_file={token_file.parent}/fyers.calls", "broker.live.token_poll_s=0.1",
        "broker.live.token_warn_s=7200", *LIVELY, "feed.speed=120",
    ]  # fmt: skip


async def login(desk: Desk, directory: Path) -> tuple[Secret, str, str]:
    """Log in through the listener; the new token, the code that brought it, and all that was said."""
    codes: list[str] = []
    async with Login(desk, directory) as command:
        async with aiohttp.ClientSession() as browser:
            address = await command.address()
            async with browser.get(address, allow_redirects=False) as sent:
                back = sent.headers["Location"]
            codes.append(URL(back).query["auth_code"])
            async with browser.get(back):
                pass
        assert await command.end() == 0, command.said
        return read_token(command.token_file), codes[0], command.said


def scraped(daemon: Daemon) -> str:
    """Everything that the control API shows."""
    shown = [json.dumps(daemon.get(path)[1]) for path in ("/status", "/orders", "/positions", "/healthz")]
    request = urllib.request.Request(daemon.url() + "/metrics")
    request.add_header("Authorization", f"Bearer {daemon.token_file.read_text().strip()}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return "\n".join([*shown, answer.read().decode()])


def status_in(daemon: Daemon, state: str) -> dict[str, Any] | None:
    """The status once trading is in that state."""
    status = daemon.status()
    return status if status["trading_state"] == state else None


def found_in(directory: Path, secret: str) -> list[str]:
    """The files below that hold the text."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "fyers.token"]
    return [path.name for path in files if secret.encode() in path.read_bytes()]


async def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    """Start, trade, be refused, lose the token, log in, go on; then search logs, journal, status, metrics, output."""
    tape = write_tape(tmp_path / "t.parquet", *wave(minutes=360))
    token_file = tmp_path / "var" / "fyers.token"
    first = Secret(make_token(wall_ns() // NS_PER_S + 3600))
    ended = Secret(make_token(wall_ns() // NS_PER_S - 60))
    write_token(token_file, first)
    async with opened() as desk:
        await desk.admin("POST", "token", {"authorization": f"{APP_ID}:{first.reveal()}"})
        desk.trouble(FaultKind.REJECT, message=f"not with access_token={first.reveal()}")
        changes = settings_at(desk, token_file)
        sets = [word for change in changes for word in ("--set", change)]
        checked = await asyncio.to_thread(hrmd, "check", "--live", *sets, "--set", f"journal.path={tmp_path}/c.sqlite")
        with running(tmp_path, tape, *changes) as daemon:

            async def until(what: str, look: Callable[[], Any]) -> Any:
                return await asyncio.to_thread(daemon.until, what, look)

            await until("an order that was refused and one that was filled", lambda: desk.server.exchange.ledger.trades)
            assert (await asyncio.to_thread(daemon.status))["trading_state"] == "ACTIVE"
            write_token(token_file, ended)
            halted = await until("the halt", lambda: status_in(daemon, "HALTED"))
            assert halted["trading_reason"].startswith("the Fyers token expired on ")
            assert halted["token_left_s"] == 0
            assert "the broker's access is expired: hrmd login" in halted["reasons"]
            shown = await asyncio.to_thread(scraped, daemon)
            assert "hrmd_token_seconds_left 0.0" in shown
            fresh, code, said = await login(desk, tmp_path)
            active = await until("trading again", lambda: status_in(daemon, "ACTIVE"))
            assert active["token_left_s"] > 3600
            trades = len(desk.server.exchange.ledger.trades)
            await until("another trade", lambda: len(desk.server.exchange.ledger.trades) > trades)
            shown += await asyncio.to_thread(scraped, daemon)
            assert await asyncio.to_thread(daemon.terminate) == 0
        output = said + shown + checked.stdout + checked.stderr
    for name, secret in (("first token", first.reveal()), ("ended token", ended.reveal()), ("app secret", SECRET),
                         ("fresh token", fresh.reveal()), ("auth code", code)):  # fmt: skip
        assert (name, found_in(tmp_path, secret)) == (name, [])
        assert secret not in output, name
    assert sorted(found_in(tmp_path, "not with access_token=***")) == ["j.sqlite", "log.jsonl"]
    assert [change.state.value for change in journaled(tmp_path / "j.sqlite", TradingStateChanged)][:2] == [
        "HALTED", "ACTIVE",
    ]  # fmt: skip
