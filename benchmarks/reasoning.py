"""Reasoning check: does thinking longer solve what an ordinary network of equal size can't?

The task is flood fill. A maze is drawn; one open cell is the start; every open cell that can be reached from it must be
marked. The rule is local and easy, the number of times it must be applied is the length of the corridor, so the task needs
depth and nothing else. Three models of one size are trained with the same optimizer on the same number of mazes:

- `hrm`: the published recurrence, one-step gradient, deep supervision, learned halting;
- `flat`: the same blocks run once, one after the other: an ordinary transformer;
- `hrm` cut off after one segment, which shows what the depth brings.

Run: `python benchmarks/reasoning.py --out build/reasoning.json` (about 7 minutes on one CPU thread).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.config import ArchitectureSettings
from models.reference import IGNORED, Puzzles, ReferenceHRM, SolvePuzzles, solved
from models.supervision import halted, supervised_segment

WALL, OPEN, START = 0, 1, 2
DRY, WET = 0, 1
EXPLORATION = 0.3


def mazes(count: int, side: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw mazes: inputs and labels (count, side · (side + 1)), and the longest distance from the start (count,).

    A spanning tree of corridors is grown depth first and then a few of its cells are walled up, so that corridors are long
    and some cells stay dry. A column of walls stands at the right, so that the end of one row is not beside the next one.
    """
    grids = np.full((count, side, side + 1), WALL, np.int64)
    labels = np.full((count, side, side + 1), IGNORED, np.int64)
    longest = np.zeros(count, np.int64)
    for index in range(count):
        grid = grids[index, :, :side]
        _carve(grid, side, rng)
        cells = np.argwhere(grid == OPEN)
        for wall in cells[rng.permutation(len(cells))[: rng.integers(0, 3)]]:
            grid[tuple(wall)] = WALL
        cells = np.argwhere(grid == OPEN)
        start = tuple(int(part) for part in cells[rng.integers(len(cells))])
        distance = _distances(grid, (start[0], start[1]))
        labels[index, :, :side][grid == OPEN] = DRY
        labels[index, :, :side][distance >= 0] = WET
        grid[start] = START
        longest[index] = distance.max()
    return grids.reshape(count, -1), labels.reshape(count, -1), longest


