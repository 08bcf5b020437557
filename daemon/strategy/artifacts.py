"""A model's file → the hash of what it holds now. Torch is imported only where a file is read.

Invariant: nothing here touches a model that is loaded.
"""

from __future__ import annotations

from pathlib import Path

from daemon.core.errors import ArtifactError


def hash_on_disk(rung: str, path: Path) -> str:
    """Computed from what is in the file. Raises `ArtifactError` for one that is gone, damaged or no model of `rung`."""
    from models.checkpoint import read_hash
    from models.errors import CheckpointError
    from models.ppo import PPOPolicy

    try:
        return PPOPolicy.load(path).manifest.sha256 if rung == "ppo" else read_hash(path)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
