"""Measures whether depth pays in the composition market: the HRM by segments, and flat networks of equal compute.

    python benchmarks/depth.py --seeds 1 2 3          (about half an hour a seed on one core)

Four contenders with the same input network, heads, features, sessions in the same order, objective and optimizer:

- `hrm`: one L block, one H block, N = T = 1; a loss and an update on each of the segments;
- `hrm, 1 segment`: the same network trained, and used, with one segment;
- `flat`: both blocks as one weight-tied stack, without a hierarchy, with the same segments and losses;
- `unrolled`: the flat stack run as often in one go, one loss at the end, back-propagation through all of it.

Prints a line a run with the share of the best trader at each depth on fresh sessions, and lines of adaptive depth by
the regret that was allowed when the Q head was fitted to the finished network, with the segments that it took; then
means and deviations over seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from models.act import AdaptiveComputationTime
from models.config import ActSettings, ArchitectureSettings, FeatureSettings, Gradient, HRMConfig, HRMSettings
from models.hrm import HRM
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.composition import reference_pnl_bp, simulate
from models.training.flat import FlatNetwork
from models.training.halting import refit_halting
from models.training.markets import Composition
from models.training.policy import Policy, adaptive_policy, follow, policies_by_depth
from models.training.reference import pnl_bp
from models.training.settings import (
    DeepSupervisionSettings,
    GuardSettings,
    ObjectiveSettings,
    OptimizerSettings,
    TrainingSettings,
)
from models.training.source import FreshSource
from models.training.trainer import Trainer
from models.vocabulary import Vocabularies

FRESH, SEED = 1_000, 424_242
HALTING, HALTING_SEED = 600, 777_777
"""Sessions that the Q head is fitted on, once a network is finished."""
MIN_BARS = 3
"""A network decides from its third bar on, the best trader from the second: less than all can be had."""
Build = Callable[[HRMConfig, Vocabularies], HRM]


class Contender(NamedTuple):
    """One network of the comparison: segments that are supervised, cycles in each, and what of it is in the graph."""

    name: str
    build: Build
    segments: int
    cycles: int = 1
    gradient: Gradient = Gradient.ONE_STEP


def contenders(segments: int) -> list[Contender]:
    """Return the four."""
    return [
        Contender("hrm", HRM, segments),
        Contender("hrm, 1 segment", HRM, 1),
        Contender("flat", FlatNetwork, segments),
        Contender("unrolled", FlatNetwork, 1, segments, Gradient.FULL_BPTT),
    ]


def hrm_settings(contender: Contender, market: Composition, dim: int) -> HRMSettings:
    """Return the network's settings: a token a bar, a window as long as a session."""
    shape = ArchitectureSettings(
        h_dim=dim, h_layers=1, h_heads=4, l_dim=dim, l_layers=1, l_heads=4, h_cycles=contender.cycles, l_steps=1,
        inner_multiple=32, gradient=contender.gradient,
    )  # fmt: skip
    return HRMSettings(
        profile="depth",
        architecture={"depth": shape},
        features=FeatureSettings(window=market.market.bars, patch=1, min_bars=MIN_BARS, coarse_window=1),
        act=ActSettings(max_segments=contender.segments),
    )


def training_settings(seed: int, steps: int, sessions: int) -> TrainingSettings:
    """Return the same recipe for all; gradients are clipped, so none counts as an explosion."""
    return TrainingSettings(
        seed=seed, steps=steps, batch_sessions=sessions, target=Target.CONDITIONAL_MEAN,
        validate_every=steps, checkpoint_every=steps,
        objective=ObjectiveSettings(scale_bp=60.0, entropy_bp=6.0, cost_ramp=0.6, token_weight=3.0),
        optimizer=OptimizerSettings(learning_rate=2e-3, warmup_steps=50),
        guard=GuardSettings(explode_factor=1e4),
    )  # fmt: skip


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--sessions", type=int, default=8, help="in a batch")
    parser.add_argument("--segments", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument(
        "--regret", type=float, nargs="+", default=[0.002, 0.005, 0.01], help="deep_supervision.halt_regret"
    )
    parser.add_argument("--only", nargs="+", help="these of the contenders, by name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    market = Composition()
    halting = market.sessions(HALTING, HALTING_SEED)
    fresh, best = market.sessions(FRESH, SEED), float(market.best_bp(FRESH, SEED).mean())
    within_reach = reference_pnl_bp(market.market, simulate(market.market, FRESH, SEED), MIN_BARS - 1).mean() / best
    print(f"within reach: {100 * within_reach:.1f} %", flush=True)
    cost = np.full(FRESH, market.cost_bp)
    shares: dict[str, list[float]] = {}
    for seed in args.seeds:
        for contender in contenders(args.segments):
            if args.only and contender.name not in args.only:
                continue
            started = time.monotonic()
            hrm = hrm_settings(contender, market, args.dim)
            with TemporaryDirectory() as folder:
                trainer = Trainer(
                    hrm, DeepSupervisionSettings(segments=contender.segments, halting_from=1.0, segment_cost_bp=0.3),
                    training_settings(seed, args.steps, args.sessions), FreshSource(market.sessions), None,
                    Path(folder), build=lambda used, names, build=contender.build: build(used.network(), names),
                )  # fmt: skip
                model = trainer.run().model
            settings = BatchSettings(hrm.features, target=Target.CONDITIONAL_MEAN)
            returns = returns_between_fills(fresh, np.arange(FRESH), settings)

            def share(policy: Policy, returns: np.ndarray = returns) -> float:
                return float(pnl_bp(follow(policy.actions), returns, cost).mean()) / best

            found = [share(policy) for policy in policies_by_depth(model, fresh, settings, contender.segments)]
            shares.setdefault(contender.name, []).append(found[-1])
            print(
                f"seed {seed}  {contender.name:<15}", "  ".join(f"{100 * value:5.1f} %" for value in found),
                f"  {time.monotonic() - started:.0f} s", flush=True,
            )  # fmt: skip
            for allowed in args.regret if contender.segments > 1 else ():
                refit_halting(model, [(halting, None)], settings, contender.segments, allowed)
                adaptive = adaptive_policy(model, AdaptiveComputationTime(hrm), fresh, settings)
                depth = float(adaptive.depth[adaptive.live].mean())
                shares.setdefault(f"{contender.name}, regret {allowed:g}", []).append(share(adaptive))
                early, late = adaptive.depth[:, 2:5].mean(), adaptive.depth[:, -3:].mean()
                print(
                    f"        regret {allowed:g}: {100 * share(adaptive):.1f} % with {depth:.2f} segments; "
                    f"{early:.2f} at decisions 3 to 5, {late:.2f} at the last three", flush=True,
                )  # fmt: skip
    for name, values in shares.items():
        print(f"{name:<25} {100 * np.mean(values):5.1f} ± {100 * np.std(values):.1f} % over {len(values)} seeds")


if __name__ == "__main__":
    main()
