"""The execution stage: durable before sent, sent once, cancelled when due, and nothing unheard of told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.errors import IllegalTransition, JournalError
from daemon.core.events import (
    MANUAL,
    CancelOrder,
    Event,
    Fill,
    Flatten,
    Halt,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderType,
    PositionRestated,
    Reduce,
    Resume,
    Side,
    TickBatch,
    TimeAdvanced,
)
from daemon.journal.reader import JournalReader
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.market.calendar import MarketCalendar
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import OrderBook, OrderState
from daemon.orders.paper_execution import ExecutionActor
from daemon.orders.paper_venue import PaperVenue
from daemon.settings.market import MarketSettings
from daemon.settings.orders import PaperSettings
from tests.samples import MINUTE, OPEN, SBIN, intend, tick, ticks

NOON = OPEN + 60 * MINUTE
SENT = (OrderAccepted, OrderRejected, OrderCancelled, Fill)
LIMIT = {"type": OrderType.LIMIT, "limit_price": Decimal(700)}


@pytest.fixture(scope="module")
def calendar() -> MarketCalendar:
    """NSE's."""
    return MarketCalendar()


class Watched(PaperVenue):
    """The paper venue, which also tells how much of the journal was on disk when each order came."""

    def __init__(self, calendar: MarketCalendar, journal: Path | None = None) -> None:
        super().__init__(PaperSettings(), InstrumentBook(MarketSettings()), CostSchedule(), calendar)
        self.came: list[tuple[str, int, list[str]]] = []
        self._journal = journal

    def submit(self, intent: OrderIntent, active_from: int) -> OrderAccepted | OrderRejected:
        """Look at the file as another process would, then take the order."""
        on_disk: list[str] = []
        if self._journal is not None:
            reader = JournalReader(self._journal)
            on_disk = [event.order_id for event in reader.events(OrderIntent) if isinstance(event, OrderIntent)]
            reader.close()
        self.came.append((intent.order_id, active_from, on_disk))
        return super().submit(intent, active_from)


class Desk:
    """An execution actor over the paper venue, driven without its loop."""

    def __init__(self, calendar: MarketCalendar, latency_ns: int = 0, journal: Journal | None = None) -> None:
        self.bus = Bus()
        self.said: list[Event] = []
        if journal is not None:
            self.bus.tap(JOURNALED, journal.append)
        self.bus.tap(SENT, self.said.append)
        self.clock = ReplayClock(NOON)
        self.venue = Watched(calendar, journal._path if journal is not None else None)
        self.actor = ExecutionActor(self.bus, OrderBook(), self.venue, journal, self.clock, 120.0, latency_ns)

    async def tell(self, *events: Event) -> list[Event]:
        """Hand events over as the bus would; what was said to them."""
        before = len(self.said)
        for event in events:
            if isinstance(event, TimeAdvanced):
                self.clock.advance(event.ts)
            waiting = self.actor.handle(event)
            if waiting is not None:
                await waiting
        return self.said[before:]

    async def hold(self, quantity: int) -> None:
        """A long position, filled a nanosecond after noon."""
        await self.send(intend("long", quantity=quantity))
        await self.tell(tick(NOON + 1, 800.0))

    async def send(self, intent: OrderIntent) -> list[Event]:
        """An intent and its approval."""
        return await self.tell(intent, OrderApproved(ts=intent.ts, order_id=intent.order_id))


@pytest.fixture
def desk(calendar: MarketCalendar) -> Desk:
    """One without a journal or latency."""
    return Desk(calendar)


async def test_an_approved_order_is_sent_once_and_fills_on_a_later_tick(desk: Desk) -> None:
    """Told and approved twice, sent once; the tick it was decided on gives no fill, the next one does."""
    intent = intend()
    (accepted,) = await desk.send(intent)
    assert isinstance(accepted, OrderAccepted)
    assert await desk.tell(intent) == []
    with pytest.raises(IllegalTransition, match="from ACCEPTED to APPROVED"):
        await desk.tell(OrderApproved(ts=NOON, order_id="T1"))
    assert [order_id for order_id, _, _ in desk.venue.came] == ["T1"]
    assert await desk.tell(tick(NOON, 800.0)) == []
    (fill,) = await desk.tell(tick(NOON + 1, 800.0))
    assert isinstance(fill, Fill)
    assert desk.actor.orders.working == {}


async def test_a_denied_order_is_never_sent(desk: Desk) -> None:
    """It is done with, and an approval that comes after all sends nothing."""
    intent = intend()
    denial = OrderDenied(ts=NOON, order_id="T1", symbol=intent.symbol, check="c", limit="l", value="v")
    assert await desk.tell(intent, denial, OrderApproved(ts=NOON, order_id="T1")) == []
    assert desk.venue.came == []
    assert desk.actor.orders.counts == {OrderState.DENIED: 1}


