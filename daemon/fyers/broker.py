"""The Fyers account behind the `Broker` protocol: order intents → REST calls, the order socket → pushes.

Invariant: the client order id is the order's tag, so that the book can always be asked for it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar

from daemon.calls.addresses import is_local
from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.http import CallTimes, OnDate
from daemon.calls.outcome import Done, KeptBack, Outcome, Rejected, may_go
from daemon.calls.secret import Secret
from daemon.core.clock import Clock
from daemon.core.errors import SettingsError
from daemon.core.events import OrderIntent
from daemon.fyers.access import ADDRESSES, endpoints, token_is_private
from daemon.fyers.credentials import Credentials, read_token, token_path
from daemon.fyers.order_socket import OrderSocket, SocketTimes
from daemon.fyers.requests import PlaceOrder, Product, protected
from daemon.fyers.rest import FyersRest
from daemon.market.instruments import InstrumentBook, Kind
from daemon.orders.book import OrderBook
from daemon.orders.broker import BoundsOf, Broker
from daemon.orders.protection import UNBOUNDED
from daemon.orders.pushes import SocketEvent
from daemon.orders.token_keeper import Access
from daemon.orders.venue import Acknowledged, Funds, VenueMargin, VenueOrder, VenuePosition, VenueTrade
from daemon.settings.market import MarketSettings
from daemon.settings.orders import BrokerSettings, FyersSettings

T = TypeVar("T")


class FyersBroker:
    """Implements `daemon.orders.broker.Broker`."""

    name = "fyers"

    def __init__(
        self,
        settings: BrokerSettings,
        clock: Clock,
        budget: RateBudget | None = None,
        instruments: InstrumentBook | None = None,
        *,
        real_ticks: bool = False,
        on_date: OnDate | None = None,
        bounds_of: BoundsOf | None = None,
    ) -> None:
        """`real_ticks`: whether decisions are made on the market's present prices; `on_date` hears the venue's time.

        `bounds_of` tells what bounds a protected order; None: nothing.

        Raises `SettingsError` for a token that can't be read or an address that orders must not go to.
        """
        fyers, live = settings.fyers, settings.live
        _check_addresses(fyers, real_money=live.real_money, real_ticks=real_ticks)
        self.refusal = ""
        """Why the venue refuses the present token; "" while it takes it."""
        self.access = access(fyers, os.environ)
        self._app_id = fyers.app_id
        self._product = Product(live.product)
        self._protects, self._protection = live.market_orders == "protected", live.protection_percent
        self._instruments = instruments if instruments is not None else InstrumentBook(MarketSettings())
        credentials = Credentials(fyers.app_id, self.access.read().reveal())
        places = endpoints(fyers)
        times = CallTimes(read_s=live.answer_s, total_s=live.answer_s + 3.0)
        self._rest = FyersRest(credentials, budget or RateBudget(clock), clock, places, times, on_date)
        self._bounds_of = bounds_of or (lambda _: UNBOUNDED)
        self._socket = OrderSocket(fyers.order_socket_url, credentials, clock, SocketTimes())

    async def submit(self, intent: OrderIntent, kept_back: KeptBack = may_go) -> Outcome[Acknowledged]:
        """Place the order under its client id as tag, unless it is `kept_back`."""
        order = self._order(intent)
        instrument = self._instruments.resolve(intent.symbol)
        if instrument is not None:
            order = protected(
                order, intent.reference_price, self._protection, instrument, self._bounds_of(intent),
                protects=self._protects,
            )  # fmt: skip
        purpose = Purpose.EXIT if intent.reduces else Purpose.ORDINARY
        return self._heed(await self._rest.place(order, purpose, kept_back))

    def _order(self, intent: OrderIntent) -> PlaceOrder:
        return PlaceOrder(
            tag=intent.order_id, symbol=intent.symbol, side=intent.side, quantity=intent.quantity, type=intent.type,
            limit_price=intent.limit_price, stop_price=intent.stop_price, product=self._product,
        )  # fmt: skip

    async def margin(self, intent: OrderIntent) -> Outcome[VenueMargin] | None:
        """What an order that opens a contract would block (SPAN and exposure, or the premium); None for others."""
        instrument = self._instruments.resolve(intent.symbol)
        if intent.reduces or instrument is None or instrument.kind not in (Kind.FUTURE, Kind.OPTION):
            return None
        return self._heed(await self._rest.margin(self._order(intent)))

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Ask for a cancellation."""
        return self._heed(await self._rest.cancel(venue_id))

    async def orders(self, *, urgent: bool) -> Outcome[list[VenueOrder]]:
        """All orders of the day."""
        return self._heed(await self._rest.orders(_purpose(urgent)))

    async def trades(self, *, urgent: bool) -> Outcome[list[VenueTrade]]:
        """All trades of the day."""
        return self._heed(await self._rest.trades(_purpose(urgent)))

    async def positions(self) -> Outcome[list[VenuePosition]]:
        """What was bought and sold of each symbol, under the product that orders are placed under."""
        outcome = self._heed(await self._rest.positions())
        if not isinstance(outcome, Done):
            return outcome
        return Done([row for row in outcome.value if row.product == self._product.value])

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""
        return self._heed(await self._rest.funds())

    def events(self) -> AsyncGenerator[SocketEvent, None]:
        """Pushes of the order socket."""
        return self._socket.events()

    def authorize(self, token: Secret) -> None:
        """Use another token from the next call on."""
        self.refusal = ""
        credentials = Credentials(self._app_id, token.reveal())
        self._rest.authorize(credentials)
        self._socket.authorize(credentials)

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    def _heed(self, outcome: Outcome[T]) -> Outcome[T]:
        """Note whether the venue takes our token."""
        if isinstance(outcome, Rejected) and outcome.token_refused:
            self.refusal = outcome.message or f"code {outcome.code}"
        elif isinstance(outcome, Done):
            self.refusal = ""
        return outcome


def _purpose(urgent: bool) -> Purpose:
    return Purpose.EXIT if urgent else Purpose.ORDINARY


def access(settings: FyersSettings, environment: Mapping[str, str]) -> Access:
    """The day's token: its file must be its owner's alone where it leaves this machine."""
    path, private = token_path(settings.token_file, environment), token_is_private(settings, environment)
    return Access("Fyers token", path, lambda: read_token(path, private=private), "hrmd login gets another one")


def _check_addresses(settings: FyersSettings, *, real_money: bool, real_ticks: bool) -> None:
    """No order reaches a real exchange on other than real ticks, nor without being told that money is at stake."""
    if real_ticks and real_money:
        return
    why = "broker.live.real_money is not set" if real_ticks else "ticks of a tape or a sandbox place no real orders"
    for name in ADDRESSES:
        address: str = getattr(settings, name)
        if not is_local(address):
            raise SettingsError(
                f"broker.fyers.{name}: expected an address on this machine, such as that of hrmd sandbox, got "
                f"{address!r}: {why}"
            )


def fyers_broker(
    settings: BrokerSettings, clock: Clock, budget: RateBudget, instruments: InstrumentBook, orders: OrderBook, *,
    real_ticks: bool, on_date: OnDate | None, bounds_of: BoundsOf | None,
) -> Broker:  # fmt: skip
    """The account; our own `orders` aren't asked for, for Fyers' book has their ids as tags."""
    return FyersBroker(
        settings, clock, budget, instruments, real_ticks=real_ticks, on_date=on_date, bounds_of=bounds_of
    )  # fmt: skip
