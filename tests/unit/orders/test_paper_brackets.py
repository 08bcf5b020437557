"""Stop and target on paper: one cancels the other tick by tick, and in a replay the ticks wait for both."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    PROTECTION,
    Event,
    Fill,
    OrderAmended,
    OrderApproved,
    OrderCancelled,
    OrderIntent,
    OrderType,
    Side,
    TickBatch,
)
from daemon.market.calendar import MarketCalendar
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import OrderBook
from daemon.orders.paper_execution import ExecutionActor
from daemon.orders.paper_venue import PaperVenue
from daemon.settings.market import MarketSettings
from daemon.settings.orders import PaperSettings
from daemon.tape.bar_ticks import Bars, ticks_of
from tests.depth import examples
from tests.samples import MINUTE, OPEN, SBIN, intend, ticks

NOON = OPEN + 60 * MINUTE
CALENDAR = MarketCalendar()


def venue(bar_s: int = 0) -> PaperVenue:
    """Without spread and slippage."""
    paper = PaperSettings(spread_bp=0, slippage_bp=0)
    return PaperVenue(paper, InstrumentBook(MarketSettings()), CostSchedule(), CALENDAR, bar_s)


def leg(kind: str, quantity: int = 100, side: Side = Side.SELL, price: int = 0, order_id: str = "") -> OrderIntent:
    """A stop at 790 or a target at 820 of a long position."""
    is_stop, price = kind == "stop", price or (790 if kind == "stop" else 820)
    return intend(
        order_id or kind, side, quantity, reduces=True, strategy=PROTECTION, reason=kind, ts=NOON,
        type=OrderType.SL_MARKET if is_stop else OrderType.LIMIT,
        stop_price=Decimal(price) if is_stop else None, limit_price=None if is_stop else Decimal(price),
    )  # fmt: skip


def walk(*prices: float, **columns: Any) -> TickBatch:
    """A tick a second from noon on."""
    return ticks([NOON + (n + 1) * NS_PER_S for n in range(len(prices))], list(prices), **columns)


def said(events: list[Event]) -> list[tuple[str, str, float]]:
    """(what, order, quantity and price in one where it traded) of events."""
    found: list[tuple[str, str, float]] = []
    for event in events:
        if isinstance(event, Fill):
            found.append((f"{event.quantity} done", event.order_id, float(event.price)))
        elif isinstance(event, OrderCancelled):
            found.append((event.reason, event.order_id, event.filled))
        elif isinstance(event, OrderAmended):
            found.append(("smaller", event.order_id, event.quantity))
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((800, 821, 789, 788), [("100 done", "target", 820), ("the target is done", "stop", 0)]),
        ((800, 789, 788, 821), [("100 done", "stop", 788), ("the stop is done", "target", 0)]),
        ((800, 789, 830), [("100 done", "stop", 830), ("the stop is done", "target", 0)]),
        ((770, 760), [("100 done", "stop", 760), ("the stop is done", "target", 0)]),
    ],
)
def test_one_cancels_the_other_within_a_batch(path: tuple[float, ...], expected: list[tuple[str, str, float]]) -> None:
    """Whatever comes after; a stop that is reached trades at the next tick, above or far below, and goes first."""
    paper = venue()
    paper.submit(leg("target"), NOON)
    paper.submit(leg("stop"), NOON)
    assert said(paper.on_ticks(walk(*path))) == expected
    assert paper.working() == []


def test_a_part_of_one_makes_the_other_smaller_before_it_is_told() -> None:
    """Newest first: so whoever hears of the fill finds as much on the market as is held."""
    paper = venue()
    for intent in (leg("target"), leg("stop", 70), leg("stop", 30, order_id="more")):
        paper.submit(intent, NOON)
    batch = walk(800, 820, 789, 788, bid=[799, 821, 789, 788], ask=[801, 822, 790, 789], bid_qty=[9, 40, 500, 500])
    assert said(paper.on_ticks(batch)) == [
        ("smaller", "stop", 60), ("40 done", "target", 820), ("the target is done", "more", 0),
        ("60 done", "stop", 788), ("the stop is done", "target", 40),
    ]  # fmt: skip


def test_those_of_another_position_stay() -> None:
    """Of the other side, and orders that are no legs."""
    paper = venue()
    others = (leg("stop", side=Side.BUY, price=830, order_id="short"), intend("own", Side.SELL, 5, type=OrderType.LIMIT,
              limit_price=Decimal(840)))  # fmt: skip
    for intent in (leg("target"), *others):
        paper.submit(intent, NOON)
    paper.on_ticks(walk(821))
    assert [order.order_id for order in paper.working()] == ["short", "own"]


def test_in_a_bar_that_holds_both_the_stop_is_done() -> None:
    """Nobody knows which came first: the worse one counts, at the bar's worst price."""
    paper, one = venue(60), np.ones(1)
    start = np.array([NOON])
    bar = Bars(
        np.zeros(1, np.int32), start, start + 60 * NS_PER_S, 800 * one, 830 * one, 780 * one, 825 * one,
        np.full(1, 100),
    )  # fmt: skip
    batch = ticks_of(bar, (SBIN,))
    for intent in (leg("target"), leg("stop")):
        paper.submit(intent, NOON)
    expected = [("100 done", "stop", 780), ("the stop is done", "target", 0)]
    assert said(paper.on_ticks(msgspec.structs.replace(batch, ts_recv=batch.ts_event))) == expected