async def test_a_refusal_of_the_venue_is_told(desk: Desk) -> None:
    """The market is closed: rejected, and done with."""
    (rejected,) = await desk.send(intend(ts=OPEN - MINUTE, quantity=1, symbol="NSE:SBIN-EQ"))
    assert not isinstance(rejected, OrderRejected)  # its time on the market is the clock's, which is noon
    desk.clock.advance(OPEN + 400 * MINUTE)
    (rejected,) = await desk.send(intend("T2"))
    assert isinstance(rejected, OrderRejected)
    assert "T2" not in desk.actor.orders.working


@pytest.mark.parametrize("latency_ns", [0, 250_000_000])
async def test_latency_is_added_to_the_time_of_sending(calendar: MarketCalendar, latency_ns: int) -> None:
    """An order is on the market at the later of its own time and now plus the latency, and fills only after it."""
    desk = Desk(calendar, latency_ns)
    await desk.send(intend("T1"))
    await desk.send(intend("T2", ts=NOON + NS_PER_S))
    assert [active for _, active, _ in desk.venue.came] == [NOON + latency_ns, NOON + NS_PER_S]
    fills = await desk.tell(ticks([NOON + 1, NOON + latency_ns + 1, NOON + 2 * NS_PER_S], [800.0, 801.0, 802.0]))
    times = {event.order_id: event.ts for event in fills if isinstance(event, Fill)}
    assert times == {"T1": NOON + latency_ns + 1, "T2": NOON + 2 * NS_PER_S}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal that waits for the disk."""
    journal = Journal(tmp_path / "j.sqlite", safe=True)
    journal.describe({"version": "test"})
    yield journal
    journal.close()


async def test_the_intent_is_on_disk_before_the_order_leaves(calendar: MarketCalendar, journal: Journal) -> None:
    """Read by another connection at the moment at which the venue gets the order."""
    desk = Desk(calendar, journal=journal)
    for number in range(1, 4):
        intent = intend(f"T{number}")
        desk.bus.publish(intent)
        async with asyncio.timeout(30):
            await desk.send(intent)
    assert [on_disk for _, _, on_disk in desk.venue.came] == [["T1"], ["T1", "T2"], ["T1", "T2", "T3"]]


async def test_an_unwritten_intent_is_never_sent(calendar: MarketCalendar, journal: Journal) -> None:
    """The journal fails under it: the order stays here, with a fault that says why."""
    desk = Desk(calendar, journal=journal)
    intent = intend()
    desk.bus.publish(intent)
    bad = intend("T2", reason="\ud800")  # no UTF-8: it can't be encoded
    desk.bus.publish(bad)
    with pytest.raises(JournalError, match=r"j\.sqlite"):
        async with asyncio.timeout(30):
            await desk.send(intent)
    with pytest.raises(JournalError):
        await desk.send(intend("T3"))
    assert desk.venue.came == []
    with pytest.raises(JournalError):
        journal.close()


@pytest.mark.parametrize("command", [Halt(ts=NOON, reason="enough"), Reduce(ts=NOON, reason="enough")])
async def test_a_command_takes_entries_off_the_market(desk: Desk, command: Event) -> None:
    """What opens is cancelled with the command's reason; what closes works on until its position is gone."""
    await desk.hold(intend().quantity)
    await desk.send(intend("entry", **LIMIT))
    await desk.send(intend("exit", Side.SELL, reduces=True, type=OrderType.LIMIT, limit_price=Decimal(900)))
    (cancelled,) = await desk.tell(command)
    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.order_id, cancelled.reason, cancelled.filled) == ("entry", "enough", 0)
    assert list(desk.actor.orders.working) == ["exit"]
    await desk.send(intend("out", Side.SELL, reduces=True))
    said = await desk.tell(tick(NOON + 2, 800.0))
    assert [type(event) for event in said] == [Fill, OrderCancelled]
    assert desk.actor.orders.working == {}


async def test_an_entry_that_was_approved_behind_a_halt_is_not_sent(desk: Desk) -> None:
    """Risk had said yes before it heard; exits pass, and after `resume` entries too."""
    await desk.hold(intend().quantity)
    await desk.tell(Halt(ts=NOON, reason="enough"))
    (cancelled,) = await desk.send(intend("entry"))
    assert isinstance(cancelled, OrderCancelled)
    assert [type(event) for event in await desk.send(intend("exit", Side.SELL, reduces=True))] == [OrderAccepted]
    await desk.tell(Resume(ts=NOON, reason="on"))
    assert [type(event) for event in await desk.send(intend("again"))] == [OrderAccepted]


