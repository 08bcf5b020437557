"""Calls over HTTPS to Fyers' REST API v3, each with one of four outcomes and none without a time-out.

Invariant: a call is sent at most once (`daemon.calls.http`), and no text holds the token.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

import msgspec
from yarl import URL

from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.hiding import NOTHING, Hiding
from daemon.calls.http import Answer, Call, Caller, CallTimes, OnDate
from daemon.calls.outcome import KeptBack, NotSent, Outcome, Unknown, may_go
from daemon.calls.secret import Secret
from daemon.core.clock import Clock
from daemon.core.errors import UsageError
from daemon.fyers import answers, market_wire, requests, wire
from daemon.fyers.credentials import Credentials
from daemon.market.records import Candle, MarketState, Quote
from daemon.orders.venue import Acknowledged, Funds, VenueMargin, VenueOrder, VenuePosition, VenueTrade

T = TypeVar("T")

API_VERSION: Final = "3"
MAX_QUOTES: Final = 50
NO_CANDLES: Final = "no_data"
PLACED: Final = frozenset({1101})
CANCELLED: Final = frozenset({1101, 1103})


class Endpoints(msgspec.Struct, frozen=True):
    """Where the venue listens."""

    api: str = "https://api-t1.fyers.in/api/v3"
    data: str = "https://api-t1.fyers.in/data"
    orders: str = "wss://socket.fyers.in/trade/v3"

    @classmethod
    def at(cls, base: str) -> Self:
        """All three at one server, such as the sandbox's `http://127.0.0.1:8790`."""
        url = URL(base)
        socket = url.with_scheme("wss" if url.scheme == "https" else "ws")
        return cls(str(url / "api/v3"), str(url / "data"), str(socket / "trade/v3"))


