"""How orders go out, and where they go."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from daemon.settings.values import MOST, Money, NonNegative, Positive, PositiveInt, Section


class ExecutionSettings(Section):
    """How an approved intent becomes a venue order."""

    order_type: Literal["MARKET", "LIMIT"] = "MARKET"
    limit_offset_bp: NonNegative = 5.0
    working_timeout_s: Positive = 120.0
    cancel_on_shutdown: bool = True


class PaperSettings(Section):
    """The simulated venue."""

    starting_cash: Money = Decimal(1_000_000)
    spread_bp: NonNegative = 2.0
    slippage_bp: NonNegative = 1.0
    limit_fill: Literal["through", "touch"] = "through"


class FyersSettings(Section):
    """The Fyers account, or a sandbox that speaks as Fyers does."""

    api_url: str = "https://api-t1.fyers.in/api/v3"
    data_url: str = "https://api-t1.fyers.in/data"
    order_socket_url: str = "wss://socket.fyers.in/trade/v3"
    real_money: bool = False
    app_id: str = "SANDBOX-100"
    token_file: Path = Path("var/fyers.token")
    token_warn_s: NonNegative = 3600.0
    token_poll_s: Positive = 5.0
    redirect_url: str = "http://127.0.0.1:8766/"
    market_orders: Literal["market", "protected"] = "market"
    protection_percent: Annotated[Decimal, Field(gt=0, le=20)] = Decimal("0.5")
    product: Literal["INTRADAY", "CNC", "MARGIN"] = "INTRADAY"
    starting_cash: Money = Decimal(1_000_000)
    funds_tolerance: NonNegative = 1000.0
    funds_difference: Literal["alert", "halt"] = "alert"
    external_orders: Literal["adopt", "ignore", "halt"] = "adopt"
    calls_per_second: PositiveInt = 10
    calls_per_minute: Annotated[int, Field(ge=10, le=MOST)] = 200
    calls_per_day: PositiveInt = 100_000
    calls_file: Path = Path("var/fyers.calls")
    answer_s: Positive = 7.0
    reconcile_s: Positive = 30.0
    unknown_poll_s: Positive = 1.0
    unknown_settle_s: Positive = 15.0


class BrokerSettings(Section):
    """Where orders go."""

    name: Literal["paper", "fyers"] = "paper"
    paper: PaperSettings = PaperSettings()
    fyers: FyersSettings = FyersSettings()

    @property
    def starting_cash(self) -> Decimal:
        """Rupees in the account before the first order."""
        return self.fyers.starting_cash if self.name == "fyers" else self.paper.starting_cash
