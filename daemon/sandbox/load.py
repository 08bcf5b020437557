"""A wanted rate → made-up ticks on the data socket, to see how much a client can take and whether it loses any.

The n-th tick of a symbol has volume n and differs from the one before in price, volume and last quantity, so that a
client which counts volumes knows of every tick that it missed. Which symbol comes when, and all numbers, follow from
the tick's place alone; with `stamped` the field `tot_buy_qty` is the time of making, microseconds of the machine's
monotonic clock modulo 2³¹.
Invariant: ticks are made at the wanted rate or, where clients don't take them, later; never dropped.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

import msgspec

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import UsageError
from daemon.sandbox.boards import Boards
from daemon.sandbox.data_feed import DataFeed
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.hsm import UNCHANGED, Fields, Topic

MAX_SYMBOLS: Final = 5000
GROUPING_S: Final = 0.005
BURST: Final = 2000
_FIRST_PAISE: Final = 10_000
_PAISE_STEP: Final = 5
_PRICES: Final = 200
_FIRST_S: Final = 1_767_584_700  # 2026-01-05 09:15 IST


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`rate` ticks a second, over `symbols` symbols in turn, `ticks` altogether, at most `batch` in a frame."""

    symbols: int = 100
    rate: float = 1000.0
    ticks: int = 10_000
    batch: int = 50
    stamped: bool = False

    def problem(self) -> str | None:
        """Why there is no such load; None where there is."""
        if not 1 <= self.symbols <= MAX_SYMBOLS:
            return f"symbols: expected 1 to {MAX_SYMBOLS}, got {self.symbols}"
        if not (self.rate > 0 and self.ticks >= 1 and self.batch >= 1):
            return "expected a rate above 0, ticks and batch from 1 on"
        return None


class LoadBoard:
    """The symbol with the number `place`: what it shows at its n-th tick."""

    def __init__(self, place: int) -> None:
        self.symbol = f"NSE:LOAD{place + 1:05}-EQ"
        self.count = 0
        self.stamp_us = UNCHANGED
        self.time_s = _FIRST_S
        self._paise = _FIRST_PAISE + 100 * place

    def fields(self, topic: Topic) -> Fields | None:
        """Its numbers now; None before the first tick and for what a share doesn't have."""
        if self.count == 0 or topic is not Topic.SYMBOL:
            return None
        count, first = self.count, self._paise
        price = first + _PAISE_STEP * (count % _PRICES)
        return (
            price, count, self.time_s, self.time_s, 100, 100, price - _PAISE_STEP, price + _PAISE_STEP, 1 + count % 2,
            self.stamp_us, UNCHANGED, UNCHANGED, UNCHANGED, first, first + _PAISE_STEP * (_PRICES - 1), UNCHANGED,
            UNCHANGED, UNCHANGED, UNCHANGED, first, first,
        )  # fmt: skip


class LoadReport(msgspec.Struct, frozen=True):
    """What a load made, in how long; what was sent of it is in the feed's own counts, by symbol."""

    made: int
    elapsed_s: float
    rate: float


class Load:
    """One load at a time, on the feed that everything else uses too; a symbol's count goes on from load to load."""

    def __init__(self, feed: DataFeed, boards: Boards, directory: SymbolDirectory, clock: Clock) -> None:
        self._feed = feed
        self._boards = boards
        self._directory = directory
        self._clock = clock
        self._made_boards: list[LoadBoard] = []
        self._first_s = _FIRST_S
        self._running = self._stopped = False

    async def run(self, plan: LoadPlan) -> LoadReport:
        """Make all ticks; raises `UsageError` for a plan that can't be, or while another load runs."""
        problem = "another load is running; stop it first" if self._running else plan.problem()
        if problem is not None:
            raise UsageError(f"load: {problem}")
        self._place(plan.symbols)
        self._running, self._stopped = True, False
        try:
            return await self._run(plan)
        finally:
            self._running = False

    def stop(self) -> None:
        """Let the load that runs end early."""
        self._stopped = True

    def _place(self, symbols: int) -> None:
        """Raises `UsageError` where the settings don't know such symbols."""
        for place in range(len(self._made_boards), symbols):
            board = LoadBoard(place)
            if self._directory.find(board.symbol) is None:
                raise UsageError("load: its symbols aren't listed; expected market.unlisted to be `infer`")
            self._boards.place(board.symbol, board)
            self._made_boards.append(board)

    async def _run(self, plan: LoadPlan) -> LoadReport:
        start_ns, made = self._clock.monotonic_ns(), 0
        while made < plan.ticks and not self._stopped:
            now_ns = self._clock.monotonic_ns()
            due = min(plan.ticks, int((now_ns - start_ns) * plan.rate / NS_PER_S), made + BURST)
            if due > made:
                self._make(plan, range(made, due), now_ns)
                made = due
                await self._feed.drained()
            else:
                await asyncio.sleep(GROUPING_S)
        elapsed_s = (self._clock.monotonic_ns() - start_ns) / NS_PER_S
        self._first_s += math.ceil(made / plan.rate)
        return LoadReport(made, elapsed_s, made / elapsed_s if elapsed_s else 0.0)

    def _make(self, plan: LoadPlan, numbers: range, now_ns: int) -> None:
        stamp_us = now_ns // 1000 % 2**31 if plan.stamped else UNCHANGED
        for number in numbers:
            board = self._made_boards[number % plan.symbols]
            board.count += 1
            board.time_s, board.stamp_us = self._first_s + int(number / plan.rate), stamp_us
            self._feed.tell(board.symbol)
        self._feed.flush(plan.batch)
