"""Turns the settings keys `deep_supervision` and `training_params` into checked, frozen values.

Invariant: nothing here needs torch, every key is used, and two settings that compare equal train bit-identical weights
on the same machine and data.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.training.batches import Fill, Target

MOST = 10**9
FEWEST: Final = 40
"""Sessions, with fewer of which nothing can be said of what is usual."""
Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, le=MOST, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0.0, le=MOST, allow_inf_nan=False)]


class HaltTarget(StrEnum):
    """What the Q head learns: whether another segment pays for itself, or the published bootstrap."""

    IMPROVEMENT = "improvement"
    REFERENCE = "reference"


class Optimizer(StrEnum):
    """AdamW, or the scale-free variant that the paper used."""

    ADAMW = "adamw"
    ADAM_ATAN2 = "adam_atan2"


class ProfitUnit(StrEnum):
    """What profits of different markets are added up in: basis points, or each session's own volatility."""

    BP = "bp"
    VOLATILITY = "volatility"


class Precision(StrEnum):
    """Arithmetic of the network's forward and backward passes; weights and objective are always fp32."""

    FP32 = "fp32"
    BF16 = "bf16"


class Select(StrEnum):
    """Which weights a run ends with: the last, or those of its best validation."""

    LAST = "last"
    BEST = "best"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeepSupervisionSettings(_Frozen):
    """How segments are supervised."""

    segments: Positive = 4
    halt_target: HaltTarget = HaltTarget.IMPROVEMENT
    segment_cost_bp: NonNegative = 0.002
    q_weight: NonNegative = 0.5
    halting_from: Share = 0.5
    halt_regret: Share = 0.002


class CostStep(_Frozen):
    """Cost of trading one unit once, in basis points, from a day on."""

    since: date
    cost_bp: NonNegative

    @property
    def since_ns(self) -> int:
        """Start of that day, UTC nanoseconds."""
        start = datetime(self.since.year, self.since.month, self.since.day, tzinfo=UTC)
        return int(start.timestamp()) * 1_000_000_000


class ObjectiveSettings(_Frozen):
    """What is maximised: expected profit after costs, with terms that keep it learnable."""

    costs: tuple[CostStep, ...] = (CostStep(since=date(1990, 1, 1), cost_bp=3.0),)
    profit_unit: ProfitUnit = ProfitUnit.BP
    cost_ramp: Share = 0.3
    entropy_bp: NonNegative = 0.3
    warm_start_steps: Count = 0
    value_weight: NonNegative = 0.1
    quantity_weight: NonNegative = 0.1
    token_weight: NonNegative = 0.0
    risk_aversion: NonNegative = 0.01
    scale_bp: AboveZero = 10.0

    @model_validator(mode="after")
    def _fits(self) -> ObjectiveSettings:
        days = [step.since for step in self.costs]
        if not days or days != sorted(set(days)):
            raise ValueError("costs: at least one entry is needed and `since` must rise from entry to entry")
        return self


class OptimizerSettings(_Frozen):
    """How weights move."""

    name: Optimizer = Optimizer.ADAMW
    learning_rate: AboveZero = 3e-3
    warmup_steps: Count = 20
    final_rate: Share = 0.01
    beta1: Share = 0.9
    beta2: Share = 0.95
    weight_decay: NonNegative = 0.01
    clip_norm: AboveZero = 1.0
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99


class GuardSettings(_Frozen):
    """When training counts as blown up or stuck, and what follows."""

    explode_factor: Annotated[float, Field(gt=1.0, le=MOST, allow_inf_nan=False)] = 50.0
    max_rollbacks: Count = 3
    rate_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    patience: Positive = 5


class TeacherSettings(_Frozen):
    """A trained network to learn from instead of the objective."""

    artifact: Path | None = None
    decisions: Positive = 64


class TrainingSettings(_Frozen):
    """Everything under `training_params`."""

    seed: Count = 1
    start_from: Path | None = None
    steps: Positive = 900
    batch_sessions: Positive = 16
    rows_at_once: Positive = 4_096
    threads: Positive = 1
    precision: Precision = Precision.FP32
    target: Target = Target.ESTIMATED
    estimate_sessions: Positive = 10_000
    fill: Fill = Fill.NEXT_OPEN
    mirror: bool = True
    min_sessions: Positive = 100
    validate_every: Positive = 150
    validation_sessions: Positive = 300
    select: Select = Select.LAST
    checkpoint_every: Positive = 150
    keep_checkpoints: Positive = 2
    novelty_sessions: Count = 8_000
    objective: ObjectiveSettings = ObjectiveSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    guard: GuardSettings = GuardSettings()
    teacher: TeacherSettings = TeacherSettings()

    @field_validator("novelty_sessions")
    @classmethod
    def _tells_what_is_usual(cls, sessions: int) -> int:
        if 0 < sessions < FEWEST:
            raise ValueError(f"0 or {FEWEST} or more, fewer sessions don't tell what is usual")
        return sessions
