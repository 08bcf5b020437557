"""Commands and orders by hand → the bus, and what became of them → whoever asked.

An order by hand goes the way of every order: through the same gate and the same journal. Invariant: one key, one order,
over restarts too: the answer to a key is in the journal before the order leaves, and a key that was answered is never
put on the bus again. A command that was answered without an error is on disk; one that makes less risk is in force even
where the disk fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
    LoadModel,
    ManualOrder,
    ManualOrderAnswered,
    Resume,
    RollBackMigration,
    SettingChanged,
)
from daemon.orders.book import OrderBook
from daemon.orders.durability import Durable
from daemon.recovery.account import Account

NEEDS_THE_JOURNAL = (Resume, LoadModel, SettingChanged, BeginCanary, AdvanceMigration, RollBackMigration)
"""Commands that are not taken while nothing can be written; the others make less risk, and are in force at once."""

log = structlog.get_logger("control")

ANSWER_S = 4.0
"""Risk answers within milliseconds; beyond this the loop is in trouble, and the asker asks again under the same key."""
COMMAND_S = 1.0
"""So long whoever gave a command that is in force already waits to hear that it is on disk, too."""


class ManualDesk:
    """Implements `daemon.control.view.OrderDesk`; `stages` are told of a command where the journal has failed."""

    answer_s = ANSWER_S
    """How long whoever asked is kept waiting."""
    command_s = COMMAND_S
    """How long whoever gave a command that is in force is."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        account: Account,
        orders: OrderBook,
        journal: Durable | None,
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
        async with asyncio.timeout(self.answer_s):
            await self._waiting[key].wait()
        await self._on_disk(self.answer_s)  # what fails there: the order's own fate tells of it
        return OrderAnswer.of(self._account.answered[key], repeated=before is not None)

    async def command(self, event: Event) -> None:
        """Put a command on the bus; returns when it is on disk.

        Raises `NotDurableError` where it is in force and a restart may forget it, soon for what makes less risk, and
        `NotTradingError` for a resume, another model or setting, a canary or a step of the migration while the journal
        can't be written: it was not taken.
        """
        needs = isinstance(event, NEEDS_THE_JOURNAL)
        trouble = await self._on_disk(self.answer_s) if needs else ""
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
