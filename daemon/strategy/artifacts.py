"""A model's file → the hash of what it holds now. Torch is imported only where a file is read.

Invariant: nothing here touches a model that is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from daemon.core.errors import ArtifactError


def hash_on_disk(rung: str, path: Path) -> str:
    """Computed from what is in the file. Raises `ArtifactError` for one that is gone, damaged or no model of `rung`."""
    from models.artifact import read_hash
    from models.errors import CheckpointError
    from models.ppo import PPOPolicy

    try:
        return PPOPolicy.load(path).manifest.sha256 if rung == "ppo" else read_hash(path)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None


class Said(msgspec.Struct, frozen=True):
    """What an artifact says of itself: the hash of what is in it, what it was trained to, and how it did."""

    sha256: str
    trained: bool
    trained_to: str
    """The newest day of its training, an ISO date; "" where it doesn't say."""
    metrics: Mapping[str, float]


def said_on_disk(rung: str, path: Path) -> Said:
    """Read from the file, its hash computed. Raises `ArtifactError` as `hash_on_disk` does."""
    from models.artifact import read_hash, read_manifest
    from models.errors import CheckpointError
    from models.ppo import PPOPolicy

    try:
        if rung == "ppo":
            policy = PPOPolicy.load(path).manifest
            return Said(policy.sha256, True, "", policy.metrics)
        manifest = read_manifest(path)
        span = manifest.training_span
        return Said(read_hash(path), manifest.trained, span.last if span is not None else "", manifest.metrics)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
