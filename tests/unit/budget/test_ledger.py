"""The ledger of the shared budget: who is lent how much, and what a lost, late or repeated message can't do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from daemon.budget.ledger import Books, Ledger, Refused
from daemon.budget.messages import Granted, Join, Release, Report
from daemon.core.clock import NS_PER_S

TOTAL, LOSS, LEASE_S = Decimal(1000), Decimal(100), 5.0
LATER = 10 * NS_PER_S
"""When every lease from the start is over."""


def rupees(amount: int) -> Decimal:
    """Shorter."""
    return Decimal(amount)


class Desk:
    """A ledger, and daemons that report to it in turn."""

    def __init__(self, books: Books | None = None) -> None:
        self.ledger = Ledger(TOTAL, LOSS, LEASE_S, 0, books if books is not None else Books())
        self.turn: dict[str, tuple[int, int]] = {}

    def join(self, name: str, now: int = 0, of: str = "here") -> None:
        """A turn begins."""
        self.turn[name] = (self.ledger.join(Join(name=name, of=of), now).session, 0)

    def said(self, name: str, used: int = 0, holds: int = 0, **more: Any) -> Report:
        """The next report of a daemon."""
        session, seq = self.turn[name]
        self.turn[name] = (session, seq + 1)
        return Report(name=name, session=session, seq=seq + 1, used=rupees(used), holds=rupees(holds), **more)

    def tell(self, name: str, used: int = 0, holds: int = 0, now: int = 0, **more: Any) -> Granted:
        """It is sent, and answered."""
        return self.ledger.report(self.said(name, used, holds, **more), now)

    def charge(self, name: str) -> Decimal:
        """What a daemon is charged with."""
        return self.ledger.books.members[name].charge


@pytest.fixture
def two() -> Desk:
    """Two daemons, the first of which has been lent everything."""
    desk = Desk()
    desk.join("a")
    assert desk.tell("a").amount == TOTAL
    desk.join("b")
    assert desk.tell("b").amount == 0
    return desk


def test_what_one_does_not_use_is_lent_to_the_other(two: Desk) -> None:
    """In halves, once the first says that it holds no more; and nearly all of it to the one who uses it."""
    assert two.tell("a", holds=1000).amount == 500
    assert two.tell("b").amount == 0
    assert two.tell("a", holds=500).amount == 500
    assert two.tell("b").amount == 500
    assert two.tell("b", used=500, holds=500).amount == 500
    assert two.tell("a", holds=500).amount == 250
    assert two.tell("a", holds=250).amount == 250
    assert two.tell("b", used=500, holds=500).amount == 750


def test_a_smaller_lease_counts_when_it_has_arrived(two: Desk) -> None:
    """The answer was lost: the daemon still holds what it held, and the other gets nothing of it."""
    two.tell("a", holds=1000)
    two.tell("a", holds=1000)
    assert two.charge("a") == 1000
    assert two.tell("b").amount == 0


def test_a_report_that_comes_late_changes_nothing(two: Desk) -> None:
    """A later one was there first."""
    late = two.said("a", holds=0)
    two.tell("a", used=900, holds=1000)
    with pytest.raises(Refused, match="older"):
        two.ledger.report(late, 0)
    assert two.charge("a") == 1000


def test_a_repeated_report_has_the_same_answer(two: Desk) -> None:
    """And lends nothing more."""
    said = two.said("a", holds=1000)
    first = two.ledger.report(said, 0)
    assert two.ledger.report(said, LATER) == first
    assert two.charge("a") == 1000


def test_a_daemon_that_is_silent_keeps_what_it_may_have_used(two: Desk) -> None:
    """Its lease is over, and still nobody else gets it."""
    assert two.tell("b", now=LATER).amount == 0
    assert two.charge("a") == 1000


def test_another_process_of_a_name_waits_for_the_end_of_the_lease(two: Desk) -> None:
    """From then on the earlier one's reports count no more; what it may have counts until the next one's first."""
    old = two.said("a", holds=0)
    with pytest.raises(Refused, match="lease for"):
        two.join("a", now=NS_PER_S)
    two.join("a", now=LATER)
    with pytest.raises(Refused, match="join") as refused:
        two.ledger.report(old, LATER)
    assert refused.value.rejoin
    assert two.charge("a") == 1000
    two.tell("a", used=300, now=LATER)
    assert two.tell("b", now=LATER).amount == 0, "the first of two was lent the rest before"


def test_another_daemon_can_not_take_the_name_of_one_that_has_something(two: Desk) -> None:
    """It would report its own positions, and those of the dead one would be forgotten."""
    with pytest.raises(Refused, match="another name"):
        two.join("a", now=LATER, of="elsewhere")
    two.ledger.release(Release(name="a", holding=rupees(0), who="asha", reason="flat"), LATER)
    two.join("a", now=LATER, of="elsewhere")


def test_a_person_releases_what_a_dead_daemon_had(two: Desk) -> None:
    """Not while it may still open something; what they say it has counts, and what it still sends doesn't."""
    late, wanted = (
        two.said("a", holds=0),
        Release(name="a", holding=rupees(400), who="asha", reason="its lease ran out"),
    )
    with pytest.raises(Refused, match="stop it first"):
        two.ledger.release(wanted, NS_PER_S)
    two.ledger.release(wanted, LATER)
    assert two.charge("a") == 400
    assert two.tell("b", now=LATER).amount == 600
    with pytest.raises(Refused):
        two.ledger.report(late, LATER)
    assert two.ledger.standing(LATER).members[0].released == "400 by asha: its lease ran out"


