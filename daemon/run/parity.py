"""Two tellings of one day → the first event in which they differ.

A replay's journal is told again event by event, in one order, with every field. A daemon's day was lived by the
machine's clock: there each kind of event of each symbol is its own story, told without times and order ids, and the
first difference is the earliest, of those at one time the one nearest to the tick. Invariant: nothing that a decision,
an order or a rupee depends on is left out of either comparison.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, Final

import msgspec

from daemon.core.events import (
    Bar,
    Complexity,
    Decision,
    Event,
    Fill,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    PositionChanged,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    StrategySwapped,
)

LIVED: Final[tuple[type[Event], ...]] = (
    PriceAdjusted, PriceJumped, Bar, Complexity, StrategySwapped, Decision, OrderIntent, OrderDenied, OrderApproved,
    OrderRejected, Fill, OrderCancelled, OrderExpired, PositionRestated, PositionChanged,
)  # fmt: skip
"""What of a lived day has to come out again, in the order in which a tick becomes a position."""
CLOCKED: Final = frozenset(
    ("ts", "ts_recv", "latency_ns", "opened_ts", "order_id", "fill_id", "venue_id", "cash", "who")
)
"""Fields of a lived day that clock, account or naming give."""
_ONE_SEGMENT: Final = re.compile(rb"\b1 segments,")
"""How a reason was worded once."""
_RANK: Final = {kind: place for place, kind in enumerate(LIVED)}


class Pair(msgspec.Struct, frozen=True):
    """One field of an event, as it was and as it is."""

    recorded: Any
    replayed: Any


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first event that differs. An event that the other side doesn't have has no `fields`."""

    kind: str
    symbol: str | None
    ts: int
    """Of the recorded event, or of the replayed one where there is none."""
    number: int
    """From 1: of all events, or of a lived day among those of its kind and symbol."""
    fields: dict[str, Pair]
    recorded: dict[str, Any] | None
    replayed: dict[str, Any] | None

    @property
    def words(self) -> str:
        """In one line."""
        about = f"{self.kind} {self.number}" + (f" of {self.symbol}" if self.symbol else "")
        if self.replayed is None:
            return f"{about} is not in the replay"
        if self.recorded is None:
            return f"{about} is in the replay alone"
        told = ", ".join(f"{name} was {pair.recorded!r}, is {pair.replayed!r}" for name, pair in self.fields.items())
        return f"{about}: {told}"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How many events of each kind are equal, and the first that isn't."""

    equal: dict[str, int]
    difference: Difference | None


def compare_told(recorded: Iterable[Event], replayed: Iterable[Event]) -> Comparison:
    """Event by event, every field."""
    equal: Counter[str] = Counter()
    for number, (was, now) in enumerate(zip_longest(recorded, replayed), 1):
        if was is not None and now is not None and _same(was, now):
            equal[type(was).__name__] += 1
            continue
        return Comparison(equal=dict(equal), difference=_difference(was, now, number, _symbol(was or now), frozenset()))
    return Comparison(equal=dict(equal), difference=None)


def compare_lived(recorded: Iterable[Event], replayed: Iterable[Event]) -> Comparison:
    """Each kind of each symbol, without what the clock gives."""
    was, now = _stories(recorded), _stories(replayed)
    equal: Counter[str] = Counter()
    found: list[tuple[int, int, Difference]] = []
    for key in sorted(was.keys() | now.keys(), key=lambda key: (_RANK[key[0]], key[1])):
        kind, symbol = key
        for number, (one, other) in enumerate(zip_longest(was.get(key, ()), now.get(key, ())), 1):
            if one is not None and other is not None and _told(one) == _told(other):
                equal[kind.__name__] += 1
                continue
            difference = _difference(one, other, number, symbol or None, CLOCKED)
            ts = min(_moment(event) for event in (one, other) if event is not None)
            found.append((ts, _RANK[kind], difference))
            break
    return Comparison(
        equal=dict(equal), difference=min(found, key=lambda item: item[:2])[2] if found else None
    )  # fmt: skip


def _stories(events: Iterable[Event]) -> dict[tuple[type[Event], str], list[Event]]:
    """By kind and symbol, in order; a position that is only said again is no event."""
    stories: dict[tuple[type[Event], str], list[Event]] = defaultdict(list)
    symbol_of: dict[str, str] = {}
    for event in events:
        if isinstance(event, OrderIntent):
            symbol_of[event.order_id] = event.symbol
        symbol = _symbol(event) or symbol_of.get(str(getattr(event, "order_id", "")), "")
        story = stories[type(event), symbol]
        again = isinstance(event, PositionChanged) and bool(story) and _told(story[-1]) == _told(event)
        if not again:
            story.append(event)
    return dict(stories)


def within(events: Iterable[Event], first_ts: int, last_ts: int) -> Iterator[Event]:
    """Those of a stretch of time, UTC ns, both ends included."""
    return (event for event in events if first_ts <= _moment(event) <= last_ts)


def _moment(event: Event) -> int:
    """The bar that an event is about where it is about one, else when it was; UTC ns."""
    for name in ("ts_bar", "ts_close", "ts"):
        found = getattr(event, name, None)
        if isinstance(found, int):
            return found
    return 0


def _symbol(event: Event | None) -> str | None:
    found = getattr(event, "symbol", None)
    return found if isinstance(found, str) else None


def _told(event: Event) -> dict[str, Any]:
    return {name: value for name, value in _plain(event).items() if name not in CLOCKED}


def _encoded(event: Event) -> bytes:
    """In JSON, reasons of an earlier version in the words of now."""
    return _ONE_SEGMENT.sub(b"1 segment,", msgspec.json.encode(event))


def _plain(event: Event) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(_encoded(event))
    return plain


def _same(was: Event, now: Event) -> bool:
    return type(was) is type(now) and (was == now or _encoded(was) == _encoded(now))


def _difference(
    was: Event | None, now: Event | None, number: int, symbol: str | None, aside: frozenset[str]
) -> Difference:
    """Of two events that aren't the same; of two kinds each is said whole."""
    event = was if was is not None else now
    assert event is not None
    recorded, replayed = None if was is None else _plain(was), None if now is None else _plain(now)
    fields: dict[str, Pair] = {}
    if was is not None and now is not None and type(was) is type(now) and recorded and replayed:
        names = [name for name in was.__struct_fields__ if name not in aside]
        pairs = {name: Pair(recorded.get(name), replayed.get(name)) for name in names}
        fields = {name: pair for name, pair in pairs.items() if pair.recorded != pair.replayed}
    elif was is not None and now is not None:
        fields = {"event": Pair(type(was).__name__, type(now).__name__)}
    return Difference(
        kind=type(event).__name__, symbol=symbol, ts=_moment(event), number=number, fields=fields,
        recorded=recorded, replayed=replayed,
    )  # fmt: skip
