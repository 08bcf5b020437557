"""A training run's state ↔ files that continue it bit for bit.

A file is a torch payload followed by its sha256; it gets its name only once it is whole. Invariant: a file that was
torn, cut or changed is never picked up, and a run made with other settings or data is refused by the key that differs.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.training.errors import ResumeError

_DIGEST = 32
PATTERN = "step_*.ckpt"


@dataclass(frozen=True)
class TrainingState:
    """All that a run must remember. Random numbers and the data position follow from seed and step, so neither is here.

    ``reading`` are the weights that read tokens of bars, empty where none are asked; ``chosen`` are the averaged
    weights of the best validation, empty where nothing is chosen by it; ``norm`` is the running mean of gradient
    norms; ``rate_scale`` shrinks with every rollback; ``best``, ``best_step`` and
    ``stale`` belong to validation.
    """

    step: int
    updates: int
    model: Mapping[str, Tensor]
    reading: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    chosen: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    norm: float
    rate_scale: float
    rollbacks: int
    best: float
    best_step: int
    stale: int
    fingerprint: Mapping[str, str]


def save_state(folder: Path, state: TrainingState, keep: int) -> Path:
    """Write ``step_NNNNNNNN.ckpt`` atomically and drop all but the newest ``keep``."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    fields = {name: getattr(state, name) for name in TrainingState.__dataclass_fields__}
    torch.save({**fields, "fingerprint": dict(state.fingerprint)}, buffer)
    payload = buffer.getvalue()
    path = folder / f"step_{state.step:08d}.ckpt"
    pending = path.with_suffix(".part")
    with pending.open("wb") as file:
        file.write(payload)
        file.write(hashlib.sha256(payload).digest())
        file.flush()
        os.fsync(file.fileno())
    os.replace(pending, path)
    for old in sorted(folder.glob(PATTERN))[:-keep]:
        old.unlink()
    return path


def load_state(path: Path) -> TrainingState:
    """Read one file; nothing in it is executed.

    Raises ResumeError where it is absent, torn, changed, or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResumeError(f"{path}: can't be read ({error.strerror})") from error
    payload, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        raise ResumeError(f"{path}: the checkpoint is torn or was changed (its hash does not match)")
    fields = torch.load(io.BytesIO(payload), weights_only=True)
    if fields.keys() != TrainingState.__dataclass_fields__.keys():
        raise ResumeError(f"{path}: the checkpoint was written by another version of hrmd; start anew")
    return TrainingState(**fields)


def newest_state(folder: Path) -> TrainingState | None:
    """Return the newest whole checkpoint, older ones where newer are torn; None where there is none.

    Raises ResumeError where files are there and none is whole.
    """
    problem: ResumeError | None = None
    for path in sorted(folder.glob(PATTERN), reverse=True):
        try:
            return load_state(path)
        except ResumeError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def forget(folder: Path) -> None:
    """Delete every checkpoint in a folder."""
    for path in folder.glob(PATTERN):
        path.unlink()


def progress(folder: Path) -> tuple[int, int]:
    """Steps that the run of a folder has done, and how many it is to do; 0 and 0 where nothing can be gone on with."""
    try:
        state = newest_state(folder)
    except ResumeError:
        return 0, 0
    return (0, 0) if state is None else (state.step, int(state.fingerprint.get("training_params.steps", 0)))


def fingerprint(**groups: Mapping[str, Any]) -> dict[str, str]:
    """Flatten nested settings to ``dotted.key: text``, to be compared at resume."""
    flat: dict[str, str] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}", inner)
        else:
            flat[prefix] = repr(value)

    for name, group in groups.items():
        walk(name, group)
    return flat


def check_fingerprint(stored: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Raise ResumeError naming the keys whose values changed since the checkpoint."""
    keys = sorted(stored.keys() | present.keys())
    changed = [
        f"{k} was {stored.get(k, 'absent')}, is {present.get(k, 'absent')}"
        for k in keys
        if stored.get(k) != present.get(k)
    ]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ResumeError(f"settings changed since the checkpoint: {'; '.join(changed[:3])}{more}; start anew or undo")
