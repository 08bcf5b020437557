"""Which bars are built, and how hard the market is to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from daemon.settings.values import MOST_BARS, Interval, NonNegative, Section


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
