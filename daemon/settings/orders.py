"""How orders go out, and where they go."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from daemon.calls.addresses import is_local
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
    spread_times: Annotated[float, Field(ge=1, le=MOST)] = 1.0
    slippage_bp: NonNegative = 1.0
    limit_fill: Literal["through", "touch"] = "through"


class LiveBrokerSettings(Section):
    """What a live account is traded by, whoever the broker is."""

    real_money: bool = False
    product: Literal["INTRADAY", "CNC", "MARGIN"] = "INTRADAY"
    market_orders: Literal["market", "protected"] = "market"
    protection_percent: Annotated[Decimal, Field(gt=0, le=20)] = Decimal("0.5")
    starting_cash: Money = Decimal(1_000_000)
    funds_tolerance: NonNegative = 1000.0
    funds_difference: Literal["alert", "halt"] = "alert"
    external_orders: Literal["adopt", "ignore", "halt"] = "adopt"
    answer_s: Positive = 7.0
    reconcile_s: Positive = 30.0
    unknown_poll_s: Positive = 1.0
    unknown_settle_s: Positive = 15.0
    token_warn_s: NonNegative = 3600.0
    token_poll_s: Positive = 5.0


class FyersSettings(Section):
    """The Fyers account, or a sandbox that speaks as Fyers does."""

    api_url: str = "https://api-t1.fyers.in/api/v3"
    data_url: str = "https://api-t1.fyers.in/data"
    order_socket_url: str = "wss://socket.fyers.in/trade/v3"
    socket_url: str = "wss://socket.fyers.in/hsm/v1-5/prod"
    symbol_token_url: str = "https://api-t1.fyers.in/data/symbol-token"
    index_map_url: str = "https://public.fyers.in/sym_details/index_hsm_mapping.json"
    app_id: str = "SANDBOX-100"
    token_file: Path = Path("var/fyers.token")
    redirect_url: str = "http://127.0.0.1:8766/"
    calls_per_second: PositiveInt = 10
    calls_per_minute: Annotated[int, Field(ge=10, le=MOST)] = 200
    calls_per_day: PositiveInt = 100_000
    calls_file: Path = Path("var/fyers.calls")


class OpenAlgoSettings(Section):
    """An OpenAlgo server, which speaks to one of its brokers, or a sandbox that speaks as OpenAlgo does."""

    url: str = "http://127.0.0.1:5000"
    socket_url: str = "ws://127.0.0.1:8765"
    key_file: Path = Path("var/openalgo.key")
    calls_per_second: PositiveInt = 10
    calls_per_minute: Annotated[int, Field(ge=10, le=MOST)] = 300
    calls_per_day: PositiveInt = 100_000
    calls_file: Path = Path("var/openalgo.calls")


class BrokerSettings(Section):
    """Where orders go."""

    name: Literal["paper", "fyers", "openalgo"] = "paper"
    paper: PaperSettings = PaperSettings()
    live: LiveBrokerSettings = LiveBrokerSettings()
    fyers: FyersSettings = FyersSettings()
    openalgo: OpenAlgoSettings = OpenAlgoSettings()

    @property
    def on_paper(self) -> bool:
        """Whether no broker is asked for anything."""
        return self.name == "paper"

    @property
    def real(self) -> bool:
        """Whether orders may reach an exchange: Fyers' own API, or whatever OpenAlgo speaks to, with money."""
        if self.name == "fyers":
            return not is_local(self.fyers.api_url)
        return self.name == "openalgo" and self.live.real_money

    @property
    def starting_cash(self) -> Decimal:
        """Rupees in the account before the first order."""
        return self.paper.starting_cash if self.on_paper else self.live.starting_cash
