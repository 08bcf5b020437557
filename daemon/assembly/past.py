"""A journal → what the runs before left to this one. Read once nobody else can write it.

Invariant: limits that an earlier process was told to tighten stay tight, and a run that doesn't recover starts with the
settings' cash and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from daemon.assembly.market import MarketOfRun
from daemon.core.events import ShadowResult
from daemon.plan import RunPlan
from daemon.recovery.account import Account, recover
from daemon.recovery.market import Recalled, recall
from daemon.recovery.repair import check_whole, repair
from daemon.settings.changing import tightened
from daemon.settings.tree import Settings
from daemon.shadow.shadows import earlier_results
from daemon.strategy.build import view_settings


class Past(msgspec.Struct):
    """What earlier runs left."""

    account: Account
    settings: Settings
    """Those of this run, with the limits that an earlier process was told."""
    recalled: Recalled
    """The market as it was seen, and who was in charge."""
    shadowed: Sequence[ShadowResult]
    """What shadow agents earned."""


def read_past(settings: Settings, plan: RunPlan, market: MarketOfRun, *, shadowed: bool) -> Past:
    """Repair the journal and read it; `shadowed`: whether agents go on beside. Raises `UsageError`."""
    lacking = False
    if plan.journal is not None and plan.recover:
        lacking = repair(plan.journal).lacking
    elif plan.journal is not None:
        check_whole(plan.journal)
    cash = settings.broker.starting_cash
    left = recover(plan.journal, cash) if plan.recover and plan.journal is not None else None
    account = left if left is not None else Account(cash)
    account.lacking = lacking
    settings = tightened(settings, account.settings_changed())
    past = Past(account, settings, Recalled(), [])
    if plan.recover and plan.journal is not None:
        view = view_settings(settings)
        seen = (view.interval, view.coarse_interval)
        past.recalled = recall(plan.journal, settings, seen, market.begins_at, live=not plan.tapes)
        if shadowed:
            past.shadowed = earlier_results(plan.journal, live=not plan.tapes)
    return past
