"""Requests for misbehaviour → the fault, if any, that the next call or push suffers.

Faults wait in a queue ("the next POST does this") or come by seeded chance; each route draws from a stream of its own,
so that how often the book is polled doesn't change what orders suffer. Invariant: the same seed, faults and sequence of
calls of a route bring the same faults.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from daemon.core.errors import UsageError
from daemon.sandbox.gate import TOKEN_CODES
from daemon.sandbox.orders import REFUSED


class Route(StrEnum):
    """What a fault can befall.

    One kind of REST call, or any of them; a push on the order socket; on the data socket a key that is shown, a topic's
    first record, a quote on its way to whoever subscribed it, or a frame on its way to one client.
    """

    PLACE = "place"
    MODIFY = "modify"
    CANCEL = "cancel"
    ORDERS = "orders"
    TRADES = "trades"
    POSITIONS = "positions"
    FUNDS = "funds"
    MARGIN = "margin"
    PROFILE = "profile"
    QUOTES = "quotes"
    HOLDINGS = "holdings"
    DEPTH = "depth"
    HISTORY = "history"
    STATUS = "status"
    MULTI = "multi"
    SYMBOLS = "symbols"
    INDICES = "indices"
    ANY = "any"
    PUSH = "push"
    AUTH = "auth"
    SNAPSHOT = "snapshot"
    TICK = "tick"
    FRAME = "frame"


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
    LAG = "lag"
    EXPIRE_TOKEN = "expire_token"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    ECHO = "echo"
    LOSE = "lose"
    CUT = "cut"
    MUTE = "mute"
    UNKNOWN_SYMBOL = "unknown_symbol"
    ZERO_MULTIPLIER = "zero_multiplier"
    EMPTY_TOKEN = "empty_token"
    WRONG_PRICE = "wrong_price"
    FREEZE = "freeze"
    TRUNCATE = "truncate"
    STRANGE_RECORD = "strange_record"
    WRONG_LENGTH = "wrong_length"
    WRONG_COUNT = "wrong_count"
    WRONG_FIELDS = "wrong_fields"


_SOCKETS: Final = frozenset({Route.PUSH, Route.AUTH, Route.SNAPSHOT, Route.TICK, Route.FRAME})
_CALLS: Final = frozenset(Route) - _SOCKETS - {Route.INDICES}
_PAGES: Final = _CALLS | {Route.INDICES}
_CHANGING: Final = frozenset({Route.PLACE, Route.MODIFY, Route.CANCEL, Route.MULTI})
_STREAMS: Final = frozenset({Route.PUSH, Route.FRAME})
_FRAMES: Final = frozenset({Route.FRAME})
_BEFALLS: Final = {
    FaultKind.DELAY: _PAGES,
    FaultKind.DROP: _PAGES,
    FaultKind.LATE: _CHANGING,
    FaultKind.LIMITED: _CALLS,
    FaultKind.BROKEN: _PAGES,
    FaultKind.GARBLED: _PAGES,
    FaultKind.REJECT: _CALLS | {Route.AUTH},
    FaultKind.REJECT_LATER: frozenset({Route.PLACE}),
    FaultKind.NO_ACK: _CHANGING,
    FaultKind.PARTIAL: frozenset({Route.PLACE}),
    FaultKind.STALE: frozenset({Route.ORDERS, Route.TRADES}),
    FaultKind.LAG: frozenset({Route.ORDERS, Route.TRADES, Route.POSITIONS}),
    FaultKind.EXPIRE_TOKEN: _CALLS | {Route.FRAME, Route.PUSH},
    FaultKind.DUPLICATE: _STREAMS,
    FaultKind.REORDER: _STREAMS,
    FaultKind.ECHO: frozenset({Route.PUSH}),
    FaultKind.LOSE: _STREAMS,
    FaultKind.CUT: _STREAMS | {Route.AUTH},
    FaultKind.MUTE: _STREAMS | {Route.AUTH},
    FaultKind.UNKNOWN_SYMBOL: frozenset({Route.SYMBOLS}),
    FaultKind.ZERO_MULTIPLIER: frozenset({Route.SNAPSHOT}),
    FaultKind.EMPTY_TOKEN: frozenset({Route.SNAPSHOT, Route.SYMBOLS}),
    FaultKind.WRONG_PRICE: frozenset({Route.TICK}),
    FaultKind.FREEZE: frozenset({Route.TICK}),
    FaultKind.TRUNCATE: _FRAMES,
    FaultKind.STRANGE_RECORD: _FRAMES,
    FaultKind.WRONG_LENGTH: _FRAMES,
    FaultKind.WRONG_COUNT: _FRAMES,
    FaultKind.WRONG_FIELDS: _FRAMES,
}
_OF_SYMBOLS: Final = frozenset({Route.SYMBOLS, Route.SNAPSHOT, Route.TICK})


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One misbehaviour of route `on`.

    `seconds`: of DELAY, LATE and FREEZE, of 429's Retry-After, how young the orders are that STALE hides, and how old
    the account is that LAG shows. `status`: of BROKEN. `code`, `message`: of REJECT (`message` of REJECT_LATER too);
    `code` of EXPIRE_TOKEN too (−99: −16). `quantity`: what PARTIAL fills on arrival, how many former pushes ECHO brings
    again. `symbol`: whom a fault of SYMBOLS, SNAPSHOT or TICK befalls, "" whoever comes first. `factor`: by which
    WRONG_PRICE is wrong. `times`: how many calls of a queue's fault suffer.
    """

    kind: FaultKind
    on: Route = Route.PLACE
    after: bool = False
    seconds: float = 1.0
    status: int = 502
    code: int = -99
    message: str = "rejected by request"
    quantity: int = 1
    symbol: str = ""
    factor: float = 100.0
    times: int = 1

    def problem(self) -> str | None:
        """Why such a fault can't befall such a route; None where it can."""
        if self.on not in _BEFALLS[self.kind]:
            return f"can't befall {self.on.value}; expected one of {', '.join(sorted(_BEFALLS[self.kind]))}"
        if self.symbol and self.on not in _OF_SYMBOLS:
            return f"symbol: {self.on.value} has none; expected one with {', '.join(sorted(_OF_SYMBOLS))}"
        if self.kind is FaultKind.BROKEN and not 500 <= self.status < 600:
            return f"broken: expected a status from 500 to 599, got {self.status}"
        if self.kind is FaultKind.EXPIRE_TOKEN and self.code not in (REFUSED, *TOKEN_CODES):
            return f"code: expected one of {', '.join(map(str, TOKEN_CODES))}, got {self.code}"
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

    def waiting(self, route: Route) -> int:
        """How many calls of this route alone the queue will spoil."""
        return sum(fault.times for fault in self._queue if fault.on is route)

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

    def next(self, route: Route, symbols: Collection[str] = ()) -> Fault | None:
        """What befalls the call of `route` that is just being made, about `symbols` where it is about any."""
        fault = self._from_queue(route, symbols)
        stream = self._streams[route]
        for chance in self._chances:
            if _befalls(chance.fault, route, symbols) and stream.random() < chance.probability and fault is None:
                fault = chance.fault
        if fault is not None:
            self.suffered[fault.kind.value] += 1
        return fault

    def _from_queue(self, route: Route, symbols: Collection[str]) -> Fault | None:
        for place, fault in enumerate(self._queue):
            if _befalls(fault, route, symbols):
                left = [msgspec.structs.replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                self._queue[place : place + 1] = left
                return fault
        return None


def _befalls(fault: Fault, route: Route, symbols: Collection[str]) -> bool:
    if fault.symbol and fault.symbol not in symbols:
        return False
    return fault.on is route or (fault.on is Route.ANY and route in _CALLS)


def _check(fault: Fault) -> None:
    problem = fault.problem()
    if problem is not None:
        raise UsageError(f"fault {fault.kind.value}: {problem}")
