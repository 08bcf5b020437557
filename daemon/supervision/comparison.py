"""Per-session differences between a candidate and the one in charge → promote, roll back, or look on.

Valid however often it is looked at. The method is testing by betting: the hedged capital process of Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 86, 2024), with their predictable plug-in
bets. Each side starts with a stake of 1 and, before a difference is seen, bets a share λ of it that depends on
the differences before it alone: capital *= 1 + λ·(x − m), for x within ±`bound_bp`. Where the mean is not above m, the
capital is a nonnegative supermartingale, and by Ville's inequality it ever reaches 1/α with a probability of at most α.

Two processes run side by side. One bets that the candidate is better than `margin_bp`: at 1/α it is promoted, so of
candidates that are not better a share of at most α is ever promoted. The other bets that it is worse than
−`margin_bp`: at 1/α it is rolled back. With neither after `max_sessions` nothing was shown, and it is rolled back: that
isn't counted against α, for the burden of proof is the candidate's.

What it takes for granted: the differences lie within ±`bound_bp`, and the expectation of each, given those before it,
is at most the margin where the candidate is no better. What lies beyond the bound is cut off at it (and counted), so
that fat tails can't ruin the stake; a candidate is then judged by its cut mean. Autocorrelation that a session's mean
carries over breaks the guarantee in theory; `benchmarks/canary.py` measures by how much.

Pure. Invariant: a verdict, once given, is final.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from daemon.settings.canary import CanarySettings

PRIOR_VARIANCE = 0.25
"""Of differences in units of the range's half: a cautious first bet, as in the paper (values within [0, 1])."""

LARGEST_SHARE = 0.5
"""Of the most that could be bet without ever being ruined: the paper's truncation c."""


class Verdict(StrEnum):
    """What is to become of a candidate."""

    CONTINUE = "continue"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Where a comparison stands. Capitals are e-values: each is proof at the error rate 1 / capital."""

    sessions: int
    mean_bp: float
    """Of the differences as they were cut."""
    clipped: int
    """Differences beyond the bound."""
    better: float
    worse: float
    verdict: Verdict
    reason: str


class Bet:
    """One capital process against "the mean is not above `least`", for values within [0, 1]."""

    def __init__(self, alpha: float, least: float) -> None:
        self._alpha = alpha
        self._least = least
        self.count = 0
        self.total = 0.0
        self.squares = 0.0
        self.log_capital = 0.0

    def see(self, value: float) -> None:
        """Bet on what was seen before, then look."""
        self.log_capital += math.log1p(self._share() * (value - self._least))
        self.count += 1
        self.total += value
        self.squares += (value - (0.5 + self.total) / (self.count + 1)) ** 2

    def restore(self, count: int, total: float, squares: float, log_capital: float) -> None:
        """Go on where an earlier one stood."""
        self.count, self.total, self.squares, self.log_capital = count, total, squares, log_capital

    def _share(self) -> float:
        """Predictable plug-in: √(2·ln(1/α) / (σ̂²·t·ln(1 + t))), no more than the truncation leaves."""
        t = self.count + 1
        variance = (PRIOR_VARIANCE + self.squares) / t
        wanted = math.sqrt(2.0 * math.log(1.0 / self._alpha) / (variance * t * math.log1p(t)))
        return min(wanted, LARGEST_SHARE / self._least)

    @property
    def capital(self) -> float:
        """What the stake of 1 has become."""
        return math.exp(min(self.log_capital, 700.0))


class Comparison:
    """A candidate against the one in charge, session by session."""

    def __init__(self, settings: CanarySettings) -> None:
        self._settings = settings
        bound, margin = settings.bound_bp, settings.margin_bp
        self._better = Bet(settings.alpha, self._scaled(margin, bound))
        self._worse = Bet(settings.alpha, self._scaled(margin, bound))
        self._differences = 0.0
        self._sessions = 0
        self._clipped = 0
        self._verdict, self._reason = Verdict.CONTINUE, ""

    @property
    def evidence(self) -> Evidence:
        """Where it stands."""
        return Evidence(
            sessions=self._sessions, mean_bp=self._differences / self._sessions if self._sessions else 0.0,
            clipped=self._clipped, better=self._better.capital, worse=self._worse.capital, verdict=self._verdict,
            reason=self._reason,
        )  # fmt: skip

    def see(self, difference_bp: float) -> Verdict:
        """One session more: the candidate's net profit less that of the one in charge, in bp of the same capital.

        Raises `ValueError` for what is no finite number. After a verdict nothing more is counted.
        """
        if not math.isfinite(difference_bp):
            raise ValueError(f"difference_bp: expected a finite number, got {difference_bp}")
        if self._verdict is not Verdict.CONTINUE:
            return self._verdict
        bound = self._settings.bound_bp
        cut = max(-bound, min(bound, difference_bp))
        self._clipped += cut != difference_bp
        self._sessions += 1
        self._differences += cut
        self._better.see(self._scaled(cut, bound))
        self._worse.see(self._scaled(-cut, bound))
        self._judge()
        return self._verdict

    def see_all(self, differences_bp: Iterable[float]) -> Verdict:
        """Every session so far, such as those that a journal holds."""
        for difference in differences_bp:
            self.see(difference)
        return self._verdict

    def _judge(self) -> None:
        settings, needed = self._settings, 1.0 / self._settings.alpha
        if self._better.capital >= needed:
            self._verdict = Verdict.PROMOTE
            self._reason = f"better by more than {settings.margin_bp:g} bp a session, at α = {settings.alpha:g}"
        elif self._worse.capital >= needed:
            self._verdict = Verdict.ROLL_BACK
            self._reason = f"worse by more than {settings.margin_bp:g} bp a session, at α = {settings.alpha:g}"
        elif self._sessions >= settings.max_sessions:
            self._verdict = Verdict.ROLL_BACK
            self._reason = f"nothing was shown in {self._sessions} sessions"

    @staticmethod
    def _scaled(value_bp: float, bound_bp: float) -> float:
        """From ±bound to [0, 1]."""
        return (value_bp + bound_bp) / (2.0 * bound_bp)
