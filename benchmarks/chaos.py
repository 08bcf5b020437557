"""The daemon as a process, killed again and again while it trades on a sandbox that misbehaves, and what was lost.

    python benchmarks/chaos.py --kills 300          # the long form, about a quarter of an hour at most
    python benchmarks/chaos.py --kills 20 --json

Each life of the daemon recovers from the one journal, is compared with the sandbox (positions, working orders, cash),
trades for a moment, by decisions and by hand, while the sandbox drops, delays, repeats, refuses, limits, lets the token
expire and has its orders changed by somebody else, and is killed with SIGKILL: half of the times at a random moment,
half of the times at a journal boundary, just before or just after a certain event is on disk, each kind in its turn.
Exit code 1 where anything was lost, doubled or different.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from daemon import log  # noqa: E402
from daemon.clock import NS_PER_S, LiveClock, stopwatch_ns  # noqa: E402
from daemon.events import (  # noqa: E402
    AccountSnapshot,
    Action,
    CancelOrder,
    Decision,
    Event,
    Fill,
    ManualOrder,
    ManualOrderAnswered,
    OrderAccepted,
    OrderAmended,
    OrderApproved,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderType,
    OrderUnknown,
    PositionChanged,
    Side,
)
from daemon.feed.tape import TapeWriter  # noqa: E402
from daemon.fyers.rest import Endpoints  # noqa: E402
from daemon.sandbox.exchange import Quote  # noqa: E402
from daemon.sandbox.faults import Chance, Fault, FaultKind, Route  # noqa: E402
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION  # noqa: E402
from daemon.sandbox.server import SandboxOptions, SandboxServer  # noqa: E402
from daemon.service import Service  # noqa: E402
from daemon.settings import load_settings  # noqa: E402
from tests.samples import OPEN, ticks  # noqa: E402

SYMBOLS = ("NSE:SBIN-EQ", "NSE:RELIANCE-EQ", "NSE:INFY-EQ", "NSE:TCS-EQ", "NSE:ITC-EQ", "NSE:LT-EQ")
PRICE = 800
BOUNDARIES: tuple[type[Event], ...] = (
    OrderIntent, OrderApproved, OrderDenied, OrderSent, OrderAccepted, OrderRejected, OrderUnknown, OrderAmended,
    OrderCancelRequested, OrderCancelFailed, OrderCancelled, Fill, PositionChanged, ManualOrder, ManualOrderAnswered,
    AccountSnapshot,
)  # fmt: skip
CHANCES = [
    (0.03, {"kind": FaultKind.DROP, "after": True}), (0.03, {"kind": FaultKind.DROP}),
    (0.03, {"kind": FaultKind.BROKEN, "after": True}), (0.02, {"kind": FaultKind.NO_ACK, "after": True}),
    (0.02, {"kind": FaultKind.LATE, "seconds": 0.4}), (0.03, {"kind": FaultKind.REJECT}),
    (0.02, {"kind": FaultKind.REJECT_LATER}), (0.10, {"kind": FaultKind.PARTIAL, "quantity": 3}),
    (0.03, {"kind": FaultKind.DELAY, "after": True, "seconds": 0.6}),
    (0.05, {"kind": FaultKind.DROP, "on": Route.CANCEL, "after": True}),
    (0.03, {"kind": FaultKind.BROKEN, "on": Route.ORDERS}), (0.03, {"kind": FaultKind.STALE, "on": Route.ORDERS}),
    (0.02, {"kind": FaultKind.GARBLED, "after": True}), (0.02, {"kind": FaultKind.LIMITED, "seconds": 1.0}),
    (0.03, {"kind": FaultKind.LIMITED, "on": Route.CANCEL, "seconds": 1.0}),
    (0.05, {"kind": FaultKind.GARBLED, "on": Route.CANCEL, "after": True}),
    (0.01, {"kind": FaultKind.LIMITED, "on": Route.ORDERS, "seconds": 1.0}),
    (0.03, {"kind": FaultKind.GARBLED, "on": Route.ORDERS}), (0.03, {"kind": FaultKind.BROKEN, "on": Route.TRADES}),
    (0.03, {"kind": FaultKind.GARBLED, "on": Route.TRADES}), (0.05, {"kind": FaultKind.STALE, "on": Route.TRADES}),
    (0.03, {"kind": FaultKind.DROP, "on": Route.TRADES}), (0.03, {"kind": FaultKind.BROKEN, "on": Route.POSITIONS}),
    (0.03, {"kind": FaultKind.GARBLED, "on": Route.FUNDS}), (0.01, {"kind": FaultKind.EXPIRE_TOKEN, "on": Route.ANY}),
    (0.02, {"kind": FaultKind.MUTE, "on": Route.PUSH}),
    (0.05, {"kind": FaultKind.LOSE, "on": Route.PUSH}), (0.10, {"kind": FaultKind.DUPLICATE, "on": Route.PUSH}),
    (0.05, {"kind": FaultKind.REORDER, "on": Route.PUSH}), (0.01, {"kind": FaultKind.CUT, "on": Route.PUSH}),
]  # fmt: skip
QUIET_S = 12.0
"""How long a life may take to agree with a quiet exchange: longer than an unknown order takes to be written off."""


class Life(msgspec.Struct, frozen=True):
    """What one daemon process is told: where things are, and when it is to kill itself (`boundary` "" for never)."""

    overrides: list[str]
    seed: int
    boundary: str
    count: int
    durable: bool


# -- the daemon's side ------------------------------------------------------------------------------------------------


def live(life: Life, pipe: Connection) -> None:
    """Run the daemon in this process, trade at random once told to, and report its state when asked."""
    os.environ.pop("NOTIFY_SOCKET", None)
    started = stopwatch_ns()
    settings = load_settings(None, life.overrides)
    log.configure(settings.log, sys.stderr)
    service = Service(settings)
    app = service.app
    arm(service, life)

    async def attend() -> None:
        pipe.send(("up", (stopwatch_ns() - started) / NS_PER_S))
        loop = asyncio.get_running_loop()
        asked: asyncio.Queue[str] = asyncio.Queue()
        loop.add_reader(pipe.fileno(), lambda: asked.put_nowait(pipe.recv()))
        rng = random.Random(life.seed)
        trading = False
        while True:
            try:
                async with asyncio.timeout(0.02 if trading else None):
                    message = await asked.get()
                if message == "state":
                    pipe.send(("state", state(service)))
                trading = trading or message == "trade"
            except TimeoutError:
                act(rng, service)

    asyncio.run(app.run(alongside=(attend,)))


def arm(service: Service, life: Life) -> None:
    """Kill this process at the `count`-th event of the boundary, before or just after it is on disk."""
    if not life.boundary:
        return
    app, counter = service.app, itertools.count(1)
    journal = app.journal
    assert journal is not None

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(_: Event) -> None:
        if next(counter) != life.count:
            return
        waiting = journal.durable() if life.durable else None
        if waiting is None:
            kill()
        else:
            waiting.add_done_callback(kill)

    app.bus.tap(tuple(kind for kind in BOUNDARIES if kind.__name__ == life.boundary), watch)


def act(rng: random.Random, service: Service) -> None:
    """A decision, an order by hand, or a change of mind about an order that works."""
    app, dice = service.app, rng.random()
    ts, working = app.plan.clock.now_ns(), list(app.orders.working)
    if dice < 0.6:
        app.bus.publish(decide(rng, ts))
    elif dice < 0.8 or not working:
        side = rng.choice(list(Side))
        price = Decimal(PRICE) - side.sign * rng.randint(-2, 8) * Decimal("0.05")
        app.bus.publish(
            ManualOrder(
                ts=ts, key=f"{rng.getrandbits(64):x}", symbol=rng.choice(SYMBOLS), side=side, reason="chaos",
                quantity=rng.randint(1, 40), type=OrderType.LIMIT, limit_price=price,
            )
        )  # fmt: skip
    else:
        app.bus.publish(CancelOrder(ts=ts, order_id=rng.choice(working), reason="chaos"))


def decide(rng: random.Random, ts: int) -> Decision:
    """Anything a strategy might want."""
    return Decision(
        ts=ts, ts_bar=ts, symbol=rng.choice(SYMBOLS), interval="1m", strategy="chaos",
        action=rng.choice((Action.BUY_LONG, Action.SELL_SHORT, Action.CLOSE_LONG, Action.CLOSE_SHORT)),
        quantity=rng.randint(1, 40), confidence=1.0, reason="chaos", price=float(PRICE),
    )  # fmt: skip


def state(service: Service) -> dict[str, Any]:
    """Positions, working orders (those at the exchange, and those nobody knows of) and cash."""
    app = service.app
    working = app.orders.working.values()
    return {
        "positions": {item.symbol: item.quantity for item in app.portfolio.portfolio.positions() if item.quantity},
        "working": sorted(order.intent.order_id for order in working if order.state.value != "UNKNOWN"),
        "unknown": sorted(order.intent.order_id for order in working if order.state.value == "UNKNOWN"),
        "cash": str(app.portfolio.portfolio.cash),
        "records": app.account.records,
        "halted": dict(app.risk.book.halted),
        "trading": app.risk.book.state.value,
        "funds": "" if app.risk.funds is None or not app.risk.funds.differs else "differ",
    }


# -- the exchange's side ----------------------------------------------------------------------------------------------


class Tally:
    """What came of all lives."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.ready_s: list[float] = []
        self.agreed_s: list[float] = []
        self.differences: list[str] = []
        self.unknown = 0
        self.records = 0
        self.boundaries: Counter[tuple[str, bool]] = Counter()
        """How often each boundary was tried, before and after the disk."""


