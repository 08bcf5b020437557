"""What a venue says unasked, and the moments after which its book must be read.

Invariant: pushes are news, not the book: one may be lost, repeated or late, and after each time without them comes a
`Gap`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from daemon.orders.venue import VenueOrder, VenuePosition, VenueTrade


class OrderPush(msgspec.Struct, frozen=True):
    """The venue says how an order stands."""

    order: VenueOrder


class TradePush(msgspec.Struct, frozen=True):
    """The venue says that something was traded."""

    trade: VenueTrade


class PositionPush(msgspec.Struct, frozen=True):
    """The venue says how a position stands."""

    position: VenuePosition


class Gap(msgspec.Struct, frozen=True):
    """Pushes may have been missed up to now, and come again from now on: read the book."""

    reason: str


class Disconnected(msgspec.Struct, frozen=True):
    """No pushes come until the next `Gap`; `token_refused` where only a new login will change that."""

    reason: str
    token_refused: bool


SocketEvent: TypeAlias = OrderPush | TradePush | PositionPush | Gap | Disconnected
