"""The feed's prices against the venue's quotes."""

from __future__ import annotations

from decimal import Decimal

from daemon.feed.live.quotes import QuoteComparison, Verdict
from daemon.market.records import Quote
from tests.unit.feed.ticks import make_batch

NAMES = ("AAA", "BBB", "CCC")


def quote(symbol: str, last: str) -> Quote:
    """The venue's word."""
    return Quote(symbol=symbol, last=Decimal(last))


def shown(*prices: float) -> QuoteComparison:
    """A feed whose symbols have these last prices."""
    comparison = QuoteComparison(NAMES, sample=2, max_percent=1.0)
    comparison.on_ticks(make_batch(NAMES, code=list(range(len(prices))), ltp=prices))
    return comparison


def test_a_wrong_price_is_told_with_both_numbers() -> None:
    """One per cent is the limit; within it they agree."""
    comparison = shown(100.0, 200.0)
    assert comparison.begin([]) == ["AAA", "BBB"]
    assert comparison.end([quote("AAA", "101"), quote("BBB", "197.9")]) == [
        Verdict("AAA", ""), Verdict("BBB", "feed 200, quote 197.9: more than 1 % apart"),
    ]  # fmt: skip
    assert comparison.compared == 2


def test_a_market_that_moves_during_the_call_is_no_fault() -> None:
    """Anything that the feed showed since the question was asked is as good."""
    comparison = shown(100.0)
    comparison.begin([])
    comparison.on_ticks(make_batch(NAMES, code=[0, 0], ltp=[95.0, 105.0]))
    assert comparison.end([quote("AAA", "94.5")]) == [Verdict("AAA", "")]
    assert comparison.end([quote("AAA", "94")])[0].reason == "feed 95 to 105, quote 94: more than 1 % apart"


def test_symbols_take_turns_and_suspects_come_first() -> None:
    """Those without a tick have nothing to compare; two at a time here."""
    comparison = shown(1.0, 2.0)
    assert comparison.begin(["BBB"]) == ["BBB", "AAA"]
    comparison = shown(1.0, 2.0, 3.0)
    assert [comparison.begin([]) for _ in range(3)] == [["AAA", "BBB"], ["CCC", "AAA"], ["BBB", "CCC"]]
    assert QuoteComparison(NAMES, 2, 1.0).begin([]) == []


def test_answers_that_say_nothing_are_left_out() -> None:
    """An error, a price of 0, a symbol nobody asked for, one without a tick."""
    comparison = shown(100.0)
    comparison.begin([])
    silent = [Quote(symbol="AAA", error="no quote"), quote("AAA", "0"), quote("ZZZ", "5"), quote("CCC", "5")]
    assert comparison.end(silent) == []
    assert comparison.compared == 0