def test_a_name_that_nobody_has_is_not_released(two: Desk) -> None:
    """The refusal names those that are there."""
    with pytest.raises(Refused, match="there are a, b"):
        two.ledger.release(Release(name="c", holding=rupees(0), who="asha", reason="typo"), LATER)


def test_a_restart_remembers_who_has_what(two: Desk) -> None:
    """From the books on disk; every lease is taken to run."""
    books = msgspec.json.decode(msgspec.json.encode(two.ledger.books), type=Books)
    again = Desk(books)
    again.turn = two.turn
    assert again.tell("b").amount == 0
    with pytest.raises(Refused, match="lease for"):
        again.join("a", now=NS_PER_S)
    assert again.tell("a", holds=1000).amount == 500


def test_without_books_nothing_is_lent_until_old_leases_are_over() -> None:
    """Nobody knows whether there are any."""
    ledger = Ledger(TOTAL, LOSS, LEASE_S, 0)
    with pytest.raises(Refused, match="new"):
        ledger.join(Join(name="a", of="here"), NS_PER_S)
    ledger.join(Join(name="a", of="here"), LATER)


def test_a_lower_total_lends_less_and_takes_nothing_away(two: Desk) -> None:
    """After a restart with other settings."""
    two.tell("a", used=800, holds=1000)
    ledger = Ledger(rupees(500), LOSS, LEASE_S, 0, two.ledger.books)
    assert ledger.report(two.said("a", used=800, holds=1000), 0).amount == 500
    assert ledger.report(two.said("b"), 0).amount == 0


def test_the_loss_of_all_together_halts_all_for_the_day(two: Desk) -> None:
    """Neither lost so much alone; no lease is worth anything that day, and the next day all is as it was."""
    two.tell("a", day=7, pnl=Decimal(-60))
    assert not two.tell("b", day=7, pnl=Decimal(-39)).halted
    told = two.tell("b", day=7, pnl=Decimal("-40.5"))
    assert told.halted == "the day's loss of all daemons 100.50 has reached 100 of the shared budget"
    assert (told.amount, two.tell("a", day=7, pnl=Decimal(90)).halted) == (0, told.halted)
    assert not two.tell("a", day=8, pnl=Decimal(0)).halted


def test_what_is_not_known_of_a_day_is_not_zero(two: Desk) -> None:
    """A daemon that has no prices yet after a restart keeps the loss that it had told."""
    two.tell("a", day=7, pnl=Decimal(-60))
    two.tell("a", day=7)
    assert two.tell("b", day=7, pnl=Decimal(-40)).halted


def test_prices_that_move_a_little_make_no_other_lease(two: Desk) -> None:
    """Only a change worth the message does."""
    two.tell("a", used=300, holds=1000)
    held = int(two.tell("a", used=300, holds=650).amount)
    assert held == 650
    assert two.tell("a", used=303, holds=held).amount == held
    assert two.tell("a", used=330, holds=held).amount == 665
