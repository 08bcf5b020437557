"""From observations to features: what a number means, what is masked and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import FeatureSettings
from models.errors import InvalidObservation
from models.features import (
    BAR_FEATURES,
    CALENDAR_FEATURES,
    FeatureSchema,
    bar_features,
    encode,
    forget_identities,
    own_variances,
    trend_features,
    variances_by_volume,
)
from models.vocabulary import UNKNOWN, Vocabularies, Vocabulary
from tests.unit.models.conftest import Observe, walk

SMALL = FeatureSettings(window=20, patch=5, min_bars=6, coarse_window=4)
ROW = np.zeros(1, np.int64)
NAMES = Vocabularies().grow(["NSE:NIFTY50-INDEX", "B"], ["5m", "30m"])


def column(table: np.ndarray, name: str) -> np.ndarray:
    """Return one bar feature of (B, W, 9)."""
    return table[..., BAR_FEATURES.index(name)]


def test_bar_features_of_a_made_window() -> None:
    """Two bars with known moves: returns of +1 % and −1 % make a volatility of 1 % · sqrt(π/2)."""
    up, down = math.exp(0.01), 1.0
    bars = np.array([[[1.0, up, 1.0, up, 10.0], [up, up * math.exp(0.02), down, down, 10.0]]])
    table, volatility = bar_features(bars, np.ones((1, 2), bool), clip=8.0)
    sigma = 0.01 * math.sqrt(math.pi / 2)
    assert volatility == pytest.approx([sigma])
    np.testing.assert_allclose(column(table, "return")[0], [0.01 / sigma, -0.01 / sigma])
    np.testing.assert_allclose(column(table, "body")[0], [0.01 / sigma, -0.01 / sigma])
    np.testing.assert_allclose(column(table, "range")[0], [0.01 / sigma, 0.03 / sigma])
    np.testing.assert_allclose(column(table, "upper_wick")[0], [0.0, 0.02 / sigma], atol=1e-12)
    np.testing.assert_allclose(column(table, "lower_wick")[0], [0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(column(table, "level")[0], [0.01 / (sigma * math.sqrt(2)), 0.0])
    np.testing.assert_allclose(column(table, "volume_z")[0], [0.0, 0.0])
    assert (column(table, "present") == 1).all()


def test_a_gap_between_bars_is_a_return_but_not_a_body() -> None:
    """A close-on-close return sees an overnight gap, the body of the bar doesn't."""
    bars = np.array([[[1.0, 1.0, 1.0, 1.0, 1.0], [1.1, 1.1, 1.1, 1.1, 1.0]]])
    table, _ = bar_features(bars, np.ones((1, 2), bool), clip=8.0)
    assert column(table, "return")[0, 1] > 1
    assert column(table, "body")[0, 1] == 0


@given(scale=st.floats(1e-2, 1e4), seed=st.integers(0, 50))
def test_features_do_not_depend_on_the_price_level(scale: float, seed: int) -> None:
    """The same moves at another price look the same."""
    bars = walk(20, np.random.default_rng(seed))[None]
    scaled = bars * np.array([scale] * 4 + [1.0])
    present = np.ones((1, 20), bool)
    np.testing.assert_allclose(
        bar_features(bars, present, 8.0)[0], bar_features(scaled, present, 8.0)[0], atol=1e-6, rtol=1e-6
    )


def test_a_price_that_never_moves_gives_zeros(observe: Observe) -> None:
    """No division by a volatility of zero."""
    still = np.tile([100.0, 100.0, 100.0, 100.0, 5.0], (20, 1))
    features = encode([observe(bars=20)], NAMES, SMALL)
    frozen = encode([replace(observe(), bars=still)], NAMES, SMALL)
    table = frozen.patches.reshape(1, 20, -1)
    assert (column(table, "return") == 0).all()
    assert np.isfinite(frozen.calendar).all()
    assert np.abs(features.patches).max() <= SMALL.clip


def test_no_feature_leaves_the_clip() -> None:
    """A jump of 16 volatilities, up or down, reads as 8."""
    for jump in (1.1, 0.9):
        bars = np.ones((1, 20, 5))
        bars[:, 10:, :4] = jump
        returns = column(bar_features(bars, np.ones((1, 20), bool), 8.0)[0], "return")[0]
        assert returns[10] == math.copysign(8.0, jump - 1)


