"""What an adapter brings: an account to trade on, ticks, history, checks; docs/brokers.md says what each is.

Invariant: nothing outside `daemon.brokers` and the adapters asks which broker it is.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from daemon.brokers.history_download import HistorySource
from daemon.calls.budget import RateBudget
from daemon.core.bus import Bus
from daemon.core.clock import Clock, LiveClock, PacedClock
from daemon.feed.live.feed import LiveFeed, Record
from daemon.feed.live.frames import Link
from daemon.feed.tick_filter import TickFilter
from daemon.machine import Machine
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import OrderBook
from daemon.orders.broker import BoundsOf, Broker
from daemon.preflight import Finding
from daemon.settings.orders import BrokerSettings
from daemon.settings.tree import Settings

if TYPE_CHECKING:
    from daemon.calls.http import OnDate


class Ability(StrEnum):
    """What a broker can do, as far as our guarantees depend on it."""

    ORDERS = "orders"
    TAGS = "client order ids in the book"
    TRADE_IDS = "ids of trades"
    PUSHES = "pushes of orders"
    TRADE_PUSHES = "pushes of trades"
    TICKS = "live ticks"
    QUOTES = "quotes"
    HISTORY = "history"
    LOGIN = "hrmd login"


class MakeBroker(Protocol):
    """Settings → the account. Raises `SettingsError` for a token or an address that won't do."""

    def __call__(
        self, settings: BrokerSettings, clock: Clock, budget: RateBudget, instruments: InstrumentBook,
        orders: OrderBook, *, real_ticks: bool, on_date: OnDate | None, bounds_of: BoundsOf | None,
    ) -> Broker:  # fmt: skip
        """`orders` are our own, for venues whose book doesn't show our ids."""


class MakeFeed(Protocol):
    """Settings → live ticks. Raises `SettingsError` as `check_feed` does."""

    def __call__(
        self, settings: Settings, bus: Bus, tick_filter: TickFilter, calendar: MarketCalendar,
        clock: LiveClock | PacedClock, budget: RateBudget, record: Record | None = None, symbols: tuple[str, ...] = (),
        gateway: Callable[[Any], AbstractAsyncContextManager[Link]] | None = None, rng: random.Random | None = None,
    ) -> LiveFeed:  # fmt: skip
        """`record` is given every batch as it came; `gateway` stands in for the adapter's own link."""


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """One broker."""

    name: str
    """As `broker.name` and `feed.source` have it."""
    title: str
    can: tuple[Ability, ...]
    account: Callable[[BrokerSettings], tuple[str, str]]
    """Name and API of the account: one daemon an account."""
    budget: Callable[[BrokerSettings, Machine], RateBudget]
    """The account's calls, which all processes share."""
    broker: MakeBroker
    feed: MakeFeed
    check_feed: Callable[[Settings], None]
    """Raise `SettingsError` for what `feed.source` lacks or must not be combined with."""
    ticks_are_real: Callable[[Settings], bool]
    """Whether the live feed is the market itself, and not in part something on this machine."""
    findings: Callable[[Settings, Mapping[str, str], Clock], Awaitable[list[Finding]]]
    """What `hrmd check --live` says of the account; the broker is only read."""
    history: Callable[[BrokerSettings, Clock, InstrumentBook], AbstractAsyncContextManager[HistorySource]]
    """Candles of the past, within a part of the account's budget; the instruments tell when a contract ended."""
