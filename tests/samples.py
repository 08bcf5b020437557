"""Ticks, tapes, decisions and orders that the tests of the trading path share; all in one session of 2026-01-05."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    TICK_COLUMNS,
    Action,
    Decision,
    Event,
    Fill,
    OrderCancelled,
    OrderIntent,
    OrderType,
    PositionChanged,
    Side,
    TickBatch,
)
from daemon.journal.reader import JournalReader
from daemon.market.calendar import Session, ist_date
from daemon.report.summary import ReplaySummary
from daemon.run.latency import parse_latency
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.settings.loading import load_settings
from daemon.settings.orders import BrokerSettings, FyersSettings, LiveBrokerSettings
from daemon.settings.tree import Settings
from daemon.tape.format import TapeWriter
from daemon.tape.simulator import SimulatedSymbol, simulate

MINUTE = 60 * NS_PER_S
OPEN = 1_767_584_700 * NS_PER_S
"""2026-01-05 09:15 IST, the open of a session."""
CLOSE = OPEN + 375 * MINUTE
DAY = 1440 * MINUTE
SBIN = "NSE:SBIN-EQ"
RELIANCE = "NSE:RELIANCE-EQ"

LIVELY = (
    "supervisor.ladder=[hrm, rules, flat]", "strategy.name=rules", "strategy.interval=1m",
    "bars.intervals=[1m, 5m, 30m, 1d]", "strategy.rules.fast=2", "strategy.rules.slow=5", "strategy.rules.min_bars=5",
    "strategy.rules.trade_in=[trending, ranging, volatile]", "strategy.rules.not_before_minutes=0",
    "strategy.rules.min_trend=0", "strategy.rules.pays=0", "strategy.rules.once=false",
    "supervisor.triggers.flaps_per_hour=1000",
)  # fmt: skip
"""Settings under which the rules trade within minutes."""

HRM = (
    "model_management.artifact=null", "strategy.name=hrm", "strategy.interval=15m", "bars.intervals=[1m, 15m, 30m]",
    "hierarchical_reasoning_model.features.min_bars=5", "hierarchical_reasoning_model.act.max_segments=2",
    "hierarchical_reasoning_model.act.complexity_steps=[]",
)  # fmt: skip
"""Settings under which a small untrained network decides every quarter of an hour."""


def ticks(
    ts: Sequence[int], ltp: Sequence[float], symbols: tuple[str, ...] = (SBIN,), code: Sequence[int] | None = None,
    **columns: Sequence[float],
) -> TickBatch:  # fmt: skip
    """A batch of ticks at `ts` (UTC ns); columns not given are null."""
    n = len(ts)
    full: dict[str, Any] = {name: np.full(n, -1, dtype=np.int64) for name in TICK_COLUMNS}
    full |= {"code": np.zeros(n, np.int32), "ltp": np.asarray(ltp, np.float64)}
    full |= {"bid": np.full(n, np.nan), "ask": np.full(n, np.nan)}
    full["ts_event"] = full["ts_recv"] = np.asarray(ts, dtype=np.int64)
    if code is not None:
        full["code"] = np.asarray(code, np.int32)
    for name, values in columns.items():
        full[name] = np.asarray(values, dtype=full[name].dtype)
    return TickBatch(symbols=symbols, **full)


def tick(ts: int, price: float, symbol: str = SBIN) -> TickBatch:
    """One tick."""
    return ticks([ts], [price], (symbol,))


def wave(minutes: int = 60, days: int = 1, every_s: int = 5) -> tuple[list[int], list[float]]:
    """(times, prices): a price that swings around 800 with a period of 20 minutes, from the open on."""
    seconds = np.arange(1, minutes * 60, every_s)
    prices = np.round(800 + 8 * np.sin(seconds / 1200 * 2 * np.pi), 1)
    times = [OPEN + day * DAY + int(s) * NS_PER_S for day in range(days) for s in seconds]
    return times, prices.tolist() * days


def hill() -> tuple[list[int], list[float]]:
    """(times, prices): nine minutes up from 800 by a rupee each, nine down; ticks at 10, 30 (20 paise up) and 50 s."""
    times, prices = [], []
    for minute in range(18):
        level = 800.0 + minute if minute < 9 else 816.0 - minute
        for second in (10, 30, 50):
            times.append(OPEN + (60 * minute + second) * NS_PER_S)
            prices.append(level + 0.2 if second == 30 else level)
    return times, prices


def write_tape(
    path: Path, ts: Sequence[int], ltp: Sequence[float], symbol: str = SBIN, notes: dict[str, str] | None = None
) -> Path:
    """A tape of one symbol."""
    with TapeWriter(path, columns=(), notes=notes) as writer:
        writer.write(ticks(ts, ltp, (symbol,)))
    return path


def write_simulated(
    path: Path,
    symbols: Sequence[SimulatedSymbol],
    columns: Sequence[str],
    days: Sequence[int] = (0,),
    ticks: int = 4000,
) -> Path:
    """A simulated tape with faulty ticks: the first two hours and the last twenty minutes of sessions.

    `days`: after that of `OPEN`; `ticks`: so many a symbol and whole session. Whole ones would take thrice as long.
    """
    opens = [OPEN + day * DAY for day in days]
    sessions = [Session(ist_date(begin), begin, begin + CLOSE - OPEN) for begin in opens]
    with TapeWriter(path, columns=columns, notes={"simulated": "true"}) as writer:
        for batch in simulate(symbols, sessions, ticks, 11, 0.01):
            minute = (batch.ts_recv - OPEN) % DAY // MINUTE
            writer.write(batch.take((minute < 120) | (minute >= 355)))
    return path


def settings_of(*overrides: str) -> Settings:
    """The project's settings with overrides."""
    return load_settings(None, list(overrides))