def test_missing_volume_is_said_and_not_guessed(observe: Observe) -> None:
    """An index has no volume: the z-score is 0 and `has_volume` is 0."""
    observation = observe()
    observation.bars[:, 4] = np.nan
    table = encode([observation], NAMES, SMALL).patches.reshape(1, 20, -1)
    assert (column(table, "volume_z") == 0).all()
    assert (column(table, "has_volume") == 0).all()
    assert (column(encode([observe()], NAMES, SMALL).patches.reshape(1, 20, -1), "has_volume") == 1).all()


def test_short_history_is_masked(observe: Observe) -> None:
    """Seven bars fill the last two patches; the rest and an empty coarse window are masked."""
    features = encode([observe(bars=7, coarse=0)], NAMES, SMALL)
    assert features.valid.tolist() == [[True, False, False, True, True, False, True, True]]
    assert (features.patches[0, :2] == 0).all()
    assert (features.coarse == 0).all()


def test_only_the_newest_bars_count(observe: Observe) -> None:
    """Bars older than the window change nothing."""
    long = observe(bars=40)
    short = replace(long, bars=long.bars[-20:])
    np.testing.assert_array_equal(encode([long], NAMES, SMALL).patches, encode([short], NAMES, SMALL).patches)


def test_calendar_of_a_known_moment(observe: Observe) -> None:
    """An hour into a Friday session of two, one volatility unit of spread."""
    features = encode([observe(minute_of_session=60.0, minutes_to_close=60.0, weekday=4)], NAMES, SMALL)
    values = dict(zip(CALENDAR_FEATURES, features.calendar[0].tolist(), strict=True))
    assert values["session_share"] == 0.5
    assert values["session_cos"] == pytest.approx(-1.0)
    assert values["friday"] == 1
    assert values["monday"] == values["weekend"] == 0
    assert values["complexity"] == pytest.approx(0.2)
    assert values["log_minutes_done"] == pytest.approx(math.log1p(60) / math.log1p(375))


def trends(bars: np.ndarray) -> np.ndarray:
    """Recent volatility and trends of windows (B, W, 5) that are all there, (B, 6)."""
    present = np.ones(bars.shape[:2], bool)
    return trend_features(*own_variances(bars, present), present, bar_features(bars, present, 8.0)[1], 8.0)


