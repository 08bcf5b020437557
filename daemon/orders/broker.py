"""What the live path asks of a broker: calls with outcomes, the book as records, and a stream of pushes.

The outcomes are `Done`, `Rejected`, `NotSent` and `Unknown`; their meaning is in `daemon.calls.outcome`. Invariant: no
call raises for what the network or the broker does, and none is sent twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeAlias, runtime_checkable

from daemon.calls.outcome import KeptBack, Outcome, may_go
from daemon.calls.secret import Secret
from daemon.core.events import OrderIntent
from daemon.orders.protection import Bounds
from daemon.orders.pushes import SocketEvent
from daemon.orders.token_keeper import Access
from daemon.orders.venue import Acknowledged, Funds, VenueMargin, VenueOrder, VenuePosition, VenueTrade

BoundsOf: TypeAlias = Callable[[OrderIntent], Bounds]
"""What bounds an order that is protected."""


class TakesOrders(Protocol):
    """What is needed to send."""

    async def submit(self, intent: OrderIntent, kept_back: KeptBack = may_go) -> Outcome[Acknowledged]:
        """Place the order under its client id as tag.

        `kept_back` is asked when nothing has to be waited for any more: where it says why not, the order is `NotSent`.
        """


class TakesCancellations(Protocol):
    """What is needed to take an order off the market."""

    async def cancel(self, venue_id: str) -> Outcome[Acknowledged]:
        """Ask for a cancellation; the book tells what came of it."""


class ShowsAccount(Protocol):
    """What is needed to see how the account stands."""

    async def orders(self, *, urgent: bool) -> Outcome[list[VenueOrder]]:
        """All orders of the day; `urgent` may use the calls kept for exits."""

    async def trades(self, *, urgent: bool) -> Outcome[list[VenueTrade]]:
        """All trades of the day."""

    async def positions(self) -> Outcome[list[VenuePosition]]:
        """What was bought and sold of each symbol, under the product that orders are placed under."""

    async def funds(self) -> Outcome[Funds]:
        """The account's money."""


class Broker(TakesOrders, TakesCancellations, ShowsAccount, Protocol):
    """One account at one broker."""

    @property
    def name(self) -> str:
        """As `broker.name` has it."""

    @property
    def access(self) -> Access:
        """The token or key that it is entered with."""

    @property
    def refusal(self) -> str:
        """Why the venue refuses the present token; "" while it takes it."""

    def events(self) -> AsyncGenerator[SocketEvent, None]:
        """Pushes, gaps and losses of connection, for ever."""

    def authorize(self, token: Secret) -> None:
        """Use another token from the next call on."""

    async def close(self) -> None:
        """Let go of all connections."""


@runtime_checkable
class SaysMargin(Protocol):
    """A broker that can be asked what an order would block before it is placed."""

    async def margin(self, intent: OrderIntent) -> Outcome[VenueMargin] | None:
        """The margin of an order that opens a contract; None for what need not be asked about."""
