"""Check whether thinking longer solves what an ordinary network of equal size can't.

The puzzle is a corridor of five lanes. A walker enters in lane 0 and passes one door after the other; a door keeps
the lanes, shifts them all up by one, shifts them down, or swaps the first two; mark the lane in every room. The rule
is local and easy, but it must be applied once a room and in order (shift and swap don't commute; together they make
all 120 permutations, a problem that no network of fixed depth is known to solve at every length). Corridors have 3 to
24 rooms, so a model that knows when it is done can save work on the short ones.

- `hrm`: the published recurrence, one-step gradient, deep supervision on a stream of puzzles, learned halting;
- `flat`: the same blocks run once, one after the other: an ordinary transformer with the same number of weights;
- `deep`: an ordinary transformer with as many blocks as `hrm` runs in four segments, so with six times the weights,
  trained for about the same computing time.

Run: `python benchmarks/reasoning.py --out build/reasoning.json` (about 7 minutes of one CPU thread). Everything but
the times follows from the seed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.config import ArchitectureSettings
from models.reference import IGNORED, Puzzles, ReferenceHRM, SolvePuzzles, solved
from models.supervision import halted, supervised_segment

DOORS = np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [4, 0, 1, 2, 3], [1, 0, 2, 3, 4]])
"""Lane behind each kind of door (keep, up, down, swap) for each lane before it."""
ROOMLESS = len(DOORS)
"""The token behind the end of a corridor."""
SHORTEST = 3
EXPLORATION = 0.3
LEARNING_RATE = 2e-3
WARM_UP = 100
EVALUATION_SEED = 10_000


@dataclass(frozen=True)
class Contender:
    """One model of the comparison and how long it is trained and run."""

    name: str
    h_layers: int
    l_layers: int
    l_steps: int
    segments: int
    updates: int

    def build(self, rooms: int, seed: int) -> ReferenceHRM:
        """Draw its weights."""
        torch.manual_seed(seed)
        shape = ArchitectureSettings(
            h_dim=64, h_layers=self.h_layers, h_heads=4, l_dim=64, l_layers=self.l_layers, l_heads=4,
            h_cycles=1, l_steps=self.l_steps,
        )  # fmt: skip
        return ReferenceHRM(shape, vocabulary=ROOMLESS + 1, tokens=rooms, identifiers=1)


class Corridors:
    """A batch of puzzles whose rows are replaced by fresh ones as they halt, as in the published training."""

    def __init__(self, rows: int, rooms: int, rng: np.random.Generator) -> None:
        self.rng, self.drawn = rng, 0
        self.inputs = torch.zeros(rows, rooms, dtype=torch.int64)
        self.lanes = torch.zeros(rows, rooms, dtype=torch.int64)
        self.length = np.zeros(rows, np.int64)
        self.replace(np.ones(rows, np.bool_))

    def replace(self, rows: NDArray[np.bool_]) -> None:
        """Draw new corridors for the rows (B,) that are True."""
        count, rooms = int(rows.sum()), self.inputs.shape[1]
        length = self.rng.integers(SHORTEST, rooms + 1, count)
        doors = self.rng.integers(0, len(DOORS), (count, rooms))
        lanes, lane = np.zeros((count, rooms), np.int64), np.zeros(count, np.int64)
        for room in range(rooms):
            lane = DOORS[doors[:, room], lane]
            lanes[:, room] = lane
        there = np.arange(rooms) < length[:, None]
        picked = torch.as_tensor(rows)
        self.inputs[picked] = torch.as_tensor(np.where(there, doors, ROOMLESS))
        self.lanes[picked] = torch.as_tensor(np.where(there, lanes, IGNORED))
        self.length[rows] = length
        self.drawn += count

    @property
    def puzzles(self) -> Puzzles:
        """The batch as it stands."""
        return Puzzles(self.inputs, torch.zeros(len(self.inputs), dtype=torch.int64))


def explored(rows: int, segments: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw minimum depths: for a share of the rows from 2..max, else 1."""
    drawn = rng.integers(2, max(segments, 2) + 1, rows)
    return np.minimum(np.where(rng.random(rows) < EXPLORATION, drawn, 1), segments)


