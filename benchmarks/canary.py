"""How often a candidate is promoted, by how good it is, over simulated sessions: `python -m benchmarks.canary`.

Each row is `--canaries` comparisons of at most `canary.max_sessions` sessions, looked at after every one of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daemon.settings.canary import CanarySettings
from daemon.supervision.comparison import Comparison, Verdict

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]
SD_BP = 10.0
"""Of a session's difference."""


def normal(rng: np.random.Generator, n: int) -> Floats:
    """The textbook's."""
    return rng.standard_normal(n)


def fat(rng: np.random.Generator, n: int) -> Floats:
    """Student's t with 3 degrees of freedom, scaled to a variance of 1."""
    return rng.standard_t(3, n) / np.sqrt(3.0)


def autocorrelated(rng: np.random.Generator, n: int) -> Floats:
    """Each session carries a fifth of the one before."""
    found, last = np.empty(n), rng.standard_normal()
    for place, step in enumerate(rng.standard_normal(n)):
        last = found[place] = 0.2 * last + np.sqrt(1 - 0.04) * step
    return found


def unequal(rng: np.random.Generator, n: int) -> Floats:
    """Calm and wild weeks: the standard deviation is half or twice as large, in runs of about ten sessions."""
    wild = np.cumsum(rng.random(n) < 0.1) % 2 == rng.integers(2)
    return rng.standard_normal(n) * np.where(wild, 2.0, 0.5) / np.sqrt(2.125)


def lopsided(rng: np.random.Generator, n: int) -> Floats:
    """Many small gains and a rare large loss, mean 0: what flatters a strategy until the loss comes."""
    loss = rng.random(n) < 0.05
    return np.where(loss, -19.0, 1.0) / np.sqrt(19.0)


NOISES: dict[str, Noise] = {
    "normal": normal, "fat tails": fat, "autocorrelated": autocorrelated, "unequal variances": unequal,
    "rare losses": lopsided,
}  # fmt: skip
MEANS_BP = (-5.0, -1.0, 0.0, 2.5, 5.0, 10.0)


class Outcome(NamedTuple):
    """Of many canaries of one kind."""

    promoted: float
    rolled_back: float
    median_sessions: float


def outcome(noise: Noise, mean_bp: float, canaries: int, settings: CanarySettings, seed: int = 1) -> Outcome:
    """Run them."""
    rng = np.random.default_rng(seed)
    verdicts, sessions = [], []
    for _ in range(canaries):
        comparison = Comparison(settings)
        differences = mean_bp + SD_BP * noise(rng, settings.max_sessions)
        verdicts.append(comparison.see_all(differences.tolist()))
        sessions.append(comparison.evidence.sessions)
    share = {verdict: verdicts.count(verdict) / canaries for verdict in Verdict}
    return Outcome(share[Verdict.PROMOTE], share[Verdict.ROLL_BACK], float(np.median(sessions)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--canaries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    settings = CanarySettings()
    print(
        f"{asked.canaries} canaries a row, α = {settings.alpha:g}, bound ±{settings.bound_bp:g} bp, standard deviation "
        f"{SD_BP:g} bp, at most {settings.max_sessions} sessions"
    )
    print(f"{'sessions are':<20}{'mean':>9}{'promoted':>11}{'rolled back':>13}{'median sessions':>17}")
    for name, noise in NOISES.items():
        for mean_bp in MEANS_BP:
            found = outcome(noise, mean_bp, asked.canaries, settings, asked.seed)
            print(
                f"{name:<20}{mean_bp:>6.1f} bp{found.promoted:>11.1%}{found.rolled_back:>13.1%}"
                f"{found.median_sessions:>17.0f}"
            )


if __name__ == "__main__":
    main()
