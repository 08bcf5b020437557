"""Reports of daemons → leases of one budget. Pure; times are the machine's steady nanoseconds.

A daemon is charged with the most that it may have: what it said it has, the lease that it said it holds, and the one
that it was granted since. A lease that ends frees nothing by itself, for a daemon that died may have used all of it:
only its next report does, or a person's word (`release`) once the lease is over. So a lost, doubled or late message
can only make a charge too high. A daemon's turns are numbered (`join`): what an earlier process of its name still sends
counts no more. Invariant: but for prices that move, the charges of all daemons together never exceed the total, and no
daemon ever has, or may have, more than it is charged with.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from daemon.budget.messages import Granted, Join, Joined, MemberRow, Release, Report, Standing
from daemon.core.clock import NS_PER_S

ZERO: Final = Decimal(0)
STEPS: Final = 200
"""Leases are whole parts of the total, so that prices that move don't make another lease every second."""
SLACK_NS: Final = NS_PER_S
"""A lease is over for us so much later than for its daemon."""
DAYS_KEPT: Final = 5


class Refused(Exception):  # noqa: N818 — an outcome, which is told to who asked
    """Why nothing was granted; `rejoin`: the daemon's turn is over, and it has to begin anew."""

    def __init__(self, why: str, *, rejoin: bool = False) -> None:
        super().__init__(why)
        self.rejoin = rejoin


class Member(msgspec.Struct, kw_only=True):
    """What is known of one daemon, and kept over restarts."""

    of: str
    session: int = 0
    seq: int = 0
    used: Decimal = ZERO
    held: Decimal = ZERO
    granted: Decimal = ZERO
    day: int = 0
    pnl: Decimal = ZERO
    released: str = ""

    @property
    def charge(self) -> Decimal:
        """The most that it may have."""
        return max(self.used, self.held, self.granted)


class Books(msgspec.Struct, kw_only=True):
    """All that has to outlive the service."""

    members: dict[str, Member] = {}
    halted: dict[int, str] = {}
    """Days of India's calendar on which nothing is opened any more, and why."""


