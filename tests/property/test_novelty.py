"""The distance is a finite number for every window of bars."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.config import FeatureSettings
from models.features import Observation, encode
from models.novelty import Novelty
from models.training.calibrating import calibrate
from models.training.markets import HiddenRegime
from models.vocabulary import Vocabularies

FEATURES = FeatureSettings()
NOVELTY = Novelty(calibrate([HiddenRegime().sessions(60, 1)], FEATURES, "simulated"))
PRICES = st.floats(1e-3, 1e7)
VOLUMES = st.one_of(st.just(math.nan), st.just(0.0), st.floats(0.0, 1e15))


@st.composite
def bars(draw: st.DrawFn) -> np.ndarray:
    """Two to 80 bars, wild or all alike, with, without and with some volumes."""
    count = draw(st.integers(2, 80))
    still = draw(st.booleans())
    rows = []
    price, volume = draw(PRICES), draw(VOLUMES)
    for _ in range(count):
        four = [price] * 4 if still else sorted(draw(st.tuples(PRICES, PRICES, PRICES, PRICES)))
        rows.append([four[1], four[3], four[0], four[2], volume if still else draw(VOLUMES)])
    return np.array(rows)


@given(bars(), st.floats(0.0, 1e5))
def test_it_is_finite(window: np.ndarray, minute: float) -> None:
    """Whatever prices and volumes are, and whatever time it is; and the same twice."""
    seen = Observation(
        symbol="AAA", interval="5m", ts=1, bars=window, coarse=np.empty((0, 5)), position_side=0, position_size=0.0,
        unrealised_atr=0.0, bars_held=0, minute_of_session=minute, minutes_to_close=0.0, weekday=0, spread_bp=0.0,
        complexity=0.0,
    )  # fmt: skip
    features = encode([seen], Vocabularies(), FEATURES)
    distance, furthest = NOVELTY.of_one(features)
    assert math.isfinite(distance)
    assert distance >= 0
    assert furthest
    assert NOVELTY.of_one(features) == (distance, furthest)
