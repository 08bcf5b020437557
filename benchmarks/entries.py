"""Prints what a model earns on the family of markets where fewer of its entries are made, by rules that ask for more.

    python benchmarks/entries.py [MODEL] [--sessions 1000] [--seeds 21 22 23 24 25]

The value head is calibrated first, on training sessions of other members, as `hrmd model calibrate` does. Shares are of
the trader who knows the member and of the exact filter; a row's figures are of the same sessions. Choose a rule on some
seeds and judge it on others. Invariant: two runs print the same table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.bars.complexity_of_sessions import with_complexity
from daemon.cli.options import settings_and_logs
from models.act import AdaptiveComputationTime
from models.checkpoint import load_model
from models.training import objective as ob
from models.training.batches import BatchSettings, Target, returns_between_fills
from models.training.family import Family, FamilySource
from models.training.finishing import came_to, seen_again
from models.training.member_shares import FamilyFacts, family_shares, join_facts
from models.training.policy import Policy, adaptive_policy, follow
from models.training.reference import pnl_bp
from models.training.sessions import Floats, Ints

TINY = Path(__file__).parents[1] / "models/artifacts/tiny.safetensors"
CALIBRATED_ON = 2_000
"""Training sessions that the value head's figures are held against."""


def only(policy: Policy, allowed: NDArray[np.bool_]) -> Ints:
    """The policy's actions without the entries that aren't ``allowed`` (N, D, 2): long and short."""
    actions = policy.actions.copy()
    for action in (ob.BUY_LONG, ob.SELL_SHORT):
        refused = (actions[..., ob.FLAT] == action) & ~allowed[..., action]
        actions[..., ob.FLAT] = np.where(refused, ob.HOLD, actions[..., ob.FLAT])
    return actions


def rules(policy: Policy, values_bp: Floats, cost_bp: Floats) -> Iterator[tuple[str, Ints]]:
    """Every rule's name and the actions that are left; ``values_bp`` (N, D, 3) calibrated, ``cost_bp`` (N,) a side."""
    yield "as it is", policy.actions
    sides, flat, cost = values_bp[..., 1:], values_bp[..., :1], cost_bp[:, None, None]
    for margin in (0.0, 1.0, 2.0):
        yield f"position − flat > cost + {margin:g} bp", only(policy, sides - flat > cost + margin)
    for margin in (0.0, 6.0, 8.0, 10.0, 12.0):
        yield f"position > cost + {margin:g} bp", only(policy, sides > cost + margin)


def row(name: str, earned: Floats, best: Floats, facts: FamilyFacts) -> str:
    """One line of the table."""
    shares = family_shares({"hrm": earned}, "hrm", best, facts)
    groups = {one.group: one for one in shares.rows}
    still = groups.get("no drift")
    costs = [groups.get(f"cost {low} to {low + 1} bp") for low in (2, 5)]
    told = [f"{groups['all'].of_known:.1%}", f"{groups['all'].of_filter:.1%}"]
    told.append("" if still is None else f"{still.model_bp:+.2f} ± {still.error_bp:.2f}")
    told += ["" if one is None else f"{one.of_filter:.0%}" for one in costs]
    return f"| {name} | {' | '.join(told)} | {shares.worst_bp:.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=TINY)
    parser.add_argument("--sessions", type=int, default=1000, help="of each seed, five a member")
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23, 24, 25])
    asked = parser.parse_args()
    settings = settings_and_logs(None, [])
    torch.set_num_threads(settings.performance.torch_threads)
    training = settings.training_params.model_copy(update={"novelty_sessions": CALIBRATED_ON})
    network, manifest = load_model(asked.model)
    hrm = settings.hierarchical_reasoning_model.of(network.config).within(manifest.trained_segments)
    line = manifest.values or came_to(network, seen_again(network, FamilySource(), training)[0], hrm, training)
    assert line is not None, "nothing was decided in training sessions"
    batches, act, family = BatchSettings(network.config.features, training.fill), AdaptiveComputationTime(hrm), Family()
    expected = BatchSettings(network.config.features, training.fill, Target.CONDITIONAL_MEAN)
    found: dict[str, list[Floats]] = {}
    facts, best, filters = list[FamilyFacts](), list[Floats](), list[Floats]()
    for seed in asked.seeds:
        drawn = with_complexity(family.sessions(asked.sessions, seed), settings.complexity_detection, connected=False)
        cost = drawn.cost_bp
        assert cost is not None
        returns = returns_between_fills(drawn, np.arange(len(drawn)), expected)
        policy = adaptive_policy(network, act, drawn, batches, cost)
        for name, actions in rules(policy, line.of(policy.value) * training.objective.scale_bp, cost):
            found.setdefault(name, []).append(pnl_bp(follow(actions), returns, cost))
        for more in (0.25, 0.5):
            dearer = adaptive_policy(network, act, drawn, batches, cost + more)
            earned = pnl_bp(follow(dearer.actions), returns, cost)
            found.setdefault(f"told {more:g} bp a side more than it costs", []).append(earned)
        facts.append(family.facts(asked.sessions, seed))
        best.append(family.best_bp(asked.sessions, seed))
        filters.append(facts[-1].filter_bp)
        by_seed = found["as it is"][-1]
        still = facts[-1].kind == "no drift"
        print(f"seed {seed}: as it is {by_seed.sum() / best[-1].sum():.1%} of who knows, "
              f"{by_seed.sum() / filters[-1].sum():.1%} of the filter, no drift {by_seed[still].mean():+.2f} bp",
              flush=True)  # fmt: skip
    print(f"\nvalues × {', '.join(f'{one:.2f}' for one in line.factor)} (flat, long, short)\n")
    print("| entries | of who knows | of the filter | no drift, bp a session | 2 to 3 bp | 5 to 6 bp | worst tenth |")
    print("|---|---|---|---|---|---|---|")
    whole = join_facts(facts)
    for name, parts in found.items():
        print(row(name, np.concatenate(parts), np.concatenate(best), whole))
    print(row("the filter itself", np.concatenate(filters), np.concatenate(best), whole))


if __name__ == "__main__":
    main()
