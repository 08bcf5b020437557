"""The Fyers account behind the `Broker` protocol: order intents → REST calls, the order socket → pushes.

Invariant: the client order id is the order's tag, so that the book can always be asked for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TypeVar

from yarl import URL

from daemon.clock import Clock
from daemon.errors import SettingsError, UsageError
from daemon.events import OrderIntent
from daemon.fyers.budget import Purpose, RateBudget, RateLimits
from daemon.fyers.call_record import CallRecord
from daemon.fyers.credentials import Credentials
from daemon.fyers.order_socket import OrderSocket, SocketEvent, SocketTimes
from daemon.fyers.outcome import Done, Outcome, Rejected
from daemon.fyers.requests import PlaceOrder, Product
from daemon.fyers.rest import CallTimes, Endpoints, FyersRest
from daemon.fyers.wire import Acknowledged, Funds, VenueOrder, VenuePosition, VenueTrade
from daemon.settings import FyersSettings

T = TypeVar("T")

_LOCAL = ("127.0.0.1", "localhost", "::1")


class FyersBroker:
    """Implements `daemon.broker.Broker`."""

    def __init__(self, settings: FyersSettings, clock: Clock, budget: RateBudget | None = None) -> None:
        """Raises `SettingsError` for a token that can't be read or an address that orders must not go to."""
        _check_local(settings)
        self._product = Product(settings.product)
        self._app_id, self._token_file = settings.app_id, settings.token_file
        self._tried = _token(settings.token_file)
        credentials = Credentials(settings.app_id, self._tried)
        endpoints = Endpoints(settings.api_url, settings.data_url, settings.order_socket_url)
        times = CallTimes(read_s=settings.answer_s, total_s=settings.answer_s + 3.0)
        self._budget = budget or _budget(settings, clock)
        self._rest = FyersRest(credentials, self._budget, clock, endpoints, times)
        self._socket = OrderSocket(settings.order_socket_url, credentials, clock, SocketTimes())

    async def submit(self, intent: OrderIntent) -> Outcome[Acknowledged]:
        """Place the order under its client id as tag."""
        order = PlaceOrder(
            tag=intent.order_id, symbol=intent.symbol, side=intent.side, quantity=intent.quantity, type=intent.type,
            limit_price=intent.limit_price, stop_price=intent.stop_price, product=self._product,
        )  # fmt: skip
        return self._heed(await self._rest.place(order, Purpose.EXIT if intent.reduces else Purpose.ORDINARY))

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
        outcome = await self._rest.positions()
        if not isinstance(outcome, Done):
            return self._heed(outcome)
        return Done([row for row in outcome.value if row.product == self._product.value])

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""
        return self._heed(await self._rest.funds())

    def events(self) -> AsyncGenerator[SocketEvent, None]:
        """Pushes of the order socket."""
        return self._socket.events()

    def _heed(self, outcome: Outcome[T]) -> Outcome[T]:
        """A token that is refused is looked for anew: a login may have put another one into the file."""
        if isinstance(outcome, Rejected) and outcome.token_refused:
            with contextlib.suppress(UsageError):
                token = _token(self._token_file)
                if token != self._tried:
                    self._tried = token
                    self._rest.authorize(Credentials(self._app_id, token))
                    self._socket.authorize(Credentials(self._app_id, token))
        return outcome

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()
        self._budget.close()


def _budget(settings: FyersSettings, clock: Clock) -> RateBudget:
    limits = RateLimits.of(settings.calls_per_second, settings.calls_per_minute, settings.calls_per_day)
    return RateBudget(clock, limits, CallRecord(settings.calls_file, settings.calls_per_minute))


def _purpose(urgent: bool) -> Purpose:
    return Purpose.EXIT if urgent else Purpose.ORDINARY


def _check_local(settings: FyersSettings) -> None:
    """Ticks come from a tape only, so far: no order may reach a real exchange on their account."""
    for name in ("api_url", "data_url", "order_socket_url"):
        address: str = getattr(settings, name)
        if URL(address).host not in _LOCAL:
            raise SettingsError(
                f"broker.fyers.{name}: expected an address on this machine, such as that of hrmd sandbox, got "
                f"{address!r}: with feed.source tape no order may go to a real exchange"
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
