"""Models and sessions → how often a daemon would open nothing because it doesn't know such a market.

Invariant: what is asked is what is asked at every decision of a daemon: the same windows, limits and settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.config import NoveltySettings
from models.manifest import Manifest
from models.novelty import Novelty
from models.training.calibrating import windows
from models.training.sessions import Sessions


def unlike_share(models: Sequence[tuple[Manifest, Sessions]], settings: NoveltySettings) -> float:
    """Of all decisions, those in a market unlike those that their model knows; NaN where nobody asks or knows."""
    decided, unlike = 0, 0
    for manifest, sessions in models:
        if manifest.novelty is None or not settings.enabled:
            continue
        novelty = Novelty(manifest.novelty, settings.scale)
        for features, live in windows(sessions, manifest.config.features):
            if live.any():
                distances, _ = novelty.of(features.take(live.reshape(-1)))
                decided, unlike = decided + len(distances), unlike + int(np.count_nonzero(distances > 1.0))
    return unlike / decided if decided else math.nan