class Chaos:
    """The sandbox, the journal, and one daemon after the other."""

    def __init__(self, server: SandboxServer, directory: Path, seed: int) -> None:
        self.server = server
        self.tally = Tally()
        self._rng = random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.chaos", "daemon.service"])
        self._token = token = directory / "token"
        token.write_text(DEFAULT_AUTHORIZATION.partition(":")[2])
        token.chmod(0o600)
        self._renewals = 0
        places = Endpoints.at(server.url)
        self._overrides = [
            "strategy.name=rules", "strategy.interval=5m", "supervisor.ladder=[rules, flat]", "control.enabled=false",
            "broker.name=fyers", f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
            f"broker.fyers.order_socket_url={places.orders}", f"broker.fyers.token_file={token}",
            f"broker.fyers.calls_file={directory / 'calls'}",
            "broker.fyers.calls_per_second=1000", "broker.fyers.calls_per_minute=10000", "broker.fyers.answer_s=0.4",
            "broker.fyers.funds_tolerance=1", "broker.fyers.token_poll_s=0.05",
            "broker.fyers.reconcile_s=1", "broker.fyers.unknown_poll_s=0.3",
            "broker.fyers.unknown_settle_s=1", f"journal.path={directory / 'journal.sqlite'}",
            "journal.snapshot_every=200", "log.level=error",
            "log.format=json", f"feed.tape=[{directory / 'tape.parquet'}]", "risk.max_orders_per_minute=100000",
            "risk.max_orders_per_second=1000", "risk.max_orders_per_day=1000000", "risk.max_daily_loss=100000000",
        ]  # fmt: skip

    async def life(self, last: bool) -> None:
        """One process from its start to its end."""
        rng = self._rng
        boundary, durable = "", False
        if not last and rng.random() < 0.5:
            places = [(kind.__name__, after) for kind in BOUNDARIES for after in (False, True)]
            boundary, durable = min(places, key=lambda place: (self.tally.boundaries[place], rng.random()))
            self.tally.boundaries[boundary, durable] += 1
        wish = Life(
            [*self._overrides, f"execution.order_type={rng.choice(('MARKET', 'LIMIT'))}"], rng.randrange(1 << 30),
            boundary, 1 if boundary == AccountSnapshot.__name__ else rng.randint(1, 3), durable,
        )  # fmt: skip
        pipe, theirs = self._context.Pipe()
        process = self._context.Process(target=live, args=(wish, theirs), daemon=True)
        begun = stopwatch_ns()
        process.start()
        theirs.close()
        try:
            if await self._hear(pipe, process, 60.0) is None:
                self._note_end(process, wish, "while it started")
                return
            self.tally.ready_s.append((stopwatch_ns() - begun) / NS_PER_S)
            await self._compare(pipe, process, wish)
            self.server.plan.chances([Chance(probability=p, fault=Fault(**fault)) for p, fault in CHANCES], wish.seed)
            if not last and process.is_alive():
                pipe.send("trade")
                await self._shake(process, 2.0 if boundary else rng.uniform(0.1, 0.9))
        except (BrokenPipeError, ConnectionResetError, EOFError):
            pass
        finally:
            self.server.plan.clear()
            by_us = process.is_alive()
            if by_us:
                process.kill()
            await asyncio.to_thread(process.join)
            await self._log_in()
            self._note_end(process, msgspec.structs.replace(wish, boundary="") if by_us else wish, "")
            pipe.close()

    async def _log_in(self) -> None:
        """After an expiry somebody makes a new token: first the exchange knows it, then the daemon finds it."""
        expired = self.server.plan.suffered[FaultKind.EXPIRE_TOKEN.value]
        if expired == self._renewals:
            return
        self._renewals = expired
        text = f"sandbox-token-{expired}"
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.server.url}/sandbox/token", json={"authorization": f"SANDBOX-100:{text}"}) as answer,
        ):
            assert answer.status == 200, await answer.text()
        fresh = self._token.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(self._token)

    def _change_an_order(self) -> None:
        """Somebody makes a working order larger, at the exchange itself."""
        exchange = self.server.exchange
        working = [order for order in exchange.orders.values() if order.status.name == "PENDING"]
        if working:
            order = self._rng.choice(working)
            exchange.modify(order.order_id, order.wanted.type, order.wanted.quantity + 5, None, None)

    async def _shake(self, process: Any, seconds: float) -> None:
        """Let prices move until the daemon is dead or its time is up."""
        until = stopwatch_ns() + seconds * NS_PER_S
        while process.is_alive() and stopwatch_ns() < until:
            symbol = self._rng.choice(SYMBOLS)
            quote(self.server, symbol, PRICE + self._rng.randint(-8, 8) * 0.05)
            if self._rng.random() < 0.02:
                self._change_an_order()
            if self._rng.random() < 0.1:
                await self._log_in()
            await asyncio.sleep(0.01)

    async def _compare(self, pipe: Connection, process: Any, wish: Life) -> None:
        """With a quiet exchange both must come to hold the same."""
        begun, difference = stopwatch_ns(), "it never answered"
        while (stopwatch_ns() - begun) / NS_PER_S < QUIET_S:
            pipe.send("state")
            answer = await self._hear(pipe, process, 10.0)
            if answer is None:
                if wish.boundary:  # it killed itself as it was told, while it put its affairs in order
                    return
                break
            found = answer[1]
            self.tally.records = found["records"]
            difference = self._difference(found)
            if not difference:
                self.tally.agreed_s.append((stopwatch_ns() - begun) / NS_PER_S)
                return
            await asyncio.sleep(0.02)
        self.tally.differences.append(difference)

    def _difference(self, found: dict[str, Any]) -> str:
        exchange = self.server.exchange
        ledger = exchange.ledger
        positions = {symbol: net for symbol, _ in ledger.positions if (net := ledger.net(symbol))}
        working = sorted(order.wanted.tag for order in exchange.orders.values() if order.status.name == "PENDING")
        if found["positions"] != positions:
            return f"positions: {found['positions']}, the exchange {positions}"
        if Decimal(found["cash"]) != ledger.cash:
            return f"cash: {found['cash']}, the exchange {ledger.cash}"
        if found["working"] != working or found["unknown"]:
            return f"working: {found['working']} and unknown {found['unknown']}, the exchange {working}"
        if found["halted"] or found["trading"] != "ACTIVE":
            return f"halted: {found['halted']}, {found['trading']}"
        if found["funds"]:
            return "funds: they differ"
        return ""

    async def _hear(self, pipe: Connection, process: Any, seconds: float) -> Any:
        """The next message of the daemon, None where it is dead."""
        until = stopwatch_ns() + seconds * NS_PER_S
        while stopwatch_ns() < until:
            try:
                if pipe.poll():
                    return pipe.recv()
            except (EOFError, ConnectionResetError):
                return None
            if not process.is_alive() and not pipe.poll():
                return None
            await asyncio.sleep(0.005)
        return None

    def _note_end(self, process: Any, wish: Life, when: str) -> None:
        if process.exitcode is None:
            return
        if process.exitcode != -signal.SIGKILL:
            self.tally.differences.append(f"a daemon ended by itself {when} (exit code {process.exitcode})")
        else:
            place = "after" if wish.durable else "before"
            self.tally.kills[f"{wish.boundary}, {place} it is on disk" if wish.boundary else "at random"] += 1


