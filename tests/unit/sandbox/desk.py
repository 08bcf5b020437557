"""A sandbox on a free port with one priced share, and clients that know its token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp

from daemon.calls.budget import Limit, RateBudget, RateLimits
from daemon.calls.http import CallTimes
from daemon.core.clock import LiveClock
from daemon.core.events import OrderType, Side
from daemon.fyers.credentials import Credentials
from daemon.fyers.order_socket import OrderSocket, SocketTimes
from daemon.fyers.requests import PlaceOrder
from daemon.fyers.rest import Endpoints, FyersRest
from daemon.sandbox.exchange import Order, Quote
from daemon.sandbox.faults import Fault, FaultKind, Route
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION
from daemon.sandbox.server import SandboxOptions, SandboxServer

SBIN = "NSE:SBIN-EQ"
APP_ID, _, TOKEN = DEFAULT_AUTHORIZATION.partition(":")
QUICK = CallTimes(connect_s=2.0, read_s=0.3, total_s=5.0, budget_s=0.2)
WIDE = RateLimits(Limit(1000, 0), Limit(10_000, 0), Limit(100_000, 0))
LIVELY = SocketTimes(connect_s=2.0, ping_s=0.05, silence_s=0.2, first_retry_s=0.01, longest_retry_s=0.05)


class Desk:
    """A sandbox and the tools of someone who trades on it."""

    def __init__(self, server: SandboxServer, rest: FyersRest, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.rest = rest
        self.http = http
        self.endpoints = Endpoints.at(server.url)

    def price(self, last: str, **fields: Any) -> None:
        """Set the share's quote and push what follows from it."""
        self.server.exchange.on_quote(SBIN, Quote(last=Decimal(last), **fields))
        self.server.publish()

    def trouble(self, kind: FaultKind, on: Route = Route.PLACE, **fields: Any) -> None:
        """Queue a fault."""
        self.server.plan.queue([Fault(kind=kind, on=on, **fields)])

    @property
    def book(self) -> list[Order]:
        """The exchange's own orders."""
        return list(self.server.exchange.orders.values())

    def socket(self, token: str = TOKEN) -> OrderSocket:
        """Make an order socket client that notices things soon."""
        return OrderSocket(self.endpoints.orders, Credentials(APP_ID, token), LiveClock(), LIVELY)

    async def admin(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call one of the sandbox's own routes."""
        async with self.http.request(method, f"{self.server.url}/sandbox/{path}", json=body) as response:
            document: dict[str, Any] = await response.json()
            return {**document, "status": response.status}


@asynccontextmanager
async def opened(
    times: CallTimes = QUICK, limits: RateLimits = WIDE, token: str = TOKEN, **options: Any
) -> AsyncIterator[Desk]:
    """Start a sandbox and clients of it."""
    clock = LiveClock()
    async with SandboxServer(SandboxOptions(**options), clock) as server:
        rest = FyersRest(Credentials(APP_ID, token), RateBudget(clock, limits), clock, Endpoints.at(server.url), times)
        async with rest, aiohttp.ClientSession() as http:
            desk = Desk(server, rest, http)
            if not options.get("tapes"):
                desk.price("820.5")
            yield desk


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 — the exchange keeps no event for every condition of a test
            await asyncio.sleep(0.005)


def order(
    tag: str = "t1", side: Side = Side.BUY, quantity: int = 10, kind: OrderType = OrderType.MARKET, **fields: Any
) -> PlaceOrder:
    """Make an order for the share."""
    prices = {name: Decimal(value) for name, value in fields.items() if name.endswith("_price")}
    return PlaceOrder(tag=tag, symbol=SBIN, side=side, quantity=quantity, type=kind, **{**fields, **prices})
