"""Measures training: sessions a second of the trainer, against a naive eager loop, and the memory of one step.

    python benchmarks/training.py [--profile tiny] [--sessions 16] [--steps 5] [--rows 4096]

The naive loop runs the same network on one decision at a time and samples nothing else. Invariant: both do the same
arithmetic on the same sessions; only the order of the work differs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml

from models.config import HRMSettings
from models.training.loss import Targets, Weights, expected_profit
from models.training.markets import HiddenRegime
from models.training.progress import Report, StepReport, resident_mb
from models.training.settings import DeepSupervisionSettings, Precision, TrainingSettings
from models.training.source import FreshSource
from models.training.step import StepSettings, train_step, zero_gradients
from models.training.trainer import Trainer

SETTINGS = Path(__file__).parents[1] / "config" / "settings.yaml"


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--rows", type=int, default=4_096)
    parser.add_argument("--precision", type=Precision, default=Precision.FP32)
    parser.add_argument("--no-naive", action="store_true")
    args = parser.parse_args()
    key = yaml.safe_load(SETTINGS.read_text())["hierarchical_reasoning_model"]
    hrm = HRMSettings.model_validate({**key, "profile": args.profile})
    training = TrainingSettings(
        steps=args.steps + 1, batch_sessions=args.sessions, rows_at_once=args.rows, precision=args.precision
    )
    supervision = DeepSupervisionSettings(segments=args.segments, halting_from=1.0)
    times: list[float] = []

    def watch(report: Report) -> None:
        if isinstance(report, StepReport):
            times.append(time.perf_counter())

    before = resident_mb()
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            hrm, supervision, training, FreshSource(HiddenRegime().sessions), None, Path(folder), observers=[watch]
        )
        trainer.run()
    seconds = (times[-1] - times[0]) / args.steps
    result = {
        "profile": args.profile,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "sessions": args.sessions,
        "segments": args.segments,
        "rows_at_once": args.rows,
        "step_s": round(seconds, 3),
        "sessions_per_s": round(args.sessions / seconds, 2),
        "peak_rss_mb": round(resident_mb()),
        "rss_before_mb": round(before),
    }
    if not args.no_naive:
        result["naive_sessions_per_s"] = round(naive(trainer, supervision, training), 3)
        result["times_naive"] = round(result["sessions_per_s"] / result["naive_sessions_per_s"], 1)
    print(json.dumps(result))


def naive(trainer: Trainer, supervision: DeepSupervisionSettings, training: TrainingSettings) -> float:
    """Return sessions a second when every decision goes through the network alone."""
    torch.set_num_threads(training.threads)
    batch, cost = trainer.batch(0)
    decisions = batch.live.shape[1]
    features = batch.features.take(np.arange(decisions))
    one = type(batch)(features, batch.returns_bp[:1], batch.live[:1], batch.variance_bp2[:1])
    settings = StepSettings(supervision, 1, training.precision, training.objective.scale_bp)

    def update() -> float:
        zero_gradients(trainer.model)
        return 0.0

    started = time.perf_counter()
    targets = Targets.of(one, cost[:1], torch.device("cpu"))
    objective = expected_profit(targets, training.objective, Weights(1.0, 0.0, False))
    train_step(trainer.model, features, objective, settings, update, None)
    return 1.0 / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
