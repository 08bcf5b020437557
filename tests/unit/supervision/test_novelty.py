"""Novelty that lasts."""

from __future__ import annotations

import pytest

from daemon.core.events import Action, Decision
from daemon.supervision.novelty import LastingNovelty, NoveltyLimits

LIMITS = NoveltyLimits(in_a_row=3, window=8, share=0.5)


def decision(novelty: float, symbol: str = "AAA") -> Decision:
    """A decision that measured so much."""
    return Decision(
        ts=1, ts_bar=1, symbol=symbol, interval="5m", strategy="hrm", action=Action.HOLD, quantity=1, confidence=1.0,
        reason="", price=100.0, novelty=novelty,
    )  # fmt: skip


def said(*novelties: float) -> list[str | None]:
    """What is said after each."""
    lasting = LastingNovelty(LIMITS)
    return [lasting.on_decision(decision(novelty)) for novelty in novelties]


def test_a_run_of_bars_says_so() -> None:
    """From the third on, with how far the market is."""
    found = said(2.0, 2.0, 3.25, 1.5)
    assert found[:2] == [None, None]
    assert found[2] == "AAA: 3 bars in a row of a market unlike those the model knows (3.2 × the limit)"
    assert found[3] is not None
    assert found[3].startswith("AAA: 4 bars in a row")


@pytest.mark.parametrize("between", [1.0, 0.5])
def test_a_bar_of_the_known_market_breaks_the_run(between: float) -> None:
    """At the limit is within it."""
    assert said(2.0, 2.0, between, 2.0, 2.0) == [None] * 5


def test_a_share_of_the_newest_bars_says_so() -> None:
    """Once so many have been seen, and until enough of them have gone by."""
    found = said(2.0, 0.5, 2.0, 0.5, 2.0, 0.5, 2.0, 0.5, 0.5, 0.5)
    assert found[:7] == [None] * 7
    assert found[7] == "AAA: 4 of 8 bars of a market unlike those the model knows"
    assert found[8:] == [None, None]


def test_what_measured_nothing_changes_no_count() -> None:
    """Neither does it break a run nor lengthen it."""
    assert said(2.0, 2.0, 0.0, 2.0)[2:] == [None, said(2.0, 2.0, 2.0)[2]]


def test_each_symbol_counts_for_itself() -> None:
    """Two symbols with two bars each are no run of four."""
    lasting = LastingNovelty(LIMITS)
    assert [lasting.on_decision(decision(2.0, symbol)) for symbol in ("AAA", "BBB", "AAA", "BBB")] == [None] * 4


def test_another_model_starts_anew() -> None:
    """The count of one says nothing of the other."""
    lasting = LastingNovelty(LIMITS)
    assert [lasting.on_decision(decision(2.0)) for _ in range(2)] == [None, None]
    lasting.forget()
    assert lasting.on_decision(decision(2.0)) is None
