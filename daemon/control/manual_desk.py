"""Commands and orders by hand → the bus, and what became of them → whoever asked.

An order by hand goes the way of every order: through the same gate and the same journal. Invariant: one key, one order,
over restarts too: the answer to a key is in the journal before the order leaves, and a key that was answered is never
put on the bus again. A command that was answered without an error is on disk; one that makes less risk is in force even
where the disk fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
import structlog

from daemon.control.view import KeyTakenError, NotDurableError, NotTradingError, OrderAnswer, OrderTicket
from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.errors import JournalError
from daemon.core.events import (
    AdvanceMigration,
    BeginCanary,
    CancelOrder,
    ControlAction,
    Event,
    Fill,
    LoadModel,
    ManualOrder,
    ManualOrderAnswered,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderRejected,
    OrderUnknown,
    Resume,
    RollBackMigration,
    SettingChanged,
)
from daemon.orders.book import OrderBook, OrderState
from daemon.orders.durability import Durable
from daemon.recovery.account import Account

NEEDS_THE_JOURNAL = (Resume, LoadModel, SettingChanged, BeginCanary, AdvanceMigration, RollBackMigration)
"""Commands that are not taken while nothing can be written; the others make less risk, and are in force at once."""

ON_ITS_WAY = (OrderState.INTENT, OrderState.APPROVED, OrderState.SENT)
"""An order of which nobody knows yet what becomes of it."""
BECAME = (OrderAccepted, OrderRejected, OrderCancelled, OrderExpired, OrderUnknown, Fill)
"""What says more."""

log = structlog.get_logger("control")

ANSWER_S = 4.0
"""Risk answers within milliseconds; beyond this the loop is in trouble, and the asker asks again under the same key."""
LEAVES_S = 0.4
"""So long an approved order is waited for, to say what becomes of it; with `ANSWER_S` less than the asker waits."""
COMMAND_S = 1.0
"""So long whoever gave a command that is in force already waits to hear that it is on disk, too."""


class Record(Durable, Protocol):
    """The part of the journal that the desk needs."""

    @property
    def trouble(self) -> str:
        """Why it isn't as it should be; "" where it is."""

    def leave_word(self) -> None:
        """Let the next process know that something in force may not be on record."""


class ManualDesk:
    """Implements `daemon.control.view.OrderDesk`; `stages` are told of a command where the journal has failed."""

    answer_s = ANSWER_S
    """How long whoever asked is kept waiting."""
    leaves_s = LEAVES_S
    """How long what becomes of an approved order is waited for."""
    command_s = COMMAND_S
    """How long whoever gave a command that is in force is."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        account: Account,
        orders: OrderBook,
        journal: Record | None,
        stages: tuple[Callable[[Event], None], ...],
    ) -> None:
        self.open = False
        """Whether the daemon trades: it has agreed with the broker and isn't ending."""
        self._bus = bus
        self._clock = clock
        self._account = account
        self._orders = orders
        self._journal = journal
        self._stages = stages
        self._waiting: dict[str, asyncio.Event] = {}
        self._asked: dict[str, ManualOrder] = {}
        self._leaving: dict[str, asyncio.Event] = {}
        """By order, set when the venue has spoken of it, or nothing will come of it."""
        bus.tap((ManualOrderAnswered,), self._answered)
        bus.tap(BECAME, self._became)

    async def place(self, ticket: OrderTicket) -> OrderAnswer:
        """Risk's answer to an order, and how the order stands; the same answer again to the same key.

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
            return OrderAnswer.of(known, self._orders.find(known.order_id), repeated=True)
        if before is None:
            if not self.open:
                raise NotTradingError("hrmd has not begun to trade, or is ending")
            self._asked[key] = wanted
            self._waiting[key] = asyncio.Event()
            self._bus.publish(wanted)
        async with asyncio.timeout(self.answer_s):
            await self._waiting[key].wait()
        await self._on_disk(self.answer_s)  # what fails there: the order's own fate tells of it
        answer = self._account.answered[key]
        if answer.approved:
            await self._left(answer.order_id)
        return OrderAnswer.of(answer, self._orders.find(answer.order_id), repeated=before is not None)

    async def _left(self, order_id: str) -> None:
        """Wait until more is known of an order than that it was approved, for a moment at most."""
        order = self._orders.find(order_id)
        if order is not None and order.state not in ON_ITS_WAY:
            return
        became = self._leaving.setdefault(order_id, asyncio.Event())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.leaves_s):
                    await became.wait()
        finally:
            self._leaving.pop(order_id, None)

    async def command(self, event: Event) -> None:
        """Put a command on the bus; returns when it is on disk.

        Raises `NotDurableError` where it is in force and a restart may forget it, soon for what makes less risk, and
        `NotTradingError` for a resume, another model or setting, a canary or a step of the migration while the journal
        can't be written: it was not taken.
        """
        needs = isinstance(event, NEEDS_THE_JOURNAL)
        trouble = await self._on_disk(self.answer_s) if needs else ""
        if not trouble and isinstance(event, Resume) and self._journal is not None:
            trouble = self._journal.trouble  # of a file that was taken away: it would be halted again at once
        if trouble:
            raise NotTradingError(trouble)
        try:
            self._bus.publish(event)
        except JournalError as error:  # the journal hears everything first, and passed it to nobody
            for take in self._stages:
                take(event)
            raise NotDurableError(str(error)) from None
        trouble = await self._on_disk(self.answer_s if needs else self.command_s)
        if trouble:
            if self._journal is not None:
                self._journal.leave_word()
            raise NotDurableError(trouble)

    def note(self, action: ControlAction) -> None:
        """For the record: who asked for what. Where nothing can be recorded the log has it."""
        try:
            self._bus.publish(action)
        except JournalError as error:
            log.error("not in the journal", who=action.who, what=action.what, status=action.status, why=str(error))

    async def cancel(self, order_id: str, reason: str, who: str) -> int | None:
        """Ask for an order to be taken off the market; when that was (UTC ns), None where it doesn't work.

        Raises as `command` does.
        """
        if order_id not in self._orders.working:
            return None
        command = CancelOrder(ts=self._clock.now_ns(), order_id=order_id, reason=reason, who=who)
        await self.command(command)
        return command.ts

    def _answered(self, answer: ManualOrderAnswered) -> None:
        self._account.remember(answer)
        self._asked.pop(answer.order.key, None)
        waiting = self._waiting.pop(answer.order.key, None)
        if waiting is not None:
            waiting.set()

    def _became(self, event: Any) -> None:
        became = self._leaving.get(event.order_id)
        if became is not None:
            became.set()

    async def _on_disk(self, patience_s: float) -> str:
        """Wait until what was published is on disk; why it isn't, "" where it is."""
        try:
            waiting = self._journal.durable() if self._journal is not None else None
            if waiting is not None:
                async with asyncio.timeout(patience_s):
                    await waiting
        except JournalError as error:
            return str(error)
        except TimeoutError:
            return f"the disk gave no answer within {patience_s:g} s"
        return ""


def _same(one: ManualOrder, other: ManualOrder) -> bool:
    """Whether two are one order but for when it was asked for, and by whom."""
    return one == msgspec.structs.replace(other, ts=one.ts, who=one.who)
