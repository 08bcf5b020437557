"""The Fyers account behind the `Broker` protocol: order intents → REST calls, the order socket → pushes.

Invariant: the client order id is the order's tag, so that the book can always be asked for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from daemon.clock import Clock
from daemon.errors import SettingsError
from daemon.events import OrderIntent
from daemon.fyers.addresses import is_local
from daemon.fyers.budget import Purpose, RateBudget
from daemon.fyers.credentials import Credentials
from daemon.fyers.order_socket import OrderSocket, SocketEvent, SocketTimes
from daemon.fyers.outcome import Done, Outcome
from daemon.fyers.requests import PlaceOrder, Product
from daemon.fyers.rest import CallTimes, Endpoints, FyersRest
from daemon.fyers.wire import Acknowledged, Funds, VenueOrder, VenueTrade
from daemon.settings import FyersSettings


class FyersBroker:
    """Implements `daemon.broker.Broker`."""

    def __init__(
        self, settings: FyersSettings, clock: Clock, budget: RateBudget | None = None, *, real_ticks: bool = False
    ) -> None:
        """`real_ticks`: whether decisions are made on the market's present prices.

        Raises `SettingsError` for a token that can't be read or an address that orders must not go to.
        """
        _check_addresses(settings, real_ticks)
        self._product = Product(settings.product)
        credentials = Credentials(settings.app_id, _token(settings.token_file))
        endpoints = Endpoints(settings.api_url, settings.data_url, settings.order_socket_url)
        times = CallTimes(read_s=settings.answer_s, total_s=settings.answer_s + 3.0)
        self._rest = FyersRest(credentials, budget or RateBudget(clock), clock, endpoints, times)
        self._socket = OrderSocket(settings.order_socket_url, credentials, clock, SocketTimes())

    async def submit(self, intent: OrderIntent) -> Outcome[Acknowledged]:
        """Place the order under its client id as tag."""
        order = PlaceOrder(
            tag=intent.order_id, symbol=intent.symbol, side=intent.side, quantity=intent.quantity, type=intent.type,
            limit_price=intent.limit_price, stop_price=intent.stop_price, product=self._product,
        )  # fmt: skip
        return await self._rest.place(order, Purpose.EXIT if intent.reduces else Purpose.ORDINARY)

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Ask for a cancellation."""
        return await self._rest.cancel(venue_id)

    async def orders(self, *, urgent: bool) -> Outcome[list[VenueOrder]]:
        """All orders of the day."""
        return await self._rest.orders(_purpose(urgent))

    async def trades(self, *, urgent: bool) -> Outcome[list[VenueTrade]]:
        """All trades of the day."""
        return await self._rest.trades(_purpose(urgent))

    async def positions(self) -> Outcome[dict[str, int]]:
        """Signed net quantity by symbol, of the product that orders are placed under."""
        outcome = await self._rest.positions()
        if not isinstance(outcome, Done):
            return outcome
        mine = [row for row in outcome.value if row.product == self._product.value]
        return Done({row.symbol: row.quantity for row in mine})

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""
        return await self._rest.funds()

    def events(self) -> AsyncGenerator[SocketEvent, None]:
        """Pushes of the order socket."""
        return self._socket.events()

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()


def _purpose(urgent: bool) -> Purpose:
    return Purpose.EXIT if urgent else Purpose.ORDINARY


def _check_addresses(settings: FyersSettings, real_ticks: bool) -> None:
    """No order reaches a real exchange on other than real ticks, nor without being told that money is at stake."""
    if real_ticks and settings.real_money:
        return
    why = "broker.fyers.real_money is not set" if real_ticks else "ticks of a tape or a sandbox place no real orders"
    for name in ("api_url", "data_url", "order_socket_url"):
        address: str = getattr(settings, name)
        if not is_local(address):
            raise SettingsError(
                f"broker.fyers.{name}: expected an address on this machine, such as that of hrmd sandbox, got "
                f"{address!r}: {why}"
            )


def _token(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(
            f"broker.fyers.token_file: {path} can't be read ({reason}); expected a file that holds the access token"
        ) from None
    return text
