"""Seed → sessions of a simulated market whose drift regime is hidden.

Invariant: the same settings, seed and number of sessions give the same arrays, bit for bit, and every bar's open is the
close before it (over night too), so what a position earns from one open to the next is exactly the simulated return.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.india import DAY_NS
from models.training.sessions import Sessions, from_table

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BP = 1e-4
FIRST_CLOSE = 24_000.0
BAR_NS = 300 * 1_000_000_000
SESSION_OPEN_NS = 1_546_400_700 * 1_000_000_000  # 2019-01-02 03:45 UTC, 09:15 in Mumbai
SYMBOL = "SIM"


@dataclass(frozen=True)
class HiddenRegimeMarket:
    """The parameters of the hidden-regime market; defaults are those the project's figures were measured on.

    Regimes are −1, 0, +1 and add ``drift_bp`` times their sign to each bar. A trend that ends reverses with chance
    ``reversal`` and goes flat otherwise; a flat spell ends in either trend with equal chance. Two volatility states
    alternate independently and are observable.
    """

    bars: int = 75
    drift_bp: float = 2.0
    stay_trend: float = 0.957
    stay_flat: float = 0.985
    reversal: float = 0.2
    vol_bp: tuple[float, float] = (5.0, 9.0)
    stay_vol: float = 0.97
    cost_bp: float = 3.0
    #: Degrees of freedom of the noise (Student's t, brought to the volatility); infinite: normal.
    tails: float = math.inf
    #: How much wilder a session's ends are than its middle: volatility times 1 + smile·((2x − 1)² − ⅓), x from 0 to 1.
    smile: float = 0.0
    #: Whether bars have a volume, and wicks that tell the volatility.
    volume: bool = True
    wicks: bool = True
    #: Regime transition matrix, rows from, columns to, in the order −1, 0, +1.
    regime_matrix: FloatArray = field(init=False, repr=False, compare=False)
    #: Long-run regime probabilities, which the first bar is drawn from.
    regime_prior: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        leave, spread = 1.0 - self.stay_trend, (1.0 - self.stay_flat) / 2.0
        calm, turn = leave * (1.0 - self.reversal), leave * self.reversal
        matrix = np.array(
            [[self.stay_trend, calm, turn], [spread, self.stay_flat, spread], [turn, calm, self.stay_trend]]
        )
        flat = calm / (calm + 2.0 * spread)
        object.__setattr__(self, "regime_matrix", matrix)
        object.__setattr__(self, "regime_prior", np.array([(1 - flat) / 2, flat, (1 - flat) / 2]))

    @property
    def drifts_bp(self) -> FloatArray:
        """Drift of each regime, basis points a bar, shape (3,)."""
        return self.drift_bp * np.array([-1.0, 0.0, 1.0])

    @property
    def shape(self) -> FloatArray:
        """Volatility over a session, as multiples of its state's, (T,)."""
        if self.bars < 2:
            return np.ones(self.bars)
        return 1.0 + self.smile * ((2.0 * np.arange(self.bars) / (self.bars - 1) - 1.0) ** 2 - 1.0 / 3.0)

    def volatility_bp(self, vol_state: IntArray) -> FloatArray:
        """Volatility of each bar, bp, (N, T)."""
        return np.asarray(self.vol_bp)[vol_state] * self.shape

    def log_density(self, deviation: FloatArray) -> FloatArray:
        """Logarithm of the noise's density at so many standard deviations, up to a constant."""
        if math.isinf(self.tails):
            return -0.5 * deviation**2
        return -0.5 * (self.tails + 1.0) * np.log1p(deviation**2 / (self.tails - 2.0))

    @property
    def vol_matrix(self) -> FloatArray:
        """Volatility transition matrix, shape (2, 2)."""
        return np.array([[self.stay_vol, 1 - self.stay_vol], [1 - self.stay_vol, self.stay_vol]])


