"""A short tape in, a journal out that was checked by hand: see `golden_hill.json`.

The tape is `hill`: nine minutes up by a rupee each, nine down. By hand: a buy decided 5 minutes and a second after the
open fills at the next tick, 805, plus a basis point of spread and one of slippage: 805.161, on the grid 805.20. On
80,520 rupees that costs 20 brokerage (0.03 % would be 24.16), 2.39 exchange, 2.42 stamp, 0.08 SEBI, 0.08 IPFT and 18 %
GST on 22.47, 4.04: 29.01 in all.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    Action,
    Bar,
    Decision,
    Event,
    Fill,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    PositionChanged,
    TradingStateChanged,
)
from daemon.report.summary import ReplaySummary
from tests.samples import LIVELY, MINUTE, OPEN, hill, journaled, play, write_tape

GOLDEN = Path(__file__).with_name("golden_hill.json")
KEPT = (
    OrderIntent, OrderApproved, OrderDenied, OrderAccepted, OrderRejected, OrderCancelled, Fill, PositionChanged,
    TradingStateChanged,
)  # fmt: skip


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplaySummary]:
    """(journal, summary) of the hill."""
    directory = tmp_path_factory.mktemp("golden")
    tape = write_tape(directory / "hill.parquet", *hill())
    _, summary = play(tape, *LIVELY, journal=directory / "j.sqlite")
    return directory / "j.sqlite", summary


def row(event: Event) -> dict[str, Any]:
    """An event as the golden file has it: its type, its time in seconds after the open, and its other fields."""
    fields = msgspec.json.decode(msgspec.json.encode(event))
    seconds = (fields.pop("ts") - OPEN) / NS_PER_S
    return {"event": type(event).__name__, "seconds": seconds, **fields}


def test_orders_fills_and_positions_are_the_golden_ones(played: tuple[Path, ReplaySummary]) -> None:
    """Every field of every order event."""
    rows = [row(event) for event in journaled(played[0], *KEPT)]
    assert rows == json.loads(GOLDEN.read_text())


def test_decisions_are_those_of_the_crossings(played: tuple[Path, ReplaySummary]) -> None:
    """One at the close of each minute plus its grace; all but three hold."""
    decisions = journaled(played[0], Decision)
    assert [event.ts for event in decisions] == [OPEN + n * MINUTE + NS_PER_S for n in range(1, 19)]
    acted = [(event.ts_bar, event.action, event.price) for event in decisions if event.action is not Action.HOLD]
    assert acted == [
        (OPEN + 5 * MINUTE, Action.BUY_LONG, 804.0),
        (OPEN + 12 * MINUTE, Action.CLOSE_LONG, 805.0),
        (OPEN + 13 * MINUTE, Action.SELL_SHORT, 804.0),
    ]


def test_bars_are_those_of_the_hill(played: tuple[Path, ReplaySummary]) -> None:
    """Opened and closed on the level of their minute, 20 paise higher in between, three ticks each."""
    bars = [bar for bar in journaled(played[0], Bar) if bar.interval == "1m"]
    levels = [800.0 + n if n < 9 else 816.0 - n for n in range(18)]
    assert [(b.open, b.high, b.low, b.close, b.ticks, b.volume) for b in bars] == [
        (level, level + 0.2, level, level, 3, -1) for level in levels
    ]


def test_the_summary_adds_it_up(played: tuple[Path, ReplaySummary]) -> None:
    """One round trip that lost, and an open short valued at the last bar's 799."""
    _, summary = played
    assert (summary.orders, summary.fills, summary.trades, summary.rejected_orders) == (4, 3, 1, 0)
    assert (summary.net_pnl, summary.costs) == (Decimal("117.65"), Decimal("122.35"))
    assert summary.notes == ["still held at the end, valued at the last bar: NSE:SBIN-EQ"]
