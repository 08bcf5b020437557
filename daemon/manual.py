"""Orders by hand → commands on the bus, and risk's answers → whoever asked.

An order by hand goes the way of every order: through the same gate and the same journal. Invariant: one key, one order,
over restarts too: the answer to a key is in the journal before the order leaves, and a key that was answered is never
put on the bus again.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from daemon.bus import Bus
from daemon.clock import Clock
from daemon.control.view import KeyTakenError, NotTradingError, OrderAnswer, OrderTicket
from daemon.errors import JournalError
from daemon.events import CancelOrder, ManualOrder, ManualOrderAnswered
from daemon.execution import Durable
from daemon.orders import OrderBook
from daemon.recovery import Account

ANSWER_S = 4.0
"""Risk answers within milliseconds; beyond this the loop is in trouble, and the asker asks again under the same key."""


class ManualDesk:
    """Implements `daemon.control.view.OrderDesk`."""

    def __init__(self, bus: Bus, clock: Clock, account: Account, orders: OrderBook, journal: Durable | None) -> None:
        self.open = False
        """Whether the daemon trades: it has agreed with the broker and isn't ending."""
        self._bus = bus
        self._clock = clock
        self._account = account
        self._orders = orders
        self._journal = journal
        self._waiting: dict[str, asyncio.Event] = {}
        self._asked: dict[str, ManualOrder] = {}
        bus.tap((ManualOrderAnswered,), self._answered)

    async def place(self, ticket: OrderTicket) -> OrderAnswer:
        """Risk's answer to an order; the same answer again to the same key.

        Raises `KeyTakenError` for a key that stands for another order, `NotTradingError` before trading begins, and
        `TimeoutError` where no answer came in time: it may still come, so ask again with the same key.
        """
        key = ticket.key
        known = self._account.answered.get(key)
        before = known.order if known is not None else self._asked.get(key)
        wanted = ticket.order(self._clock.now_ns())
        if before is not None and not _same(before, wanted):
            raise KeyTakenError(f"key {key}: was used for another order")
        if known is not None:
            return OrderAnswer.of(known, repeated=True)
        if before is None:
            if not self.open:
                raise NotTradingError("hrmd has not begun to trade, or is ending")
            self._asked[key] = wanted
            self._waiting[key] = asyncio.Event()
            self._bus.publish(wanted)
        async with asyncio.timeout(ANSWER_S):
            await self._waiting[key].wait()
        await self._on_disk()
        return OrderAnswer.of(self._account.answered[key], repeated=before is not None)

    def cancel(self, order_id: str, reason: str) -> int | None:
        """Ask for an order to be taken off the market; when that was (UTC ns), None where it doesn't work."""
        if order_id not in self._orders.working:
            return None
        command = CancelOrder(ts=self._clock.now_ns(), order_id=order_id, reason=reason)
        self._bus.publish(command)
        return command.ts

    def _answered(self, answer: ManualOrderAnswered) -> None:
        self._account.remember(answer)
        self._asked.pop(answer.order.key, None)
        waiting = self._waiting.pop(answer.order.key, None)
        if waiting is not None:
            waiting.set()

    async def _on_disk(self) -> None:
        """What was said to be approved must not be forgotten; where the disk is full, the order's own fate tells."""
        with contextlib.suppress(JournalError):
            waiting = self._journal.durable() if self._journal is not None else None
            if waiting is not None:
                await waiting


def _same(one: ManualOrder, other: ManualOrder) -> bool:
    """Whether two are one order but for when it was asked for."""
    return one == msgspec.structs.replace(other, ts=one.ts)
