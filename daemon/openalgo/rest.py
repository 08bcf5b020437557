"""Calls over HTTP to an OpenAlgo server's REST API v1, each with one of four outcomes and none without a time-out.

Every call is a POST with the key in its body, so no address and no header holds it. Invariant: a call is sent at most
once (`daemon.calls.http`), and no text holds the key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.hiding import Hiding
from daemon.calls.http import Answer, Call, Caller, CallTimes, OnDate
from daemon.calls.outcome import KeptBack, NotSent, Outcome, Rejected, Unknown, may_go
from daemon.calls.records import rows_of
from daemon.calls.secret import Secret
from daemon.core.clock import Clock, wall_ns
from daemon.market.records import Candle, Quote
from daemon.openalgo import wire
from daemon.openalgo.answers import of_order, of_read
from daemon.openalgo.symbols import SHARES, Names
from daemon.orders.venue import Acknowledged, Funds, VenueOrder, VenuePosition, VenueTrade

T = TypeVar("T")

INTERVALS: Final = {"1": "1m", "3": "3m", "5": "5m", "10": "10m", "15": "15m", "30": "30m", "60": "1h", "D": "D"}
STRATEGY: Final = "hrmd"
"""Who cancels, in OpenAlgo's log."""


class OpenAlgoRest:
    """The API as the holder of one key sees it; use it as an async context manager, or call `close`."""

    def __init__(
        self, url: str, key: Secret, budget: RateBudget, clock: Clock, times: CallTimes | None = None,
        on_date: OnDate | None = None, names: Names = SHARES,
    ) -> None:  # fmt: skip
        self._url = url.rstrip("/")
        self._clock = clock
        self._names = names
        self._caller = Caller(budget, clock, times if times is not None else CallTimes(), on_date)
        self.authorize(key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; closed already, does nothing."""
        await self._caller.close()

    def authorize(self, key: Secret) -> None:
        """Use another key from the next call on."""
        self._key = key
        self.hiding = Hiding(key.reveal())

    async def place(
        self, fields: Mapping[str, object], purpose: Purpose, kept_back: KeptBack = may_go
    ) -> Outcome[Acknowledged]:
        """Place one order (`wire.place_body`) unless it is `kept_back`; `Done`: the broker has it under `venue_id`."""
        return await self._change("placeorder", fields, purpose, kept_back)

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Ask for an order to be cancelled. `Done` is no proof that it is: it may still fill; the book tells."""
        return await self._change("cancelorder", {"orderid": venue_id, "strategy": STRATEGY}, Purpose.EXIT)

    async def orders(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[VenueOrder]]:
        """All orders of the day."""
        return await self._read("orderbook", purpose, lambda document: wire.orders(document, self._names))

    async def trades(
        self, purpose: Purpose = Purpose.ORDINARY, day_ns: int = 0
    ) -> Outcome[list[tuple[str, VenueTrade]]]:  # fmt: skip
        """All trades of the day (that of `day_ns`, else today), each with its product."""

        def read(document: Mapping[str, Any]) -> list[tuple[str, VenueTrade]]:
            products = [wire.product_of(row) for row in rows_of(document, "data")]
            trades = wire.trades(document, day_ns or self._clock.now_ns() or wall_ns(), self._names)
            return list(zip(products, trades, strict=True))

        return await self._read("tradebook", purpose, read)

    async def positions(
        self, traded: Sequence[tuple[str, VenueTrade]], purpose: Purpose = Purpose.ORDINARY
    ) -> Outcome[list[VenuePosition]]:
        """Net positions, flat ones of the day too; what was bought and sold of each is told by the day's trades."""
        return await self._read("positionbook", purpose, lambda document: wire.positions(document, traded, self._names))

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""
        return await self._read("funds", Purpose.ORDINARY, wire.funds)

    async def analyzing(self) -> Outcome[bool]:
        """Whether the server only pretends to trade: what is placed then costs nothing."""
        return await self._read("analyzer", Purpose.EXIT, wire.analyzing)

    async def quotes(self, wanted: Sequence[str], purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[Quote]]:
        """Last prices; symbols without a name at OpenAlgo are left out."""
        named = [name for name in map(self._names.theirs, wanted) if name is not None]
        fields = {"symbols": [{"symbol": symbol, "exchange": exchange} for symbol, exchange in named]}
        return await self._read("multiquotes", purpose, lambda document: wire.quotes(document, self._names), fields)

    async def history(self, symbol: str, resolution: str, first: dt.date, last: dt.date) -> Outcome[list[Candle]]:
        """Candles of the days from `first` to `last`, both included; `resolution`: minutes such as "5", or "D"."""
        named, interval = self._names.theirs(symbol), INTERVALS.get(resolution)
        if named is None or interval is None:
            what = f"interval {resolution}" if named is not None else symbol
            return Rejected(400, f"OpenAlgo has no name for {what}")
        fields = {
            "symbol": named[0], "exchange": named[1], "interval": interval, "start_date": first.isoformat(),
            "end_date": last.isoformat(),
        }  # fmt: skip
        return await self._read("history", Purpose.ORDINARY, wire.candles, fields)

    async def _change(
        self, path: str, fields: Mapping[str, object], purpose: Purpose, kept_back: KeptBack = may_go
    ) -> Outcome[Acknowledged]:
        answer = await self._send(path, fields, purpose, kept_back)
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._caller.heed(of_order(answer, self._clock.now_ns()))

    async def _read(
        self, path: str, purpose: Purpose, read: Callable[[Mapping[str, Any]], T],
        fields: Mapping[str, object] | None = None,
    ) -> Outcome[T]:  # fmt: skip
        answer = await self._send(path, fields or {}, purpose)
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._caller.heed(of_read(answer, read, self._clock.now_ns()))

    async def _send(
        self, path: str, fields: Mapping[str, object], purpose: Purpose, kept_back: KeptBack = may_go
    ) -> Answer | NotSent | Unknown:
        body = wire.encode({"apikey": self._key.reveal(), **fields})
        headers = {"Content-Type": "application/json"}
        url = f"{self._url}/api/v1/{path}"
        return await self._caller.send(
            Call("POST", url, purpose, body, headers=headers, hiding=self.hiding, kept_back=kept_back)
        )
