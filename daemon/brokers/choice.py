"""`broker.name` and `feed.source` → the adapter. The only place that picks one.

An adapter is imported when it is asked for: a replay asks for none. Invariant: one account has one budget of calls,
whoever makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from daemon.brokers.adapter import Adapter
from daemon.calls.budget import RateBudget
from daemon.core.errors import SettingsError
from daemon.machine import Machine
from daemon.settings.orders import BrokerSettings
from daemon.settings.tree import Settings


class _Adapters(Mapping[str, Adapter]):
    """By name, in the order in which they are told."""

    _modules: Final = {"fyers": "daemon.fyers.adapter", "openalgo": "daemon.openalgo.adapter"}

    def __getitem__(self, name: str) -> Adapter:
        adapter: Adapter = import_module(self._modules[name]).ADAPTER
        return adapter

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


ADAPTERS: Final[Mapping[str, Adapter]] = _Adapters()


def adapter_of(broker: BrokerSettings) -> Adapter | None:
    """Who takes the orders; None on paper."""
    return None if broker.on_paper else ADAPTERS[broker.name]


def feed_of(settings: Settings) -> Adapter:
    """Who gives the live ticks. Raises `SettingsError` where `feed.source` is a tape."""
    try:
        return ADAPTERS[settings.feed.source]
    except KeyError:
        raise SettingsError(f"feed.source: expected one of {', '.join(ADAPTERS)} for live ticks, got tape") from None


def broker_or_first(broker: BrokerSettings) -> Adapter:
    """Who is asked for what needs an account but no orders: the first of all while trading is on paper."""
    return adapter_of(broker) or next(iter(ADAPTERS.values()))


def held_account(broker: BrokerSettings) -> tuple[str, str] | None:
    """Name and API of the account that is traded on; None on paper."""
    adapter = adapter_of(broker)
    return adapter.account(broker) if adapter is not None else None


def budgets(settings: Settings, machine: Machine, *, live: bool) -> dict[str, RateBudget]:
    """Of every account that a run makes calls to, by the adapter's name; `live`: whether its ticks are."""
    names = {settings.broker.name, settings.feed.source if live else ""} & set(ADAPTERS)
    return {name: ADAPTERS[name].budget(settings.broker, machine) for name in sorted(names)}


def check_feed(settings: Settings) -> None:
    """Raise `SettingsError` for what live ticks lack or must not be combined with."""
    feed_of(settings).check_feed(settings)


def real_ticks(settings: Settings) -> bool:
    """Whether the live feed is the market itself."""
    return feed_of(settings).ticks_are_real(settings)
