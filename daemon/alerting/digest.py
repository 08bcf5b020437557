"""A day's journal and the daemon as it stands → the day in a few lines.

Invariant: what earlier processes of the day did is in it, for it is counted in the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from daemon.alerting.messages import Message
from daemon.core.events import AlertChanged, Decision, Fill, OrderDenied, OrderIntent, PositionChanged, Severity
from daemon.journal.reader import JournalReader
from daemon.report.text import rupees, signed_rupees


class Counts(msgspec.Struct, frozen=True):
    """Of a day; `trades` are positions that came back to flat, `costs` rupees, `alerts` kind → how often raised."""

    decisions: int
    orders: int
    denied: int
    fills: int
    trades: int
    costs: Decimal
    alerts: dict[str, int]


class Stands(msgspec.Struct, frozen=True):
    """The daemon at the end of the day: rupees, and words."""

    date: str
    mode: str
    """Who takes the orders and gives the ticks: nobody shall take a day on paper for money."""
    day_pnl: Decimal
    net_pnl: Decimal
    strategy: str
    rung: int
    state: str
    health: str
    open_positions: int
    standing: Sequence[str] = ()
    """Alerts that last: kinds."""


def count_day(path: Path, since_ns: int, runs_live: bool) -> Counts:
    """What a journal has from `since_ns` (event time, UTC ns) on, of live runs or of tapes. Raises `UsageError`."""
    reader = JournalReader(path)
    try:
        runs = [run for run, tapes in reader.metadata_of_all("tapes").items() if (tapes == "[]") is runs_live]
        counted = reader.counts_since(since_ns, runs, Decision, OrderIntent, OrderDenied)
        fills = trades = 0
        costs, alerts = Decimal(0), Counter[str]()
        for event in reader.of_runs(runs, Fill, PositionChanged, AlertChanged, since_ns=since_ns):
            match event:
                case Fill():
                    fills, costs = fills + 1, costs + event.costs
                case PositionChanged():
                    trades += event.quantity == 0
                case AlertChanged():
                    alerts[event.kind] += event.raised
    finally:
        reader.close()
    told = {kind: count for kind, count in alerts.items() if count and kind != "digest"}
    return Counts(
        counted.get("Decision", 0), counted.get("OrderIntent", 0), counted.get("OrderDenied", 0), fills, trades, costs,
        told,
    )  # fmt: skip


def digest(stands: Stands, counts: Counts | None) -> Message:
    """The message; without `counts` where there is no journal."""
    lines = [
        f"{stands.mode}: day {signed_rupees(stands.day_pnl)}, since the start {signed_rupees(stands.net_pnl)}",
        f"{stands.strategy} decides (rung {stands.rung}), trading is {stands.state}, {stands.health}, "
        f"open positions: {stands.open_positions}",
    ]
    if counts is not None:
        alerts = ", ".join(f"{kind} ×{count}" for kind, count in sorted(counts.alerts.items())) or "none"
        lines += [
            f"decisions {counts.decisions}, orders {counts.orders} (denied {counts.denied}), fills {counts.fills}, "
            f"trades closed {counts.trades}, costs {rupees(counts.costs)}",
            f"alerts: {alerts}",
        ]
    if stands.standing:
        lines.append(f"still standing: {', '.join(stands.standing)}")
    return Message(f"hrmd: {stands.date}: {signed_rupees(stands.day_pnl)}", "\n".join(lines), Severity.INFO)