def quote(server: SandboxServer, symbol: str, price: float) -> None:
    """A new price with little to take, so that orders rest and fill in parts."""
    last = Decimal(str(round(price, 2)))
    tick = Decimal("0.05")
    server.exchange.on_quote(
        symbol, Quote(last=last, bid=last - tick, ask=last + tick, bid_quantity=15, ask_quantity=15)
    )
    server.publish()


def write_tape(path: Path) -> None:
    """An hour of one price, a tick a second and symbol, from half an hour after the open."""
    seconds = [OPEN + (1800 + second) * NS_PER_S for second in range(3600) for _ in SYMBOLS]
    codes = list(range(len(SYMBOLS))) * 3600
    with TapeWriter(path, columns=()) as writer:
        writer.write(ticks(seconds, [float(PRICE)] * len(seconds), SYMBOLS, codes))


async def chaos(kills: int, seed: int, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill so often, then compare a last time; the table as a mapping."""
    write_tape(directory / "tape.parquet")
    begun = stopwatch_ns()
    async with SandboxServer(SandboxOptions(starting_cash=Decimal(1_000_000)), LiveClock()) as server:
        run = Chaos(server, directory, seed)
        for symbol in SYMBOLS:
            quote(server, symbol, PRICE)
        while run.tally.kills.total() < kills and len(run.tally.differences) < 10:
            await run.life(last=False)
            if run.tally.kills.total() % 25 == 0:
                say(f"{run.tally.kills.total()} kills, {len(server.exchange.orders)} orders")
        await run.life(last=True)
        state = server.admin.state()
        return table(run.tally, state, (stopwatch_ns() - begun) / NS_PER_S)


def table(tally: Tally, truth: dict[str, Any], wall_s: float) -> dict[str, Any]:
    """All that is printed."""
    ready, agreed = sorted(tally.ready_s), sorted(tally.agreed_s)
    lost = sum("positions" in text or "cash" in text or "working" in text for text in tally.differences)
    return {
        "kills": tally.kills.total(),
        "kills_by_moment": dict(sorted(tally.kills.items())),
        "orders": len(truth["orders"]),
        "trades": len(truth["trades"]),
        "faults": truth["faults"]["suffered"],
        "compared": len(agreed),
        "lost": lost,
        "doubled": len(truth["doubled_tags"]),
        "differences": tally.differences,
        "start_to_active_s": {"median": at(ready, 0.5), "p99": at(ready, 0.99)},
        "active_to_agreed_s": {"median": at(agreed, 0.5), "p99": at(agreed, 0.99)},
        "journal_records": tally.records,
        "wall_s": round(wall_s, 1),
    }


def at(values: list[float], share: float) -> float:
    """A quantile."""
    return round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else 0.0


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()

    def say(text: str) -> None:
        if not wanted.json:
            print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="hrmd-chaos-") as place:
        found = asyncio.run(chaos(wanted.kills, wanted.seed, Path(place), say))
    if wanted.json:
        print(msgspec.json.encode(found).decode())
    else:
        for name, value in found.items():
            if isinstance(value, dict):
                print(f"{name}:")
                for key, inner in value.items():
                    print(f"  {key:<42} {inner}")
            else:
                print(f"{name:<44} {value}")
    return 0 if not found["differences"] and not found["doubled"] else 1


if __name__ == "__main__":
    sys.exit(main())
