"""Two million orders, from decision to fill, through the stations of one process: memory and descriptors stay flat.

    python benchmarks/soak.py [--orders 2000000]

Bus, risk, execution, paper venue, portfolio and journal are the daemon's own and wired as in `daemon.app`; the disk is
waited for, snapshots are taken and old records deleted while it runs. Exit code 1 where resident memory after
the warm-up (a tenth of the orders) moves by more than 5 %, or where the number of open files grows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock, stopwatch_ns
from daemon.core.events import AccountSnapshot, Action, Decision, TimeAdvanced
from daemon.journal.keeping import JournalKeeper
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import Journal
from daemon.market.calendar import MarketCalendar
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.orders.book import OrderState
from daemon.orders.paper_execution import ExecutionActor
from daemon.orders.paper_venue import PaperVenue
from daemon.portfolio.actor import PortfolioActor
from daemon.recovery.account import Account
from daemon.risk.actor import RiskActor
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.run import log
from daemon.settings.market import MarketSettings
from daemon.settings.orders import ExecutionSettings, PaperSettings
from daemon.settings.risk import RiskSettings
from daemon.settings.run import JournalSettings, LogSettings
from tests.samples import DAY, MINUTE, OPEN, ticks

SYMBOLS = tuple(f"NSE:S{number:02d}-EQ" for number in range(10))
LIMITS = {
    "max_orders_per_day": 10**9, "max_orders_per_minute": 10**6, "max_orders_per_second": 10**6,
    "max_daily_loss": 10**12, "max_gross_notional": 10**12,
}  # fmt: skip
STEP_NS = 15 * NS_PER_S
ROUNDS = 1200
"""Of a day: five hours, one order of each symbol every quarter of a minute."""
DISK_EVERY = 10
"""Rounds between two waits for the disk: a hundred orders share one, as in a busy moment."""


class Engine:
    """The stations of an order's life, each with its inbox, on one loop."""

    def __init__(self, journal: Path) -> None:
        self.bus, self.clock, self.account = Bus(), ReplayClock(OPEN), Account(Decimal(10**9))
        calendar, instruments, bus = MarketCalendar(), InstrumentBook(MarketSettings()), self.bus
        risk, execution = RiskSettings(**LIMITS), ExecutionSettings()
        self.journal = Journal(journal, safe=True, group_commit_ms=1)
        self.journal.describe({"started_ts": "1"})
        bus.tap(JOURNALED, self.journal.append)
        self.risk = RiskActor(
            bus, RiskBook(), IntentBuilder(risk, execution, instruments, "S"),
            RiskGate(risk, instruments, calendar, 30), self.clock, calendar, 15,
        )  # fmt: skip
        venue = PaperVenue(PaperSettings(), instruments, CostSchedule(), calendar)
        self.execution = ExecutionActor(bus, self.account.orders, venue, None, self.clock, 120.0, 0)
        self.portfolio = PortfolioActor(bus, self.account.portfolio, "5m")
        self.keeper = JournalKeeper(bus, self.journal, self.snapshot, JournalSettings(keep_days=1), self.clock)
        mornings = (OPEN + 15 * MINUTE + day * DAY for day in range(350))
        self.days = [morning for morning in mornings if calendar.session_at(morning) is not None]

    def snapshot(self) -> AccountSnapshot:
        """The account as it stands."""
        return self.account.snapshot(self.clock.now_ns())

    async def round(self, number: int) -> None:
        """Ticks that fill the orders before, then an order of each symbol: in and out by turns."""
        now = self.days[number // ROUNDS] + number % ROUNDS * STEP_NS
        self.clock.advance(now)
        price = 800.0 + number % 7 * 0.05
        count = len(SYMBOLS)
        self.bus.publish(ticks([now] * count, [price] * count, SYMBOLS, list(range(count))))
        self.bus.publish(TimeAdvanced(ts=now))
        await self.bus.idle()
        action = Action.BUY_LONG if number % 2 == 0 else Action.CLOSE_LONG
        for symbol in SYMBOLS:
            self.bus.publish(
                Decision(
                    ts=now, ts_bar=now, symbol=symbol, interval="5m", strategy="soak", action=action, quantity=7,
                    confidence=1.0, reason="soak", price=price,
                )
            )  # fmt: skip
        await self.bus.idle()
        waiting = self.journal.durable() if number % DISK_EVERY == 0 else None
        if waiting is not None:
            await waiting

    async def run(self, orders: int) -> bool:
        """A line a tenth; whether memory and files stayed flat."""
        tasks = [asyncio.create_task(actor.run()) for actor in (self.risk, self.execution, self.portfolio)]
        begun, memory, files = stopwatch_ns(), [], []
        step = orders // len(SYMBOLS) // 10
        for tenth in range(10):
            for number in range(tenth * step, (tenth + 1) * step):
                await self.round(number)
            memory.append(resident_mb())
            files.append(open_files())
            done, seconds = (tenth + 1) * step * len(SYMBOLS), (stopwatch_ns() - begun) / NS_PER_S
            print(
                f"{done:>10,} orders  {seconds:7.1f} s  {memory[-1]:7.1f} MB  {files[-1]} files  "
                f"{self.journal_mb():6.1f} MB of journal after {self.keeper.snapshots} snapshots", flush=True,
            )  # fmt: skip
        for task in tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.wait(tasks)
        self.journal.close()
        filled = self.account.orders.counts[OrderState.FILLED]
        assert filled >= (10 * step - 1) * len(SYMBOLS), f"only {filled} orders were filled"
        drift = max(abs(value / memory[0] - 1) for value in memory)
        flat = drift <= 0.05 and max(files) <= files[0]
        print(f"memory moved by {drift:.1%} after the warm-up: {'flat' if flat else 'NOT flat'}")
        return flat

    def journal_mb(self) -> float:
        """The journal's files on disk."""
        place = self.journal._path
        return sum(path.stat().st_size for path in place.parent.glob(f"{place.name}*")) / 1e6


def resident_mb() -> float:
    """Resident memory of this process."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2_000_000)
    wanted = parser.parse_args()
    log.configure(LogSettings(level="warning"), sys.stderr)
    with tempfile.TemporaryDirectory(prefix="hrmd-soak-") as place:
        return 0 if asyncio.run(Engine(Path(place) / "journal.sqlite").run(wanted.orders)) else 1


if __name__ == "__main__":
    sys.exit(main())
