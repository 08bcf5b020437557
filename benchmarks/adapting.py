"""Prints what a model earns on long runs of markets where its entries are held to what recent ones earned.

    python benchmarks/adapting.py [MODEL] [--seeds 31 32 33 34 35] [--members 20]

Members of the family, 60 sessions each behind 20 that are known, and others whose drift ends after 40 of their 60 while
the past still speaks of it. Basis points a session as an exact filter expects them, mean and standard error of members;
refused: at how many bars an entry was. Invariant: two runs print the same table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from daemon.bars.complexity_of_sessions import with_complexity
from daemon.cli.options import settings_and_logs
from models.act import AdaptiveComputationTime
from models.checkpoint import load_model
from models.config import EntrySettings
from models.india import DAY_NS
from models.training import reference as ref
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.entries import worth_making
from models.training.family import members, noise_seeds
from models.training.market import HiddenRegimeMarket
from models.training.policy import adaptive_policy, follow
from models.training.sessions import Floats, Sessions

TINY = Path(__file__).parents[1] / "models/artifacts/tiny.safetensors"
KNOWN, JUDGED, DRIFTING = 20, 60, 40
"""Sessions before the first that is judged, judged ones, and those of them before a drift ends."""
RULES = [(confidence, rate) for confidence in (0.3, 0.35, 0.4, 0.5) for rate in (0.02, 0.05)]


def ended(market: HiddenRegimeMarket, seed: int) -> Sessions:
    """Sessions of a member whose drift ends."""
    count = KNOWN + DRIFTING
    first = ref.simulated_sessions(market, count, seed)
    then = ref.simulated_sessions(replace(market, drift_bp=0.0), JUDGED - DRIFTING, seed + 1)
    return Sessions(
        bars=np.concatenate([first.bars, then.bars]),
        ts_ns=np.concatenate([first.ts_ns, then.ts_ns + count * DAY_NS]),
        offsets=np.concatenate([first.offsets, then.offsets[1:] + first.offsets[-1]]),
        symbol=np.zeros(len(first) + len(then), np.int64),
        symbols=first.symbols,
        interval_s=first.interval_s,
        expected_bp=np.concatenate([first.expected_bp, then.expected_bp]),
        hours_ns=np.concatenate([first.hours, then.hours + count * DAY_NS]),
    )


def cases(seed: int, count: int) -> Iterator[tuple[str, HiddenRegimeMarket, Sessions]]:
    """Members that stay as they are, and as many whose drift ends."""
    drawn = members(4 * count, seed)
    for market, own in zip(drawn[:count], noise_seeds(count, seed), strict=True):
        kind = "drift" if market.drift_bp else "no drift"
        yield kind, market, ref.simulated_sessions(market, KNOWN + JUDGED, own)
    drifting = [market for market in drawn[count:] if market.drift_bp][:count]
    for market, own in zip(drifting, noise_seeds(len(drifting), seed + 100_000), strict=True):
        yield "ends", market, ended(market, own)


class Trial:
    """Profit of each session by rule, and what was refused."""

    def __init__(self, model: Path) -> None:
        self.settings = settings_and_logs(None, [])
        torch.set_num_threads(self.settings.performance.torch_threads)
        self.network, manifest = load_model(model)
        hrm = self.settings.hierarchical_reasoning_model.of(self.network.config).within(manifest.trained_segments)
        self.act, self.entries = AdaptiveComputationTime(hrm), hrm.entries
        self.batches = BatchSettings(self.network.config.features, self.settings.training_params.fill)
        self.refused = dict.fromkeys(["as it is", *map(str, RULES)], 0)

    def of(self, market: HiddenRegimeMarket, drawn: Sessions) -> dict[str, Floats]:
        """What the judged sessions earn, by rule, (60,)."""
        judged = drawn.select(np.arange(len(drawn)) >= KNOWN)
        judged = with_complexity(judged, self.settings.complexity_detection, connected=False)
        cost = np.full(len(judged), market.cost_bp)
        expected = replace(self.batches, target=Target.CONDITIONAL_MEAN)
        returns = returns_between_fills(judged, np.arange(len(judged)), expected)
        actions = adaptive_policy(self.network, self.act, judged, self.batches, cost).actions
        earned = {"as it is": ref.pnl_bp(follow(actions), returns, cost)}
        for confidence, rate in RULES:
            rule: EntrySettings = self.entries.model_copy(update={"confidence": confidence, "rate": rate})
            left = worth_making(actions, judged, cost, rule)
            self.refused[str((confidence, rate))] += int((left != actions).any(axis=-1).sum())
            earned[str((confidence, rate))] = ref.pnl_bp(follow(left), returns, cost)
        return earned


def told(values: list[Floats]) -> str:
    """Mean and its standard error over members."""
    means = np.array([one.mean() for one in values])
    return f"{means.mean():+.2f} ± {means.std(ddof=1) / len(means) ** 0.5:.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=TINY)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33, 34, 35])
    parser.add_argument("--members", type=int, default=20, help="of each seed and kind")
    asked = parser.parse_args()
    trial = Trial(asked.model)
    found: dict[str, dict[str, list[Floats]]] = {}
    for seed in asked.seeds:
        for kind, market, drawn in cases(seed, asked.members):
            for rule, earned in trial.of(market, drawn).items():
                parts = {kind: earned}
                if kind == "ends":
                    parts = {"before its end": earned[:DRIFTING], "after it": earned[DRIFTING:]}
                for name, part in parts.items():
                    found.setdefault(rule, {}).setdefault(name, []).append(part)
    kinds = sorted(found["as it is"])
    print(f"| confidence, rate | {' | '.join(kinds)} | share of what it earns as it is | refused |")
    print("|---" * (len(kinds) + 3) + "|")
    whole = sum(float(part.sum()) for parts in found["as it is"].values() for part in parts)
    for rule, by_kind in found.items():
        mine = sum(float(part.sum()) for parts in by_kind.values() for part in parts)
        told_of = " | ".join(told(by_kind[kind]) for kind in kinds)
        print(f"| {rule} | {told_of} | {mine / whole:.1%} | {trial.refused[rule]} |")
    print("\n" + ", ".join(f"{kind}: {len(parts)} members" for kind, parts in found["as it is"].items()))


if __name__ == "__main__":
    main()
