"""Everything that can be set: what `daemon.layers` reads → typed, checked settings.

Invariant: what leaves `load_settings` is complete and consistent; anything unknown, of the wrong type or impossible
beside another key is refused in one line that names the key's path and what would be accepted.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from daemon.errors import SettingsError
from daemon.layers import DEFAULT, DEFAULT_PATH, Layers, did_you_mean, read_layers
from models.config import HRMSettings
from models.training.settings import DeepSupervisionSettings, TrainingSettings

INTERVALS: dict[str, int] = {"1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "1d": 86400}
"""Bar intervals and their length in seconds; `1d` is the session."""


class Section(BaseModel):
    """A part of the settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any, field: ValidationInfo) -> Any:
        """`max_order_quantity: yes` is not 1."""
        if isinstance(value, bool) and cls.model_fields[str(field.field_name)].annotation is not bool:
            raise ValueError("a value, not yes or no")
        return value


Interval = Literal["1m", "3m", "5m", "15m", "30m", "60m", "1d"]
MOST = 10**9
"""No count, second, percent or byte of a setting is plausible above it; a limit above it would be no limit."""
MOST_BARS = 1_000_000
MOST_DAYS = 36_500
MOST_RUPEES = Decimal(10**12)
"""A lakh crore: more than any account here holds."""

Positive = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
Money = Annotated[Decimal, Field(gt=0, le=MOST_RUPEES)]
TickSize = Annotated[Decimal, Field(ge=Decimal("0.0001"), le=Decimal(10_000))]


class RecordSettings(Section):
    """The tape that is made of the ticks as they come."""

    when: Literal["live", "always", "never"] = "live"
    path: Path = Path("var/tapes")
    flush_s: Positive = 1.0
    queue_ticks: Annotated[int, Field(ge=1024, le=MOST)] = 1_000_000
    keep_days: Annotated[int, Field(ge=0, le=MOST_DAYS)] = 0
    on_failure: Literal["alert", "halt"] = "alert"


class LiveSettings(Section):
    """The link to Fyers' data socket: where it goes, when it counts as dead, and how its prices are checked."""

    socket_url: str = "wss://socket.fyers.in/hsm/v1-5/prod"
    symbol_token_url: str = "https://api-t1.fyers.in/data/symbol-token"
    index_map_url: str = "https://public.fyers.in/sym_details/index_hsm_mapping.json"
    start_s: Positive = 20.0
    silence_s: Positive = 10.0
    stale_after_s: Positive = 60.0
    renew_before_open_s: NonNegative = 1200.0
    restart_first_s: Positive = 0.5
    restart_longest_s: Positive = 30.0
    max_gateway_mb: Positive = 512.0
    conflate_above: PositiveInt = 4096
    compare_every_s: NonNegative = 30.0
    compare_symbols: Annotated[int, Field(ge=1, le=50)] = 10
    compare_max_percent: Percent = 1.0
    clock_limit_s: Annotated[float, Field(ge=1.5, le=60)] = 2.0


class FeedSettings(Section):
    """Where ticks come from and which are believed."""

    source: Literal["tape", "fyers"] = "tape"
    tape: list[Path] = []
    speed: Positive = 1.0
    symbols: Annotated[list[str], Field(max_length=5000)] = []
    rehearse: bool = False
    live: LiveSettings = LiveSettings()
    chunk_rows: Annotated[int, Field(ge=1024, le=10_000_000)] = 32768
    max_jump_percent: Percent = 20.0
    max_option_jump_percent: Positive = 100.0
    record: RecordSettings = RecordSettings()

    @field_validator("symbols")
    @classmethod
    def _each_once(cls, symbols: list[str]) -> list[str]:
        if len(set(symbols)) < len(symbols):
            raise ValueError("each symbol once")
        return symbols


class InstrumentSettings(Section):
    """One instrument that the tapes or the venue name."""

    symbol: str
    aliases: list[str] = []
    kind: Literal["equity", "index", "future", "option"]
    lot_size: PositiveInt = 1
    tick_size: TickSize = Decimal("0.05")


class SymbolMasterSettings(Section):
    """Fyers' public files of all symbols: where they come from, where copies are kept, which are believed."""

    use: Literal["live", "always", "never"] = "live"
    url: str = "https://public.fyers.in/sym_details"
    directory: Path = Path("var/symbols")
    min_rows: PositiveInt = 1000
    max_age_days: PositiveInt = 5


class MarketSettings(Section):
    """Instruments, and what to do with a symbol that is not listed."""

    instruments: list[InstrumentSettings] = []
    unlisted: Literal["infer", "reject"] = "infer"
    index_as_future: bool = True
    roll_days: Annotated[int, Field(ge=0, le=15)] = 1
    symbol_master: SymbolMasterSettings = SymbolMasterSettings()


