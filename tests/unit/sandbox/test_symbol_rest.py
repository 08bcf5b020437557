from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from daemon.sandbox.faults import FaultKind, Route
from tests.unit.sandbox.desk import APP_ID, SBIN, TOKEN, Desk, opened

TCS, NIFTY, SENSEX = "NSE:TCS-EQ", "NSE:NIFTY50-INDEX", "BSE:SENSEX-INDEX"


async def tokens(desk: Desk, body: Any, authorization: str = TOKEN) -> tuple[int, dict[str, Any]]:
    """(status, document) of the symbol service."""
    url = desk.server.symbol_tokens_url
    async with desk.http.post(url, json=body, headers={"Authorization": authorization}) as answer:
        return answer.status, await answer.json()


async def test_symbols_become_tokens() -> None:
    """Every symbol of Fyers' grammar has a token that begins with its segment; the others are named."""
    async with opened() as desk:
        status, found = await tokens(desk, {"symbols": [SBIN, "nonsense", NIFTY, SENSEX]})
        assert (status, found["s"], found["invalidSymbol"]) == (200, "ok", ["nonsense"])
        assert [(symbol, token[:10]) for symbol, token in found["validSymbol"].items()] == [
            (SBIN, "1010000000"), (NIFTY, "1010000000"), (SENSEX, "1210000000"),
        ]  # fmt: skip


@pytest.mark.parametrize("authorization", [TOKEN, f"{APP_ID}:{TOKEN}"])
async def test_who_may_ask(authorization: str) -> None:
    """The token is taken alone, as the SDK shows it, and with the app id."""
    async with opened() as desk:
        assert (await tokens(desk, {"symbols": [SBIN]}, authorization))[0] == 200
        status, answer = await tokens(desk, {"symbols": [SBIN]}, authorization + "x")
        assert (status, answer["code"]) == (401, -16)


@pytest.mark.parametrize(
    "body", [{}, [], {"symbols": []}, {"symbols": [1]}, {"symbols": [f"NSE:S{number}-EQ" for number in range(501)]}]
)
async def test_what_cant_be_asked(body: Any) -> None:
    """No symbols, or more than five hundred, are refused."""
    async with opened() as desk:
        status, answer = await tokens(desk, body)
        assert (status, answer["code"]) == (400, -50)


async def test_the_names_of_indices() -> None:
    """Published without a token; an index that was asked for is among them under its symbol's name."""
    async with opened() as desk:
        await tokens(desk, {"symbols": ["NSE:NIFTYPHARMA-INDEX"]})
        async with desk.http.get(desk.server.index_names_url) as answer:
            names = await answer.json()
        assert (names[NIFTY], names[SENSEX], names["NSE:NIFTYPHARMA-INDEX"]) == ("Nifty 50", "SENSEX", "NIFTYPHARMA")


async def test_harmed_tokens() -> None:
    """A symbol is said to be none, or has an empty token: the one that is named, else the first."""
    async with opened() as desk:
        desk.trouble(FaultKind.UNKNOWN_SYMBOL, Route.SYMBOLS, symbol=TCS)
        assert (await tokens(desk, {"symbols": [SBIN]}))[1]["invalidSymbol"] == []
        assert (await tokens(desk, {"symbols": [SBIN, TCS]}))[1]["invalidSymbol"] == [TCS]
        desk.trouble(FaultKind.UNKNOWN_SYMBOL, Route.SYMBOLS)
        assert (await tokens(desk, {"symbols": [SBIN, TCS]}))[1]["invalidSymbol"] == [SBIN]
        desk.trouble(FaultKind.EMPTY_TOKEN, Route.SYMBOLS)
        assert (await tokens(desk, {"symbols": [SBIN, TCS]}))[1]["validSymbol"][SBIN] == ""
        assert (await tokens(desk, {"symbols": [SBIN, TCS]}))[1]["validSymbol"][SBIN] != ""


async def test_faults_of_calls() -> None:
    """The symbol service suffers what other calls do; the published names break on their own."""
    async with opened() as desk:
        desk.trouble(FaultKind.LIMITED, Route.ANY)
        assert (await tokens(desk, {"symbols": [SBIN]}))[0] == 429
        desk.trouble(FaultKind.REJECT, Route.SYMBOLS, code=-50)
        assert (await tokens(desk, {"symbols": [SBIN]}))[1]["code"] == -50
        desk.trouble(FaultKind.DROP, Route.SYMBOLS)
        with pytest.raises(aiohttp.ClientError):
            await tokens(desk, {"symbols": [SBIN]})
        desk.trouble(FaultKind.BROKEN, Route.INDICES, status=503)
        async with desk.http.get(desk.server.index_names_url) as answer:
            assert answer.status == 503
        desk.trouble(FaultKind.DELAY, Route.INDICES, seconds=0.0)
        async with desk.http.get(desk.server.index_names_url) as answer:
            assert answer.status == 200
        desk.trouble(FaultKind.EXPIRE_TOKEN, Route.SYMBOLS)
        assert (await tokens(desk, {"symbols": [SBIN]}))[0] == 401


async def test_limits() -> None:
    """The symbol service counts as a call; the published names, at another host at Fyers, don't."""
    async with opened(enforce_limits=True) as desk:
        for _ in range(20):
            async with desk.http.get(desk.server.index_names_url) as answer:
                assert answer.status == 200
        statuses = [(await tokens(desk, {"symbols": [SBIN]}))[0] for _ in range(11)]
        assert statuses[0] == 200
        assert (await desk.admin("GET", "state"))["calls"]["refused"] == statuses.count(429)
