"""The broker's book, positions and money, read again and again → ours in line with them, or a word that they can't be.

The book is read when something calls for it, and the whole account every `reconcile_s` in any case; but never as fast
as the broker answers, for who asks in vain again and again has no calls left for exits. Invariant: while anything is
unknown, incomplete or owed the book is read again soon, and an account that wasn't read for too long is told as out of
sight.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from daemon.calls.outcome import Done
from daemon.calls.records import ZERO
from daemon.core.clock import NS_PER_S, Clock
from daemon.core.events import BrokerStatus, Event, FundsReported, Reconciled
from daemon.orders.broker import ShowsAccount
from daemon.orders.canceller import Canceller
from daemon.orders.live_book import LiveBook
from daemon.orders.sight import BOOK, POSITIONS, Sight
from daemon.orders.tasks import Tasks
from daemon.settings.orders import LiveBrokerSettings

log = structlog.get_logger("execution")

SHORTEST_PAUSE_S = 0.25
"""Between two readings of the book."""
RECOVERY_PAUSE_S = 3.0
"""Between two tries to read a broker that can't be read: often enough, and all its calls leave room for one another."""


class Reconciler:
    """Of one account; what the book shows is at once judged and asked off by the canceller."""

    def __init__(
        self,
        book: LiveBook,
        broker: ShowsAccount,
        canceller: Canceller,
        clock: Clock,
        publish: Callable[[Event], None],
        settings: LiveBrokerSettings,
        tasks: Tasks,
        look: asyncio.Event,
    ) -> None:
        """`look` is set, by whoever has a reason, when the book is to be read."""
        self.sight = Sight(clock, settings.reconcile_s)
        """When book and positions of the account were last read."""
        self._book = book
        self._broker = broker
        self._canceller = canceller
        self._clock = clock
        self._publish = publish
        self._settings = settings
        self._tasks = tasks
        self._look = look
        self._blind = False

    # -- again and again ----------------------------------------------------------------------------------------------

    async def keep_in_line(self) -> None:
        """Read the book when something calls for it, and compare the whole account every `reconcile_s` in any case."""
        settings, due_ns = self._settings, self._clock.monotonic_ns() + int(self._settings.reconcile_s * NS_PER_S)
        rest_s = SHORTEST_PAUSE_S
        while True:
            doubt = self._book.unresolved or self._book.incomplete or self._canceller.doubtful
            owed, now = self._canceller.owed, self._clock.monotonic_ns()
            owing = doubt or owed
            pause_s = max(0.0, (due_ns - now) / NS_PER_S)
            if doubt:
                pause_s = min(pause_s, settings.unknown_poll_s)
            elif owed:  # to read more often than one may ask brings nothing
                pause_s = min(pause_s, max(settings.unknown_poll_s, self._canceller.left_ns(owed, now) / NS_PER_S))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            self._look.clear()
            read = await self.read_book(urgent=bool(owing))
            now = self._clock.monotonic_ns()
            if now >= due_ns or self._book.halted:
                await self._read_account()
                pause_s = (
                    settings.reconcile_s
                    if read and not self.sight.missing
                    else min(settings.unknown_poll_s, settings.reconcile_s)
                )
                due_ns = now + int(pause_s * NS_PER_S)
            self._canceller.pursue()
            rest_s = SHORTEST_PAUSE_S if read else min(2 * rest_s, RECOVERY_PAUSE_S)
            await asyncio.sleep(rest_s)

    async def keep_in_sight(self) -> None:
        """Say when the broker has not been read for too long; that it is again is said by the reading."""
        while True:
            self._tell_sight()
            await asyncio.sleep(max(self.sight.left_s, SHORTEST_PAUSE_S))

    # -- once ---------------------------------------------------------------------------------------------------------

    async def look_around(self) -> bool | None:
        """Read book and positions: whether the positions agree, None where one of them couldn't be read."""
        agree = await self.read_book(urgent=True) and await self._read_account()
        return None if self.sight.missing else agree

    async def read_book(self, *, urgent: bool) -> bool:
        """Compare with the broker's orders and trades; False where they couldn't be read."""
        orders = await self._broker.orders(urgent=urgent)
        if not isinstance(orders, Done):
            self.sight.missed(BOOK, orders)
            return False
        trades = await self._broker.trades(urgent=urgent)
        if not isinstance(trades, Done):
            self.sight.missed(BOOK, trades)
            return False
        missed = self._book.compare(orders.value, trades.value)
        self._saw(BOOK)
        if self._tasks.running:  # while it recovers, it isn't known yet where the positions differ
            self._canceller.judge(whole=not self._book.incomplete)
        self._publish(
            Reconciled(
                ts=self._clock.now_ns(), orders=len(orders.value), trades=len(trades.value), missed_fills=missed,
                unknown=self._book.unresolved,
            )
        )  # fmt: skip
        return True

    async def _read_account(self) -> bool:
        """Compare positions, and report the money; whether the positions agree."""
        book = self._book
        booked, settled = book.booked, not book.orders.working
        held = await self._broker.positions()
        if not isinstance(held, Done):
            self.sight.missed(POSITIONS, held)
            return False
        self._saw(POSITIONS)
        agree = book.compare_positions({row.symbol: row.quantity for row in held.value})
        funds = await self._broker.funds()
        if isinstance(funds, Done):
            value = funds.value
            still = agree and booked == book.booked and not book.sending and not book.incomplete
            flows = sum((row.sold * row.sell_average - row.bought * row.buy_average for row in held.value), ZERO)
            cash = value.total - value.realised + flows - book.cash_elsewhere if still else None
            settled = settled and not book.orders.working
            self._publish(
                FundsReported(
                    ts=self._clock.now_ns(), total=value.total, available=value.available, cash=cash, settled=settled
                )
            )  # fmt: skip
        return agree

    # -- sight --------------------------------------------------------------------------------------------------------

    def _saw(self, what: str) -> None:
        self.sight.saw(what)
        if self._tasks.running:  # before, nothing trades: `recover` returns when all was read
            self._tell_sight()

    def _tell_sight(self) -> None:
        """Risk opens nothing while the broker is out of sight."""
        trouble = self.sight.trouble
        if bool(trouble) is not self._blind:
            self._blind = bool(trouble)
            level = log.error if trouble else log.info
            level("the broker is out of sight: nothing is opened" if trouble else "the broker is in sight", why=trouble)
            self._publish(BrokerStatus(ts=self._clock.now_ns(), readable=not trouble, reason=trouble))
