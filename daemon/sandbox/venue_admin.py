"""`/sandbox/…` for what a venue does by itself: sessions, locked circuits, the broker's square-off, a corporate action.

Every act is a method of the exchange too, for whoever drives it without a network. Invariant: none of them is subject
to faults, limits or the token.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
from aiohttp import web

from daemon.core.errors import UsageError
from daemon.core.events import OrderType, Side
from daemon.sandbox.bodies import read, say
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.hours import Phase
from daemon.sandbox.orders import Refusal


class Ruling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The phase of the whole market from now on; null: by the calendar, or open where there is none."""

    phase: Phase | None = None


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who alone is left at the end of the band; null: both sides are there again."""

    symbol: str
    side: Side | None = None


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price counts `numerator` / `denominator`; a split of one share into five is 1 / 5."""

    symbol: str
    numerator: int
    denominator: int


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody makes of a working order in the broker's app; what is left out stays."""

    order_id: str
    type: OrderType | None = None
    quantity: int | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


class VenueAdmin:
    """The routes; `publish` tells every client what followed."""

    def __init__(self, exchange: Exchange, publish: Callable[[], None]) -> None:
        self._exchange = exchange
        self._publish = publish

    def routes(self) -> list[web.RouteDef]:
        """Of `/sandbox`."""
        return [
            web.post("/sandbox/session", self._session),
            web.post("/sandbox/lock", self._lock),
            web.post("/sandbox/square_off", self._square_off),
            web.post("/sandbox/corporate_action", self._corporate_action),
            web.post("/sandbox/change", self._change),
        ]

    async def _session(self, request: web.Request) -> web.Response:
        self._exchange.session((await read(request, Ruling)).phase)
        return self._told()

    async def _lock(self, request: web.Request) -> web.Response:
        lock = await read(request, Lock)
        self._exchange.lock(lock.symbol, lock.side)
        return self._told()

    async def _square_off(self, request: web.Request) -> web.Response:
        return self._told(placed=self._exchange.square_off())

    async def _corporate_action(self, request: web.Request) -> web.Response:
        action = await read(request, Action)
        self._exchange.corporate_action(action.symbol, action.numerator, action.denominator)
        return self._told()

    async def _change(self, request: web.Request) -> web.Response:
        change = await read(request, Change)
        order = self._exchange.orders.get(change.order_id)
        if order is None:
            raise UsageError(f"order_id: expected one of the book, got {change.order_id!r}")
        result = self._exchange.modify(
            change.order_id, change.type or order.wanted.type, change.quantity, change.limit_price, change.stop_price
        )
        if isinstance(result, Refusal):
            raise UsageError(f"{change.order_id}: {result.message}")
        return self._told()

    def _told(self, **more: object) -> web.Response:
        self._publish()
        return say({"s": "ok", **more})
