"""Orders by hand: one verdict a key, whatever is repeated, over restarts too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from daemon.control.manual_desk import ManualDesk
from daemon.control.view import (
    HandSide,
    HandType,
    KeyTakenError,
    NotDurableError,
    NotTradingError,
    OrderAnswer,
    OrderTicket,
)
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.errors import JournalError
from daemon.core.events import (
    CancelOrder,
    Event,
    Halt,
    ManualOrder,
    ManualOrderAnswered,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderType,
    Resume,
    Side,
)
from daemon.orders.durability import UNWRITTEN
from daemon.recovery.account import Account
from tests.samples import SBIN, fill_of, intend

TICKET = OrderTicket(key="k1", symbol=SBIN, side=HandSide.SELL, quantity=3, type=HandType.LIMIT, price="800.05")


class Floor:
    """A desk, and a risk stage that answers when told to."""

    def __init__(self, account: Account | None = None, first: Callable[[Event], None] | None = None) -> None:
        self.bus = Bus()
        if first is not None:
            self.bus.tap((Halt,), first)
        self.account = account or Account(Decimal(1))
        self.asked: list[ManualOrder] = []
        self.commanded: list[Event] = []
        self.direct: list[Event] = []
        self.bus.tap((ManualOrder,), self.asked.append)
        self.bus.tap((CancelOrder, Halt, Resume), self.commanded.append)
        self.desk = ManualDesk(self.bus, ReplayClock(7), self.account, self.account.orders, None, (self.direct.append,))
        self.desk.open = True
        self.desk.leaves_s = 0.0

    def answer(self, order: ManualOrder, **verdict: str) -> None:
        """Approve, or deny with a verdict."""
        order_id = f"H{len(self.asked)}"
        self.bus.publish(ManualOrderAnswered(ts=8, order=order, order_id=order_id, approved=not verdict, **verdict))

    async def asking(self, ticket: OrderTicket = TICKET) -> asyncio.Task[object]:
        """A request that has reached the desk."""
        task: asyncio.Task[object] = asyncio.create_task(self.desk.place(ticket))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return task


async def test_an_order_is_put_on_the_bus_once_and_its_verdict_comes_back() -> None:
    """Asked twice at once and once later: one command, one verdict, and who asked again is told so."""
    floor = Floor()
    first, second = await floor.asking(), await floor.asking()
    assert floor.asked == [
        ManualOrder(ts=7, key="k1", symbol=SBIN, side=Side.SELL, quantity=3, type=OrderType.LIMIT,
                    limit_price=Decimal("800.05"), reason="by the operator", who="an operator")
    ]  # fmt: skip
    floor.answer(floor.asked[0], check="lot_size", limit="5", value="3")
    answers = [await first, await second, await floor.desk.place(TICKET)]
    assert [answer.repeated for answer in answers] == [False, True, True]  # type: ignore[attr-defined]
    assert {(answer.approved, answer.check) for answer in answers} == {(False, "lot_size")}  # type: ignore[attr-defined]
    assert len(floor.asked) == 1
    assert (await floor.desk.place(msgspec.structs.replace(TICKET, who="ravi"))).repeated  # whoever asks again


async def test_a_key_stands_for_one_order() -> None:
    """Another order under it is refused, before its verdict and after."""
    floor = Floor()
    other = msgspec.structs.replace(TICKET, quantity=4)
    task = await floor.asking()
    with pytest.raises(KeyTakenError, match="key k1: was used for another order"):
        await floor.desk.place(other)
    floor.answer(floor.asked[0])
    await task
    with pytest.raises(KeyTakenError):
        await floor.desk.place(other)
    assert len(floor.asked) == 1


async def test_keys_survive_a_restart() -> None:
    """The journal's answers are known to the next process, through a snapshot too; nothing is placed again."""
    floor = Floor()
    task = await floor.asking()
    floor.answer(floor.asked[0])
    await task
    after = Account(Decimal(1))
    after.fold([floor.account.snapshot(9)])
    again = Floor(after)
    again.desk.open = False
    answer = await again.desk.place(TICKET)
    assert (answer.order_id, answer.repeated, again.asked) == ("H1", True, [])


async def test_before_trading_begins_nothing_is_taken() -> None:
    """An order that waits for the broker to be read would come as a surprise later."""
    floor = Floor()
    floor.desk.open = False
    with pytest.raises(NotTradingError):
        await floor.desk.place(TICKET)
    assert floor.asked == []


async def test_no_verdict_in_time_can_be_asked_for_again() -> None:
    """Who gave up asks with the same key and gets the verdict of the first."""
    floor = Floor()
    task = await floor.asking()
    task.cancel()
    await asyncio.wait((task,))
    again = await floor.asking()
    floor.answer(floor.asked[0])
    assert (await again).repeated is True  # type: ignore[attr-defined]
    assert len(floor.asked) == 1


class Disk:
    """A journal that says when it is done."""

    def __init__(self, error: JournalError | None) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.error = error
        self.trouble = ""
        self.words = 0

    def leave_word(self) -> None:
        """Once more."""
        self.words += 1

    def durable(self) -> asyncio.Future[None]:
        """Ask."""
        if self.error is not None:
            raise self.error
        return self.done


async def test_a_verdict_is_told_when_it_is_on_disk() -> None:
    """Approved and then forgotten would be a lie; a full disk doesn't keep the verdict back."""
    floor = Floor()
    disk = Disk(None)
    floor.desk._journal = disk
    task = await floor.asking()
    floor.answer(floor.asked[0])
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    disk.done.set_result(None)
    assert (await task).approved  # type: ignore[attr-defined]
    floor.desk._journal = Disk(JournalError("full"))
    task = await floor.asking(msgspec.structs.replace(TICKET, key="k2"))
    floor.answer(floor.asked[1])
    assert (await task).approved  # type: ignore[attr-defined]


