"""How long a start takes to know where it stood, with 100,000 records in the journal; and a risk check's microseconds.

python benchmarks/recovery.py [--records 100000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.clock import NS_PER_S, stopwatch_ns
from daemon.events import OrderAccepted, OrderApproved, OrderSent, Side
from daemon.journal import Journal
from daemon.journal_repair import repair
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.recovery import recover
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.settings import MarketSettings, RiskSettings
from tests.samples import MINUTE, OPEN, fill_of, intend, tick

CHECKS = 50_000


def write(path: Path, records: int) -> None:
    """Orders that were all filled, five records each."""
    journal = Journal(path, safe=False)
    journal.describe({"started_ts": "1"})
    for number in range(records // 5):
        intent = intend(f"T{number}", Side.BUY if number % 2 == 0 else Side.SELL, 10, ts=OPEN + number)
        order_id, ts = intent.order_id, intent.ts
        for event in (
            intent, OrderApproved(ts=ts, order_id=order_id), OrderSent(ts=ts, order_id=order_id),
            OrderAccepted(ts=ts, order_id=order_id, venue_id=f"V{number}"), fill_of(intent),
        ):  # fmt: skip
            journal.append(event)
    journal.close()


def check_us() -> float:
    """Microseconds of one check of an entry that passes, with ten symbols and fifty recent orders."""
    book = RiskBook()
    symbols = [f"NSE:S{number}-EQ" for number in range(10)]
    now = OPEN + 60 * MINUTE
    for symbol in symbols:
        book.on_ticks(tick(now, 800.0, symbol))
        book.on_fill(fill_of(intend(f"held {symbol}", symbol=symbol, quantity=10)))
    for number in range(50):
        book.order_opened(intend(f"O{number}", symbol=symbols[number % 10], quantity=number + 1, ts=now - NS_PER_S))
        book.order_gone(f"O{number}")
    gate = RiskGate(RiskSettings(), InstrumentBook(MarketSettings()), MarketCalendar(), 30)
    intent = intend(symbol=symbols[0], ts=now)
    assert gate.check(intent, book, now) is None
    begun = stopwatch_ns()
    for _ in range(CHECKS):
        gate.check(intent, book, now)
    return (stopwatch_ns() - begun) / CHECKS / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "journal.sqlite"
        write(path, wanted.records)
        times = []
        for _ in range(wanted.rounds):
            begun = stopwatch_ns()
            repair(path)
            account = recover(path, Decimal(1_000_000))
            times.append((stopwatch_ns() - begun) / NS_PER_S)
            assert account is not None
            assert account.records == wanted.records
        times.sort()
        size = path.stat().st_size / 1e6
    print(f"journal: {wanted.records:,} records, {size:.1f} MB")
    print(f"recovery: median {times[len(times) // 2]:.3f} s, longest of {len(times)} {times[-1]:.3f} s")
    print(f"risk check: {check_us():.1f} microseconds")


if __name__ == "__main__":
    main()
