"""The broker's cash beside the journal's."""

from __future__ import annotations

from decimal import Decimal

from daemon.risk.funds import FundsCheck
from daemon.settings.orders import LiveBrokerSettings

D = Decimal


def test_a_difference_counts_when_it_is_seen_twice() -> None:
    """Once may be a fill on its way; it begins once, and ends once, with both numbers said."""
    check = FundsCheck(D(0), D(10), halts=False)
    assert check.compare(D(111), D(100), settled=False) is None
    words = check.compare(D(112), D(100), settled=False)
    assert words is not None
    assert words.startswith("cash: the broker says 112.00, the journal 100.00 rupees; tolerance 10 ")
    assert (check.differs, check.compare(D(112), D(100), settled=False)) == (True, None)
    assert (check.compare(D(110), D(100), settled=False), check.differs) == ("", False)
    assert check.compare(D(110), D(100), settled=False) is None


def test_while_nothing_is_under_way_once_is_enough() -> None:
    """At the start, before any order, there is no second reading to wait for."""
    assert FundsCheck(D(0), D(10), halts=False).compare(D(89), D(100), settled=True)


def test_a_difference_between_two_that_agree_is_none() -> None:
    """Fills travel while the money is read."""
    check = FundsCheck(D(0), D(10), halts=False)
    for cash in (D(200), D(100), D(200), D(100)):
        assert check.compare(cash, D(100), settled=False) is None


def test_money_that_was_paid_in_is_expected() -> None:
    """`starting_cash` may be raised after the journal began."""
    settings = LiveBrokerSettings(starting_cash=D(1500), funds_tolerance=0, funds_difference="halt")
    check = FundsCheck.of(settings, D(1000))
    assert check.halts
    assert check.compare(D(1600), D(1100), settled=True) is None
    assert check.compare(D("1600.01"), D(1100), settled=True)
