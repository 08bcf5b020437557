"""A family of hidden-regime markets: what a market may be like, drawn once and kept for many sessions.

A five-minute bar moves 3 to 25 bp; a drift, where there is any, is a fraction of that and lasts for minutes to hours.
Invariant: a member's sessions lie one after another under a symbol number of their own, so what its earlier sessions
tell is never that of another; each has its exact filter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.manifest import FAMILY_COSTS_BP
from models.training import mixture
from models.training import reference as ref
from models.training.market import SYMBOL, HiddenRegimeMarket, simulate
from models.training.member_shares import FamilyFacts
from models.training.mixture import Ranges
from models.training.sessions import Floats, Ints, Sessions

HIDDEN = Ranges(
    without_drift=0.5, ratio=(0.08, 0.5), trend_bars=(5.0, 60.0), flat_bars=(10.0, 150.0), reversal=(0, 0.6)
)
"""What can't be seen of a member, its drift: how many have none, how strong against volatility and how long it is."""
TOLD = 24
"""Sessions of a member in a training step: as many as a network is told of, and a few."""
OF_EACH = 2
"""Of them that are learned."""


def draw(rng: np.random.Generator, bars: int = 75) -> HiddenRegimeMarket:
    """Draw one member."""

    def even(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def even_log(low: float, high: float) -> float:
        return math.exp(even(math.log(low), math.log(high)))

    calm, ratio = even_log(2.5, 12.0), even(1.0, 2.5)
    typical = calm * math.sqrt(ratio)
    drift = 0.0 if rng.random() < HIDDEN.without_drift else typical * even_log(*HIDDEN.ratio)
    return HiddenRegimeMarket(
        bars=bars,
        drift_bp=drift,
        stay_trend=1.0 - 1.0 / even_log(*HIDDEN.trend_bars),
        stay_flat=1.0 - 1.0 / even_log(*HIDDEN.flat_bars),
        reversal=even(*HIDDEN.reversal),
        vol_bp=(calm, calm * ratio),
        stay_vol=even(0.9, 0.99),
        cost_bp=even_log(0.5, 6.0),
        tails=math.inf if rng.random() < 0.4 else even_log(3.5, 15.0),
        smile=even(0.0, 1.0),
        volume=bool(rng.random() < 0.6),
        wicks=bool(rng.random() < 0.8),
    )


def members(count: int, seed: int, bars: int = 75) -> list[HiddenRegimeMarket]:
    """Draw ``count`` members."""
    return [draw(np.random.default_rng([seed, i, 29]), bars) for i in range(count)]


def noise_seeds(count: int, seed: int) -> list[int]:
    """A seed for each of ``count`` members that no member of another draw has, not that of a neighbouring seed either.

    Draws that share noise are one measurement told several times: their mean says less than its spread claims.
    """
    return [int(one) for one in np.random.SeedSequence([seed, 43]).generate_state(count, np.uint64)]


def sessions_of(markets: list[HiddenRegimeMarket], each: int, seed: int) -> Sessions:
    """``each`` sessions of every market, one market behind another, with the filter's expectations and costs."""
    return sessions_by_seeds(markets, each, range(seed, seed + len(markets)))


def sessions_by_seeds(markets: list[HiddenRegimeMarket], each: int, seeds: Sequence[int]) -> Sessions:
    """The same, each market's from its own seed."""
    parts = [ref.simulated_sessions(market, each, seed) for market, seed in zip(markets, seeds, strict=True)]
    return Sessions(
        bars=np.concatenate([part.bars for part in parts]),
        ts_ns=np.concatenate([part.ts_ns for part in parts]),
        offsets=np.concatenate([[0], np.cumsum([part.lengths for part in parts])]).astype(np.int64),
        symbol=np.repeat(np.arange(len(parts)), each),
        symbols=(SYMBOL,) * len(parts),
        interval_s=parts[0].interval_s,
        expected_bp=np.concatenate([part.expected_bp for part in parts]),
        cost_bp=np.repeat([market.cost_bp for market in markets], each),
        hours_ns=np.concatenate([part.hours for part in parts]),
    )


class FamilySource:
    """Unlimited members: every step draws new ones, and sessions of each from its first to its newest."""

    content = ""
    stored = False
    symbols = (SYMBOL,)
    intervals = ("5m",)

    def __init__(self) -> None:
        start = sessions_of(members(1, 0), 2, 0).start_ns()
        self.span_ns = (int(start[0]), int(start[-1]))

    def take(self, seed: int, step: int, rank: int, world: int, count: int) -> tuple[Sessions, Ints]:
        """``count`` sessions, `OF_EACH` of a member: any with as much past as it happens to have.

        Every second member's cost is drawn evenly: dear trades are few and earn little, so an even draw of logarithms
        teaches little of them; and small orders cost more than the family's 6 bp.
        """
        drawn = int(np.random.SeedSequence([seed, step, rank, 31]).generate_state(1, np.uint32)[0])
        rng = np.random.default_rng([drawn, 37])
        markets = [
            replace(market, cost_bp=float(rng.uniform(*FAMILY_COSTS_BP))) if i % 2 else market
            for i, market in enumerate(members(-(-count // OF_EACH), drawn))
        ]
        rows = np.concatenate([i * TOLD + rng.choice(TOLD, OF_EACH, replace=False) for i in range(len(markets))])
        return sessions_of(markets, TOLD, drawn), rows[:count]

    def samples(self, seed: int, count: int) -> list[Sessions]:
        """``count`` sessions of members that no step uses, a dozen of each."""
        drawn = int(np.random.SeedSequence([seed, 41]).generate_state(1, np.uint32)[0])
        return [sessions_of(members(max(1, count // 12), drawn), 12, drawn)]


@dataclass(frozen=True)
class Family:
    """The family as a market of `models.training.markets`: sessions of members whose past is known, and not."""

    each: int = 5
    past: int = 20

    cost_bp: float = 3.0

    def _markets(self, count: int, seed: int) -> list[HiddenRegimeMarket]:
        return members(max(1, -(-count // self.each)), seed)

    def _seeded(self, count: int, seed: int) -> Iterator[tuple[HiddenRegimeMarket, int]]:
        """The members, each with the seed of its noise."""
        markets = self._markets(count, seed)
        return zip(markets, noise_seeds(len(markets), seed), strict=True)

    def sessions(self, count: int, seed: int) -> Sessions:
        """``each`` sessions of a member, behind ``past`` others that are known."""
        markets = self._markets(count, seed)
        whole = sessions_by_seeds(markets, self.past + self.each, noise_seeds(len(markets), seed))
        rows = np.arange(len(whole)).reshape(len(markets), -1)[:, self.past :].reshape(-1)[:count]
        return whole.select(rows)

    def best_bp(self, count: int, seed: int) -> Floats:
        """What the trader who knows the member expects of the same sessions, bp, (N,)."""
        out = []
        for market, own in self._seeded(count, seed):
            drawn = simulate(market, self.past + self.each, own)
            beliefs = ref.filter_beliefs(market, drawn)
            if market.drift_bp == 0.0:
                out.append(np.zeros(self.each))
                continue
            positions = ref.solve(market, grid=24, nodes=21).positions(beliefs, drawn.vol_state)
            earned = ref.pnl_bp(positions, ref.conditional_means(market, beliefs), market.cost_bp)
            out.append(earned[self.past :])
        return np.concatenate(out)[:count]

    def filter_bp(self, count: int, seed: int) -> Floats:
        """What the trader who finds the member out earns of the same sessions, behind the same past, bp, (N,)."""
        out = []
        for market, own in self._seeded(count, seed):
            drawn = simulate(market, self.past + self.each, own)
            grid = mixture.grid_around(market, HIDDEN)
            out.append(mixture.trader_bp(market, grid, drawn, self.past)[self.past :])
        return np.concatenate(out)[:count]

    def facts(self, count: int, seed: int) -> FamilyFacts:
        """Members of the same sessions, and what can be had of them without being told which."""
        member = np.repeat(np.arange(len(self._markets(count, seed))), self.each)[:count]
        cost = np.array([market.cost_bp for market in self._markets(count, seed)])
        return FamilyFacts(self.filter_bp(count, seed), member, self.regimes(count, seed), cost[member])

    def regimes(self, count: int, seed: int) -> np.ndarray:
        """How strong a bar's drift is against its volatility, of the same sessions."""
        labels = []
        for market in self._markets(count, seed):
            strength = market.drift_bp / math.sqrt(market.vol_bp[0] * market.vol_bp[1])
            labels += ["no drift" if strength == 0 else "weak" if strength < 0.2 else "strong"] * self.each
        return np.array(labels[:count])
