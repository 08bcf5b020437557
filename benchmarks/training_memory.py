"""Measure whether the memory of a training step grows with segments, cycles or timesteps.

*Allocated*: every tensor allocation and release that torch makes during the step, as its profiler records them; the
number is the highest sum, exact and repeatable, over and above what was there before (weights, optimizer state).
*RSS*: the highest resident memory of a process that trains the `base` shape, which is what a machine must have.

Run: `python benchmarks/training_memory.py` (about 2 minutes), or with `--rss` also the processes (some minutes more).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from models.config import ArchitectureSettings, EmbeddingSettings, FeatureSettings, Gradient, HRMConfig
from models.features import CALENDAR_FEATURES, Features
from models.hrm import HRM
from models.supervision import ActionTargets, supervise
from models.vocabulary import Vocabularies

ALLOWED_RATIO = 1.05
FIXED_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Keep glibc from raising its thresholds as it goes, which lets freed memory pile up over the first few segments."""
SMALL = {"h_dim": 64, "h_layers": 2, "h_heads": 4, "l_dim": 64, "l_layers": 2, "l_heads": 4}
BASE = {
    "h_dim": 512, "h_layers": 6, "h_heads": 8, "l_dim": 256, "l_layers": 4, "l_heads": 4, "input_layers": 3,
}  # fmt: skip
"""The `base` profile of config/settings.yaml, N and T apart."""


def trainer(shape: dict[str, int], *, cycles: int, steps: int, gradient: Gradient, batch: int) -> tuple[HRM, Features]:
    """Build a model and a random batch for it."""
    features = FeatureSettings()
    config = HRMConfig(
        architecture=ArchitectureSettings.model_validate(
            shape | {"h_cycles": cycles, "l_steps": steps, "gradient": gradient}
        ),
        features=features,
        instrument_dim=EmbeddingSettings().instrument,
        timeframe_dim=EmbeddingSettings().timeframe,
        logit_cap=5.0,
    )
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    patches = features.window // features.patch
    none = np.zeros(batch, np.int64)
    return HRM(config, Vocabularies()), Features(
        patches=rng.normal(size=(batch, patches, features.patch * 9)).astype(np.float32),
        coarse=rng.normal(size=(batch, features.coarse_window * 9)).astype(np.float32),
        calendar=rng.normal(size=(batch, len(CALENDAR_FEATURES))).astype(np.float32),
        position=np.zeros((batch, 3), np.float32),
        instrument=none,
        timeframe=none,
        coarse_timeframe=none,
        valid=np.ones((batch, features.tokens), np.bool_),
        side=none,
        complexity=np.zeros(batch),
    )


def allocated_mb(*, segments: int, cycles: int, steps: int, gradient: Gradient, batch: int = 32) -> float:
    """Peak of torch's allocations in one pass of deep supervision, MB above what the trainer already holds."""
    model, features = trainer(SMALL, cycles=cycles, steps=steps, gradient=gradient, batch=batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    targets = ActionTargets(side=features.side, actions=np.full(batch, 4))
    supervise(model, features, targets, optimizer, segments=2)  # creates the optimizer state
    optimizer.zero_grad(set_to_none=True)  # gradients count as part of the step
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        supervise(model, features, targets, optimizer, segments=segments)
    kineto = profiler.profiler.kineto_results if profiler.profiler is not None else None
    if kineto is None:
        raise RuntimeError("torch's profiler recorded nothing")
    changes = sorted((event.start_ns(), event.nbytes()) for event in kineto.events() if event.name() == "[memory]")
    return float(np.cumsum([nbytes for _, nbytes in changes]).max()) / 1e6


def rss_mb(segments: int, batch: int) -> float:
    """Highest resident memory of a fresh process that makes one pass with the `base` shape, MB."""
    command = [sys.executable, __file__, "--child", str(segments), "--batch", str(batch)]
    environment = os.environ | FIXED_MALLOC
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def child(segments: int, batch: int) -> None:
    """Make two passes with the `base` shape and print the highest resident memory in MB."""
    model, features = trainer(BASE, cycles=3, steps=5, gradient=Gradient.ONE_STEP, batch=batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    targets = ActionTargets(side=features.side, actions=np.full(batch, 4))
    for number in (1, segments):  # the first creates the optimizer's state
        supervise(model, features, targets, optimizer, segments=number)
    # Not getrusage: its maximum is inherited from the parent process.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024 / 1e6)


def main() -> None:
    """Measure, print a table as JSON, and fail (exit 1) where the one-step gradient's memory grows."""
    parser = argparse.ArgumentParser(description="Memory of a training step against segments, cycles and timesteps.")
    parser.add_argument("--rss", action="store_true", help="also measure processes that train the base shape")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child is not None:
        child(arguments.child, arguments.batch)
        return
    results: dict[str, dict[str, float]] = {}
    for gradient in Gradient:
        common = {"segments": 2, "cycles": 2, "steps": 2}
        for axis, (few, many) in {"segments": (1, 16), "cycles": (1, 8), "steps": (1, 8)}.items():
            low, high = (
                allocated_mb(**(common | {axis: number}), gradient=gradient, batch=arguments.batch)
                for number in (few, many)
            )
            results[f"{gradient.value}, {axis} {few} → {many}"] = {
                "low_mb": round(low, 2), "high_mb": round(high, 2), "ratio": round(high / low, 3),
            }  # fmt: skip
    if arguments.rss:
        low, high = rss_mb(1, arguments.batch), rss_mb(16, arguments.batch)
        results["base, RSS, segments 1 → 16"] = {"low_mb": low, "high_mb": high, "ratio": round(high / low, 3)}
    print(json.dumps(results, indent=1, ensure_ascii=False))
    grown = [name for name, row in results.items() if name.startswith("one_step") and row["ratio"] > ALLOWED_RATIO]
    if grown:
        sys.exit(f"memory grows: {', '.join(grown)}")


if __name__ == "__main__":
    main()
