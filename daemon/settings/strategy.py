"""Who decides, and what it thinks with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from daemon.settings.own import is_own, known_name
from daemon.settings.values import MOST, Interval, NonNegative, Positive, PositiveInt, Section


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


StrategyName = Annotated[str, AfterValidator(known_name)]


class StrategySettings(Section):
    """Who decides, on which bars, until when."""

    name: StrategyName = "hrm"
    parameters: dict[str, Any] = {}
    path: Path | None = None
    bars: Annotated[int, Field(ge=1, le=100_000)] = 500
    interval: Interval = "5m"
    no_entries_minutes: PositiveInt = 30
    square_off_minutes: PositiveInt = 20
    rules: RulesSettings = RulesSettings()

    @field_validator("parameters", mode="before")
    @classmethod
    def _none(cls, parameters: Any) -> Any:
        return {} if parameters is None else parameters

    @model_validator(mode="after")
    def _of_own(self) -> Self:
        if self.parameters and not is_own(self.name):
            raise ValueError(f"no parameters for {self.name}: they are those of a class of your own")
        return self


class PerformanceSettings(Section):
    """Of the inference thread."""

    runtime: Literal["auto", "torch", "onnxruntime", "native"] = "auto"
    precision: Literal["int8", "bf16", "int16", "fp32"] = "int16"
    cache_dir: Path | None = None
    warm_up_segments: Annotated[int, Field(ge=0, le=MOST)] = 8
    decision_cache_size: Annotated[int, Field(ge=0, le=MOST)] = 0
    decisions_ahead: Annotated[int, Field(ge=0, le=65_536)] = 512
    torch_threads: PositiveInt = 1
    memory_warn_gb: Positive = 3.0
    memory_limit_gb: Positive = 4.0

    @model_validator(mode="after")
    def _memory(self) -> Self:
        if self.memory_warn_gb > self.memory_limit_gb:
            raise ValueError(
                f"memory_warn_gb not above memory_limit_gb ({self.memory_warn_gb:g} and {self.memory_limit_gb:g})"
            )
        return self


class ModelManagementSettings(Section):
    """Which weights are loaded; without an artifact the network is seeded and untrained."""

    artifact: Literal["shipped", "store"] | Path | None = "shipped"
    store: Path = Path("var/models")
    on_swap: Literal["keep", "close"] = "keep"
    ppo_artifact: Literal["shipped"] | Path | None = "shipped"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20250626