async def test_flatten_leaves_only_exits_that_trade_at_once(desk: Desk) -> None:
    """An exit that waits at a price would keep its position from being closed."""
    await desk.hold(intend().quantity)
    await desk.send(intend("entry", **LIMIT))
    await desk.send(intend("resting", Side.SELL, reduces=True, type=OrderType.LIMIT, limit_price=Decimal(900)))
    await desk.send(intend("exit", Side.SELL, reduces=True))
    said = await desk.tell(Flatten(ts=NOON, reason="enough"))
    assert [event.order_id for event in said if isinstance(event, OrderCancelled)] == ["entry", "resting"]
    assert list(desk.actor.orders.working) == ["exit"]


async def test_one_order_is_cancelled_by_name(desk: Desk) -> None:
    """Only that one; a name that nothing bears changes nothing."""
    await desk.send(intend("T1", **LIMIT))
    await desk.send(intend("T2", **LIMIT))
    (cancelled,) = await desk.tell(
        CancelOrder(ts=NOON, order_id="T2", reason="mistaken"), CancelOrder(ts=NOON, order_id="T9", reason="?")
    )
    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.order_id, cancelled.reason) == ("T2", "mistaken")


async def test_an_order_by_hand_rests_beyond_the_time_out(desk: Desk) -> None:
    """Whoever placed it takes it off."""
    await desk.send(intend("T1", strategy=MANUAL, **LIMIT))
    assert await desk.tell(TimeAdvanced(ts=NOON + 1000 * NS_PER_S)) == []


class FullDisk:
    """A journal that can't be written."""

    def durable(self) -> None:
        """Say so."""
        raise JournalError("journal j: the disk is full")


async def test_on_a_full_disk_entries_stay_and_exits_leave(desk: Desk) -> None:
    """Trading halts and goes on managing: no fault, the entry is cancelled, the exit is at the venue."""
    halts: list[Event] = []
    desk.bus.tap((Halt,), halts.append)
    desk.actor._journal = FullDisk()
    (cancelled,) = await desk.send(intend("T1"))
    assert isinstance(cancelled, OrderCancelled)
    assert cancelled.reason == "not sent: the journal can't be written"
    (accepted,) = await desk.send(intend("T2", Side.SELL, reduces=True))
    assert isinstance(accepted, OrderAccepted)
    assert "the disk is full" in halts[0].reason  # type: ignore[attr-defined]
    assert [order_id for order_id, _, _ in desk.venue.came] == ["T2"]


async def test_a_shutdown_leaves_entries_to_its_own_setting(desk: Desk) -> None:
    """The halt of a shutdown cancels nothing by itself: `execution.cancel_on_shutdown` decides."""
    await desk.send(intend("entry", **LIMIT))
    assert await desk.tell(Halt(ts=NOON, reason="SIGTERM", shutdown=True)) == []


async def test_overdue_entries_are_cancelled_and_exits_left(desk: Desk) -> None:
    """At the time-out and not a nanosecond before."""
    await desk.send(intend("entry", **LIMIT))
    await desk.send(intend("exit", Side.SELL, reduces=True, type=OrderType.LIMIT, limit_price=Decimal(900)))
    assert await desk.tell(TimeAdvanced(ts=NOON + 120 * NS_PER_S - 1)) == []
    (cancelled,) = await desk.tell(TimeAdvanced(ts=NOON + 120 * NS_PER_S))
    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.order_id, cancelled.reason) == ("entry", "working time-out")
    assert await desk.tell(TimeAdvanced(ts=NOON + 500 * NS_PER_S)) == []


def around(*seconds: float) -> TickBatch:
    """One batch of ticks at seconds after noon, which fall through a limit of 700 from 120 seconds on."""
    return ticks(
        [NOON + round(second * NS_PER_S) for second in seconds], [650.0 if s >= 120 else 800.0 for s in seconds]
    )


async def test_a_long_batch_lends_no_longer_life(desk: Desk) -> None:
    """A replay hands minutes of ticks over at once: an order whose time was up within them must not fill after it."""
    await desk.send(intend("entry", **LIMIT))
    (cancelled,) = await desk.tell(around(10, 100, 120, 200))
    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.order_id, cancelled.ts) == ("entry", NOON + 120 * NS_PER_S)
    await desk.send(intend("second", **LIMIT))
    (cancelled,) = await desk.tell(around(130))
    assert (type(cancelled), desk.actor.orders.working) == (OrderCancelled, {})


