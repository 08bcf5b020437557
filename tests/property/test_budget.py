"""Whatever is lost, doubled or late, and whoever is killed: all daemons together may never have more than it."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.budget.ledger import Books, Ledger, Refused
from daemon.budget.messages import Granted, Join, Joined, Release, Report
from daemon.budget.share import Share
from daemon.core.clock import NS_PER_S
from daemon.risk.lease import Lease
from tests.depth import examples

TOTAL, LEASE_S = Decimal(1000), 5.0
NAMES = ("banks", "metals")
DAEMON = st.sampled_from(NAMES)
PART = st.sampled_from([Decimal("0.3"), Decimal(1)])


class Fate(StrEnum):
    """What becomes of a request or its answer."""

    FINE = "fine"
    ANSWER_LOST = "answer lost"
    LAST = "last"
    """The daemon stops in order; its process goes on, so that it may begin anew."""
    LATE = "late"
    """Nobody waits for it any more when it arrives."""
    TWICE = "twice"
    """It arrives, is answered, and arrives again later."""


class Daemon:
    """What it really has, and the process that trades for it, if it lives."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name, self.has, self._machine = name, Decimal(0), machine
        self.share: Share | None = None
        self.start()

    def start(self) -> None:
        """Another process, which knows what it has and nothing of an earlier lease."""
        self.share = Share(Lease(self.name, lambda: self._machine.now), f"here:/{self.name}.sqlite")

    @property
    def may_have(self) -> Decimal:
        """With the lease that is in force."""
        if self.share is None:
            return self.has
        self.share.lease.look(0)
        return max(self.has, self.share.lease.leased or Decimal(0))


class Machine(RuleBasedStateMachine):
    """Two daemons, a service, and a network that delivers what it likes, as often as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NS_PER_S
        self.daemons = {name: Daemon(name, self) for name in NAMES}
        self.late: list[Join | Report] = []
        self.ledger = Ledger(TOTAL, Decimal(500), LEASE_S, self.now, Books())
        self.kept = msgspec.json.encode(self.ledger.books)

    @rule(name=DAEMON, fate=st.sampled_from(Fate))
    def talks(self, name: str, fate: Fate) -> None:
        """By chance."""
        self.talk(name, fate)

    def talk(self, name: str, fate: Fate) -> None:
        """A daemon sends what is due."""
        daemon = self.daemons[name]
        if (share := daemon.share) is None:
            return
        asked: Join | Report = share.ask_for_turn() if not share.joined else self.report(daemon, share, fate)
        if fate in (Fate.LATE, Fate.TWICE):
            self.late.append(asked)
        if fate is Fate.LATE:
            return
        try:
            answer = self.hear(asked)
        except Refused as refused:
            if refused.rejoin:
                share.leave(0, str(refused))
            return
        if fate is not Fate.ANSWER_LOST:
            self.tell(name, answer)

    def report(self, daemon: Daemon, share: Share, fate: Fate) -> Report:
        """What a daemon that has a turn sends."""
        if fate is Fate.LAST:
            share.lease.drop(0, "stops")
        return share.report(daemon.has, 1, Decimal(0), ends=fate is Fate.LAST)

    @rule()
    def all_talk(self) -> None:
        """A quiet second."""
        for name in NAMES:
            self.talk(name, Fate.FINE)

    @precondition(lambda self: self.late)
    @rule(data=st.data(), told=st.booleans())
    def arrive_late(self, data: st.DataObject, told: bool) -> None:
        """Something from before arrives, and its answer may come back."""
        asked = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        try:
            answer = self.hear(asked)
        except Refused:
            return
        if told:
            self.tell(asked.name, answer)

    def hear(self, asked: Join | Report) -> Joined | Granted:
        """The service's answer, which is on disk before it is given."""
        answer = self.ledger.join(asked, self.now) if isinstance(asked, Join) else self.ledger.report(asked, self.now)
        self.kept = msgspec.json.encode(self.ledger.books)
        return answer

    def tell(self, name: str, answer: Joined | Granted) -> None:
        """An answer arrives at the process that is there now."""
        share = self.daemons[name].share
        if isinstance(answer, Granted) and share is not None:
            share.take(answer, 0)
        elif isinstance(answer, Joined) and share is not None and not share.joined:
            share.join(answer)

    @rule(name=DAEMON, part=PART)
    def open(self, name: str, part: Decimal) -> None:
        """An entry, for a part of what the lease leaves."""
        daemon = self.daemons[name]
        if daemon.share is not None:
            daemon.share.lease.look(0)
            leased = daemon.share.lease.leased
            if leased is not None:
                daemon.has += part * max(Decimal(0), leased - daemon.has)

    @rule(name=DAEMON, part=PART)
    def close(self, name: str, part: Decimal) -> None:
        """An exit asks nobody; of a daemon that is dead a person makes it."""
        daemon = self.daemons[name]
        daemon.has -= part * daemon.has

    @rule(seconds=st.sampled_from([1, 7]))
    def wait(self, seconds: int) -> None:
        """Time passes, enough for a lease to end or not."""
        self.now += seconds * NS_PER_S

    @rule(name=DAEMON, what=st.sampled_from(["daemon killed", "service killed", "released"]))
    def trouble(self, name: str, what: str) -> None:
        """A daemon dies, and another process begins with what it has; so does the service; or a person looks."""
        if what == "daemon killed":
            self.daemons[name].share = None
        elif what == "service killed":
            books = msgspec.json.decode(self.kept, type=Books)
            self.ledger = Ledger(TOTAL, Decimal(500), LEASE_S, self.now, books)
        else:
            self.release(name)

    @rule()
    def start(self) -> None:
        """A process where there is none."""
        for daemon in self.daemons.values():
            if daemon.share is None:
                daemon.start()

    def release(self, name: str) -> None:
        """A person looks at what a daemon has, and says so."""
        wanted = Release(name=name, holding=self.daemons[name].has, who="asha", reason="looked")
        try:
            self.ledger.release(wanted, self.now)
        except Refused:
            return
        self.kept = msgspec.json.encode(self.ledger.books)

    @invariant()
    def together_within_the_budget(self) -> None:
        """What all have, or may have by the leases in force."""
        assert sum(one.may_have for one in self.daemons.values()) <= TOTAL

    @invariant()
    def nobody_has_more_than_is_known(self) -> None:
        """A charge is the most that a daemon may have."""
        for name, daemon in self.daemons.items():
            member = self.ledger.books.members.get(name)
            assert daemon.may_have <= (member.charge if member is not None else 0)


Machine.TestCase.settings = settings(max_examples=examples(500), stateful_step_count=40)
TestBudget = Machine.TestCase