@dataclass(frozen=True)
class Simulated:
    """Simulated sessions, all arrays (N, T): log-returns in bp, volatility state 0/1, hidden regime 0/1/2."""

    returns_bp: FloatArray
    vol_state: IntArray
    regime: IntArray


def simulate(market: HiddenRegimeMarket, sessions: int, seed: int) -> Simulated:
    """Draw ``sessions`` independent sessions of ``market``."""
    rng = np.random.default_rng(seed)
    regime = markov_paths(market.regime_matrix, market.regime_prior, sessions, market.bars, rng)
    vol_state = markov_paths(market.vol_matrix, np.array([0.5, 0.5]), sessions, market.bars, rng)
    noise = rng.standard_normal((sessions, market.bars))
    if not math.isinf(market.tails):
        noise *= np.sqrt((market.tails - 2.0) / rng.chisquare(market.tails, noise.shape))
    returns = market.drifts_bp[regime] + market.volatility_bp(vol_state) * noise
    return Simulated(returns, vol_state, regime)


def markov_paths(matrix: FloatArray, prior: FloatArray, paths: int, steps: int, rng: np.random.Generator) -> IntArray:
    """Draw ``paths`` Markov chains of ``steps`` states, shape (paths, steps)."""
    draws = rng.random((paths, steps))
    out = np.empty((paths, steps), dtype=np.int64)
    out[:, 0] = (draws[:, :1] > np.cumsum(prior)[None, :-1]).sum(axis=1)
    cumulative = np.cumsum(matrix, axis=1)[:, :-1]
    for t in range(1, steps):
        out[:, t] = (draws[:, t : t + 1] > cumulative[out[:, t - 1]]).sum(axis=1)
    return out


def bars_from_returns(
    returns_bp: FloatArray,
    vol_bp: FloatArray,
    seed: int,
    expected_bp: FloatArray | None = None,
    marks: FloatArray | None = None,
    symbol: str = SYMBOL,
    volume_told: bool = True,
    wicks_told: bool = True,
) -> Sessions:
    """Dress log-returns (N, T) up as five-minute bars, so that the ordinary feature pipeline reads them.

    ``vol_bp`` (N, T) is each bar's volatility: it sets the length of the wicks and, in proportion, the volume, which is
    how the volatility state is observable. ``expected_bp`` (N, T): see `Sessions`. ``marks`` (N, T, 3) makes events
    visible: upper and lower wick in units of volatility, without noise, and the volume's multiple; NaN at other bars.
    Without ``volume_told`` there is none, without ``wicks_told`` wicks are as long at any volatility.
    """
    rng = np.random.default_rng([seed, 1])
    n, t = returns_bp.shape
    close = FIRST_CLOSE * np.exp(np.cumsum(returns_bp.reshape(-1)) * BP)
    open_ = np.append(FIRST_CLOSE, close[:-1]).reshape(n, t)
    close = close.reshape(n, t)
    told = vol_bp if wicks_told else np.full_like(vol_bp, vol_bp.mean())
    wicks = rng.exponential(0.4, (n, t, 2)) * told[..., None] * BP
    volume = 10_000.0 * vol_bp * np.exp(0.1 * rng.standard_normal((n, t)))
    if marks is not None:
        marked = np.isfinite(marks[..., 0])
        wicks[marked] = marks[marked, :2] * vol_bp[marked, None] * BP
        volume[marked] *= marks[marked, 2]
    high = np.maximum(open_, close) * np.exp(wicks[..., 0])
    low = np.minimum(open_, close) * np.exp(-wicks[..., 1])
    starts = SESSION_OPEN_NS + DAY_NS * np.arange(n, dtype=np.int64)[:, None] + BAR_NS * np.arange(t, dtype=np.int64)
    bars = np.stack(
        [open_, high, low, close, np.round(volume) if volume_told else np.full_like(volume, np.nan)], axis=-1
    )
    return from_table(bars, starts, symbol, BAR_NS // 1_000_000_000, expected_bp)