def candles(returns: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Windows whose log-returns and log-ranges are given, (B, W) each -> (B, W, 5)."""
    close = np.cumsum(returns, axis=1)
    open_ = close - returns
    top = np.maximum(open_, close)
    return np.exp(np.stack([open_, top, top - np.maximum(ranges, np.abs(returns)), close, returns * 0], axis=-1))


def test_trends_without_a_drift_are_standard_errors() -> None:
    """Of 4,000 walks every trend has mean 0 and deviation 1, in calm and in wild windows alike."""
    rng = np.random.default_rng(0)
    wild = np.where(rng.random((4_000, 1)) < 0.5, 1e-3, 4e-3)
    table = trends(candles(wild * rng.standard_normal((4_000, 60)), np.tile(wild, (1, 60)) * 2))[:, 1:]
    np.testing.assert_allclose(table.mean(axis=0), 0.0, atol=0.06)
    np.testing.assert_allclose(table.std(axis=0), 1.0, atol=0.1)


def test_a_drift_shows_most_in_the_longest_trend_that_it_fills() -> None:
    """Half a deviation a bar for 60 bars: the longer the memory, the surer the trend; downwards with the other sign."""
    moves = 1e-3 * np.random.default_rng(1).standard_normal((2_000, 60))
    up = trends(candles(moves + 5e-4, np.full_like(moves, 2e-3)))[:, 1:].mean(axis=0)
    down = trends(candles(-moves - 5e-4, np.full_like(moves, 2e-3)))[:, 1:].mean(axis=0)
    assert (np.diff(up) > 0).all()
    np.testing.assert_allclose(down, -up, rtol=1e-6)


def test_a_wild_bar_weighs_less_in_a_trend() -> None:
    """The same returns say less where the ranges of their bars are wide."""
    returns = np.full((1, 60), 1e-3)
    calm, torn = np.full((1, 60), 2e-3), np.full((1, 60), 2e-3)
    torn[:, -10:] *= 8
    assert trends(candles(returns, torn))[0, 1] < trends(candles(returns, calm))[0, 1]
    assert trends(candles(returns, torn))[0, 0] > 0
    assert trends(candles(returns, calm))[0, 0] == pytest.approx(0.0)


def test_a_still_price_has_no_trend() -> None:
    """No range, no return: all six numbers are 0."""
    assert (trends(np.tile([100.0, 100.0, 100.0, 100.0, 5.0], (1, 20, 1))) == 0).all()


def shares_of(bars: np.ndarray) -> np.ndarray:
    """What volume and ranges tell of windows (B, W, 5) that are all there, (B, W)."""
    return variances_by_volume(bars, np.ones(bars.shape[:2], bool))[1]


def test_volume_tells_a_bars_own_variance() -> None:
    """Where wild bars come singly and trade more, the volume names each; without it only a mean of ranges is left."""
    rng = np.random.default_rng(7)
    wild = np.where(rng.random((400, 60)) < 0.3, 3.0, 1.0)
    noise = rng.standard_normal((400, 60))
    bars = candles(1e-3 * wild * noise, 1e-3 * wild * (1.0 + np.abs(noise)))
    bars[..., 4] = 10_000 * wild * np.exp(0.1 * rng.standard_normal((400, 60)))
    silent = bars.copy()
    silent[..., 4] = np.nan
    truth = np.log(wild**2)
    told = [np.corrcoef(np.log(share).ravel(), truth.ravel())[0, 1] for share in (shares_of(bars), shares_of(silent))]
    assert told[0] > 0.9
    assert told[1] < 0.5
    calm, torn = (np.median(shares_of(bars)[wild == level]) for level in (1.0, 3.0))
    assert 4.0 < torn / calm < 9.0  # drawn towards nothing, for sixty bars are few


def test_a_volume_that_tells_nothing_changes_little() -> None:
    """Volumes at random beside ranges of their own leave what ranges alone tell; none is as good as an even one."""
    rng = np.random.default_rng(8)
    returns = 1e-3 * rng.standard_normal((100, 60))
    bars = candles(returns, 2e-3 * np.exp(0.3 * rng.standard_normal((100, 60))))
    even, silent, random = bars.copy(), bars.copy(), bars.copy()
    even[..., 4], silent[..., 4], random[..., 4] = 5.0, np.nan, rng.integers(1, 100_000, (100, 60))
    assert (shares_of(even) == shares_of(silent)).all()
    assert np.abs(np.log(shares_of(random) / shares_of(silent))).mean() < 0.15


def test_what_is_missing_tells_nothing_of_variances() -> None:
    """A window of one bar, of none and of a still price, and bars of which some have a volume: finite, 1 on average."""
    rng = np.random.default_rng(9)
    bars = np.stack([walk(60, rng) for _ in range(4)])
    bars[1, :, :4] = 100.0
    bars[2, ::2, 4] = np.nan
    present = np.arange(60) >= np.array([59, 0, 0, 60])[:, None]
    _, shares = variances_by_volume(bars, present)
    np.testing.assert_allclose(shares[[0, 1, 3]], 1.0, rtol=1e-12)
    assert shares[2].mean() == pytest.approx(1.0, abs=0.05)
    turned = bars[2:3].copy()
    turned[..., :4] = 1.0 / bars[2:3][..., [0, 2, 1, 3]]
    np.testing.assert_allclose(shares_of(turned), shares[2:3], rtol=1e-9)


def test_a_flat_position_is_neutral(observe: Observe) -> None:
    """What a flat observation says of size, profit and age does not reach the network."""
    odd = observe(position_size=0.7, unrealised_atr=2.0, bars_held=9)
    assert (encode([odd], NAMES, SMALL).position == 0).all()
    held = replace(odd, position_side=-1)
    assert encode([held], NAMES, SMALL).side.tolist() == [2]
    np.testing.assert_allclose(encode([held], NAMES, SMALL).position[0, :2], [0.7, 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bars": np.ones((20, 4))}, r"bars has shape \(20, 4\)"),
        ({"bars": np.full((20, 5), np.nan)}, "bars holds a price that is not finite"),
        ({"bars": np.full((20, 5), -1.0)}, "not finite and positive"),
        ({"bars": np.tile([2.0, 1.0, 1.0, 1.0, 1.0], (20, 1))}, "does not enclose"),
        ({"bars": np.tile([1.0, 2.0, 1.5, 1.2, 1.0], (20, 1))}, "does not enclose"),
        ({"bars": np.tile([1.0, 1.0, 1.0, 1.0, -1.0], (20, 1))}, "volume that is infinite or negative"),
        ({"coarse": np.tile([1.0, 1.0, 1.0, 1.0, np.inf], (4, 1))}, "coarse holds a volume"),
        ({"bars": np.tile([1.0, 1.0, 1.0, 1.0, 1.0], (5, 1))}, "5 bars, at least 6 are needed"),
        ({"position_side": 2}, "position_side is 2"),
        ({"position_size": 1.2}, "position_size is 1.2"),
        ({"unrealised_atr": math.nan}, "unrealised_atr is nan"),
        ({"bars_held": -1}, "bars_held is -1"),
        ({"minute_of_session": -0.5}, "minute_of_session"),
        ({"minutes_to_close": math.inf}, "minutes_to_close is inf"),
        ({"weekday": 7}, "weekday is 7"),
        ({"spread_bp": -1.0}, "spread_bp"),
        ({"complexity": 1.01}, "complexity is 1.01"),
    ],
)
def test_what_cannot_be_decided_on_is_refused(observe: Observe, change: dict[str, object], reason: str) -> None:
    """The refusal names the symbol, the time in India and the field, and one bad row refuses the batch."""
    with pytest.raises(InvalidObservation, match=f"NSE:NIFTY50-INDEX 5m at 2023-11-15 03:43:20: .*{reason}") as refusal:
        encode([observe(), replace(observe(), **change)], NAMES, SMALL)
    assert str(refusal.value).endswith(f": {refusal.value.reason}")
    with pytest.raises(InvalidObservation) as alone:
        encode([replace(observe(), **change)], NAMES, SMALL)
    assert str(alone.value) == str(refusal.value)


def test_no_row_depends_on_another_to_the_last_bit() -> None:
    """Volatility, bars and trends of 200 windows of any length are those of each alone."""
    rng = np.random.default_rng(4)
    bars = np.stack([walk(60, rng) for _ in range(200)])
    present = np.arange(60) >= rng.integers(0, 59, 200)[:, None]
    table, volatility = bar_features(bars, present, 8.0)
    trends = trend_features(*own_variances(bars, present), present, volatility, 8.0)
    _, shares = variances_by_volume(bars, present)
    for row in range(200):
        only = slice(row, row + 1)
        one, its_own = bar_features(bars[only], present[only], 8.0)
        assert one.tobytes() == table[only].tobytes()
        assert its_own.tobytes() == volatility[only].tobytes()
        alone = own_variances(bars[only], present[only])
        assert trend_features(*alone, present[only], its_own, 8.0).tobytes() == trends[only].tobytes()
        assert variances_by_volume(bars[only], present[only])[1].tobytes() == shares[only].tobytes()


def test_several_instruments_and_timeframes_share_a_batch(observe: Observe) -> None:
    """Names become rows; what is not known becomes row 0."""
    batch = [observe(), observe(symbol="B", interval="30m"), observe(symbol="new", interval="1h")]
    features = encode(batch, NAMES, SMALL)
    assert features.instrument.tolist() == [1, 2, 0]
    assert features.timeframe.tolist() == [1, 2, 0]
    assert features.coarse_timeframe.tolist() == [2, 2, 2]
    assert len(features.take(np.array([True, False, True]))) == 2


def test_identities_are_forgotten_at_the_share_asked_for(observe: Observe) -> None:
    """All, none, or about half of the rows become unknown; nothing else changes."""
    features = encode([observe(seed) for seed in range(200)], NAMES, SMALL)
    assert (forget_identities(features, 1.0, np.random.default_rng(0)).instrument == 0).all()
    assert (forget_identities(features, 0.0, np.random.default_rng(0)).instrument == 1).all()
    half = forget_identities(features, 0.5, np.random.default_rng(0))
    assert 70 < (half.instrument == 0).sum() < 130
    assert (half.instrument != half.timeframe).any()
    assert half.patches is features.patches


def test_the_schema_counts_what_is_computed() -> None:
    """The names in the manifest are as many as the numbers."""
    schema = FeatureSchema.of(FeatureSettings())
    assert (len(schema.bar), len(schema.calendar), len(schema.position)) == (9, 21, 3)
    told = FeatureSchema.of(FeatureSettings(past_sessions=20)).calendar
    assert told[:21] == schema.calendar
    assert len(told) == 34
    followed = FeatureSchema.of(FeatureSettings(past_sessions=20, belief=True)).calendar
    assert followed[:34] == told
    assert len(followed) == 42
    assert FeatureSchema.of(FeatureSettings(belief=True)) == schema, "one session can't tell a drift from none"


def test_a_vocabulary_grows_at_the_end_and_keeps_its_rows() -> None:
    """Row 0 is unknown, known names are not added twice, and order is kept."""
    grown = Vocabulary(("A",)).grow(["C", "A", "B", "C"])
    assert grown.names == ("A", "C", "B")
    assert [grown.row(name) for name in ("A", "C", "B", "Z")] == [1, 2, 3, 0]
    assert len(grown) == 4
    for names in (("A", "A"), (UNKNOWN,)):
        with pytest.raises(ValueError, match="each name once"):
            Vocabulary(names)
