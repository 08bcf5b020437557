"""Limits that every order passes."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from daemon.settings.budget import BudgetShare
from daemon.settings.values import Money, Percent, Positive, PositiveInt, Section

LONGEST_DUPLICATE_WINDOW_S = 3600
"""So long approved orders are remembered one by one."""


class OwnLimits(Section):
    """Limits on size of one instrument, or of all contracts on an underlying; what is left out is the general one."""

    max_order_quantity: PositiveInt | None = None
    max_position_quantity: PositiveInt | None = None
    max_order_notional: Money | None = None

    def stated(self) -> dict[str, int | Decimal]:
        """Those that are set."""
        return {name: value for name, value in self if value is not None}


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
    duplicate_window_s: Annotated[float, Field(ge=0, le=LONGEST_DUPLICATE_WINDOW_S)] = 1.0
    stale_after_s: Positive = 60.0
    exits_when_halted: bool = True
    limits: dict[str, OwnLimits] = {}
    budget: BudgetShare = BudgetShare()

    @field_validator("limits")
    @classmethod
    def _by_symbol(cls, limits: dict[str, OwnLimits]) -> dict[str, OwnLimits]:
        for symbol in limits:
            if not all(symbol.partition(":")):
                raise ValueError(f"symbols such as NSE:SBIN-EQ, NSE:NIFTY-FUT or NSE:NIFTY-OPT, not {symbol!r}")
        return limits

    @model_validator(mode="after")
    def _own_fit(self) -> Self:
        for symbol, own in self.limits.items():
            order = own.max_order_quantity or self.max_order_quantity
            held = own.max_position_quantity or self.max_position_quantity
            if own.stated() and order > held:
                raise ValueError(
                    f"limits of {symbol} with max_order_quantity ({order}) not above max_position_quantity ({held})"
                )
        return self

    def of(self, *names: str) -> RiskSettings:
        """As they hold for what goes by these names: the own ones of a later before those of an earlier, the rest."""
        own: dict[str, int | Decimal] = {}
        for name in names:
            if name in self.limits:
                own |= self.limits[name].stated()
        return self.model_copy(update=own) if own else self
