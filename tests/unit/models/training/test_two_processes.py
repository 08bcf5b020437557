"""Two processes that train together are one process on both their batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RANKS = """
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import torch
from models.config import (
    ActSettings, ArchitectureSettings, ConvergenceSettings, EmbeddingSettings, FeatureSettings, HRMSettings,
)
from models.training.distributed import Group, join_group
from models.training.market import HiddenRegimeMarket
from models.training.reference import simulated_sessions
from models.training.settings import DeepSupervisionSettings, TrainingSettings
from models.training.source import StoredSource
from models.training.trainer import Trainer

torch.set_num_threads(1)
out, (group, _) = Path(sys.argv[1]), join_group("cpu")
shape = ArchitectureSettings(h_dim=16, h_layers=1, h_heads=2, l_dim=16, l_layers=1, l_heads=2, h_cycles=1, l_steps=1)
hrm = HRMSettings(
    profile="small", architecture={"small": shape}, act=ActSettings(max_segments=4),
    features=FeatureSettings(window=20, patch=10, min_bars=2, coarse_window=4),
    convergence=ConvergenceSettings(early_stop=False), embeddings=EmbeddingSettings(unknown_dropout=0.0),
)
training = TrainingSettings(
    steps=3, batch_sessions=4, min_sessions=4, validate_every=99, checkpoint_every=99
)


def joined(parts):
    first = parts[0]
    if is_dataclass(first):
        return type(first)(*(joined([getattr(part, field.name) for part in parts]) for field in fields(first)))
    return np.concatenate(parts) if isinstance(first, np.ndarray) else first


class Both(Trainer):
    # one process that is given what two ranks would be

    def batch(self, step):
        ranks = []
        for rank in (0, 1):
            self._group = Group(rank, 2)
            ranks.append(super().batch(step))
        self._group = Group()
        return joined([one for one, _ in ranks]), joined([cost for _, cost in ranks])


sessions = simulated_sessions(HiddenRegimeMarket(bars=16), 24, seed=3)
# a cost of a segment that is more than rounding: AdamW makes a whole step of a gradient of the size of its epsilon
supervision = DeepSupervisionSettings(segments=2, halting_from=1.0, segment_cost_bp=20.0)
made = Trainer if group.world > 1 else Both
trainer = made(hrm, supervision, training, StoredSource(sessions, 4), None, out / f"run{group.rank}", group=group)
trainer.run()
torch.save(trainer.model.state_dict(), out / f"world{group.world}-rank{group.rank}.pt")
if group.world > 1:
    torch.distributed.destroy_process_group()
"""


def train(folder: Path, world: int, port: str) -> list[dict[str, torch.Tensor]]:
    """The weights that each of so many processes ends with."""
    script = folder / "ranks.py"
    script.write_text(RANKS)
    base = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "MASTER_ADDR": "127.0.0.1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            env={**base, "MASTER_PORT": port, "WORLD_SIZE": str(world), "RANK": str(rank)}, stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]  # fmt: skip
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    return [torch.load(folder / f"world{world}-rank{rank}.pt") for rank in range(world)]


@pytest.mark.slow
@pytest.mark.nightly  # `test_parts.py` holds the averaging of gradients in every run
def test_two_processes_are_one_on_the_same_global_batch(tmp_path: Path) -> None:
    """After three steps of two segments each, every weight within 1e-5; and both ranks have the same."""
    (alone,) = train(tmp_path, 1, "29531")
    first, second = train(tmp_path, 2, "29532")
    assert first.keys() == alone.keys()
    for name, weight in alone.items():
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-5)