async def test_a_venue_that_does_not_cancel_holds_nobody_up(desk: Desk) -> None:
    """What it no longer has can't be cancelled, however overdue it is: the ticks go on."""
    await desk.send(intend("entry", **LIMIT))
    desk.venue.cancel("entry", NOON)
    assert await desk.tell(around(100, 130), around(200, 300), TimeAdvanced(ts=NOON + 400 * NS_PER_S)) == []
    assert list(desk.actor.orders.working) == ["entry"]


async def test_several_time_outs_within_one_batch(desk: Desk) -> None:
    """Each at its own moment, and an order that isn't due yet works on."""
    for number in range(3):
        await desk.send(intend(f"T{number}", ts=NOON + 50 * number * NS_PER_S, **LIMIT))
    times = [NOON + second * NS_PER_S for second in (110, 119, 125, 200)]
    done = await desk.tell(ticks(times, [800.0] * 4))
    assert [(event.order_id, event.ts - NOON) for event in done if isinstance(event, OrderCancelled)] == [
        ("T0", 120 * NS_PER_S), ("T1", 170 * NS_PER_S),
    ]  # fmt: skip
    assert list(desk.actor.orders.working) == ["T2"]


async def test_a_fill_before_the_time_out_stands(desk: Desk) -> None:
    """Cut at the right tick: what came before the time was up fills."""
    await desk.send(intend("entry", type=OrderType.LIMIT, limit_price=Decimal(801)))
    (fill,) = await desk.tell(around(10, 100, 130))
    assert isinstance(fill, Fill)
    assert fill.ts == NOON + 10 * NS_PER_S


async def test_orders_expire_with_their_session(desk: Desk) -> None:
    """The venue's own cancellation at the close is told."""
    await desk.send(intend("exit", Side.SELL, reduces=True, type=OrderType.LIMIT, limit_price=Decimal(900)))
    (cancelled,) = await desk.tell(TimeAdvanced(ts=OPEN + 375 * MINUTE))
    assert isinstance(cancelled, OrderCancelled)
    assert "close" in cancelled.reason


async def test_cancel_ours_takes_exits_too(desk: Desk) -> None:
    """For the end of a run; what is not at the venue is not cancelled there."""
    await desk.send(intend("entry", **LIMIT))
    await desk.send(intend("exit", Side.SELL, reduces=True, type=OrderType.LIMIT, limit_price=Decimal(900)))
    await desk.tell(intend("unsent"))
    desk.actor.cancel_ours("shutdown")
    cancelled = [event for event in desk.said if isinstance(event, OrderCancelled)]
    assert [(event.order_id, event.reason) for event in cancelled] == [("entry", "shutdown"), ("exit", "shutdown")]
    assert list(desk.actor.orders.working) == ["unsent"]


async def test_what_the_venue_no_longer_has_is_not_said_to_be_cancelled(desk: Desk) -> None:
    """The venue answers that the order is gone: its own word about it will come."""
    await desk.send(intend("entry", **LIMIT))
    desk.venue.cancel("entry", NOON)
    desk.actor.cancel_entries("enough", NOON)
    assert not [event for event in desk.said if isinstance(event, OrderCancelled)]


async def test_strange_events_are_passed_over(desk: Desk) -> None:
    """An approval of nobody's order, an event of another kind."""
    strangers = OrderApproved(ts=NOON, order_id="nobody"), OrderAccepted(ts=1, order_id="x", venue_id="")
    assert await desk.tell(*strangers) == []


class Stammering(Watched):
    """A venue that says everything about ticks twice."""

    def on_ticks(self, batch: TickBatch) -> list[Fill]:
        """Each fill two times."""
        return [fill for fill in super().on_ticks(batch) for _ in range(2)]


async def test_what_the_venue_repeats_is_told_once(desk: Desk) -> None:
    """Position and cash must not move twice for one fill."""
    desk.actor._venue = Stammering(MarketCalendar())
    await desk.send(intend())
    assert [type(event) for event in await desk.tell(tick(NOON + 1, 800.0))] == [Fill]


async def test_a_position_of_more_shares_is_what_an_exit_may_close(desk: Desk) -> None:
    """100 became 500: while nothing may open, an order that closes all of them is no entry."""
    await desk.hold(100)
    split = PositionRestated(ts=NOON, symbol=SBIN, date="2026-01-05", kind="split", numerator=1, denominator=5)
    await desk.tell(split, Reduce(ts=NOON + 2, reason="a test"))
    exit_all = intend("exit", Side.SELL, 500, reduces=True, ts=NOON + 3)
    assert [type(event) for event in await desk.send(exit_all)] == [OrderAccepted]
