"""The daemon's side: which answer counts, from when a lease runs, and when there is none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.budget.messages import Granted, Joined
from daemon.budget.share import Share
from daemon.core.clock import NS_PER_S
from daemon.core.events import BudgetChanged
from daemon.risk.lease import Lease
from tests.samples import OPEN

ZERO = Decimal(0)


class Side:
    """A share that has a turn, on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100 * NS_PER_S
        self.lease = Lease("banks", lambda: self.now)
        self.share = Share(self.lease, "here:/j.sqlite")
        self.share.ask_for_turn()
        self.share.join(Joined(session=3))

    def answer(self, seq: int, amount: int = 500, session: int = 3, halted: str = "") -> BudgetChanged | None:
        """The service grants."""
        granted = Granted(
            session=session, seq=seq, amount=Decimal(amount), lease_s=5.0, total=Decimal(1000), others=Decimal(200),
            halted=halted,
        )  # fmt: skip
        return self.share.take(granted, OPEN)


@pytest.fixture
def side() -> Side:
    """Fresh."""
    return Side()


def test_a_lease_runs_from_when_the_report_left(side: Side) -> None:
    """However long the answer took; at its end there is none, and why is said once."""
    side.share.report(ZERO, 1, ZERO)
    side.now += 3 * NS_PER_S
    told = side.answer(1)
    assert told == BudgetChanged(
        ts=OPEN, who="banks", leased=Decimal(500), reason="the other daemons have 200 of 1000"
    )  # fmt: skip
    side.now += 2 * NS_PER_S - 1
    assert side.lease.look(OPEN) is None
    side.now += 1
    ended = side.lease.look(OPEN)
    assert ended is not None
    assert (ended.leased, side.lease.leased) == (None, None)
    assert side.lease.trouble == "no lease since 09:15:00: it was not renewed in time"
    assert side.lease.look(OPEN) is None


def test_only_the_answer_to_the_newest_report_counts(side: Side) -> None:
    """Not one to an earlier report, to one of another turn, or the same once more."""
    side.share.report(ZERO, 1, ZERO)
    side.share.report(ZERO, 1, ZERO)
    assert side.answer(1) is None
    assert side.answer(2, session=2) is None
    assert side.lease.leased is None
    assert side.answer(2) is not None
    assert side.answer(2, amount=900) is None
    assert side.lease.leased == 500


def test_an_answer_that_comes_after_its_lease_is_none(side: Side) -> None:
    """It would end before it began."""
    side.share.report(ZERO, 1, ZERO)
    side.now += 5 * NS_PER_S
    assert side.answer(1) is None
    assert side.lease.leased is None


def test_the_same_amount_again_is_no_event(side: Side) -> None:
    """It only lasts longer; a report says what is held meanwhile."""
    side.share.report(ZERO, 1, ZERO)
    side.answer(1)
    side.now += NS_PER_S
    assert side.share.report(Decimal(300), 1, ZERO).holds == 500
    assert side.answer(2) is None
    side.now += 5 * NS_PER_S - 1
    assert side.lease.look(OPEN) is None


def test_a_turn_that_is_over_ends_its_lease(side: Side) -> None:
    """And an answer of that turn makes no other one."""
    side.share.report(ZERO, 1, ZERO)
    side.answer(1)
    side.share.report(ZERO, 1, ZERO)
    left = side.share.leave(OPEN, "the service began another turn")
    assert left is not None
    assert left.leased is None
    assert side.answer(2) is None
    side.share.join(Joined(session=9))
    assert not side.share.joined, "nobody asked"
    side.share.ask_for_turn()
    side.share.join(Joined(session=9))
    assert side.share.report(ZERO, 1, None).session == 9


def test_a_halt_is_said_as_the_reason(side: Side) -> None:
    """Of a lease of nothing."""
    side.share.report(ZERO, 1, ZERO)
    told = side.answer(1, amount=0, halted="the day's loss")
    assert told is not None
    assert (told.leased, told.reason) == (0, "the day's loss")
