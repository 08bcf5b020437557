"""Refusals: exits stay wanted and are asked for less and less often, entries are denied out loud once."""

from __future__ import annotations

import pytest

from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import OrderRejected, Side
from daemon.risk.owed import OwedExits
from daemon.risk.refusals import LONGEST_NS, ExitRetries, StandingDenials, too_large
from tests.samples import RELIANCE, SBIN, intend

EXIT = intend("E", Side.SELL, 10, reduces=True)


def no(reason: str, order_id: str = "E") -> OrderRejected:
    """The venue refuses."""
    return OrderRejected(ts=0, order_id=order_id, code=-99, reason=reason)


def fresh() -> ExitRetries:
    """Nothing was refused yet."""
    return ExitRetries(OwedExits(ReplayClock(0), [].append))


def pauses(retries: ExitRetries, reason: str, tries: int) -> list[float]:
    """Seconds from each refusal to the next try, when each try is refused for the same reason."""
    now, found = 0, []
    for _ in range(tries):
        retries.refused(EXIT, no(reason), now)
        start = now
        while not retries.due(SBIN, now):
            now += NS_PER_S // 4
        found.append((now - start) / NS_PER_S)
    return found


def test_the_same_refusal_waits_longer_each_time_and_never_for_ever() -> None:
    """1, 2, 4, 8, 16 seconds, and 16 from then on."""
    assert pauses(fresh(), "circuit limit", 7) == [1, 2, 4, 8, 16, 16, 16]
    assert LONGEST_NS == 16 * NS_PER_S


def test_numbers_make_no_other_reason() -> None:
    """What the venue would want more of changes from try to try."""
    retries = fresh()
    assert retries.refused(EXIT, no("Required: 1,200.50 more"), 0)
    assert not retries.refused(EXIT, no("Required: 900 more"), NS_PER_S)
    assert not retries.due(SBIN, 2 * NS_PER_S)


def test_another_reason_is_news_and_begins_anew() -> None:
    """It is said, and waits a second."""
    retries = fresh()
    pauses(retries, "circuit limit", 4)
    now = 100 * NS_PER_S
    assert retries.refused(EXIT, no("margin"), now)
    assert retries.due(SBIN, now + NS_PER_S)


def test_the_parts_of_one_exit_are_one_try() -> None:
    """Five orders refused within the second are one refusal."""
    retries = fresh()
    said = [retries.refused(EXIT, no("circuit limit", f"E{number}"), number) for number in range(5)]
    assert said == [True, False, False, False, False]
    assert retries.due(SBIN, NS_PER_S)


def test_what_never_left_or_opens_something_costs_a_second_and_no_word() -> None:
    """A call that the rate limit kept here says nothing about the exit."""
    retries = fresh()
    for second in range(5):
        assert not retries.refused(EXIT, no("not sent: no capacity"), second * NS_PER_S)
        assert not retries.refused(intend("B", Side.BUY, 10), no("margin", "B"), second * NS_PER_S)
        assert retries.due(SBIN, (second + 1) * NS_PER_S)


def test_a_fill_or_a_command_lets_it_be_tried_at_once() -> None:
    """By symbol, and for all."""
    retries = fresh()
    retries.note(SBIN, "no", 0)
    retries.note(RELIANCE, "no", 0)
    retries.forget(SBIN)
    assert (retries.due(SBIN, 1), retries.due(RELIANCE, 1)) == (True, False)
    retries.forget()
    assert retries.due(RELIANCE, 1)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Order quantity 3965 exceeds the freeze quantity of 1800", True),
        ("NSE:NIFTY26JANFUT: quantity 3965 is above the freeze quantity of 1800", True),
        ("The order quantity 6300 (21 lots) is higher than the maximum quantity of 6000", True),
        ("RMS: Qty exceeds single order limit", True),
        ("RMS: Margin Exceeds, Required: 100 more", False),
        ("qty: expected a positive multiple of 65", False),
        ("circuit limit", False),
    ],
)
def test_words_about_an_order_that_is_too_large(reason: str, expected: bool) -> None:
    """As exchanges and brokers put it."""
    assert too_large(reason) is expected


def test_a_standing_denial_is_told_until_it_changes() -> None:
    """The value may change with every price; the check and its limit are what was told."""
    denials, entry = StandingDenials(), intend("B", Side.BUY, 10)
    assert denials.is_news(entry, ("gross_notional", "100", "101"))
    assert not denials.is_news(entry, ("gross_notional", "100", "102"))
    assert denials.is_news(intend("S", Side.SELL, 10), ("gross_notional", "100", "102"))
    assert denials.is_news(entry, ("gross_notional", "90", "102"))
    assert denials.is_news(entry, None)
    assert denials.is_news(entry, ("gross_notional", "90", "102"))
    denials.forget()
    assert denials.is_news(entry, ("gross_notional", "90", "102"))


def test_a_denial_that_passes_by_itself_is_told_each_time() -> None:
    """A stale feed now and a stale feed later are two things."""
    denials, entry = StandingDenials(), intend("B", Side.BUY, 10)
    assert denials.is_news(entry, ("stale_feed", "60 s", "61 s"))
    assert denials.is_news(entry, ("stale_feed", "60 s", "61 s"))