def train(model: ReferenceHRM, contender: Contender, batch: int, rooms: int, seed: int) -> dict[str, float]:
    """Train on fresh corridors, one segment an update; the learning rate warms up and falls as a cosine."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    stream = Corridors(batch, rooms, rng)
    segments, active = contender.segments, torch.ones(batch, dtype=torch.bool)
    state, minimum = model.initial_state(stream.puzzles, budget=segments), explored(batch, segments, rng)
    started = time.process_time()
    for update in range(contender.updates):
        cosine = 0.5 * (1 + math.cos(math.pi * update / contender.updates))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (update + 1) / WARM_UP) * (0.05 + 0.95 * cosine)
        state, outputs, report = supervised_segment(
            model, stream.puzzles, state, SolvePuzzles(stream.lanes), optimizer, active=active
        )
        stops = halted(state, outputs, minimum)
        stream.replace(stops)
        state = model.initial_state(stream.puzzles, budget=segments).where(stops, state)
        minimum = np.where(stops, explored(batch, segments, rng), minimum)
        if (update + 1) % 500 == 0:
            print(f"  update {update + 1}: loss {report.loss:.3f}, solved {report.accuracy:.2f}", flush=True)
    return {"corridors": stream.drawn, "updates": contender.updates, "cpu_s": round(time.process_time() - started, 1)}


@torch.inference_mode()
def evaluate(model: ReferenceHRM, segments: int, count: int, rooms: int) -> dict[str, object]:
    """Solve the same fresh corridors at every depth, and once more with Q halting."""
    test = Corridors(count, rooms, np.random.default_rng(EVALUATION_SEED))
    state = model.initial_state(test.puzzles, budget=segments)
    depth, right_at_halt = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    by_segments = []
    for number in range(1, segments + 1):
        state, outputs = model.segment(test.puzzles, state)
        right = solved(outputs.logits, test.lanes).numpy()
        by_segments.append(float(right.mean()))
        halting = (depth == 0) & halted(state, outputs, np.ones(count, np.int64))
        depth[halting], right_at_halt[halting] = number, right[halting]
    edges = [(low, min(low + 7, rooms)) for low in range(SHORTEST, rooms, 8)]
    bands = {f"{low}-{high} rooms": (test.length >= low) & (test.length <= high) for low, high in edges}
    return {
        "solved_by_segments": by_segments,
        "q_halting": {
            "solved": float(right_at_halt.mean()),
            "mean_segments": float(depth.mean()),
            "saved": 1 - float(depth.mean()) / segments,
            "mean_segments_by_length": {name: float(depth[rows].mean()) for name, rows in bands.items()},
        },
    }


def main() -> None:
    """Train the contenders, evaluate them on the same fresh corridors, print and write what came of it."""
    parser = argparse.ArgumentParser(description="Accuracy against thinking time on a puzzle that needs depth.")
    parser.add_argument("--rooms", type=int, default=24, help="longest corridor")
    parser.add_argument("--updates", type=int, default=4000, help="optimizer steps of hrm and flat")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--segments", type=int, default=8, help="most segments of one puzzle")
    parser.add_argument("--puzzles", type=int, default=2000, help="fresh corridors to evaluate on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["hrm", "flat", "deep"], help="one contender instead of all")
    parser.add_argument("--out", type=Path, help="write the results there as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    contenders = [
        Contender("hrm", 1, 1, 2, arguments.segments, arguments.updates),
        Contender("flat", 1, 1, 1, 1, arguments.updates),
        Contender("deep", 6, 6, 1, 1, arguments.updates // 5),
    ]
    results: dict[str, object] = {"settings": {key: value for key, value in vars(arguments).items() if key != "out"}}
    for contender in contenders:
        if arguments.only in (None, contender.name):
            model = contender.build(arguments.rooms, arguments.seed)
            weights = sum(parameter.numel() for parameter in model.parameters())
            print(f"{contender.name}: {weights} weights", flush=True)
            trained = train(model, contender, arguments.batch, arguments.rooms, arguments.seed)
            measured = evaluate(model, contender.segments, arguments.puzzles, arguments.rooms)
            results[contender.name] = {"weights": weights} | trained | measured
    print(json.dumps(results, indent=1))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
