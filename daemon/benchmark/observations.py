"""A market, simulated or in files of bars → the observations that a benchmark asks a model about.

Invariant: the same market, count and model give the same observations.
"""

from __future__ import annotations

import numpy as np

from models.agent import HRMAgent
from models.errors import InvalidObservation
from models.features import Features
from models.training.batches import BatchSettings, make_batch
from models.training.run import Data, evaluation_data
from models.training.settings import TrainingSettings

SESSIONS = 64
"""Sessions drawn from at most."""
SEED = 7


def market_features(agent: HRMAgent, data: Data, training: TrainingSettings, count: int) -> Features:
    """Features of `count` decisions, drawn over sessions. Raises InvalidObservation where there are fewer."""
    sessions = evaluation_data(data, SESSIONS, training.objective.costs).sessions
    rng = np.random.default_rng(SEED)
    settings = BatchSettings(agent.features, training.fill, training.target)
    rows = rng.permutation(len(sessions))[:SESSIONS]
    batch = make_batch(sessions, rows, settings, agent.vocabularies, rng)
    live = np.flatnonzero(batch.live.reshape(-1))
    if len(live) < count:
        raise InvalidObservation(f"--observations {count}: {len(rows)} sessions of the market hold {len(live)}")
    return batch.features.take(np.sort(rng.permutation(live)[:count]))
