"""Orders on their way to a misbehaving exchange: each leaves once, after its intent is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from daemon.core.errors import JournalError
from daemon.core.events import (
    Halt,
    OrderAccepted,
    OrderRejected,
    OrderSent,
    OrderUnknown,
    Resume,
    Side,
)
from daemon.orders.book import OrderState
from daemon.sandbox.faults import FaultKind
from tests.unit.orders.live import trading, until
from tests.unit.sandbox.desk import SBIN


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        (FaultKind.DROP, True), (FaultKind.DROP, False), (FaultKind.BROKEN, True), (FaultKind.BROKEN, False),
        (FaultKind.GARBLED, True), (FaultKind.NO_ACK, True), (FaultKind.NO_ACK, False), (FaultKind.LATE, False),
        (FaultKind.DELAY, True), (FaultKind.DELAY, False),
    ],
)  # fmt: skip
async def test_silence_is_no_rejection(tmp_path: Path, kind: FaultKind, after: bool) -> None:
    """Unknown until the book speaks: then filled where the order lives, written off where it never came; never two."""
    async with trading(tmp_path) as trader:
        trader.desk.trouble(kind, after=after, seconds=0.45)
        trader.send()
        await until(lambda: trader.order("T1").state.done)
        await until(lambda: trader.agrees() and (len(trader.desk.book) == 1 or not trader.book.positions[SBIN]))
        lives = len(trader.desk.book) == 1
        assert trader.order("T1").filled == (10 if lives else 0)
        if not trader.heard(OrderAccepted) and not lives:
            assert trader.heard(OrderUnknown)
        assert len(trader.heard(OrderSent)) == 1


@pytest.mark.parametrize("kind", [FaultKind.REJECT, FaultKind.REJECT_LATER])
async def test_a_rejection_is_told(tmp_path: Path, kind: FaultKind) -> None:
    """At once or by the exchange afterwards: rejected, with its words."""
    async with trading(tmp_path) as trader:
        trader.desk.trouble(kind, message="no such luck")
        trader.send()
        await until(lambda: trader.order("T1").state is OrderState.REJECTED)
        assert "no such luck" in trader.heard(OrderRejected)[0].reason


class FullDisk:
    """A journal that can't be written."""

    def durable(self) -> None:
        """Say so."""
        raise JournalError("journal j: the disk is full")


async def test_without_a_journal_entries_stay_and_exits_leave(tmp_path: Path) -> None:
    """Trading halts, the entry is cancelled before it left, the exit reaches the exchange."""
    async with trading(tmp_path) as trader:
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        trader.actor._sender._journal = FullDisk()
        trader.send("T2")
        await until(lambda: trader.order("T2").state is OrderState.CANCELLED)
        assert trader.order("T2").reason == "not sent: the journal can't be written"
        assert "the disk is full" in trader.heard(Halt)[0].reason
        trader.send("T3", Side.SELL, reduces=True)
        await until(lambda: trader.order("T3").state is OrderState.FILLED)
        assert [held.wanted.tag for held in trader.desk.book] == ["T1", "T3"]
        assert trader.agrees()


class SlowDisk:
    """A journal whose disk is waited for."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    def durable(self) -> Coroutine[Any, Any, object]:
        """Ask."""
        return self.done.wait()


async def test_what_is_taken_back_while_the_disk_is_waited_for_never_leaves(tmp_path: Path) -> None:
    """Halted after the approval and before the sending: the exchange never hears of it."""
    async with trading(tmp_path) as trader:
        disk = trader.actor._sender._journal = SlowDisk()
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.APPROVED)
        trader.bus.publish(Halt(ts=1, reason="enough"))
        await until(lambda: trader.order("T1").unwanted)
        disk.done.set()
        await until(lambda: trader.order("T1").state is OrderState.CANCELLED)
        assert trader.order("T1").reason == "enough"
        assert trader.desk.book == []


@pytest.mark.parametrize("speaks", ["fyers", "openalgo"])
async def test_what_is_taken_back_while_the_broker_is_waited_for_never_leaves(tmp_path: Path, speaks: str) -> None:
    """Halted while the order waits for the account's rate budget, and by then was said to be on its way."""
    async with trading(tmp_path, speaks=speaks) as trader:
        trader.budget.hold(0.5)
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.SENT)
        trader.bus.publish(Halt(ts=1, reason="enough"))
        await until(lambda: trader.order("T1").state.done)
        assert (trader.order("T1").state, trader.order("T1").reason) == (OrderState.CANCELLED, "enough")
        trader.bus.publish(Resume(ts=2, reason="go on"))
        trader.send("T2")
        await until(lambda: trader.order("T2").state is OrderState.FILLED)
        assert [held.wanted.quantity for held in trader.desk.book] == [10]


async def test_an_exit_isnt_taken_back_by_a_halt(tmp_path: Path) -> None:
    """It waits for the budget, and leaves."""
    async with trading(tmp_path) as trader:
        trader.send("T1")
        await until(lambda: trader.order("T1").state is OrderState.FILLED)
        trader.budget.hold(0.5)
        trader.send("T2", Side.SELL, reduces=True)
        await until(lambda: trader.order("T2").state is OrderState.SENT)
        trader.bus.publish(Halt(ts=1, reason="enough"))
        await until(lambda: trader.order("T2").state is OrderState.FILLED)
        assert trader.agrees()