class Ledger:
    """The budget and its daemons."""

    def __init__(
        self, max_gross_notional: Decimal, max_daily_loss: Decimal, lease_s: float, now: int, books: Books | None = None
    ) -> None:
        """`books`: what an earlier process kept; every lease of it is taken to run for its whole time from `now`.

        Without any, nothing is granted for so long: whoever has a lease of a budget whose books are lost.
        """
        self.books = books if books is not None else Books()
        self._total = max_gross_notional
        self._most_lost = max_daily_loss
        self._lease_s = lease_s
        self._step = max_gross_notional / STEPS
        lent = [name for name, it in self.books.members.items() if it.held or it.granted]
        self._until = dict.fromkeys(lent, now + self._lease_ns)
        self._begins_ns = now + self._lease_ns if books is None else now

    @property
    def _lease_ns(self) -> int:
        return int(self._lease_s * NS_PER_S) + SLACK_NS

    def join(self, wanted: Join, now: int) -> Joined:
        """A new turn of a daemon; what the turn before had counts until its first report.

        Raises `Refused` while an earlier process of its name may still open something, and for another daemon under
        the name of one that has something: that one's positions would be forgotten.
        """
        name, left_s = wanted.name, self._left_s(wanted.name, now)
        if now < self._begins_ns:
            raise Refused(f"the budget is new: it lends from {(self._begins_ns - now) / NS_PER_S:.1f} s from now on")
        if left_s:
            raise Refused(f"{name}: another process of this name has a lease for {left_s:.1f} s more")
        member = self.books.members.setdefault(name, Member(of=wanted.of))
        if member.of != wanted.of and member.charge:
            raise Refused(
                f"{name}: is the daemon of {member.of}, which has {member.charge}; give this one another name, or "
                f"release that one: hrmd budget release {name}"
            )
        member.of = wanted.of
        member.session, member.seq = member.session + 1, 0
        return Joined(session=member.session)

    def report(self, report: Report, now: int) -> Granted:
        """Note what a daemon has; its next lease. Raises `Refused` for what is not of its present turn, or old."""
        member = self.books.members.get(report.name)
        if member is None or report.session != member.session:
            raise Refused(f"{report.name}: turn {report.session} is not the present one; join", rejoin=True)
        if report.seq < member.seq:
            raise Refused(f"{report.name}: report {report.seq} is older than {member.seq}")
        if report.seq > member.seq:
            self._note(member, report)
            self._until[report.name] = now if report.ends else now + self._lease_ns
            self._weigh_loss(member.day)
            member.granted = ZERO if report.ends else self._next(report.name, member, now)
        return Granted(
            session=member.session, seq=member.seq, amount=member.granted, lease_s=self._lease_s, total=self._total,
            others=self._others(report.name), halted=self.books.halted.get(member.day, ""),
        )  # fmt: skip

    def release(self, wanted: Release, now: int) -> None:
        """A person says what a daemon has. Raises `Refused` while it may still open something itself."""
        member, left_s = self.books.members.get(wanted.name), self._left_s(wanted.name, now)
        if member is None:
            known = ", ".join(self.books.members) or "none"
            raise Refused(f"{wanted.name}: no daemon of this name; there are {known}")
        if left_s:
            raise Refused(f"{wanted.name}: has a lease for {left_s:.1f} s more; stop it first")
        member.used, member.held, member.granted = wanted.holding, ZERO, ZERO
        member.released = f"{wanted.holding} by {wanted.who}: {wanted.reason}"
        member.session += 1  # what it still sends counts no more

    def standing(self, now: int) -> Standing:
        """All of it."""
        members, newest = self.books.members, self._newest_day()
        return Standing(
            max_gross_notional=self._total, max_daily_loss=self._most_lost,
            charged=sum((it.charge for it in members.values()), ZERO), halted=self.books.halted.get(newest, ""),
            members=[
                MemberRow(
                    name=name, of=it.of, used=it.used, charged=it.charge, lease_left_s=self._left_s(name, now),
                    day_pnl=it.pnl if it.day == newest else ZERO, released=it.released,
                )
                for name, it in members.items()
            ],
        )  # fmt: skip

    def _note(self, member: Member, report: Report) -> None:
        """It never listens to an answer to an earlier report, so what it was granted then and doesn't hold is free."""
        member.seq, member.used, member.held, member.released = report.seq, report.used, report.holds, ""
        if report.day and report.pnl is not None:
            member.day, member.pnl = report.day, report.pnl

    def _next(self, name: str, member: Member, now: int) -> Decimal:
        """What it has and its share of what nobody has; never more than the others leave."""
        if member.day in self.books.halted:
            return ZERO
        room = self._total - self._others(name)
        living = sum(self._left_s(other, now) > 0 for other in self.books.members)
        taken = sum((self._taken(other, now) for other in self.books.members), ZERO)
        target = member.used + max(ZERO, self._total - taken) / living
        if member.held <= room and abs(target - member.held) < 2 * self._step:
            return member.held
        wanted = max(ZERO, min(target, room))
        return wanted if wanted == self._total else wanted // self._step * self._step

    def _taken(self, name: str, now: int) -> Decimal:
        """What it has; of one that is silent, what it may have."""
        member = self.books.members[name]
        return member.used if self._left_s(name, now) else member.charge

    def _weigh_loss(self, day: int) -> None:
        """The loss of a day over all daemons, once reached, ends it."""
        halted, of_day = self.books.halted, [it.pnl for it in self.books.members.values() if it.day == day]
        lost = -sum(of_day, ZERO)
        if day and day not in halted and lost >= self._most_lost:
            halted[day] = f"the day's loss of all daemons {lost:.2f} has reached {self._most_lost} of the shared budget"
            for old in sorted(halted)[:-DAYS_KEPT]:
                del halted[old]

    def _others(self, name: str) -> Decimal:
        return sum((it.charge for other, it in self.books.members.items() if other != name), ZERO)

    def _left_s(self, name: str, now: int) -> float:
        return max(0, self._until.get(name, 0) - now) / NS_PER_S

    def _newest_day(self) -> int:
        return max((it.day for it in self.books.members.values()), default=0)
