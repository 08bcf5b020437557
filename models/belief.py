"""A window of bars and what earlier sessions spoke for → what the hidden-regime filter expects of the next bars.

Bayes' rule over a few markets that could be the one at hand: none with a drift, and drifts of several strengths and
lengths, in units of a bar's volatility. Under each a bar is flat, rises or falls on average, and the regime changes by
a Markov chain; what all bars so far speak for weighs the markets (Hamilton 1989, a mixture over a grid of parameters).
Invariant: a function of the window's bars and of sessions that are over; a market turned upside down turns the signs
and nothing else; no row depends on another, to the last bit. numpy only.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STRENGTHS: Final = (0.1, 0.145, 0.21, 0.3, 0.43)
"""Drifts of a bar, as shares of its volatility."""
TRENDS: Final = (7.0, 17.0, 42.0)
"""Bars that a trend lasts on average."""
FLATS: Final = (20.0, 75.0)
"""The same of a flat spell."""
REVERSAL: Final = 0.3
"""How many trends end in their opposite, the others in a flat spell."""
DRIFTLESS: Final = 0.5
"""How likely there is no drift at all before anything was seen."""
TAILS: Final = 8.0
"""Degrees of freedom of a bar's noise (Student's t): no single bar convinces."""
AHEAD: Final = (1, 4, 12, 40)
"""Bars ahead whose drift is told."""
MEMBERS: Final = len(STRENGTHS) * len(TRENDS) * len(FLATS)
"""Markets with a drift; how much earlier sessions speak for each against none is what is kept of them."""
BELIEF_FEATURES: Final = (
    *(f"drift_{bars}" for bars in AHEAD), "pays_12", "pays_40", "drifting", "strength",
)  # fmt: skip
AHEAD_UNIT: Final = 4.0
"""A drift of a quarter of a deviation of all bars ahead is told as 1."""
STRENGTH_UNIT: Final = 8.0
LOGS_EVERY: Final = 32
"""Bars whose likelihoods are multiplied before a logarithm is taken."""


def _markets() -> tuple[Floats, Floats, Floats, Floats]:
    """Of each market, (K,): its strength, and chances that a trend goes on, that it turns, that a flat spell rises."""
    rows = [
        (strength, 1.0 - 1.0 / trend, REVERSAL / trend, 0.5 / flat)
        for strength, trend, flat in product(STRENGTHS, TRENDS, FLATS)
    ]
    strength, stay, turn, enter = np.array(rows).T.copy()
    return strength, stay, turn, enter


STRENGTH, STAY, TURN, ENTER = _markets()
CALM: Final = 1.0 - STAY - TURN
FIRST: Final = ENTER / (CALM + 2.0 * ENTER)
"""P(falls) of a session's first bar, and P(rises): the chain's own, in the long run."""
KIND: Final = np.repeat(np.arange(len(STRENGTHS)), len(TRENDS) * len(FLATS))
"""Which of `STRENGTHS` a market has."""


def _outlooks() -> Floats:
    """Drift of the next bars where the market rises now, in bar volatilities: (K, H). Where it falls: minus that.

    The lean, P(rises) − P(falls), shrinks by the same share each bar: flat spells end either way alike.
    """
    out, lean, total = [], np.ones(MEMBERS), np.zeros(MEMBERS)
    for ahead in range(1, max(AHEAD) + 1):
        lean = lean * (STAY - TURN)
        total = total + lean
        if ahead in AHEAD:
            out.append(total * STRENGTH)
    return np.stack(out, axis=-1)


OUTLOOK: Final = _outlooks()


def followed(
    returns: Floats, present: Flags, share: Floats, volatility: Floats, evidence: Floats
) -> tuple[Floats, Floats]:
    """Follow B windows of W bars: P(falls), P(rises) under each market at the end (B, K, 2), and evidence then (B, K).

    ``returns`` (B, W) log-returns; ``present`` (B, W): which bars there are, missing ones are the oldest; ``share``
    (B, W) a bar's own variance as a share of the window's, ``volatility`` (B,) squared; ``evidence`` (B, K):
    log-likelihood of each market against none by what came before the window.
    """
    down_odds, up_odds = _odds(returns, share, volatility)
    rows, bars = returns.shape
    down = up = np.broadcast_to(FIRST, (rows, MEMBERS))
    total, mass = np.array(evidence, np.float64), np.ones((rows, MEMBERS))
    begun = np.zeros(rows, np.bool_)
    for i in range(bars):
        seen = present[:, i]
        if not seen.any():
            continue
        moved_down, moved_up = down, up
        if begun.any():
            rest = (1.0 - down - up) * ENTER
            moved_down, moved_up = STAY * down + TURN * up + rest, STAY * up + TURN * down + rest
            if not begun.all():
                moved_down = np.where(begun[:, None], moved_down, down)
                moved_up = np.where(begun[:, None], moved_up, up)
        flat = 1.0 - moved_down - moved_up
        joint_down, joint_up = moved_down * down_odds[:, i][:, KIND], moved_up * up_odds[:, i][:, KIND]
        whole = joint_down + joint_up + flat
        if seen.all():
            down, up, mass = joint_down / whole, joint_up / whole, mass * whole
        else:
            down = np.where(seen[:, None], joint_down / whole, down)
            up = np.where(seen[:, None], joint_up / whole, up)
            mass = np.where(seen[:, None], mass * whole, mass)
        begun = begun | seen
        if i % LOGS_EVERY == LOGS_EVERY - 1 or i == bars - 1:
            total, mass = total + np.log(mass), np.ones((rows, MEMBERS))
    return np.stack([down, up], axis=-1), total


def _odds(returns: Floats, share: Floats, volatility: Floats) -> tuple[Floats, Floats]:
    """How much likelier a bar is in a falling, in a rising market of each strength than without a drift, (B, W, R)."""
    deviation = (returns / (volatility[:, None] * np.sqrt(share)))[..., None]
    drift = np.array(STRENGTHS) / np.sqrt(share)[..., None]
    none = 1.0 + np.square(deviation) / (TAILS - 2.0)

    def likelier(shifted: Floats) -> Floats:
        ratio = none / (1.0 + np.square(shifted) / (TAILS - 2.0))
        return np.square(np.square(ratio)) * np.sqrt(ratio)

    return likelier(deviation + drift), likelier(deviation - drift)


def weighed(evidence: Floats) -> tuple[Floats, Floats]:
    """P(market) of each with a drift, (B, K), and of none, (B,)."""
    prior = math.log((1 - DRIFTLESS) / MEMBERS) - math.log(DRIFTLESS)
    logs = evidence + prior
    top = np.maximum(logs.max(axis=-1), 0.0)
    weights, none = np.exp(logs - top[:, None]), np.exp(-top)
    whole = weights.sum(axis=-1) + none
    return weights / whole[:, None], none / whole


def belief_features(belief: Floats, evidence: Floats, cost: Floats, clip: float) -> Floats:
    """What is told of it, (B, 8): `BELIEF_FEATURES`.

    ``belief`` and ``evidence`` as `followed` leaves them. Drift of the next bars in deviations of all of them; what the
    drift of the next 12 and 40 brings against the cost of a round trip (``cost`` (B,): of one side, in bar
    volatilities); 2·P(any drift) − 1; the strength expected now.
    """
    weights, none = weighed(evidence)
    lean = weights * (belief[..., 1] - belief[..., 0])
    ahead = np.stack([(lean * OUTLOOK[:, j]).sum(axis=-1) for j in range(len(AHEAD))], axis=-1)
    moving = (weights * STRENGTH * (belief[..., 0] + belief[..., 1])).sum(axis=-1)
    pays = ahead[:, 2:] / (2.0 * np.maximum(cost, 1e-3))[:, None]
    table = np.concatenate(
        [
            ahead / np.sqrt(np.array(AHEAD)) * AHEAD_UNIT,
            np.sign(pays) * np.log1p(np.abs(pays)),
            (1.0 - 2.0 * none)[:, None],
            moving[:, None] * STRENGTH_UNIT,
        ],
        axis=-1,
    )
    return np.asarray(np.clip(table, -clip, clip))
