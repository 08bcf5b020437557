"""Earlier sessions of a symbol → how well following its trends paid there: the evidence that one session can't give.

A market's habits last for many sessions, and one session of 75 bars can't tell a drift of 2 bp from none. So each
session that is over leaves eleven sums: of each trend of `models.features` its products with the return that came next,
its squares, and how many bars they are of; the sums of the newest K sessions become eleven features. Beside them it
leaves how much it speaks for each market of the filter of `models.belief`. Invariant: what is known in a session is a
function of the sessions before it; turning prices upside down changes nothing. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.belief import MEMBERS, followed
from models.config import MOST_PAST_SESSIONS
from models.features import Floats, bar_features, own_variances, trend_features, variances_by_volume

WINDOW: Final = 60
"""Bars that a trend looks back on, within its session."""
FEWEST: Final = 10
"""Bars of a session before its trends are taken at their word."""
MOST: Final = MOST_PAST_SESSIONS
SPANS: Final = 5
SUMS: Final = 2 * SPANS + 1
LEFT: Final = SUMS + MEMBERS
"""Numbers that a session leaves."""
CAUTION: Final = 100.0
"""Squares of standard errors that count as evidence of nothing: they draw what trends paid towards zero."""
PAID_UNIT: Final = 0.1
"""Bar volatilities that a trend of one standard error earns in the next bar, where `paid` is 1."""
CLIP: Final = 8.0


def session_sums(bars: Floats) -> Floats:
    """What a session leaves, (11,): of each trend Σ trend·next, Σ trend², and the number of bars they are of.

    `bars` (n, 5): open, high, low, close, volume of one session, oldest first. `next` is the log-return from the next
    bar's open, at which a decision is filled, to the open after it (the last close at the end), in standard deviations
    of a bar. Zeros for a session of fewer than 12 bars.
    """
    count = len(bars)
    if count < FEWEST + 2:
        return np.zeros(SUMS)
    padded = np.concatenate([np.full((WINDOW - 1, 5), np.nan), bars])
    windows = np.moveaxis(sliding_window_view(padded, WINDOW, axis=0), 2, 1)[FEWEST - 1 : count - 1]  # (m, W, 5)
    present = ~np.isnan(windows[..., 0])
    _, volatility = bar_features(windows, present, CLIP)
    told = trend_features(*own_variances(windows, present), present, volatility, CLIP)  # (m, 6)
    fills = np.append(bars[FEWEST:, 0], bars[-1, 3])
    following = np.diff(np.log(fills)) / (volatility * np.exp(told[:, 0]))
    following = np.clip(following, -CLIP, CLIP)
    trends = told[:, 1:]
    return np.concatenate([trends.T @ following, np.square(trends).sum(axis=0), [len(trends)]])


def session_evidence(bars: Floats) -> Floats:
    """How much N sessions of T bars (N, T, 5) speak for each market of `models.belief` against none, (N, K)."""
    present = np.ones(bars.shape[:2], np.bool_)
    _, volatility = bar_features(bars, present, CLIP)
    returns, share = variances_by_volume(bars, present)
    _, evidence = followed(returns, present, share, volatility, np.zeros((len(bars), MEMBERS)))
    return evidence


def left_by(bars: Floats) -> Floats:
    """All that a session (n, 5) leaves for those after it, (41,): `session_sums`, and `session_evidence` in 0.001."""
    if len(bars) < FEWEST + 2:
        return np.zeros(LEFT)
    return np.concatenate([session_sums(bars), np.round(session_evidence(bars[None])[0], 3)])


def known(sums: Sequence[Floats | tuple[float, ...]] | Floats, most: int = MOST) -> Floats:
    """What is known of earlier sessions, oldest first, the newest `most` of them: (41,).

    How many there are (1: `most`); of each trend what it paid, in `PAID_UNIT` a standard error, drawn towards nothing;
    and of each how surprising that is where trends pay nothing, in standard deviations, halved. Then how much they
    speak for each market of `models.belief`.
    """
    rows = np.asarray(sums[-most:], np.float64).reshape(-1, LEFT)
    whole = rows.sum(axis=0)
    products, squares = whole[:SPANS], whole[SPANS : 2 * SPANS]
    sessions = math.log1p(int((rows[:, SUMS - 1] > 0).sum())) / math.log1p(most)
    paid = products / (squares + CAUTION) / PAID_UNIT
    surprise = products / np.sqrt(squares + 1.0) / 2
    told: Floats = np.clip(np.concatenate([[sessions], paid, surprise]), -CLIP, CLIP)
    return np.concatenate([told, whole[SUMS:]])
