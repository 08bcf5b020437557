"""Every kind of alert: how grave it is, and what it means. A table; `hrmd alert list` shows it."""

from __future__ import annotations

from typing import Final

import msgspec

from daemon.core.events import Severity
from daemon.settings.alerts import AlertKind

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


class Sort(msgspec.Struct, frozen=True):
    """Of a kind: the severities that it may have, mildest first, and what it is about."""

    severities: tuple[Severity, ...]
    about: str
    news: bool = False
    """Something that happened, and not something that lasts: nobody is told that it is over."""


KINDS: Final[dict[AlertKind, Sort]] = {
    AlertKind.HALT: Sort((WARNING, CRITICAL), "trading is halted (or only reduces), by whom and why"),
    AlertKind.LOSS_LIMIT: Sort((CRITICAL,), "the day's loss, or the fall from its high, has reached its limit"),
    AlertKind.LADDER: Sort((WARNING, CRITICAL), "another strategy than that of the settings decides, or none"),
    AlertKind.ORDERS: Sort((CRITICAL,), "an order's fate is UNKNOWN"),
    AlertKind.POSITIONS: Sort((CRITICAL,), "broker and journal differ on what is held"),
    AlertKind.EXITS: Sort((WARNING, CRITICAL), "a position is to be closed and isn't"),
    AlertKind.HELD_OVER: Sort((CRITICAL,), "a position is held over what may be a corporate action"),
    AlertKind.PROTECTION: Sort((CRITICAL,), "a position could not have its stop and is closed", news=True),
    AlertKind.EXPIRY: Sort((WARNING,), "a contract that ends soon is being closed", news=True),
    AlertKind.CASH: Sort((CRITICAL,), "the broker's cash and the journal's differ"),
    AlertKind.BUDGET: Sort((WARNING, CRITICAL), "there is no lease of the budget that daemons share, or it ends soon"),
    AlertKind.MISSED_FILLS: Sort((WARNING,), "fills that only the broker's book told of were booked", news=True),
    AlertKind.BROKER: Sort((WARNING, CRITICAL), "the broker doesn't answer"),
    AlertKind.TOKEN: Sort((WARNING, CRITICAL), "the broker's access ends soon, or has ended"),
    AlertKind.FEED: Sort((WARNING, CRITICAL), "the feed, or symbols of it, can't be relied on"),
    AlertKind.TICKS: Sort((CRITICAL,), "no tick comes inside a session"),
    AlertKind.CLOCK: Sort((WARNING, CRITICAL), "the machine's time is doubtful"),
    AlertKind.JOURNAL: Sort((WARNING, CRITICAL), "the journal lags or can't be written"),
    AlertKind.DISK: Sort((WARNING, CRITICAL), "a disk is filling up"),
    AlertKind.MEMORY: Sort((WARNING, CRITICAL), "much memory is in use"),
    AlertKind.RECORDER: Sort((CRITICAL,), "ticks are not being recorded"),
    AlertKind.RUNNING: Sort((CRITICAL,), "it was started and doesn't trade yet"),
    AlertKind.BROKEN_OFF: Sort((CRITICAL,), "the process before did not end in order", news=True),
    AlertKind.STAGES: Sort((WARNING, CRITICAL), "a stage handles nothing"),
    AlertKind.RESTARTS: Sort((WARNING,), "a stage crashed and was started again"),
    AlertKind.LOOP: Sort((WARNING, CRITICAL), "the event loop wakes late"),
    AlertKind.DECISIONS: Sort((CRITICAL,), "a symbol's last decision failed"),
    AlertKind.OWED: Sort((CRITICAL,), "decisions are owed"),
    AlertKind.ERRORS: Sort((WARNING, CRITICAL), "decisions fail"),
    AlertKind.LATENCY: Sort((WARNING, CRITICAL), "decisions are slow"),
    AlertKind.REASONING: Sort((WARNING,), "the deadline cuts reasoning short"),
    AlertKind.CONVERGENCE: Sort((WARNING,), "the model's states don't settle"),
    AlertKind.BASELINE: Sort((WARNING, CRITICAL), "the strategy in charge earns less than the baseline"),
    AlertKind.MODEL: Sort((WARNING, CRITICAL), "the model is not what its file holds"),
    AlertKind.MITIGATION: Sort((INFO, WARNING), "something was done by itself about the strategy", news=True),
    AlertKind.CANARY: Sort((INFO, WARNING), "a canary run began or ended", news=True),
    AlertKind.MIGRATION: Sort((INFO, WARNING), "a migration came to another stage", news=True),
    AlertKind.CALENDAR: Sort((WARNING,), "holidays are not confirmed"),
    AlertKind.ALERTS: Sort((WARNING, CRITICAL), "alerts don't get through to a service"),
    AlertKind.DIGEST: Sort((INFO,), "the day in a few lines, after the close", news=True),
}
