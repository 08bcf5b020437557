"""The symbol service: symbols → fytokens, and the names of the indices, as clients of the data socket ask for them.

Invariant: the topic that a client derives from these answers is one that the data socket knows.
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from daemon.sandbox import messages
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import BAD_PARAMETERS
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.messages import Message

TOKENS_PATH: Final = "/data/symbol-token"
INDEX_NAMES_PATH: Final = "/sym_details/index_hsm_mapping.json"
MAX_SYMBOLS: Final = 500
TOKEN_REFUSED: Final = -16


class _Wanted(msgspec.Struct, frozen=True):
    """Symbols whose tokens are asked for."""

    symbols: list[str]


class SymbolApi:
    """The two routes; the token is shown without the app id, as the SDK does, or with it."""

    def __init__(self, directory: SymbolDirectory, gate: TokenGate, meter: CallMeter) -> None:
        self._directory = directory
        self._gate = gate
        self._meter = meter

    def routes(self) -> list[web.RouteDef]:
        """Of the symbol service."""
        return [web.post(TOKENS_PATH, self._tokens), web.get(INDEX_NAMES_PATH, self._index_names)]

    async def _tokens(self, request: web.Request) -> web.StreamResponse:
        if not self._gate.admits_token(request.headers.get("Authorization")):
            return _say(401, _error(TOKEN_REFUSED, "Could not authenticate the user"))
        try:
            symbols = msgspec.json.decode(await request.read(), type=_Wanted).symbols
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _say(400, _error(BAD_PARAMETERS, "Invalid input: expected a list of symbols"))
        if not 1 <= len(symbols) <= MAX_SYMBOLS:
            return _say(400, _error(BAD_PARAMETERS, f"symbols: expected 1 to {MAX_SYMBOLS}"))
        return _say(200, self._answer(symbols))

    def _answer(self, symbols: list[str]) -> Message:
        found = {symbol: listing for symbol in symbols if (listing := self._directory.find(symbol)) is not None}
        invalid = [symbol for symbol in symbols if symbol not in found]
        valid = {symbol: listing.fytoken for symbol, listing in found.items()}
        return {"s": "ok", "code": 200, "message": "", "validSymbol": valid, "invalidSymbol": invalid}

    async def _index_names(self, request: web.Request) -> web.StreamResponse:
        """Published for everybody: no token is asked for."""
        return _say(200, self._directory.index_names())


def _error(code: int, message: str) -> Message:
    return {"s": "error", "code": code, "message": message}


def _say(status: int, document: Message) -> web.Response:
    return web.Response(status=status, body=messages.encode(document), content_type="application/json")
