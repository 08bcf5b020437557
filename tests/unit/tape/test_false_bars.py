"""A bar with a false price costs itself; a market that moves, however far, costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.tape.false_bars import BELIEVED_AFTER, false_bars

N = 30


def bars(closes: list[float]) -> np.ndarray:
    """Each from the close before to its own."""
    close = np.array(closes)
    first = np.append(close[:1], close[:-1])
    return np.stack([first, np.maximum(first, close), np.minimum(first, close), close], axis=1)


def found(prices: np.ndarray) -> list[int]:
    """The rows that are false."""
    return np.flatnonzero(false_bars(prices, 0.2)).tolist()


@pytest.mark.parametrize("place", [0, 1, 15, N - 2, N - 1])
@pytest.mark.parametrize("factor", [100.0, 10.0, 0.1, 0.01])
@pytest.mark.parametrize("column", [None, 0, 1, 2, 3])
def test_a_bar_in_paise_or_with_one_false_price(place: int, factor: float, column: int | None) -> None:
    """Wherever it stands, the first and the last too."""
    prices = bars([100 + 0.5 * (n % 5) for n in range(N)])
    prices[place, slice(None) if column is None else column] *= factor
    assert found(prices) == [place]


@pytest.mark.parametrize("run", range(1, BELIEVED_AFTER + 1))
def test_a_few_false_bars_in_a_row(run: int) -> None:
    """Until the market is where it was."""
    prices = bars([100.0] * N)
    prices[10 : 10 + run] *= 100
    assert found(prices) == list(range(10, 10 + run))


@pytest.mark.parametrize("factor", [0.2, 0.5, 3.0, 60_000.0])
@pytest.mark.parametrize("place", [2, 5, N - BELIEVED_AFTER])
def test_a_level_that_stays_is_believed(factor: float, place: int) -> None:
    """A split, a bonus, an auction in which a share is priced anew; one bar before it would be no level."""
    prices = bars([100.0] * N)
    prices[place:] *= factor
    assert found(prices) == []


def test_a_few_ticks_of_a_small_price_are_no_jump() -> None:
    """From 0.10 to 0.25 and back."""
    assert found(bars([0.10, 0.25, 0.10, 0.25, 0.10])) == []


@given(st.lists(st.floats(-0.4, 0.4), min_size=1, max_size=60))
def test_what_moves_less_than_half_is_no_fault(moves: list[float]) -> None:
    """Whichever way it goes, bar after bar."""
    assert found(bars((100 * np.cumprod(1 + np.array(moves))).tolist())) == []
