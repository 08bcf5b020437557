"""`/sandbox/…`: the sandbox's own routes, for tests and for the curious, to see the truth and to ask for trouble.

Invariant: nothing here is subject to faults, limits or the token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from daemon.core.errors import UsageError
from daemon.sandbox import messages
from daemon.sandbox.bodies import read, say
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.data_feed import DataFeed
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import Chance, Fault, FaultPlan
from daemon.sandbox.gate import TOKEN_REFUSED, TokenGate
from daemon.sandbox.load import Load, LoadPlan
from daemon.sandbox.messages import Message
from daemon.sandbox.order_feed import OrderFeed
from daemon.sandbox.orders import Order, Quote
from daemon.sandbox.tape_player import TapePlayer
from daemon.sandbox.venue_admin import VenueAdmin


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many ticks of the tape to play; without a tape, the present quotes show their quantities anew."""

    ticks: int = 1


class Chances(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults that come by chance, and the seed of that chance."""

    chances: list[Chance]
    seed: int = 0


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`app_id:token` that is to hold from now on; null: the present one expires, and calls are answered with `code`."""

    authorization: str | None = None
    code: int = TOKEN_REFUSED


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All sockets break; for so long orders, trades and positions are shown as they are now."""

    stale_s: float = 0.0


class AdminApi:
    """The routes below `/sandbox`."""

    def __init__(
        self,
        exchange: Exchange,
        feed: OrderFeed,
        data_feed: DataFeed,
        load: Load,
        plan: FaultPlan,
        gate: TokenGate,
        meter: CallMeter,
        player: TapePlayer | None,
    ) -> None:
        self._exchange = exchange
        self._feed = feed
        self._data_feed = data_feed
        self._load = load
        self._plan = plan
        self._gate = gate
        self._meter = meter
        self._player = player

    def routes(self) -> list[web.RouteDef]:
        """Of `/sandbox`."""
        return [
            web.get("/sandbox/state", self._state),
            web.post("/sandbox/prices", self._prices),
            web.post("/sandbox/step", self._step),
            web.post("/sandbox/faults", self._faults),
            web.put("/sandbox/chances", self._chances),
            web.delete("/sandbox/faults", self._clear),
            web.post("/sandbox/token", self._token),
            web.post("/sandbox/cut", self._cut),
            web.post("/sandbox/expire", self._expire),
            web.post("/sandbox/load", self._make_load),
            web.delete("/sandbox/load", self._stop_load),
            web.get("/sandbox/sent", self._sent),
            *VenueAdmin(self._exchange, self._publish).routes(),
        ]

    async def _state(self, request: web.Request) -> web.Response:
        return say(self.state())

    def state(self) -> Message:
        """The whole truth: orders, trades, net quantities, money, and what was called and suffered."""
        ledger, meter = self._exchange.ledger, self._meter
        return {
            "now_ns": self._exchange.now_ns,
            "orders": [_order(order) for order in self._exchange.orders.values()],
            "trades": ledger.trades,
            "positions": {symbol: ledger.net(symbol) for symbol, _ in ledger.positions},
            "starting_cash": ledger.starting_cash,
            "cash": ledger.cash,
            "charges": ledger.charges,
            "realised": ledger.realised,
            "carried": ledger.carried,
            "doubled_tags": messages.doubled_tags(self._exchange.orders.values()),
            "prices": {symbol: quote.last for symbol, quote in self._exchange.quotes.items()},
            "calls": {"total": meter.total, "refused": meter.refused, "most_in_second": meter.most_in_second,
                      "most_in_minute": meter.most_in_minute},
            "faults": {"queued": self._plan.queued, "suffered": dict(self._plan.suffered)},
            "order_sockets": self._feed.connections,
            "data_sockets": self._data_feed.state(),
            "tape_ended": self._player.ended if self._player is not None else None,
        }  # fmt: skip

    async def _prices(self, request: web.Request) -> web.Response:
        quotes = await read(request, dict[str, Quote])
        for symbol, quote in quotes.items():
            if not quote.last.is_finite() or quote.last <= 0:
                raise UsageError(f"{symbol}: expected a price above 0, got {quote.last}")
            for price in (quote.bid, quote.ask, quote.lower_band, quote.upper_band):
                if price is not None and (not price.is_finite() or price < 0):
                    raise UsageError(f"{symbol}: expected bid, ask and band of 0 and above, got {price}")
        for symbol, quote in quotes.items():
            self._exchange.on_quote(symbol, quote)
        self._publish()
        return say({"s": "ok"})

    async def _step(self, request: web.Request) -> web.Response:
        self._exchange.advance()
        ticks = (await read(request, Steps)).ticks
        if self._player is not None:
            played = self._player.step(ticks)
        else:
            played = 0
            for symbol in self._exchange.quotes:
                self._exchange.refresh(symbol)
        self._publish()
        return say({"s": "ok", "played": played, "now_ns": self._exchange.now_ns})

    async def _faults(self, request: web.Request) -> web.Response:
        self._plan.queue(await read(request, list[Fault]))
        return say({"s": "ok", "queued": self._plan.queued})

    async def _chances(self, request: web.Request) -> web.Response:
        wanted = await read(request, Chances)
        self._plan.chances(wanted.chances, wanted.seed)
        return say({"s": "ok"})

    async def _clear(self, request: web.Request) -> web.Response:
        self._plan.clear()
        self._data_feed.thaw()
        return say({"s": "ok"})

    async def _token(self, request: web.Request) -> web.Response:
        token = await read(request, Token)
        if token.authorization is None:
            self._gate.expire(token.code)
            self._feed.cut()
            self._data_feed.publish()
        else:
            self._gate.renew(token.authorization)
        return say({"s": "ok"})

    async def _cut(self, request: web.Request) -> web.Response:
        self._exchange.past.hold((await read(request, Cut)).stale_s)
        return say({"s": "ok", "cut": self._feed.cut() + self._data_feed.cut()})

    async def _expire(self, request: web.Request) -> web.Response:
        expired = self._exchange.expire()
        self._feed.publish()
        return say({"s": "ok", "expired": expired})

    async def _make_load(self, request: web.Request) -> web.Response:
        """Answers when everything is made."""
        report = await self._load.run(await read(request, LoadPlan))
        return say({"s": "ok", **msgspec.structs.asdict(report)})

    async def _stop_load(self, request: web.Request) -> web.Response:
        self._load.stop()
        return say({"s": "ok"})

    async def _sent(self, request: web.Request) -> web.Response:
        return say(self._data_feed.sent())

    def _publish(self) -> None:
        self._feed.publish()
        self._data_feed.publish()


@web.middleware
async def say_usage_errors(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """A request that can't be meant: HTTP 400 with one line that says why. Who has left meanwhile is told nothing."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except UsageError as error:
        return say({"s": "error", "message": str(error)}, status=400)
    except ConnectionError:  # as in the middle of a web socket's handshake
        return web.Response(status=400)


def _order(order: Order) -> Message:
    wanted = order.wanted
    return {
        "order_id": order.order_id, "tag": wanted.tag, "symbol": wanted.symbol, "side": wanted.side.value,
        "type": wanted.type.value, "quantity": wanted.quantity, "filled": order.filled, "status": order.status.name,
        "limit_price": wanted.limit_price, "stop_price": wanted.stop_price, "product": wanted.product,
        "average_price": order.average_price, "message": order.message, "placed_ts": order.placed_ts,
    }  # fmt: skip
