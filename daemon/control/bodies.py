"""Turns the body of a request into what it asks for, or into a line that says what was expected.

Invariant: what `/openapi.json` allows is taken and what it forbids is refused: both come from the same structs.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from daemon.control.backtests import BacktestTicket
from daemon.control.front_end import ExecuteTicket, ManualTicket
from daemon.control.login_codes import CodeTicket
from daemon.control.routes import CommandBody, StrategyBody
from daemon.control.sessions import LoginTicket
from daemon.control.tokens import OWNER
from daemon.control.tuning import ConfigTicket
from daemon.control.view import (
    AN_OPERATOR,
    MAX_PRICE,
    MAX_REASON_CHARS,
    CanaryDo,
    CanaryTicket,
    CancelTicket,
    HandType,
    MigrationTicket,
    ModelTicket,
    OrderTicket,
)
from daemon.core.documents import DocumentError, parse_json

T = TypeVar("T")
Signed = TypeVar(
    "Signed", CommandBody, StrategyBody, OrderTicket, CancelTicket, ModelTicket, CanaryTicket, MigrationTicket
)
Trade = TypeVar("Trade", ManualTicket, ExecuteTicket)

_EXPECTED = {
    "$.reason": f"reason: expected 1 to {MAX_REASON_CHARS} printable characters in one line, not blanks alone",
    "$.symbol": "symbol: expected 1 to 50 printable characters such as NSE:SBIN-EQ",
    "$.price": f'price: expected rupees such as "820.05", above 0 and below {MAX_PRICE}, at most 4 decimal places',
    "$.model": "model: expected an absolute path, or a version of the store, of printable characters",
    "$.who": f"who: expected 1 to {MAX_REASON_CHARS} printable characters in one line, not blanks alone",
    "$.agent": "agent: expected a shadow agent's name: lower case, digits, - and _, at most 24",
    "$.do": f"do: expected one of {', '.join(CanaryDo)}",
    "$.key": "key: expected 1 to 64 of A-Z, a-z, 0-9, dot, dash, underscore",
}


def signed(wanted: Signed, token: str) -> Signed:
    """The same, said by the holder of a token: who runs the daemon has one token and says who they are."""
    if token == OWNER:
        return wanted
    return msgspec.structs.replace(wanted, who=token if wanted.who == AN_OPERATOR else f"{token} ({wanted.who})")


async def read(request: web.Request, body_s: float) -> bytes:
    """The whole body. Raises `ValueError` where it isn't one, and 408 where it doesn't come in `body_s`."""
    try:
        async with asyncio.timeout(body_s):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise ValueError("body: expected what Content-Length or Transfer-Encoding announce") from None


def command(raw: bytes) -> CommandBody:
    """What accompanies a command; raises `ValueError`."""
    return _decode(raw, CommandBody, '{"reason": "…"} or nothing') if raw.strip() else CommandBody()


def ticket(raw: bytes) -> OrderTicket:
    """An order by hand; raises `ValueError`."""
    wanted = _decode(raw, OrderTicket, '{"key": "…", "symbol": "…", "side": "buy", "quantity": 1, "type": "market"}')
    _check_keys(raw)
    if (wanted.type is HandType.LIMIT) is (wanted.price is None):
        raise ValueError("price: expected with type limit, and only then")
    return wanted


def trade(raw: bytes, kind: type[Trade]) -> Trade:
    """An order in the words of front ends; raises `ValueError`."""
    wanted = _decode(raw, kind, '{"symbol": "…", "side": "BUY", "quantity": 1}, or with "action": "BUY_LONG"')
    _check_keys(raw)
    return wanted


def config(raw: bytes) -> ConfigTicket:
    """Other settings; raises `ValueError`."""
    wanted = _decode(raw, ConfigTicket, '{"changes": {"risk.max_daily_loss": "10000"}, "reason": "…"}')
    _check_keys(raw)
    return wanted


def backtest(raw: bytes) -> BacktestTicket:
    """What to play; raises `ValueError`."""
    return _decode(raw, BacktestTicket, '{"tapes": ["2026-01-05.parquet"], "strategy": "hrm"}')


def login(raw: bytes) -> LoginTicket:
    """A token; raises `ValueError`, which doesn't repeat it."""
    try:
        return msgspec.json.decode(raw, type=LoginTicket)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError('body: expected {"token": "…"}') from None


def code(raw: bytes) -> CodeTicket:
    """A link's code; raises `ValueError`, which doesn't repeat it."""
    try:
        return msgspec.json.decode(raw, type=CodeTicket)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError('body: expected {"code": "…"}') from None


def strategy(raw: bytes) -> StrategyBody:
    """Who shall decide; raises `ValueError`."""
    return _decode(raw, StrategyBody, '{"name": "…", "reason": "…"}')


def model(raw: bytes) -> ModelTicket:
    """Which model shall decide; raises `ValueError`."""
    wanted = _decode(raw, ModelTicket, '{"model": "…", "reason": "…"}')
    if "/" in wanted.model and not wanted.model.startswith("/"):
        raise ValueError(f"model: expected an absolute path, or a version of the store, got {wanted.model[:80]!r}")
    return wanted


def migration(raw: bytes) -> MigrationTicket:
    """Who signs for a step; raises `ValueError`."""
    return _decode(raw, MigrationTicket, '{"who": "…", "reason": "…"}')


def canary(raw: bytes) -> CanaryTicket:
    """What is to be done about the canary run; raises `ValueError`."""
    wanted = _decode(raw, CanaryTicket, '{"do": "begin", "agent": "…", "reason": "…"}')
    if (wanted.do is CanaryDo.BEGIN) is not bool(wanted.agent):
        raise ValueError("agent: expected with do begin, and only then")
    return wanted


def cancellation(raw: bytes) -> CancelTicket:
    """Which order; raises `ValueError`."""
    return _decode(raw, CancelTicket, '{"order_id": "…", "reason": "…"}')


def _decode(raw: bytes, kind: type[T], example: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        at = str(error).rpartition("at `")[2].rstrip("`")
        raise ValueError(_EXPECTED.get(at, f"body: expected {example} ({error})")) from None


def _check_keys(raw: bytes) -> None:
    """Of a quantity that stands twice nobody knows which is meant; raises `ValueError`."""
    try:
        parse_json(raw)
    except DocumentError as error:
        raise ValueError(f"body: expected each key once ({error})") from None
