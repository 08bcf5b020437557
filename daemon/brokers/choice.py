"""`broker.name` and `feed.source` → the adapter. The only place that picks one.

Invariant: one account has one budget of calls, whoever makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from daemon.brokers.adapter import Ability, Adapter
from daemon.calls.budget import RateBudget
from daemon.core.errors import SettingsError
from daemon.fyers.access import history as fyers_history
from daemon.fyers.access import rate_budget
from daemon.fyers.broker import fyers_broker
from daemon.fyers.feed import check_live, fyers_feed, ticks_are_real
from daemon.fyers.findings import fyers_findings
from daemon.machine import Machine
from daemon.openalgo.access import history as openalgo_history
from daemon.openalgo.access import rate_budget as openalgo_budget
from daemon.openalgo.broker import openalgo_broker
from daemon.openalgo.feed import check_feed as openalgo_check
from daemon.openalgo.feed import openalgo_feed
from daemon.openalgo.feed import ticks_are_real as openalgo_ticks_are_real
from daemon.openalgo.findings import openalgo_findings
from daemon.settings.orders import BrokerSettings
from daemon.settings.tree import Settings

ADAPTERS: Final[Mapping[str, Adapter]] = {
    adapter.name: adapter
    for adapter in (
        Adapter(
            name="fyers",
            title="Fyers API v3",
            can=tuple(Ability),
            account=lambda broker: (broker.fyers.app_id, broker.fyers.api_url),
            budget=lambda broker, machine: rate_budget(broker.fyers, machine=machine),
            broker=fyers_broker,
            feed=fyers_feed,
            check_feed=check_live,
            ticks_are_real=ticks_are_real,
            findings=fyers_findings,
            history=fyers_history,
        ),
        Adapter(
            name="openalgo",
            title="OpenAlgo API v1",
            can=(Ability.ORDERS, Ability.PUSHES, Ability.TICKS, Ability.QUOTES, Ability.HISTORY),
            account=lambda broker: ("openalgo", broker.openalgo.url),
            budget=lambda broker, machine: openalgo_budget(broker.openalgo, machine),
            broker=openalgo_broker,
            feed=openalgo_feed,
            check_feed=openalgo_check,
            ticks_are_real=openalgo_ticks_are_real,
            findings=openalgo_findings,
            history=openalgo_history,
        ),
    )
}


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
