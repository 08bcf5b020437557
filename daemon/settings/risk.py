"""Limits that every order passes."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from daemon.settings.values import Money, NonNegative, Percent, Positive, PositiveInt, Section


class RiskSettings(Section):
    """Limits that every order passes; rupees and units of the instrument."""

    max_order_quantity: PositiveInt = 5000
    max_position_quantity: PositiveInt = 5000
    max_order_notional: Money = Decimal(500_000)
    max_gross_notional: Money = Decimal(1_500_000)
    max_net_notional: Money | None = None
    max_daily_loss: Money = Decimal(20_000)
    max_day_drawdown: Money | None = None
    margin_rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    price_band_percent: Percent = 5.0
    max_orders_per_second: PositiveInt = 8
    max_orders_per_minute: PositiveInt = 120
    max_orders_per_day: PositiveInt = 5000
    duplicate_window_s: NonNegative = 1.0
    stale_after_s: Positive = 60.0
    exits_when_halted: bool = True