class FyersRest:
    """The REST API as one account sees it; use it as an async context manager, or call `close`.

    Every method returns an outcome (see `daemon.calls.outcome`) and raises nothing but `asyncio.CancelledError` (and
    `UsageError` for too many at once); a call that is cancelled may have been done. Without credentials only
    `validate_authcode` is of use.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        budget: RateBudget,
        clock: Clock,
        endpoints: Endpoints | None = None,
        times: CallTimes | None = None,
        on_date: OnDate | None = None,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._endpoints = endpoints if endpoints is not None else Endpoints()
        self._caller = Caller(budget, clock, times if times is not None else CallTimes(), on_date)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; closed already, does nothing."""
        await self._caller.close()

    @property
    def skew_s(self) -> float | None:
        """How far this machine's clock is ahead of the venue's, by the `Date` of its last answer (whole seconds)."""
        return self._caller.skew_s

    def authorize(self, credentials: Credentials) -> None:
        """Use the new day's token from the next call on."""
        self._credentials = credentials

    # -- orders -------------------------------------------------------------------------------------------------------

    async def place(
        self, order: requests.PlaceOrder, purpose: Purpose, kept_back: KeptBack = may_go
    ) -> Outcome[Acknowledged]:
        """Place one order, unless it is `kept_back`; `Done` says that the venue has it under `venue_id`."""
        return await self._change("POST", order.body(), purpose, PLACED, kept_back)

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Ask for an order to be cancelled. `Done` is no proof that it is: it may still fill; the book tells."""
        return await self._change("DELETE", requests.encode({"id": venue_id}), Purpose.EXIT, CANCELLED)

    # -- the book -----------------------------------------------------------------------------------------------------

    async def orders(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[VenueOrder]]:
        """All orders of the day."""
        return await self._read_orders(self._api("orders", purpose))

    async def trades(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[VenueTrade]]:
        """All trades of the day."""
        return await self._read(self._api("tradebook", purpose), wire.trades)

    async def positions(self, purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[VenuePosition]]:
        """Net positions, flat ones of the day too."""
        return await self._read(self._api("positions", purpose), wire.positions)

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""
        return await self._read(self._api("funds", Purpose.ORDINARY), wire.funds)

    async def margin(self, order: requests.PlaceOrder) -> Outcome[VenueMargin]:
        """What an order would block; nothing is placed."""
        url = f"{self._endpoints.api}/multiorder/margin"
        return await self._read(Call("POST", url, Purpose.ORDINARY, order.margin_body()), wire.margin)

    async def profile(self) -> Outcome[wire.Profile]:
        """Whose account it is: the cheapest way to learn whether the token holds."""
        return await self._read(self._api("profile", Purpose.ORDINARY), wire.profile)

    async def quotes(self, symbols: Sequence[str], purpose: Purpose = Purpose.ORDINARY) -> Outcome[list[Quote]]:
        """Last prices of 1 to 50 symbols; raises `UsageError` for another number."""
        _check_count("quotes", symbols, MAX_QUOTES)
        return await self._read(self._data("quotes", purpose, {"symbols": ",".join(symbols)}), wire.quotes)

    async def holdings(self) -> Outcome[list[market_wire.Holding]]:
        """Shares in the demat account."""
        return await self._read(self._api("holdings", Purpose.ORDINARY), market_wire.holdings)

    # -- the market ---------------------------------------------------------------------------------------------------

    async def depth(self, symbol: str, purpose: Purpose = Purpose.ORDINARY) -> Outcome[market_wire.Depth]:
        """The five best prices of each side, and the day's price band."""
        query = {"symbol": symbol, "ohlcv_flag": "1"}
        return await self._read(self._data("depth", purpose, query), market_wire.depth)

    async def history(self, symbol: str, resolution: str, first: dt.date, last: dt.date) -> Outcome[list[Candle]]:
        """Candles of the days from `first` to `last`, both included; no candle at all is an empty list.

        `resolution`: minutes such as "5", or "D". At most 100 days for minutes and 366 for days, as Fyers documents.
        """
        query = {
            "symbol": symbol, "resolution": resolution, "date_format": "1", "range_from": first.isoformat(),
            "range_to": last.isoformat(), "cont_flag": "0",
        }  # fmt: skip
        call = self._data("history", Purpose.ORDINARY, query)
        return await self._read(call, market_wire.candles, frozenset({"ok", NO_CANDLES}))

    async def market_status(self) -> Outcome[list[MarketState]]:
        """What every segment is doing."""
        return await self._read(self._data("marketStatus", Purpose.ORDINARY), market_wire.market_states)

    # -- login --------------------------------------------------------------------------------------------------------

    async def validate_authcode(self, app_id_hash: str, code: Secret) -> Outcome[Secret]:
        """The day's access token for the code that a login brought; `app_id_hash` is SHA-256 of "app id:secret"."""
        fields = {"grant_type": "authorization_code", "appIdHash": app_id_hash, "code": code.reveal()}
        url = f"{self._endpoints.api}/validate-authcode"
        body, hiding = requests.encode(fields), Hiding(code.reveal(), app_id_hash)
        return await self._read(Call("POST", url, Purpose.ORDINARY, body, hiding=hiding), market_wire.access_token)

    # -- one way out --------------------------------------------------------------------------------------------------

    def _api(self, path: str, purpose: Purpose, query: dict[str, str] | None = None) -> Call:
        return Call("GET", f"{self._endpoints.api}/{path}", purpose, query=query or {})

    def _data(self, path: str, purpose: Purpose, query: dict[str, str] | None = None) -> Call:
        return Call("GET", f"{self._endpoints.data}/{path}", purpose, query=query or {})

    async def _change(
        self, method: str, body: bytes, purpose: Purpose, done_codes: frozenset[int], kept_back: KeptBack = may_go
    ) -> Outcome[Acknowledged]:
        answer = await self._send(
            Call(method, f"{self._endpoints.api}/orders/sync", purpose, body, kept_back=kept_back)
        )
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._caller.heed(answers.of_order(answer, done_codes, self._clock.now_ns()))

    async def _read(
        self, call: Call, read: Callable[[Mapping[str, Any]], T], said: frozenset[str] = frozenset({"ok"})
    ) -> Outcome[T]:
        answer = await self._send(call)
        if isinstance(answer, NotSent | Unknown):
            return answer
        return self._caller.heed(answers.of_read(answer, read, self._clock.now_ns(), said))

    async def _read_orders(self, call: Call) -> Outcome[list[VenueOrder]]:
        """Rows of the book, their messages without our secrets."""
        hiding = self._hiding()
        return await self._read(call, lambda page: [answers.in_clear(order, hiding) for order in wire.orders(page)])

    def _hiding(self) -> Hiding:
        return self._credentials.hiding if self._credentials is not None else NOTHING

    async def _send(self, call: Call) -> Answer | NotSent | Unknown:
        hiding = call.hiding if call.hiding is not NOTHING else self._hiding()
        return await self._caller.send(msgspec.structs.replace(call, headers=self._headers(call), hiding=hiding))

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"version": API_VERSION}
        if self._credentials is not None:
            headers["Authorization"] = self._credentials.authorization
        return headers if call.body is None else {**headers, "Content-Type": "application/json"}


def _check_count(what: str, items: Sequence[object], most: int) -> None:
    if not 1 <= len(items) <= most:
        raise UsageError(f"{what}: expected 1 to {most}, got {len(items)}")
