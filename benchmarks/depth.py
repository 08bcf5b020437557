"""Measures whether depth pays: the HRM by segments, the flat network of equal weights and compute, over seeds.

    python benchmarks/depth.py --market composition --steps 600 --segments 4 --seeds 3

Prints one line a run with the share of the best trader at each depth on 500 fresh sessions, then means and deviations.
Invariant: both networks see the same sessions in the same order, under the same objective and optimizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from models.config import ActSettings, ArchitectureSettings, FeatureSettings, Gradient, HRMSettings
from models.hrm import HRM
from models.training.batches import Target
from models.training.flat import FlatNetwork
from models.training.markets import MarketName, market
from models.training.settings import DeepSupervisionSettings, TrainingSettings
from models.training.source import FreshSource
from models.training.trainer import Trainer, Validation

FRESH, SEED = 500, 424_242


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--market", type=MarketName, choices=list(MarketName), default=MarketName.COMPOSITION)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--patch", type=int, default=5)
    parser.add_argument("--gradient", type=Gradient, choices=list(Gradient), default=Gradient.ONE_STEP)
    parser.add_argument("--target", type=Target, choices=list(Target), default=Target.CONDITIONAL_MEAN)
    args = parser.parse_args()
    shape = ArchitectureSettings(
        h_dim=args.dim, h_layers=1, h_heads=4, l_dim=args.dim, l_layers=1, l_heads=4, h_cycles=2, l_steps=1,
        gradient=args.gradient,
    )  # fmt: skip
    hrm = HRMSettings(
        profile="depth",
        architecture={"depth": shape},
        features=FeatureSettings(window=60, patch=args.patch, min_bars=2),
        act=ActSettings(max_segments=args.segments),
    )
    simulated = market(args.market)
    validation = Validation(simulated.sessions(FRESH, SEED), simulated.best_bp(FRESH, SEED))
    shares: dict[str, list[list[float]]] = {}
    for seed in range(1, args.seeds + 1):
        for name, network, segments in (
            ("hrm", HRM, args.segments),
            ("hrm, 1 segment", HRM, 1),
            ("flat", FlatNetwork, args.segments),
        ):
            training = TrainingSettings(
                seed=seed, steps=args.steps, batch_sessions=args.sessions, target=args.target,
                validate_every=args.steps, checkpoint_every=args.steps,
            )  # fmt: skip
            supervision = DeepSupervisionSettings(segments=segments, halting_from=1.0)
            with TemporaryDirectory() as folder:
                report = Trainer(
                    hrm, supervision, training, FreshSource(simulated.sessions), validation, Path(folder),
                    build=lambda used, names, network=network: network(used.network(), names),
                ).run().validation  # fmt: skip
            assert report is not None
            assert report.share is not None
            shares.setdefault(name, []).append(list(report.share))
            print(f"seed {seed}  {name:<15}", "  ".join(f"{100 * share:5.1f} %" for share in report.share), flush=True)
    for name, runs in shares.items():
        deepest = np.array([run[-1] for run in runs])
        print(f"{name:<15} deepest {100 * deepest.mean():.1f} ± {100 * deepest.std():.1f} % over {len(runs)} seeds")


if __name__ == "__main__":
    main()
