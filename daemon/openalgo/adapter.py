"""OpenAlgo, as `daemon.brokers.choice` picks it."""

from __future__ import annotations

from typing import Final

from daemon.brokers.adapter import Ability, Adapter
from daemon.brokers.calls import rate_budget
from daemon.openalgo.access import history
from daemon.openalgo.broker import openalgo_broker
from daemon.openalgo.feed import check_feed, openalgo_feed, ticks_are_real
from daemon.openalgo.findings import openalgo_findings

ADAPTER: Final = Adapter(
    name="openalgo",
    title="OpenAlgo API v1",
    can=(Ability.ORDERS, Ability.PUSHES, Ability.TICKS, Ability.QUOTES, Ability.HISTORY),
    account=lambda broker: ("openalgo", broker.openalgo.url),
    budget=lambda broker, machine: rate_budget(broker.openalgo, machine),
    broker=openalgo_broker,
    feed=openalgo_feed,
    check_feed=check_feed,
    ticks_are_real=ticks_are_real,
    findings=openalgo_findings,
    history=history,
)