async def test_whoever_asked_is_told_what_became_of_the_order() -> None:
    """Approved by risk is half of it: the order is on the market, came to nothing, or hasn't left yet."""
    floor = Floor()
    fates: list[tuple[str, Event | None, str, bool]] = [
        ("k1", OrderAccepted(ts=9, order_id="H1", venue_id="V"), "approved, the venue has it", False),
        ("k2", OrderCancelled(ts=9, order_id="H2", filled=0, reason=UNWRITTEN), f"approved, but cancelled: {UNWRITTEN}",
         True),
        ("k3", None, "approved, not sent yet", False),
    ]  # fmt: skip
    for number, (key, fate, words, nothing) in enumerate(fates, 1):
        floor.desk.leaves_s = 3600 if fate is not None else 0.001
        task = await floor.asking(msgspec.structs.replace(TICKET, key=key))
        for event in (intend(f"H{number}"), OrderApproved(ts=8, order_id=f"H{number}")):
            floor.account.orders.apply(event)
        floor.answer(floor.asked[-1])
        await asyncio.wait((task,), timeout=0.02)
        if fate is not None:
            assert not task.done()
            floor.account.orders.apply(fate)
            floor.bus.publish(fate)
        answer: OrderAnswer = await task  # type: ignore[assignment]
        assert (answer.words, answer.came_to_nothing) == (words, nothing)
    floor.account.orders.apply(fill_of(intend("H3")))
    again = await floor.desk.place(msgspec.structs.replace(TICKET, key="k3"))
    assert (again.words, again.repeated) == ("approved, filled", True)


async def test_cancelling_names_an_order_that_works() -> None:
    """Others are not put on the bus."""
    floor = Floor()
    floor.account.fold([intend("T1")])
    assert await floor.desk.cancel("T1", "mistake", "asha") == 7
    assert await floor.desk.cancel("T2", "mistake", "asha") is None
    assert floor.commanded == [CancelOrder(ts=7, order_id="T1", reason="mistake", who="asha")]


HALT = Halt(ts=7, reason="enough")


async def test_a_command_is_answered_when_it_is_on_disk() -> None:
    """In force at once; whoever asked waits for the disk."""
    floor, disk = Floor(), Disk(None)
    floor.desk._journal = disk
    task = asyncio.create_task(floor.desk.command(HALT))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (floor.commanded, task.done()) == ([HALT], False)
    disk.done.set_result(None)
    await task


async def test_a_halt_is_in_force_where_the_disk_fails() -> None:
    """A full disk, one that fails meanwhile, one that never answers: the halt is on the bus, the answer says why."""
    floor = Floor()
    failing, silent = Disk(None), Disk(None)
    failing.done.set_exception(JournalError("went away"))
    floor.desk.command_s = 0.001
    for disk, why in ((Disk(JournalError("full")), "full"), (failing, "went away"), (silent, "no answer")):
        floor.desk._journal = disk
        with pytest.raises(NotDurableError, match=why):
            await floor.desk.command(HALT)
        assert disk.words == 1, "for the next process"
    assert floor.commanded == [HALT] * 3


async def test_a_halt_reaches_the_stages_past_a_journal_that_takes_nothing() -> None:
    """The journal hears everything first: where it raises, the bus hands the command to nobody."""

    def broken(event: Event) -> None:
        raise JournalError("closed")

    floor = Floor(first=broken)
    with pytest.raises(NotDurableError, match="closed"):
        await floor.desk.command(HALT)
    assert (floor.commanded, floor.direct) == ([], [HALT])


async def test_nothing_is_resumed_that_could_not_be_journaled() -> None:
    """More risk is not taken on a disk that fails."""
    floor = Floor()
    floor.desk._journal = Disk(JournalError("full"))
    with pytest.raises(NotTradingError, match="full"):
        await floor.desk.command(Resume(ts=7, reason="go on"))
    assert floor.commanded == floor.direct == []


async def test_nothing_is_resumed_whose_journal_was_taken_away() -> None:
    """It is written on in another file, and stays halted until a restart: "accepted" would be no word to rely on."""
    floor = Floor()
    disk = floor.desk._journal = Disk(None)
    disk.done.set_result(None)
    disk.trouble = "j.sqlite was deleted"
    with pytest.raises(NotTradingError, match=r"j\.sqlite was deleted"):
        await floor.desk.command(Resume(ts=7, reason="go on"))
    assert floor.commanded == floor.direct == []
    await floor.desk.command(HALT)
    assert floor.commanded == [HALT]


async def test_a_halt_is_answered_soon_and_what_needs_the_disk_waits_for_it() -> None:
    """The disk is slow: whoever halted is told that it is in force, whoever resumes hears it when it is on disk."""
    floor = Floor()
    floor.desk._journal = Disk(None)
    floor.desk.command_s = 0.001
    with pytest.raises(NotDurableError, match=r"the disk gave no answer within 0\.001 s"):
        await floor.desk.command(HALT)
    slow = floor.desk._journal = Disk(None)
    resuming = asyncio.create_task(floor.desk.command(Resume(ts=8, reason="go on")))
    await asyncio.wait((resuming,), timeout=0.05)
    assert (floor.commanded, resuming.done()) == ([HALT], False)
    slow.done.set_result(None)
    await resuming
    assert floor.commanded == [HALT, Resume(ts=8, reason="go on")]
