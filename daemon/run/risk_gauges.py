"""Risk's own picture → how much of each limit is used, as control shows it.

Invariant: what is shown is what the gate compares: the same book, the same limits, those that were changed included.
"""

from __future__ import annotations

from decimal import Decimal

from daemon.alerting.conditions import Condition, of_loss
from daemon.control.rows import RiskGauge, RiskView
from daemon.core.clock import NS_PER_S, india_day
from daemon.core.events import Side
from daemon.risk.book import RiskBook, worst_position
from daemon.risk.gate import MINUTE_NS
from daemon.risk.intents import Instruments, limits_of, most_gross
from daemon.settings.risk import RiskSettings

PAISA = Decimal("0.01")
NOTHING = Decimal(0)


def risk_view(
    book: RiskBook, limits: RiskSettings, instruments: Instruments, now_ns: int, free: Decimal | None = None
) -> RiskView:
    """The day's profit, what is `free` for new margin (None: nobody says), and a gauge for each limit that is set."""
    pnl = book.day_pnl()
    a_minute, a_second = limits.max_orders_per_minute, limits.max_orders_per_second
    held = [  # with what working orders may add, each beside its own limit
        (worst_position(entry), limits_of(limits, instruments, symbol).max_position_quantity)
        for symbol, entry in book.symbols.items()
    ]
    most, allowed = max(held, key=lambda one: one[0] / one[1], default=(0, limits.max_position_quantity))
    gauges = [
        _gauge("daily loss", max(NOTHING, -pnl), limits.max_daily_loss, "₹"),
        _gauge("gross exposure", book.gross_notional(""), most_gross(limits, book), "₹"),
        _gauge("largest position", most, allowed, "units"),
        _gauge("orders today", book.approved_on(india_day(now_ns)), limits.max_orders_per_day, ""),
        _gauge("orders in a minute", book.approved_since(now_ns - MINUTE_NS, a_minute), a_minute, ""),
        _gauge("orders in a second", book.approved_since(now_ns - NS_PER_S, a_second), a_second, ""),
    ]
    if limits.max_day_drawdown is not None:
        fallen = max(NOTHING, book.day_high - pnl)
        gauges.insert(1, _gauge("fall from the day's high", fallen, limits.max_day_drawdown, "₹"))
    if limits.max_net_notional is not None:
        net = max(side.sign * book.net_notional("", side) for side in Side)
        gauges.insert(2, _gauge("net exposure", max(NOTHING, net), limits.max_net_notional, "₹"))
    reached = "".join(one.text for one in loss_reached(book, limits))
    rest = None if free is None else free.quantize(PAISA)
    return RiskView(day_pnl=pnl.quantize(PAISA), free=rest, gauges=gauges, reached=reached)


def loss_reached(book: RiskBook, limits: RiskSettings) -> list[Condition]:
    """That nothing is opened any more today, for the day has lost what it may; nothing where it hasn't."""
    return of_loss(book.day_pnl(), book.day_high, limits.max_daily_loss, limits.max_day_drawdown)


def _gauge(name: str, used: Decimal | int, limit: Decimal | int, unit: str) -> RiskGauge:
    used, limit = Decimal(used), Decimal(limit)
    if unit == "₹":
        used, limit = used.quantize(PAISA), limit.quantize(PAISA)
    return RiskGauge(
        name=name, used=used, limit=limit, share=round(float(used / limit), 4) if limit else 1.0, unit=unit
    )