class BarSettings(Section):
    """Which bars are built, and how long a bar waits for late ticks."""

    intervals: Annotated[list[Interval], Field(min_length=1)] = ["5m", "30m", "1d"]
    grace_ms: Annotated[int, Field(ge=0, lt=60_000)] = 1000


class ComplexityWeights(Section):
    """How much each component counts in the score; they add up to 1."""

    volatility: NonNegative = 0.4
    trend_strength: NonNegative = 0.3
    momentum: NonNegative = 0.3

    @model_validator(mode="after")
    def _sum(self) -> Self:
        if abs(self.volatility + self.trend_strength + self.momentum - 1) > 1e-6:
            raise ValueError("weights that add up to 1")
        return self


class ComplexityUplift(Section):
    """How much a component adds to the score where there is something to see; all three are 0 in a quiet market."""

    regime_change: NonNegative = 0.1
    correlation_breakdown: NonNegative = 0.1
    event_impact: NonNegative = 0.2


class ComplexitySettings(Section):
    """Windows (in bars), weights and thresholds of the market-complexity detector."""

    volatility_window: Annotated[int, Field(ge=2, le=MOST_BARS)] = 20
    trend_window: Annotated[int, Field(ge=2, le=MOST_BARS)] = 14
    momentum_window: Annotated[int, Field(ge=1, le=MOST_BARS)] = 10
    baseline_window: Annotated[int, Field(ge=10, le=MOST_BARS)] = 375
    correlation_window: Annotated[int, Field(ge=5, le=MOST_BARS)] = 40
    weights: ComplexityWeights = ComplexityWeights()
    uplift: ComplexityUplift = ComplexityUplift()
    trending_above: Annotated[float, Field(gt=0, lt=1)] = 0.35
    volatile_above: Annotated[float, Field(gt=0, lt=1)] = 0.6
    events_file: Path | None = None


class RulesSettings(Section):
    """An EMA cross, entered where the session's trend pays for it."""

    fast: PositiveInt = 8
    slow: PositiveInt = 34
    min_bars: PositiveInt = 36
    quantity: Annotated[int, Field(ge=1, le=100_000)] = 100
    trade_in: Annotated[list[Literal["trending", "ranging", "volatile"]], Field(min_length=1)] = [
        "trending",
        "volatile",
    ]
    not_before_minutes: Annotated[int, Field(ge=0, le=1440)] = 180
    min_trend: NonNegative = 2.0
    cost_bp: NonNegative = 6.0
    pays: NonNegative = 8.0
    once: bool = True

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"fast below slow (fast is {self.fast}, slow is {self.slow})")
        return self


class StrategySettings(Section):
    """Who decides, on which bars, until when."""

    name: Literal["hrm", "ppo", "rules"] = "hrm"
    interval: Interval = "5m"
    no_entries_minutes: PositiveInt = 30
    square_off_minutes: PositiveInt = 15
    rules: RulesSettings = RulesSettings()


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


class JournalSettings(Section):
    """The record of every event that matters."""

    path: Path = Path("var/journal.sqlite")
    group_commit_ms: Annotated[int, Field(ge=0, le=1000)] = 5
    snapshot_every: Annotated[int, Field(ge=100, le=MOST)] = 20_000
    keep_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30


class SupervisorSettings(Section):
    """Restarts and the ladder of strategies."""

    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    restart_window_s: Positive = 60.0
    max_failed_decisions: PositiveInt = 3
    hang_grace_s: Positive = 2.0
    max_hangs_per_day: Annotated[int, Field(ge=0, le=1000)] = 3
    replay_hang_s: Positive = 300.0
    ladder: Annotated[list[Literal["hrm", "ppo", "rules", "flat"]], Field(min_length=1)] = ["hrm", "rules", "flat"]


class ControlSettings(Section):
    """Local HTTP control."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    token_file: Path = Path("var/control.token")

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("host 127.0.0.1, ::1 or localhost: control never leaves the machine")
        return self


class LogSettings(Section):
    """Structured logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class PerformanceSettings(Section):
    """Of the inference thread."""

    runtime: Literal["auto", "torch", "onnxruntime", "native"] = "auto"
    precision: Literal["int8", "bf16", "int16", "fp32"] = "int16"
    cache_dir: Path | None = None
    warm_up_segments: Annotated[int, Field(ge=0, le=MOST)] = 8
    decision_cache_size: Annotated[int, Field(ge=0, le=MOST)] = 0
    torch_threads: PositiveInt = 1


class ModelManagementSettings(Section):
    """Which weights are loaded; without an artifact the network is seeded and untrained."""

    artifact: Literal["shipped"] | Path | None = "shipped"
    ppo_artifact: Literal["shipped"] | Path | None = "shipped"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20250626


