"""Fyers, as `daemon.brokers.choice` picks it."""

from __future__ import annotations

from typing import Final

from daemon.brokers.adapter import Ability, Adapter
from daemon.brokers.calls import rate_budget
from daemon.fyers.access import history
from daemon.fyers.broker import fyers_broker
from daemon.fyers.feed import check_live, fyers_feed, ticks_are_real
from daemon.fyers.findings import fyers_findings

ADAPTER: Final = Adapter(
    name="fyers",
    title="Fyers API v3",
    can=tuple(Ability),
    account=lambda broker: (broker.fyers.app_id, broker.fyers.api_url),
    budget=lambda broker, machine: rate_budget(broker.fyers, machine),
    broker=fyers_broker,
    feed=fyers_feed,
    check_feed=check_live,
    ticks_are_real=ticks_are_real,
    findings=fyers_findings,
    history=history,
)