def play(
    tape: Path | list[Path], *overrides: str, latency: str = "zero", **outputs: Path | None
) -> tuple[Replay, ReplaySummary]:
    """Replay a tape in this process."""

    async def run() -> tuple[Replay, ReplaySummary]:
        tapes = tape if isinstance(tape, list) else [tape]
        replay = Replay(settings_of(*overrides), tapes, [], parse_latency(latency), ReplayOutputs(**outputs))
        return replay, await replay.run()

    return asyncio.run(run())


def journaled(path: Path, *kinds: type[Event]) -> list[Any]:
    """The events of a journal's latest run."""
    reader = JournalReader(path)
    try:
        return list(reader.events(*kinds))
    finally:
        reader.close()


def decide(action: Action, quantity: int = 100, **changes: Any) -> Decision:
    """A decision of the rules, an hour after the open, at 800 rupees."""
    values: dict[str, Any] = {
        "ts": OPEN + 60 * MINUTE, "ts_bar": OPEN + 60 * MINUTE, "symbol": SBIN, "interval": "5m", "strategy": "rules",
        "action": action, "quantity": quantity, "confidence": 0.5, "reason": "a test", "price": 800.0,
    }  # fmt: skip
    return Decision(**(values | changes))


def intend(order_id: str = "T1", side: Side = Side.BUY, quantity: int = 100, **changes: Any) -> OrderIntent:
    """An intent of a market order that opens, an hour after the open, at 800 rupees."""
    values: dict[str, Any] = {
        "ts": OPEN + 60 * MINUTE, "order_id": order_id, "symbol": SBIN, "side": side, "quantity": quantity,
        "type": OrderType.MARKET, "limit_price": None, "stop_price": None, "reduces": False, "strategy": "rules",
        "reason": "a test", "reference_price": Decimal(800),
    }  # fmt: skip
    return OrderIntent(**(values | changes))


def fill_of(intent: OrderIntent, quantity: int | None = None, number: int = 1, **changes: Any) -> Fill:
    """A fill of an order, all of it unless told."""
    fill = Fill(
        ts=intent.ts + NS_PER_S, fill_id=f"{intent.order_id}-{number}", order_id=intent.order_id, symbol=intent.symbol,
        side=intent.side, quantity=quantity or intent.quantity, price=intent.reference_price, costs=Decimal("1.23"),
    )  # fmt: skip
    return msgspec.structs.replace(fill, **changes)


def cancel_of(intent: OrderIntent, filled: int = 0) -> OrderCancelled:
    """The cancellation of an order."""
    return OrderCancelled(ts=intent.ts + NS_PER_S, order_id=intent.order_id, filled=filled, reason="a test")


def position_of(quantity: int, average: str = "800", symbol: str = SBIN, **changes: Any) -> PositionChanged:
    """A position as the portfolio tells it."""
    event = PositionChanged(
        ts=OPEN + MINUTE, symbol=symbol, quantity=quantity, average_price=Decimal(average), realised_pnl=Decimal(0),
        costs=Decimal(0), cash=Decimal(0), opened_ts=OPEN,
    )  # fmt: skip
    return msgspec.structs.replace(event, **changes)


def fyers_settings(**settings: Any) -> BrokerSettings:
    """A broker that is Fyers, whichever section a setting belongs to."""
    live = {name: settings.pop(name) for name in LiveBrokerSettings.model_fields if name in settings}
    return BrokerSettings(name="fyers", live=LiveBrokerSettings(**live), fyers=FyersSettings(**settings))
