"""What a journal is made of: its version, its metadata, and the events that it holds.

`runs(run, key, value)` holds metadata; `events(run, seq, ts, type, body)` holds each event as JSON text. A run that was
shortened begins at the snapshot that its `begins_at` names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sized
from pathlib import Path

from daemon.core import events as vocabulary
from daemon.core.errors import UsageError
from daemon.core.events import Event

SCHEMA_VERSION = 2
"""2 added the index by which the newest snapshot is found; journals of 1 are brought up to it when they are opened."""
READABLE = (1, 2)
BEGINS_AT = "begins_at"
ENDS_AT = "ends_at"
"""Metadata of a run that was closed in order: its last event."""
SEEN_WHOLE = "seen_whole"
"""Metadata of a run that was killed: a later start has read it with its -wal, which may be gone since."""
IN_CHARGE = "strategy_in_charge"
"""Metadata of a shortened run: the strategy that decided when its first kept event was written."""
MODEL_IN_CHARGE = "model_in_charge"
"""Metadata of a shortened run in which another model was put in charge before: the newest such event, JSON."""
LOCK = "strategy_lock"
"""Metadata of a shortened run: why automatic steps were locked at its first kept event, "" where they weren't."""

CANARY = "canary"
"""Metadata of a shortened run: how the newest canary stood at its first kept event, JSON."""

DAMAGED = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: SQLite's own words about it may quote bytes that are no UTF-8."""

JOURNALED: tuple[type[Event], ...] = (
    vocabulary.Complexity,
    vocabulary.Decision,
    vocabulary.OrderIntent,
    vocabulary.OrderApproved,
    vocabulary.OrderDenied,
    vocabulary.OrderSent,
    vocabulary.OrderAccepted,
    vocabulary.OrderRejected,
    vocabulary.OrderCancelRequested,
    vocabulary.OrderCancelFailed,
    vocabulary.OrderCancelled,
    vocabulary.OrderExpired,
    vocabulary.OrderUnknown,
    vocabulary.Fill,
    vocabulary.PositionChanged,
    vocabulary.TradingStateChanged,
    vocabulary.StrategySwapped,
    vocabulary.ActorRestarted,
    vocabulary.FeedStatus,
    vocabulary.Halt,
    vocabulary.Resume,
    vocabulary.Reduce,
    vocabulary.Flatten,
    vocabulary.SwapStrategy,
    vocabulary.SymbolHalted,
    vocabulary.SymbolResumed,
    vocabulary.ContractClosing,
    vocabulary.ProtectionFailed,
    vocabulary.ExitOwed,
    vocabulary.AccountSnapshot,
    vocabulary.MarketRemembered,
    vocabulary.DayProfitPeaked,
    vocabulary.OrderAmended,
    vocabulary.FundsDiffer,
    vocabulary.ManualOrder,
    vocabulary.ManualOrderAnswered,
    vocabulary.CancelOrder,
    vocabulary.BrokerStatus,
    vocabulary.PriceAdjusted,
    vocabulary.PriceJumped,
    vocabulary.PositionRestated,
    vocabulary.HealthReport,
    vocabulary.LoadModel,
    vocabulary.ModelLoaded,
    vocabulary.ModelRefused,
    vocabulary.MitigationTaken,
    vocabulary.LockStrategy,
    vocabulary.ShadowResult,
    vocabulary.BaselineWeighed,
    vocabulary.BeginCanary,
    vocabulary.EndCanary,
    vocabulary.CanaryChanged,
    vocabulary.SessionMeasured,
    vocabulary.AdvanceMigration,
    vocabulary.RollBackMigration,
    vocabulary.MigrationChanged,
    vocabulary.MigrationStanding,
    vocabulary.RunCounted,
    vocabulary.SettingChanged,
    vocabulary.BudgetChanged,
    vocabulary.ControlAction,
    vocabulary.AlertChanged,
    vocabulary.AlertSent,
)
"""What is recorded: every event that a decision, a position or a state depends on; of bars only
the intervals that decisions see (the caller chooses them), of ticks none: they have their own tape."""

_RECORDED: tuple[type[Event], ...] = (vocabulary.Bar, *JOURNALED)
KINDS = dict(zip([kind.__name__ for kind in _RECORDED], _RECORDED, strict=True))


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Raises `UsageError` where the file holds anything but an empty database or a journal that can be read."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if version not in READABLE and tables:
        raise UsageError(
            f"{path}: not an hrmd journal of schema {SCHEMA_VERSION} (found {version}): choose another file"
        )


def marks(values: Sized) -> str:
    """Placeholders for so many values of a query."""
    return ", ".join("?" * len(values))
