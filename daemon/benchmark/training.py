"""Settings → how fast this machine trains, on simulated sessions.

Invariant: a first step that imports and compiles isn't counted; a step runs all its segments.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from daemon.settings.tree import Settings
from models.training.batches import Target
from models.training.markets import HiddenRegime
from models.training.progress import Report, StepReport, resident_mb
from models.training.run import model_of
from models.training.source import FreshSource
from models.training.trainer import Trainer


class TrainingSpeed(msgspec.Struct, frozen=True):
    """Of some steps on simulated sessions; ``step_s`` is the median of a step with all its segments."""

    profile: str
    parameters: int
    sessions: int
    segments: int
    steps: int
    step_s: float
    sessions_per_s: float
    peak_memory_mb: float


def training_speed(settings: Settings, steps: int, tell: Callable[[str], None]) -> TrainingSpeed:
    """Train so many steps on fresh sessions of the hidden-regime market, in a folder that is thrown away."""
    hrm = settings.hierarchical_reasoning_model
    supervision = settings.deep_supervision.model_copy(update={"halting_from": 1.0})  # no row is spared a segment
    training = settings.training_params.model_copy(
        update={
            "steps": steps + 1,
            "validate_every": steps + 1,
            "checkpoint_every": steps + 1,
            "target": Target.CONDITIONAL_MEAN,  # of any target a step costs the same; this one isn't fitted before
        }
    )
    ends: list[float] = []

    def watch(report: Report) -> None:
        if isinstance(report, StepReport):
            ends.append(time.perf_counter())
            tell(f"step {len(ends) - 1} of {steps}")

    with TemporaryDirectory() as folder:
        source = FreshSource(HiddenRegime().sessions)
        limit_gb = settings.performance.memory_limit_gb
        trainer = Trainer(
            hrm, supervision, training, source, None, Path(folder), observers=[watch], memory_limit_gb=limit_gb,
            teacher=model_of(training.teacher.artifact), start=model_of(training.start_from),
        )  # fmt: skip
        trainer.run()
    tell("")
    step_s = statistics.median(after - before for before, after in itertools.pairwise(ends))
    return TrainingSpeed(
        profile=hrm.profile,
        parameters=sum(weight.numel() for weight in trainer.model.parameters()),
        sessions=training.batch_sessions,
        segments=supervision.segments,
        steps=steps,
        step_s=step_s,
        sessions_per_s=training.batch_sessions / step_s,
        peak_memory_mb=resident_mb(),
    )
