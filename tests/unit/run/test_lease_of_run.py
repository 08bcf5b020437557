"""What a shared budget answered, made again from the journal's leases."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.core.errors import CheckFailed
from daemon.core.events import BudgetChanged, Event, OrderApproved, OrderDenied
from daemon.run.lease_of_run import LeaseOfRun
from tests.samples import OPEN, SBIN, intend

WANTED = intend("P1", quantity=100)
APPROVED = OrderApproved(ts=OPEN, order_id="P1")


def leased(amount: int | None) -> BudgetChanged:
    """A change."""
    return BudgetChanged(ts=OPEN, who="banks", leased=None if amount is None else Decimal(amount), reason="")


def denied(limit: str, value: str, check: str = "budget") -> OrderDenied:
    """As risk says it."""
    return OrderDenied(ts=OPEN, order_id="P1", symbol=SBIN, check=check, limit=limit, value=value)


NONE = denied("a lease of the shared budget", "no lease since 10:00:00: late")
BEYOND = denied("50000 leased of the shared budget", "80000.00")


@pytest.mark.parametrize(
    "told",
    [
        [WANTED, NONE],
        [leased(100_000), leased(None), WANTED, NONE],
        [leased(50_000), WANTED, BEYOND],
        [leased(50_000), leased(80_000), WANTED, APPROVED],
        [msgspec.structs.replace(WANTED, reduces=True), APPROVED],
        [WANTED, denied("1500000", "1600000", "gross_notional")],
    ],
)
def test_what_follows_from_the_lease_in_force(told: list[Event]) -> None:
    """Nothing is said."""
    lent = LeaseOfRun(Path("j.sqlite"), known=True)
    for event in told:
        lent.see(event)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([WANTED, APPROVED], "was approved without a lease"),
        ([leased(0), WANTED, APPROVED], "was approved without a lease"),
        ([leased(100_000), WANTED, NONE], "100000 was leased"),
        ([leased(90_000), WANTED, BEYOND], "90000 was leased"),
        ([leased(50_000), WANTED, denied("50000 leased of the shared budget", "50000.00")], "50000 was leased"),
        ([WANTED, BEYOND], "None was leased"),
    ],
)
def test_what_does_not(told: list[Event], words: str) -> None:
    """The order is named; where the run's beginning isn't known, only from the first lease on."""
    lent, later = LeaseOfRun(Path("j.sqlite"), known=True), LeaseOfRun(Path("j.sqlite"), known=False)
    for event in told[:-1]:
        lent.see(event)
    with pytest.raises(CheckFailed, match=words):
        lent.see(told[-1])
    later.see(WANTED)
    later.see(APPROVED)