def _carve(grid: NDArray[np.int64], side: int, rng: np.random.Generator) -> None:
    """Grow a tree of corridors depth first over the cells of even row and column."""
    path = [(0, 0)]
    grid[0, 0] = OPEN
    while path:
        row, column = path[-1]
        steps = [
            (dr, dc)
            for dr, dc in ((0, 2), (2, 0), (0, -2), (-2, 0))
            if 0 <= row + dr < side and 0 <= column + dc < side and grid[row + dr, column + dc] == WALL
        ]
        if not steps:
            path.pop()
            continue
        dr, dc = steps[rng.integers(len(steps))]
        grid[row + dr // 2, column + dc // 2] = grid[row + dr, column + dc] = OPEN
        path.append((row + dr, column + dc))


def _distances(grid: NDArray[np.int64], start: tuple[int, int]) -> NDArray[np.int64]:
    """Steps from the start to each open cell; −1 where it can't be reached."""
    distance = np.full(grid.shape, -1, np.int64)
    distance[start] = 0
    front = [start]
    while front:
        row, column = front.pop(0)
        for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= near[0] < grid.shape[0] and 0 <= near[1] < grid.shape[1]
            if inside and grid[near] != WALL and distance[near] < 0:
                distance[near] = distance[row, column] + 1
                front.append(near)
    return distance


class MazeStream:
    """A batch whose rows are replaced by fresh mazes as they halt, as in the published training."""

    def __init__(self, side: int, size: int, rng: np.random.Generator) -> None:
        self.side, self.rng, self.seen = side, rng, 0
        self.inputs = torch.zeros(size, side * (side + 1), dtype=torch.int64)
        self.labels = torch.zeros_like(self.inputs)
        self.identifiers = torch.zeros(size, dtype=torch.int64)
        self.replace(np.ones(size, bool))

    def replace(self, rows: NDArray[np.bool_]) -> None:
        """Draw new mazes for the rows (B,)."""
        if count := int(rows.sum()):
            inputs, labels, _ = mazes(count, self.side, self.rng)
            self.inputs[torch.as_tensor(rows)] = torch.as_tensor(inputs)
            self.labels[torch.as_tensor(rows)] = torch.as_tensor(labels)
            self.seen += count

    @property
    def puzzles(self) -> Puzzles:
        """The batch as it stands."""
        return Puzzles(self.inputs, self.identifiers)


def build(side: int, *, flat: bool, dim: int, layers: int, steps: int, cycles: int, gradient: str) -> ReferenceHRM:
    """Both models have the same weights' shapes; the flat one runs each block exactly once."""
    shape = ArchitectureSettings(
        h_dim=dim, l_dim=dim, h_heads=4, l_heads=4, h_layers=layers, l_layers=layers,
        h_cycles=1 if flat else cycles, l_steps=1 if flat else steps, gradient=gradient,
    )  # fmt: skip
    return ReferenceHRM(shape, vocabulary=3, tokens=side * (side + 1), identifiers=1)


def train(model: ReferenceHRM, arguments: argparse.Namespace, segments: int, budget_s: float) -> dict[str, float]:
    """Train with deep supervision until the time is up; the learning rate falls as a cosine of the time used."""
    rng = np.random.default_rng(arguments.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, betas=(0.9, 0.95), weight_decay=arguments.decay)
    stream = MazeStream(arguments.side, arguments.batch, rng)
    active = torch.ones(arguments.batch, dtype=torch.bool)
    state = model.initial_state(stream.puzzles, budget=segments)
    minimum = explore(arguments.batch, segments, rng)
    started, updates, used = time.perf_counter(), 0, 0.0
    while used < 1:
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * min(1.0, (updates + 1) / 100) * (0.05 + 0.475 * (1 + np.cos(np.pi * used)))
        state, outputs, report = supervised_segment(
            model, stream.puzzles, state, SolvePuzzles(stream.labels), optimizer, active=active
        )
        stops = halted(state, outputs, minimum)
        stream.replace(stops)
        state = model.initial_state(stream.puzzles, budget=segments).where(stops, state)
        minimum = np.where(stops, explore(arguments.batch, segments, rng), minimum)
        updates += 1
        used = (time.perf_counter() - started) / budget_s
        if updates % 500 == 0:
            print(f"  {used:4.0%} mazes {stream.seen} updates {updates} loss {report.loss:.3f} solved {report.accuracy:.2f} q_loss {report.q_loss:.3f}", flush=True)
    return {"mazes": stream.seen, "updates": updates, "seconds": round(time.perf_counter() - started, 1)}


def explore(rows: int, segments: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw minimum depths: for a share of the rows from 2..max, else 1."""
    drawn = rng.integers(2, max(segments, 2) + 1, rows)
    return np.minimum(np.where(rng.random(rows) < EXPLORATION, drawn, 1), segments)


@torch.inference_mode()
def evaluate(model: ReferenceHRM, side: int, segments: int, count: int) -> dict[str, object]:
    """Solve fresh mazes at every depth, and once more with Q halting."""
    inputs, labels, longest = mazes(count, side, np.random.default_rng(10_000))
    batch, wanted = Puzzles(torch.as_tensor(inputs), torch.zeros(count, dtype=torch.int64)), torch.as_tensor(labels)
    state = model.initial_state(batch, budget=segments)
    depth = np.zeros(count, np.int64)
    right_at_halt = np.zeros(count, bool)
    exact, cells = [], []
    for number in range(1, segments + 1):
        state, outputs = model.segment(batch, state)
        right = solved(outputs.logits, wanted).numpy()
        counted = wanted != IGNORED
        exact.append(float(right.mean()))
        cells.append(float((outputs.logits.argmax(-1) == wanted)[counted].float().mean()))
        halting = (depth == 0) & ((outputs.q_halt > outputs.q_continue).numpy() | (number == segments))
        depth[halting], right_at_halt[halting] = number, right[halting]
    bands = {f"{low}-{high}": (longest >= low) & (longest <= high) for low, high in ((0, 6), (7, 14), (15, 99))}
    return {
        "solved_by_segments": exact,
        "cells_by_segments": cells,
        "q_halting": {
            "solved": float(right_at_halt.mean()),
            "segments": float(depth.mean()),
            "saved": 1 - float(depth.mean()) / segments,
            "segments_by_longest_path": {name: float(depth[rows].mean()) for name, rows in bands.items() if rows.any()},
        },
    }


def main() -> None:
    """Train both models, evaluate them on the same fresh mazes, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=7)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--cycles", type=int, default=1)
    parser.add_argument("--gradient", default="one_step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--flat-seconds", type=float, default=100.0)
    parser.add_argument("--mazes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {}
    for name, flat in (("hrm", False), ("flat", True)):
        torch.manual_seed(arguments.seed)
        model = build(arguments.side, flat=flat, dim=arguments.dim, layers=arguments.layers, steps=arguments.steps, cycles=arguments.cycles, gradient=arguments.gradient)
        print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters", flush=True)
        seconds = arguments.flat_seconds if flat else arguments.seconds
        if seconds <= 0:
            continue
        trained = train(model, arguments, 1 if flat else arguments.segments, seconds)
        segments = 1 if flat else arguments.segments
        result[name] = trained | evaluate(model, arguments.side, segments, arguments.mazes)
        print(json.dumps(result[name], indent=1), flush=True)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
