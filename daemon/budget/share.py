"""The daemon's side of its lease: what it reports, and which answer it listens to. Loop-free.

Invariant: only the answer to the newest report is ever taken, and a lease is counted from when that report left.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from daemon.budget.messages import Granted, Join, Joined, Report
from daemon.core.clock import NS_PER_S
from daemon.core.events import BudgetChanged
from daemon.risk.lease import Lease

ZERO: Final = Decimal(0)


class Share:
    """Of one daemon."""

    def __init__(self, lease: Lease, of: str) -> None:
        """`of`: which daemon this is, machine and journal."""
        self.lease = lease
        self._of = of
        self._session: int | None = None
        self._joining = False
        self._seq = 0
        self._awaited: tuple[int, int] | None = None
        """The newest report and when it left."""

    @property
    def joined(self) -> bool:
        """Whether it has a turn."""
        return self._session is not None

    def leave(self, ts: int, reason: str) -> BudgetChanged | None:
        """The turn is over, and with it the lease; the event where there was one."""
        self._session, self._awaited = None, None
        return self.lease.drop(ts, reason)

    def ask_for_turn(self) -> Join:
        """What to send while there is none."""
        assert self._session is None
        self._joining = True
        return Join(name=self.lease.who, of=self._of)

    def join(self, answer: Joined) -> None:
        """A turn begins."""
        if self._joining:
            self._joining, self._session, self._seq, self._awaited = False, answer.session, 0, None

    def report(self, used: Decimal, day: int, pnl: Decimal | None, *, ends: bool = False) -> Report:
        """What to send now; answers to earlier ones are no longer listened to.

        `ends`: it is the last, and there must be no lease any more.
        """
        assert self._session is not None
        assert not (ends and self.lease.leased is not None)
        self._seq += 1
        self._awaited = None if ends else (self._seq, self.lease.steady_ns())
        return Report(
            name=self.lease.who, session=self._session, seq=self._seq, used=used, holds=self.lease.leased or ZERO,
            day=day, pnl=pnl, ends=ends,
        )  # fmt: skip

    def take(self, answer: Granted, ts: int) -> BudgetChanged | None:
        """An answer came; the event where it changes the lease."""
        if self._awaited is None or (answer.session, answer.seq) != (self._session, self._awaited[0]):
            return None
        (_, left_ns), self._awaited = self._awaited, None
        until_ns = left_ns + int(answer.lease_s * NS_PER_S)
        if self.lease.steady_ns() >= until_ns:
            return None
        reason = answer.halted or f"the other daemons have {answer.others} of {answer.total}"
        return self.lease.renew(ts, answer.amount, until_ns, reason)
