"""The symbol service: symbols → fytokens, and the names of the indices, as clients of the data socket ask for them.

Invariant: without faults the topic that a client derives from these answers is one that the data socket knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from daemon.sandbox import messages
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.faults import Fault, FaultKind, FaultPlan, Route
from daemon.sandbox.gate import TOKEN_CODES, TokenGate
from daemon.sandbox.messages import Message
from daemon.sandbox.orders import BAD_PARAMETERS
from daemon.sandbox.rest import FyersApi, limited

TOKENS_PATH: Final = "/data/symbol-token"
INDEX_NAMES_PATH: Final = "/sym_details/index_hsm_mapping.json"
MAX_SYMBOLS: Final = 500
_NO_FAULT: Final = Fault(kind=FaultKind.DELAY, on=Route.SYMBOLS, seconds=0.0)


class _Wanted(msgspec.Struct, frozen=True):
    """Symbols whose tokens are asked for."""

    symbols: list[str]


class SymbolApi:
    """The two routes; the token is shown without the app id, as the SDK does, or with it."""

    def __init__(
        self, api: FyersApi, directory: SymbolDirectory, plan: FaultPlan, gate: TokenGate, meter: CallMeter
    ) -> None:
        self._api = api
        self._directory = directory
        self._plan = plan
        self._gate = gate
        self._meter = meter

    def routes(self) -> list[web.RouteDef]:
        """Of the symbol service."""
        return [web.post(TOKENS_PATH, self._tokens), web.get(INDEX_NAMES_PATH, self._index_names)]

    async def _tokens(self, request: web.Request) -> web.StreamResponse:
        symbols = _symbols(await request.read())
        retry_s = self._meter.admit()
        if retry_s is not None:
            return limited(retry_s)
        fault = self._plan.next(Route.SYMBOLS, symbols or ()) or _NO_FAULT
        if fault.kind is FaultKind.EXPIRE_TOKEN:
            self._gate.expire(fault.code)
        if not self._gate.admits_token(request.headers.get("Authorization")):
            return _say(401, _error(self._gate.code, TOKEN_CODES[self._gate.code]))
        if symbols is None:
            return _say(400, _error(BAD_PARAMETERS, f"Invalid input: expected 1 to {MAX_SYMBOLS} symbols"))
        return await self._api.suffer(Route.SYMBOLS, self._answer, request, {"symbols": symbols}, fault)

    def _answer(self, request: web.Request, body: Mapping[str, Any], fault: Fault) -> Message:
        """What each symbol's token is, and which ones are none."""
        valid: dict[str, str] = {}
        for symbol in body["symbols"]:
            listing = self._directory.find(symbol)
            if listing is not None:
                valid[symbol] = listing.fytoken
        harmed = fault.symbol or next(iter(valid), "")
        if fault.kind is FaultKind.UNKNOWN_SYMBOL:
            valid.pop(harmed, None)
        elif fault.kind is FaultKind.EMPTY_TOKEN and harmed in valid:
            valid[harmed] = ""
        invalid = [symbol for symbol in body["symbols"] if symbol not in valid]
        return {"s": "ok", "code": 200, "message": "", "validSymbol": valid, "invalidSymbol": invalid}

    async def _index_names(self, request: web.Request) -> web.StreamResponse:
        """Published for everybody: no token is asked for, and no call counted."""
        fault = self._plan.next(Route.INDICES)
        spoiled = await self._api.spoil(request, fault, {}) if fault is not None else None
        return spoiled or _say(200, self._directory.index_names())


def _symbols(content: bytes) -> list[str] | None:
    """The symbols of a request; None where it has none that could be answered."""
    try:
        symbols = msgspec.json.decode(content, type=_Wanted).symbols
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return symbols if 1 <= len(symbols) <= MAX_SYMBOLS else None


def _error(code: int, message: str) -> Message:
    return {"s": "error", "code": code, "message": message}


def _say(status: int, document: Message) -> web.Response:
    return web.Response(status=status, body=messages.encode(document), content_type="application/json")
