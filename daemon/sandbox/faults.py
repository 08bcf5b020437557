"""Requests for misbehaviour → the fault, if any, that the next call or push suffers.

Faults wait in a queue ("the next POST does this") or come by seeded chance; each route draws from a stream of its own,
so that how often the book is polled doesn't change what orders suffer. Invariant: the same seed, faults and sequence of
calls of a route bring the same faults.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from daemon.errors import UsageError


class Route(StrEnum):
    """What a fault can befall: one kind of REST call, any of them, or a push on the order socket."""

    PLACE = "place"
    MODIFY = "modify"
    CANCEL = "cancel"
    ORDERS = "orders"
    TRADES = "trades"
    POSITIONS = "positions"
    FUNDS = "funds"
    PROFILE = "profile"
    QUOTES = "quotes"
    HOLDINGS = "holdings"
    DEPTH = "depth"
    HISTORY = "history"
    STATUS = "status"
    MULTI = "multi"
    ANY = "any"
    PUSH = "push"


class FaultKind(StrEnum):
    """What goes wrong; `after` in a fault says whether the order was taken first."""

    DELAY = "delay"
    DROP = "drop"
    LATE = "late"
    LIMITED = "limited"
    BROKEN = "broken"
    GARBLED = "garbled"
    REJECT = "reject"
    REJECT_LATER = "reject_later"
    NO_ACK = "no_ack"
    PARTIAL = "partial"
    STALE = "stale"
    EXPIRE_TOKEN = "expire_token"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    LOSE = "lose"
    CUT = "cut"
    MUTE = "mute"


_OF_PUSHES: Final = {FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.LOSE, FaultKind.CUT, FaultKind.MUTE}
_OF_PLACING: Final = {FaultKind.PARTIAL, FaultKind.REJECT_LATER}
_OF_CHANGING: Final = {FaultKind.NO_ACK, FaultKind.LATE}
_CHANGING: Final = {Route.PLACE, Route.MODIFY, Route.CANCEL, Route.MULTI}
_READING_ORDERS: Final = {Route.ORDERS, Route.TRADES}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One misbehaviour of route `on`.

    `seconds`: of DELAY and LATE, of 429's Retry-After, and how young the orders are that STALE hides. `status`: of
    BROKEN. `code`, `message`: of REJECT (`message` of REJECT_LATER too). `quantity`: what PARTIAL fills on arrival.
    `times`: how many calls of a queue's fault suffer.
    """

    kind: FaultKind
    on: Route = Route.PLACE
    after: bool = False
    seconds: float = 1.0
    status: int = 502
    code: int = -99
    message: str = "rejected by request"
    quantity: int = 1
    times: int = 1

    def problem(self) -> str | None:
        """Why such a fault can't befall such a route; None where it can."""
        if (self.kind in _OF_PUSHES) is not (self.on is Route.PUSH):
            return f"{self.kind.value} can't befall {self.on.value}"
        if self.kind in _OF_PLACING and self.on is not Route.PLACE:
            return f"{self.kind.value} befalls place only"
        if self.kind in _OF_CHANGING and self.on not in _CHANGING:
            return f"{self.kind.value} befalls place, modify or cancel"
        if self.kind is FaultKind.STALE and self.on not in _READING_ORDERS:
            return "stale befalls orders or trades"
        if self.kind is FaultKind.BROKEN and not 500 <= self.status < 600:
            return f"broken: expected a status from 500 to 599, got {self.status}"
        if self.seconds < 0 or self.times < 1 or self.quantity < 0:
            return "expected seconds and quantity not below 0, times from 1 on"
        return None


class Chance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that befalls each call of its route with a probability in [0, 1]."""

    probability: float
    fault: Fault


class FaultPlan:
    """All that is to go wrong."""

    def __init__(self, seed: int) -> None:
        self.suffered: Counter[str] = Counter()
        self._queue: list[Fault] = []
        self._chances: Sequence[Chance] = ()
        self._streams: dict[Route, random.Random] = {}
        self.chances((), seed)

    @property
    def queued(self) -> int:
        """How many calls the queue will spoil."""
        return sum(fault.times for fault in self._queue)

    def queue(self, faults: Sequence[Fault]) -> None:
        """Add faults, to befall the next calls of their routes, oldest first; raises `UsageError` for what can't be."""
        for fault in faults:
            _check(fault)
        self._queue += faults

    def chances(self, chances: Sequence[Chance], seed: int) -> None:
        """Let these faults come by chance from now on, in place of the former; raises `UsageError`."""
        for chance in chances:
            _check(chance.fault)
            if not 0 <= chance.probability <= 1:
                raise UsageError(f"probability: expected 0 to 1, got {chance.probability}")
        self._chances = tuple(chances)
        self._streams = {route: random.Random(f"{seed}:{route.value}") for route in Route}

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._queue, self._chances = [], ()

    def next(self, route: Route) -> Fault | None:
        """What befalls the call of `route` that is just being made."""
        fault = self._from_queue(route)
        stream = self._streams[route]
        for chance in self._chances:
            if _befalls(chance.fault, route) and stream.random() < chance.probability and fault is None:
                fault = chance.fault
        if fault is not None:
            self.suffered[fault.kind.value] += 1
        return fault

    def _from_queue(self, route: Route) -> Fault | None:
        for place, fault in enumerate(self._queue):
            if _befalls(fault, route):
                left = [msgspec.structs.replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                self._queue[place : place + 1] = left
                return fault
        return None


def _befalls(fault: Fault, route: Route) -> bool:
    return fault.on is route or (fault.on is Route.ANY and route is not Route.PUSH)


def _check(fault: Fault) -> None:
    problem = fault.problem()
    if problem is not None:
        raise UsageError(f"fault {fault.kind.value}: {problem}")