def minutes(*prices: tuple[float, float, float, float]) -> TickBatch:
    """Minutes from noon on (open, high, low, close), as a tape of bars has them."""
    first, high, low, last = (np.array(column, dtype=float) for column in zip(*prices, strict=True))
    start = NOON + np.arange(len(prices)) * MINUTE
    code, volume = np.zeros(len(prices), np.int32), np.full(len(prices), 400)
    batch = ticks_of(Bars(code, start, start + MINUTE, first, high, low, last, volume), (SBIN,))
    return msgspec.structs.replace(batch, ts_recv=batch.ts_event, traded=batch.last_qty)


@pytest.mark.parametrize("latency_ns", [0, NS_PER_S])
@pytest.mark.parametrize(
    ("side", "low", "high", "stop", "paid"),
    [
        (Side.BUY, 780, 800, 790, 780), (Side.BUY, 795, 800, 790, None),
        (Side.SELL, 800, 820, 810, 820), (Side.SELL, 800, 805, 810, None),
    ],
)  # fmt: skip
def test_the_price_that_went_through_an_entrys_limit_went_on_to_its_stop(
    side: Side, low: float, high: float, stop: int, paid: float | None, latency_ns: int
) -> None:
    """In the bar that filled the entry, before the stop was there: it is done, and pays what that bar's worst was."""
    paper, batch = venue(60), minutes((800, high, low, 800), (800, 800, 800, 800))
    limit = Decimal(799 if side is Side.BUY else 801)
    paper.submit(intend("entry", side, type=OrderType.LIMIT, limit_price=limit, ts=NOON), NOON)
    (entry,) = paper.on_ticks(batch.slice(0, 6))
    assert isinstance(entry, Fill)
    exit_side = Side.SELL if side is Side.BUY else Side.BUY
    protecting = msgspec.structs.replace(leg("stop", side=exit_side, price=stop), ts=entry.ts)
    paper.submit(protecting, entry.ts + latency_ns)
    events = said(paper.on_ticks(batch.slice(6, len(batch))))
    assert events == ([] if paid is None else [("100 done", "stop", paid)])


def test_a_stop_that_is_placed_later_is_reached_by_what_comes_then() -> None:
    """What an earlier bar did before there was a position says nothing of it."""
    paper, batch = venue(60), minutes((800, 800, 780, 800), (800, 800, 800, 800))
    paper.submit(intend("entry", type=OrderType.LIMIT, limit_price=Decimal(799), ts=NOON), NOON)
    paper.on_ticks(batch.slice(0, 7))
    paper.submit(msgspec.structs.replace(leg("stop"), ts=NOON + MINUTE), NOON + MINUTE)
    assert said(paper.on_ticks(batch.slice(7, len(batch)))) == []


