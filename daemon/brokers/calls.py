"""An account's settings → its budget of calls, one file for all processes that trade, read or log in.

It lives by the machine's clock, whatever time a run has: the venue counts real seconds.
"""

from __future__ import annotations

from daemon.calls.budget import RateBudget, RateLimits
from daemon.calls.call_record import CallRecord
from daemon.core.clock import LiveClock
from daemon.machine import Machine
from daemon.settings.orders import FyersSettings, OpenAlgoSettings


def rate_budget(
    account: FyersSettings | OpenAlgoSettings, machine: Machine | None = None, limits: RateLimits | None = None
) -> RateBudget:
    """The account's budget (or by `limits` a part of it). Raises `SettingsError` for its file."""
    if limits is None:
        limits = RateLimits.of(account.calls_per_second, account.calls_per_minute, account.calls_per_day)
    machine = machine if machine is not None else Machine()
    record = CallRecord(account.calls_file, account.calls_per_minute, machine.pen)
    return RateBudget(LiveClock(machine.readings), limits, record)
