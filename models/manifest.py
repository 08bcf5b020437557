"""What an artifact says about itself: configuration, history, and what its numbers came to. No weights, no torch."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from models.config import HRMConfig
from models.features import FeatureSchema
from models.novelty import NoveltyStatistics
from models.values import ValueCalibration

Precision = Literal["float32", "bfloat16", "int8"]
"""Of every tensor, but for int8: there the matrices of the blocks are int8, the rest bfloat16."""


INHERITED: Final = "inherited"
"""Under which an origin's settings keep the first and last day that the start, the teacher or a calibration knew."""
VALIDATED: Final = "validated"
"""Under which they keep the first and last day that was validated on."""
AMONG: Final = "chosen_among_others"
"""As well, by which it was chosen of several models."""


def _iso_day(text: str) -> str:
    """It is compared as text, and a supervisor asks how old it is. Raises `ValueError` for what is no day."""
    try:
        if dt.date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError(f"expected a date such as 2026-01-05, got {text!r}")


Day = Annotated[str, AfterValidator(_iso_day)]


class TrainingSpan(BaseModel):
    """First and last day of the data that a model was trained on, ISO dates, both inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Day
    last: Day


class Origin(BaseModel):
    """What a model was made by and of: hrmd's version, a hash of the data's bytes, the settings of training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    data: tuple[str, ...]
    """Names of the files, or of the simulated market."""
    data_sha256: str | None = None
    """None where the sessions were drawn, not read."""
    settings: Mapping[str, Any] = {}

    @field_validator("settings")
    @classmethod
    def _days(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in (INHERITED, VALIDATED, AMONG):
            if days := settings.get(key):
                if not isinstance(days, list | tuple) or len(days) != 2:
                    raise ValueError(f"{key}: expected a first and a last day, got {days!r}")
                TrainingSpan(first=days[0], last=days[1])
        return settings


ADDED: Final = ("origin", "novelty", "segments", "values")
"""Fields that earlier artifacts lack: where one is None it is no part of what is hashed."""


SIMULATED: Final = "SIM"
"""The instrument of the simulated markets that models are trained in."""
FAMILY: Final = "family"
"""The market of `models.training.family`, each of whose members has a cost of its own."""
FAMILY_COSTS_BP: Final = (0.5, 8.0)
"""What a trade costs a side there, as training draws it."""
_BY_DEPTH: Final = "validation_bp_depth_"
"""How the metric of a validation at a depth begins; training validates at every depth that it teaches."""


class Manifest(BaseModel):
    """What an artifact says about itself. `sha256` is checked on loading and is empty only before saving."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: HRMConfig
    features: FeatureSchema
    instruments: tuple[str, ...]
    timeframes: tuple[str, ...]
    dtype: Precision
    parameters: int
    trained: bool
    training_span: TrainingSpan | None = None
    metrics: Mapping[str, FiniteFloat] = {}
    git_revision: str | None = None
    origin: Origin | None = None
    novelty: NoveltyStatistics | None = None
    """What the training market's windows look like; None in artifacts from before there were any."""
    segments: int | None = Field(None, ge=1)
    """Segments that a decision was trained with at most; None in artifacts from before it was kept."""
    values: ValueCalibration | None = None
    """What the value head's figures came to in training; None: they are taken as they are."""
    sha256: str = ""

    @property
    def simulated_only(self) -> bool:
        """Whether it has learned from simulated sessions alone: they were drawn, and it has no instrument's name."""
        drawn = self.origin is None or self.origin.data_sha256 is None
        return self.trained and drawn and set(self.instruments) <= {SIMULATED}

    @property
    def learned(self) -> TrainingSpan | None:
        """Days of recorded bars that it knows, what began it included; None where its sessions were drawn."""
        if self.origin is None:
            return self.training_span if set(self.instruments) - {SIMULATED} else None
        own = self.training_span if self.origin.data_sha256 is not None else None
        inherited = self.origin.settings.get(INHERITED)
        spans = [own] if own is not None else []
        if inherited:
            spans.append(TrainingSpan(first=inherited[0], last=inherited[1]))
        if not spans:
            return None
        return TrainingSpan(first=min(one.first for one in spans), last=max(one.last for one in spans))

    @property
    def dearest_bp(self) -> float:
        """What a trade cost at most in training, bp a side; infinite where nothing in the artifact says it."""
        if self.origin is None:
            return math.inf
        if self.origin.data == (FAMILY,):
            return FAMILY_COSTS_BP[1]
        training = self.origin.settings.get("training_params")
        objective = training.get("objective") if isinstance(training, Mapping) else None
        costs = objective.get("costs") if isinstance(objective, Mapping) else None
        found = [one.get("cost_bp") for one in costs or () if isinstance(one, Mapping)]
        return max((float(cost) for cost in found if isinstance(cost, int | float)), default=math.inf)

    @property
    def trained_segments(self) -> int | None:
        """Segments that a decision was trained with at most; None where nothing in the artifact says it.

        Earlier artifacts have it among the settings of their training, or by the deepest validation.
        """
        if self.segments is not None:
            return self.segments
        supervision = self.origin.settings.get("deep_supervision") if self.origin is not None else None
        said = supervision.get("segments") if isinstance(supervision, Mapping) else None
        if isinstance(said, int) and said >= 1:
            return said
        depths = [name.removeprefix(_BY_DEPTH) for name in self.metrics if name.startswith(_BY_DEPTH)]
        return max((int(depth) for depth in depths if depth.isdecimal() and int(depth) >= 1), default=None)