PRICE = st.integers(780, 830)
ROWS = st.lists(st.tuples(PRICE, st.sampled_from([-1, 0, 10, 60, 200])), min_size=1, max_size=25)


@settings(max_examples=examples(80), deadline=None)
@given(rows=ROWS, cuts=st.sets(st.integers(1, 24), max_size=5), parts=st.sampled_from([(100,), (30, 70), (10, 20, 70)]))
def test_no_more_is_ever_closed_than_was_held(
    rows: list[tuple[int, int]], cuts: set[int], parts: tuple[int, ...]
) -> None:
    """Over any ticks, cut anywhere: the same events, at most what is held, and nothing is left when it is closed."""
    prices, sizes = zip(*rows, strict=True)
    batch = walk(*prices, bid=list(prices), ask=[price + 1 for price in prices], bid_qty=list(sizes))
    whole, cut = (_filled(batch, ends, parts) for ends in ([], sorted(cuts)))
    assert whole == cut
    events, working = whole
    done = sum(event.quantity for event in events if isinstance(event, Fill))
    assert done <= 100
    stops = sum(left for order_id, left in working if order_id.startswith("stop"))
    assert stops == sum(left for order_id, left in working if order_id.startswith("target")) == 100 - done


def _filled(batch: TickBatch, ends: list[int], parts: tuple[int, ...]) -> tuple[list[Event], list[tuple[str, int]]]:
    paper = venue()
    for number, quantity in enumerate(parts):
        paper.submit(leg("target", quantity, order_id=f"target{number}"), NOON)
        paper.submit(leg("stop", quantity, order_id=f"stop{number}"), NOON)
    events: list[Event] = []
    for start, stop in zip([0, *ends], [*ends, len(batch)], strict=True):
        if start < min(stop, len(batch)):
            events += paper.on_ticks(batch.slice(start, min(stop, len(batch))))
    return events, [(order.order_id, order.quantity - order.filled) for order in paper.working()]


class Protecting:
    """Who places a stop when an entry fills, as the risk stage does; and the execution stage that it hears."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.clock = ReplayClock(NOON)
        self.execution = ExecutionActor(self.bus, OrderBook(), venue(), None, self.clock, 120.0, NS_PER_S)
        self.fills: list[Fill] = []
        self.inbox = self.bus.subscribe("risk", (Fill,))
        self.bus.tap((Fill,), self.fills.append)

    async def play(self, batch: TickBatch) -> None:
        """One slice of a tape, minutes long."""
        self.bus.publish(batch)
        self.clock.advance(int(batch.ts_recv[-1]))
        await self.drain()

    async def drain(self) -> None:
        """Until nothing is left to be handled."""
        while self.bus.pending:
            while (fill := self.inbox.take()) is not None:
                assert isinstance(fill, Fill)
                if fill.side is Side.BUY:
                    intent = msgspec.structs.replace(leg("stop"), ts=fill.ts)
                    self.bus.publish(intent)
                    self.bus.publish(OrderApproved(ts=fill.ts, order_id=intent.order_id))
                self.inbox.done()
            event = self.execution.inbox.take()
            if event is not None:
                waiting = self.execution.handle(event)
                if waiting is not None:
                    await waiting
                self.execution.inbox.done()


async def test_a_replays_ticks_wait_until_the_stop_is_there() -> None:
    """Minutes of ticks come at once: the stop is on the market a second (its latency) after the fill all the same."""
    desk = Protecting()
    entry = intend("in", quantity=100, ts=NOON, stop_loss=Decimal(790))
    desk.bus.publish(entry)
    desk.bus.publish(OrderApproved(ts=NOON, order_id="in"))
    await desk.drain()
    await desk.play(walk(800, 800, 789, 789, 789, 785, 770, 700))
    assert [(fill.order_id, (fill.ts - NOON) // NS_PER_S, float(fill.price)) for fill in desk.fills] == [
        ("in", 2, 800.0), ("stop", 5, 789.0),
    ]  # fmt: skip
