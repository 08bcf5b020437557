"""From kill to active with 100,000 records in the journal; and a risk check's microseconds.

python benchmarks/recovery.py [--records 100000] [--rounds 15]

The daemon is a process of its own, `hrmd run` on a sandbox: what is measured is the start of Python, the imports, the
reading of the journal, the comparison with the broker, and the first moment at which it trades.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from daemon.core.clock import NS_PER_S, LiveClock, stopwatch_ns
from daemon.core.events import OrderAccepted, OrderApproved, OrderSent, Side
from daemon.fyers.rest import Endpoints
from daemon.journal.writer import Journal
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.recovery.account import recover
from daemon.recovery.repair import repair
from daemon.risk.book import RiskBook
from daemon.risk.gate import RiskGate
from daemon.sandbox.exchange import Quote
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION
from daemon.sandbox.server import SandboxOptions, SandboxServer
from daemon.settings.market import MarketSettings
from daemon.settings.risk import RiskSettings
from tests.integration.daemons import Daemon
from tests.samples import MINUTE, OPEN, SBIN, fill_of, intend, tick, write_tape

CHECKS = 50_000
CASH = Decimal(1_000_000)
COSTS = Decimal("1.23") * 20_000
"""Of the orders in the journal, so that the exchange has what the journal says."""


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


async def kill_to_active(journal: Path, rounds: int) -> list[float]:
    """Seconds from a SIGKILL until the next `hrmd run` trades, each time on a fresh copy of the journal."""
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="hrmd-recovery-") as place:
        directory = Path(place)
        seconds = [OPEN + (1800 + second) * NS_PER_S for second in range(600)]
        tape = write_tape(directory / "tape.parquet", seconds, [800.0] * len(seconds))
        token = directory / "token"
        token.write_text(DEFAULT_AUTHORIZATION.partition(":")[2])
        token.chmod(0o600)
        async with SandboxServer(SandboxOptions(starting_cash=CASH - COSTS), LiveClock()) as server:
            server.exchange.on_quote(SBIN, Quote(last=Decimal(800)))
            places = Endpoints.at(server.url)
            changes = [
                "broker.name=fyers", f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
                f"broker.fyers.order_socket_url={places.orders}", f"broker.fyers.token_file={token}",
                "broker.fyers.calls_per_minute=10000", "broker.fyers.calls_per_second=1000", "strategy.name=rules",
                "supervisor.ladder=[rules, flat]", "strategy.interval=5m", "log.level=error",
            ]  # fmt: skip
            daemon: Daemon | None = None
            for number in range(rounds + 1):
                home = directory / str(number)
                home.mkdir()
                shutil.copyfile(journal, home / "j.sqlite")
                begun = stopwatch_ns()
                if daemon is not None:
                    daemon.process.kill()
                calls = f"broker.fyers.calls_file={home / 'calls'}"
                started = Daemon(home, tape, *changes, calls)
                while "READY=1" not in "".join(started.heard()):
                    assert started.process.poll() is None, started.log
                    await asyncio.sleep(0.002)
                if daemon is not None:
                    times.append((stopwatch_ns() - begun) / NS_PER_S)
                    daemon.close()
                daemon = started
            if daemon is not None:
                daemon.close()
    return sorted(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "journal.sqlite"
        write(path, wanted.records)
        times = []
        for _ in range(wanted.rounds):
            begun = stopwatch_ns()
            repair(path)
            account = recover(path, CASH)
            times.append((stopwatch_ns() - begun) / NS_PER_S)
            assert account is not None
            assert account.records == wanted.records
        times.sort()
        size = path.stat().st_size / 1e6
        print(f"journal: {wanted.records:,} records, {size:.1f} MB")
        print(f"reading it back: median {times[len(times) // 2]:.3f} s, longest of {len(times)} {times[-1]:.3f} s")
        whole = asyncio.run(kill_to_active(path, wanted.rounds))
    print(f"from kill to active: median {whole[len(whole) // 2]:.3f} s, longest of {len(whole)} {whole[-1]:.3f} s")
    print(f"risk check: {check_us():.1f} microseconds")


if __name__ == "__main__":
    main()
