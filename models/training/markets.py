"""Names of the simulated markets → their sessions and what the best trader expects of each.

Invariant: every market here has an exact reference, so a share of the best is defined on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from models.manifest import FAMILY as FAMILY_NAME
from models.training import composition as comp
from models.training import reference as ref
from models.training.family import Family
from models.training.market import HiddenRegimeMarket, simulate
from models.training.sessions import Floats, Sessions


class MarketName(StrEnum):
    """The simulated markets by name."""

    HIDDEN_REGIME = "hidden_regime"
    COMPOSITION = "composition"
    FAMILY = FAMILY_NAME


@dataclass(frozen=True)
class HiddenRegime:
    """The hidden-regime market with its reference; solving takes a second or two, once."""

    market: HiddenRegimeMarket = field(default_factory=HiddenRegimeMarket)

    @property
    def cost_bp(self) -> float:
        """Cost a side that the reference was solved for."""
        return self.market.cost_bp

    def sessions(self, count: int, seed: int) -> Sessions:
        """Return fresh sessions."""
        return ref.simulated_sessions(self.market, count, seed)

    def best_bp(self, count: int, seed: int) -> Floats:
        """Return what the best trader expects of each of the same sessions, bp, (N,)."""
        drawn = simulate(self.market, count, seed)
        beliefs = ref.filter_beliefs(self.market, drawn)
        positions = ref.solve(self.market).positions(beliefs, drawn.vol_state)
        return ref.pnl_bp(positions, ref.conditional_means(self.market, beliefs), self.market.cost_bp)

    def regimes(self, count: int, seed: int) -> np.ndarray:
        """Return the label of each of the same sessions: how many bars of it trend."""
        trending = (simulate(self.market, count, seed).regime != 1).mean(axis=1)
        return np.where(trending == 0, "no trend", np.where(trending < 0.5, "some trend", "mostly trend"))


@dataclass(frozen=True)
class Composition:
    """The composition market with its reference."""

    market: comp.CompositionMarket = field(default_factory=comp.CompositionMarket)

    @property
    def cost_bp(self) -> float:
        """Cost a side that the reference was solved for."""
        return self.market.cost_bp

    def sessions(self, count: int, seed: int) -> Sessions:
        """Return fresh sessions."""
        return comp.composed_sessions(self.market, count, seed)

    def best_bp(self, count: int, seed: int) -> Floats:
        """Return what the best trader expects of each of the same sessions, bp, (N,)."""
        return comp.reference_pnl_bp(self.market, comp.simulate(self.market, count, seed))

    def regimes(self, count: int, seed: int) -> np.ndarray:
        """Return the label of each of the same sessions: where the events lead in the end."""
        return np.array(["down", "flat", "up"])[comp.simulate(self.market, count, seed).regime[:, -1]]


SimulatedMarket = HiddenRegime | Composition | Family


def market(name: MarketName) -> SimulatedMarket:
    """Return a market by its name."""
    match name:
        case MarketName.HIDDEN_REGIME:
            return HiddenRegime()
        case MarketName.COMPOSITION:
            return Composition()
        case MarketName.FAMILY:
            return Family()
