"""Two million orders, from intent to fill, through the stations of one process: memory and descriptors stay flat.

    python benchmarks/soak.py [--orders 2000000]

Risk, order books and portfolio are the daemon's own. Exit code 1 where resident memory after the warm-up
(a tenth of the orders) moves by more than 5 %, or where the number of open files grows.
"""

from __future__ import annotations

import argparse
import os
import sys
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.clock import NS_PER_S, stopwatch_ns
from daemon.events import Fill, OrderAccepted, OrderApproved, OrderSent, Side
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.recovery import Account
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.settings import MarketSettings, RiskSettings
from tests.samples import DAY, MINUTE, OPEN, SBIN, intend, tick

LIMITS = {"max_orders_per_day": 10**9, "max_daily_loss": 10**12}
STEP_NS = 6 * NS_PER_S // 10
DAY_STEPS = 24_000
"""Orders of a day: four hours of one each 0.6 s."""


class Engine:
    """The stations of an order's life, without the loop between them."""

    def __init__(self) -> None:
        account = Account(Decimal(1_000_000))
        self.orders, self.portfolio = account.orders, account.portfolio
        self.book = RiskBook()
        calendar = MarketCalendar()
        self.gate = RiskGate(RiskSettings(**LIMITS), InstrumentBook(MarketSettings()), calendar, 30)
        mornings = (OPEN + 60 * MINUTE + day * DAY for day in range(200))
        self.days = [morning for morning in mornings if calendar.session_at(morning) is not None]

    def live(self, number: int) -> None:
        """One order from intent to fill."""
        now = self.days[number // DAY_STEPS] + number % DAY_STEPS * STEP_NS
        if number % 50 == 0:
            self.book.on_ticks(tick(now, 800.0))
        side = Side.BUY if number % 2 == 0 else Side.SELL
        intent = intend(f"S{number}", side, 1 + number % 7 if side is Side.BUY else 1 + (number - 1) % 7, ts=now)
        order_id = intent.order_id
        denial = self.gate.check(intent, self.book, now)
        assert denial is None, denial
        self.book.order_opened(intent)
        fill = Fill(ts=now, fill_id=f"{order_id}-1", order_id=order_id, symbol=SBIN, side=side,
                    quantity=intent.quantity, price=Decimal(800), costs=Decimal("0.10"))  # fmt: skip
        for event in (
            intent, OrderApproved(ts=now, order_id=order_id), OrderSent(ts=now, order_id=order_id),
            OrderAccepted(ts=now, order_id=order_id, venue_id=f"V{number}"), fill,
        ):  # fmt: skip
            assert self.orders.apply(event) is not None
        self.book.on_fill(fill)
        changed = self.portfolio.apply(fill)
        assert changed is not None
        self.book.on_position(changed)


def resident_mb() -> float:
    """Resident memory of this process."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def main() -> int:
    """Run, print a line a tenth, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2_000_000)
    wanted = parser.parse_args()
    engine, begun = Engine(), stopwatch_ns()
    step = wanted.orders // 10
    memory, files = [], []
    for tenth in range(10):
        for number in range(tenth * step, (tenth + 1) * step):
            engine.live(number)
        memory.append(resident_mb())
        files.append(open_files())
        seconds = (stopwatch_ns() - begun) / NS_PER_S
        done = (tenth + 1) * step
        print(f"{done:>10,} orders  {seconds:7.1f} s  {memory[-1]:7.1f} MB  {files[-1]} files", flush=True)
    drift = max(abs(value / memory[0] - 1) for value in memory)
    flat = drift <= 0.05 and max(files) <= files[0]
    print(f"memory moved by {drift:.1%} after the warm-up: {'flat' if flat else 'NOT flat'}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