class Settings(BaseModel):
    """The whole of `config/settings.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feed: FeedSettings = FeedSettings()
    market: MarketSettings = MarketSettings()
    bars: BarSettings = BarSettings()
    complexity_detection: ComplexitySettings = ComplexitySettings()
    strategy: StrategySettings = StrategySettings()
    hierarchical_reasoning_model: HRMSettings
    deep_supervision: DeepSupervisionSettings = DeepSupervisionSettings()
    training_params: TrainingSettings = TrainingSettings()
    model_management: ModelManagementSettings = ModelManagementSettings()
    performance: PerformanceSettings = PerformanceSettings()
    risk: RiskSettings = RiskSettings()
    execution: ExecutionSettings = ExecutionSettings()
    broker: BrokerSettings = BrokerSettings()
    journal: JournalSettings = JournalSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    control: ControlSettings = ControlSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strategy.interval not in self.bars.intervals:
            raise ValueError(
                f"strategy.interval among bars.intervals (it is {self.strategy.interval!r}, "
                f"bars has {self.bars.intervals})"
            )
        if "ppo" in (self.strategy.name, *self.supervisor.ladder) and self.model_management.ppo_artifact is None:
            raise ValueError("model_management.ppo_artifact for strategy ppo, in strategy.name or supervisor.ladder")
        coarse = self.hierarchical_reasoning_model.features.coarse_interval
        if coarse not in self.bars.intervals:
            raise ValueError(
                f"hierarchical_reasoning_model.features.coarse_interval among bars.intervals (it is {coarse!r}, "
                f"bars has {self.bars.intervals})"
            )
        if self.strategy.no_entries_minutes < self.strategy.square_off_minutes:
            raise ValueError("strategy.no_entries_minutes not below strategy.square_off_minutes")
        if self.risk.max_order_quantity > self.risk.max_position_quantity:
            raise ValueError("risk.max_order_quantity not above risk.max_position_quantity")
        return self

    def digest(self) -> str:
        """SHA-256 of all values: run metadata, so that two journals can be told apart."""
        return hashlib.sha256(msgspec.json.encode(self.model_dump(mode="json"), order="sorted")).hexdigest()


def load_settings(path: Path | None = None, overrides: list[str] | None = None) -> Settings:
    """Settings from the shipped defaults, `path` over them, environment and `a.b.c=VALUE` overrides.

    Raises `SettingsError` with one line per problem.
    """
    return build_settings(read_layers(path, overrides), path)


def build_settings(layers: Layers, path: Path | None = None) -> Settings:
    """What the layers come to, complete and consistent; `path` is the file to blame for what no single key is wrong in.

    Raises `SettingsError`.
    """
    try:
        return Settings(**layers.values)
    except ValidationError as error:
        file = str(path or DEFAULT_PATH)
        raise SettingsError("; ".join(_explain(item, layers, file) for item in error.errors())) from None


def _explain(error: Any, layers: Layers, file: str) -> str:
    loc: tuple[Any, ...] = error["loc"]
    path = ".".join(str(part) for part in loc)
    keys = list(itertools.takewhile(lambda part: isinstance(part, str), loc))  # a list is set as a whole
    origin = layers.origin(".".join(keys))
    where = f"{file if origin == DEFAULT else origin}: {path}" if path else file
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{where}: no such setting{did_you_mean(path, _known_paths(loc))}"
    if kind == "missing":
        return f"{where}: is not set and has no default"
    got = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    if kind in _EXPECTED:
        return f"{where}: expected {_EXPECTED[kind]}{got}"
    if kind == "literal_error":
        return f"{where}: expected one of {context['expected']}{got}"
    if kind == "value_error":
        sentence = loc[:1] == ("hierarchical_reasoning_model",)  # models/config.py says what is wrong, in a sentence
        return f"{where}: {'' if sentence else 'expected '}{context['error']}{got}"
    return f"{where}: expected {_SHOULD.sub('', error['msg'])}{got}"


_SHOULD = re.compile(r"^.*?should (be |have )?")
_EXPECTED = {
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "decimal_type": "a number",
    "path_type": "a path",
    "invalid_key": "a key that is text",
    "list_type": 'a list such as ["a", "b"]',
}


def _known_paths(loc: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in loc[:-1]:
        if _is_section(model):
            field = model.model_fields.get(part)
            model = field.annotation if field is not None else None
        else:  # an entry of a list or a mapping of sections
            model = next(filter(_is_section, get_args(model)), None)
    prefix = "".join(f"{part}." for part in loc[:-1])
    return [f"{prefix}{name}" for name in model.model_fields] if _is_section(model) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
