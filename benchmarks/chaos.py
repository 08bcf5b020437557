"""The daemon as a process, killed again and again while it trades on a sandbox that misbehaves, and what was lost.

    python benchmarks/chaos.py --kills 300          # the long form, about a quarter of an hour at most
    python benchmarks/chaos.py --kills 20 --json
    python benchmarks/chaos.py --kills 20 --speaks openalgo
    python benchmarks/chaos.py --kills 50 --brackets # entries carry a stop and a target: no orphan, nothing bare

Each life of the daemon (`chaos_life.py`) recovers from the one journal, is compared with the sandbox (positions,
working orders, cash) and trades for a moment, by decisions and by hand. Meanwhile the sandbox drops, delays, repeats,
refuses, limits and lets the token expire; somebody places, changes and cancels orders in the broker's app, some of
them protective stops (where the broker keeps no ids of ours he changes none in its first three seconds, in which a
lost order is looked for by what was asked for); now and then nothing of the account can be read for seconds, or a flood
of idle connections takes the control port.

Then the life ends: by SIGKILL at a random moment, by SIGKILL at a journal boundary, just before or just after a certain
event is on disk, each kind in its turn, or in order, by SIGTERM. Exit code 1 where anything was lost, doubled,
different, cancelled though it wasn't ours, or left behind without a word.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
from yarl import URL

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.chaos_life import BOUNDARIES, FILES, PRICE, SYMBOLS, Life, live  # noqa: E402
from daemon.core.clock import NS_PER_S, PacedClock, stopwatch_ns  # noqa: E402
from daemon.core.events import PROTECTION, AccountSnapshot, OrderType, Side  # noqa: E402
from daemon.fyers.rest import Endpoints  # noqa: E402
from daemon.sandbox.exchange import SELF_TRADE, Order, Quote, Status, Wanted  # noqa: E402
from daemon.sandbox.faults import Chance, Fault, FaultKind, Route  # noqa: E402
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION  # noqa: E402
from daemon.sandbox.server import SandboxOptions, SandboxServer  # noqa: E402
from daemon.tape.format import TapeWriter  # noqa: E402
from tests.samples import OPEN, ticks  # noqa: E402

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
DARK = [Chance(probability=1.0, fault=Fault(kind=FaultKind.BROKEN, on=route)) for route in (
    Route.ORDERS, Route.TRADES, Route.POSITIONS, Route.FUNDS)]  # fmt: skip
"""Nothing of the account can be read."""
DARK_SHARE, FLOOD_SHARE, ORDERLY_SHARE = 0.06, 0.15, 0.15
"""Of the lives: read nothing for a while, are flooded with connections, end by SIGTERM."""
DARK_S, BLIND_AFTER_S = 8.0, 6.5
FLOOD = 2 * FILES
TAPE_S = 300
"""More than a life lasts."""
SEEN_AFTER_S = {"openalgo": 3.0}
"""So old is an order that somebody changes, where it is told by its shape until the book was read."""
QUIET_S = 30.0
"""How long a life may take to agree with a quiet exchange: longer than an unknown order takes to be written off."""


class Tally:
    """What came of all lives."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.ready_s: list[float] = []
        self.agreed_s: list[float] = []
        self.differences: list[str] = []
        self.records = 0
        self.in_the_app: Counter[str] = Counter()
        """What somebody did in the broker's app."""
        self.ended: Counter[str] = Counter()
        """Orderly ends, by exit code."""
        self.floods = self.dark = 0
        self.boundaries: Counter[tuple[str, bool]] = Counter()
        """How often each boundary was tried, before and after the disk."""


class Chaos:
    """The sandbox, the journal, and one daemon after the other."""

    def __init__(self, server: SandboxServer, directory: Path, seed: int, *, brackets: bool = False) -> None:
        self.server = server
        self._brackets = brackets
        self._journal = directory / "journal.sqlite"
        self.tally = Tally()
        self._rng = random.Random(seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.chaos", "daemon.run.service"])
        self._token = token = directory / "token"
        token.write_text(DEFAULT_AUTHORIZATION.partition(":")[2])
        token.chmod(0o600)
        self._tape = directory / "tape.parquet"
        self._control_token = directory / "control.token"
        self._renewals = 0
        self._foreign: dict[str, str] = {}
        """Orders placed in the app by their ids, and what we know to have become of them there."""
        places = Endpoints.at(server.url)
        self._overrides = [
            "strategy.name=rules", "strategy.interval=5m", "supervisor.ladder=[rules, flat]", "control.port=0",
            f"control.token_file={self._control_token}",
            f"broker.name={server.speaks}", f"broker.openalgo.url={server.url}",
            f"broker.openalgo.socket_url={server.openalgo_socket_url}", f"broker.openalgo.key_file={token}",
            f"broker.openalgo.calls_file={directory / 'calls'}", "broker.openalgo.calls_per_second=1000",
            "broker.openalgo.calls_per_minute=10000",
            f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
            f"broker.fyers.order_socket_url={places.orders}", f"broker.fyers.token_file={token}",
            f"broker.fyers.calls_file={directory / 'calls'}",
            "broker.fyers.calls_per_second=1000", "broker.fyers.calls_per_minute=10000", "broker.live.answer_s=0.4",
            "broker.live.funds_tolerance=1", "broker.live.token_poll_s=0.05",
            "broker.live.reconcile_s=1", "broker.live.unknown_poll_s=0.3",
            "broker.live.unknown_settle_s=1", f"journal.path={directory / 'journal.sqlite'}",
            "journal.snapshot_every=200", "log.level=error",
            "log.format=json", f"feed.tape=[{self._tape}]", "risk.max_orders_per_minute=100000",
            "risk.max_orders_per_second=1000", "risk.max_orders_per_day=1000000", "risk.max_daily_loss=100000000",
        ]  # fmt: skip

    async def life(self, last: bool) -> None:
        """One process from its start to its end."""
        rng = self._rng
        wish = self._wish(last)
        write_tape(self._tape, self.server.exchange.now_ns)
        pipe, theirs = self._context.Pipe()
        process = self._context.Process(target=live, args=(wish, theirs), daemon=True)
        begun = stopwatch_ns()
        process.start()
        theirs.close()
        orderly = False
        try:
            up = await self._hear(pipe, process, 60.0)
            if up is None:
                self._note_end(process, wish, "while it started")
                return
            self.tally.ready_s.append((stopwatch_ns() - begun) / NS_PER_S)
            await self._compare(pipe, process, wish)
            if last or not process.is_alive():
                return
            pipe.send("trade")
            if not wish.boundary and rng.random() < DARK_SHARE:
                await self._go_dark(pipe, process)
            self.server.plan.chances([Chance(probability=p, fault=Fault(**fault)) for p, fault in CHANCES], wish.seed)
            async with self._flooded(up[1], process) if rng.random() < FLOOD_SHARE else contextlib.nullcontext():
                await self._shake(process, 2.0 if wish.boundary else rng.uniform(0.1, 0.9))
            orderly = not wish.boundary and rng.random() < ORDERLY_SHARE
        except (BrokenPipeError, ConnectionResetError, EOFError):
            pass
        finally:
            if orderly:
                await self._end_in_order(process)
            self.server.plan.clear()
            by_us = process.is_alive()
            if by_us:
                process.kill()
            await asyncio.to_thread(process.join)
            await self._log_in()
            if not orderly or by_us:
                self._note_end(process, msgspec.structs.replace(wish, boundary="") if by_us else wish, "")
            self._look_for_wrong_cancels()
            pipe.close()

    def _wish(self, last: bool) -> Life:
        """What the next life is told."""
        rng, boundary, durable = self._rng, "", False
        if not last and rng.random() < 0.5:
            places = [(kind.__name__, after) for kind in BOUNDARIES for after in (False, True)]
            boundary, durable = min(places, key=lambda place: (self.tally.boundaries[place], rng.random()))
            self.tally.boundaries[boundary, durable] += 1
        return Life(
            [*self._overrides, f"execution.order_type={rng.choice(('MARKET', 'LIMIT'))}"], rng.randrange(1 << 30),
            boundary, 1 if boundary == AccountSnapshot.__name__ else rng.randint(1, 3), durable, self._brackets,
        )  # fmt: skip

    async def _end_in_order(self, process: Any) -> None:
        """SIGTERM: exit code 0 promises that nothing of ours works any more, 3 says that something may."""
        if self._rng.random() < 0.5:
            self.server.plan.clear()
        process.terminate()
        await asyncio.to_thread(process.join, 40.0)
        self.tally.ended[f"exit code {process.exitcode}"] += 1
        if process.exitcode not in (0, 3):
            self.tally.differences.append(f"SIGTERM: exit code {process.exitcode}")
        stay = self._legs()
        left = [
            order.wanted.tag
            for order in self._at_the_exchange()
            if order.order_id not in self._foreign and order.wanted.tag not in stay
        ]
        if process.exitcode == 0 and left:
            self.tally.differences.append(f"working: left behind without a word: {left}")

    def legs_by_fate(self) -> dict[str, Any]:
        """How many stops and targets there were, how many of them traded, and how many differences are about them."""
        legs = self._legs()
        orders = [it for it in self.server.exchange.orders.values() if it.wanted.tag in legs]
        about = [text for text in self.tally.differences if text.startswith(("orphans", "bare"))]
        return {
            "stops_and_targets": len(orders),
            "of_them_traded": sum(it.filled > 0 for it in orders),
            "of_them_working": sum(it.status is Status.PENDING for it in orders),
            "orphans_or_bare": len(about),
        }

    def _legs(self) -> set[str]:
        """Ids of all stops and targets that were ever wanted: they stay when the daemon ends."""
        query = "SELECT body ->> 'order_id' FROM events WHERE type = 'OrderIntent' AND body ->> 'strategy' = ?"
        with contextlib.closing(sqlite3.connect(self._journal)) as journal:
            return {order_id for (order_id,) in journal.execute(query, (PROTECTION,))}

    # -- misfortunes --------------------------------------------------------------------------------------------------

    async def _go_dark(self, pipe: Connection, process: Any) -> None:
        """For seconds nothing of the account can be read: new risk must end, and begin again after it."""
        self.tally.dark += 1
        self.server.plan.chances(DARK, 0)
        await self._shake(process, DARK_S)
        blind_from = self.server.exchange.now_ns - int((DARK_S - BLIND_AFTER_S) * NS_PER_S)
        self.server.plan.clear()
        pipe.send("state")
        answer = await self._hear(pipe, process, 10.0)
        if answer is not None:
            late = [order for order in self.server.exchange.orders.values() if order.placed_ts > blind_from]
            entries = [order.wanted.tag for order in late if order.wanted.tag in answer[1]["entries"]]
            if entries:
                self.tally.differences.append(f"blind: entries without a reading of the account: {entries}")

    @contextlib.asynccontextmanager
    async def _flooded(self, url: str, process: Any) -> AsyncIterator[None]:
        """Idle connections, more than the daemon has file descriptors; the right token must get in all the same."""
        self.tally.floods += 1
        address = URL(url)
        writers = []
        for _ in range(FLOOD):
            with contextlib.suppress(OSError):
                writers.append((await asyncio.open_connection(address.host, address.port))[1])
        try:
            token = self._control_token.read_text().strip()
            problem = ""
            try:
                async with (
                    aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
                    http.get(address / "status", timeout=aiohttp.ClientTimeout(total=10)) as answer,
                ):
                    problem = "" if answer.status == 200 else f"status {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = type(error).__name__
            if problem:
                await asyncio.to_thread(process.join, 1.0)  # sockets of one that has just been killed close before it
            if problem and process.is_alive():
                self.tally.differences.append(f"flood: the right token did not get in ({problem})")
            yield
        finally:
            for writer in writers:
                writer.close()

    def _act_in_the_app(self) -> None:
        """Somebody places an order, a protective stop as often as not, changes one, or cancels one of his own."""
        exchange, rng = self.server.exchange, self._rng
        working = self._at_the_exchange()
        mine = [order for order in working if order.order_id in self._foreign]
        dice = rng.random()
        if mine and (dice < 0.2 or len(mine) > 8):
            order = rng.choice(mine)
            self._foreign[order.order_id] = "cancelled"
            exchange.cancel(order.order_id)
            self.tally.in_the_app["cancelled"] += 1
        elif working and dice < 0.4:
            seen_ns = exchange.now_ns - int(SEEN_AFTER_S.get(self.server.speaks, 0.0) * NS_PER_S)
            seen = [order for order in working if order.placed_ts <= seen_ns]
            if not seen:
                return
            order = rng.choice(seen)
            exchange.modify(order.order_id, order.wanted.type, order.wanted.quantity + 5, None, None)
            self.tally.in_the_app["changed"] += 1
        else:
            placed = exchange.place(self._wanted_in_the_app())
            if isinstance(placed, Order):
                self._foreign[placed.order_id] = ""
                self.tally.in_the_app[f"placed {placed.wanted.type.value}"] += 1

    def _wanted_in_the_app(self) -> Wanted:
        exchange, rng = self.server.exchange, self._rng
        symbol, tick = rng.choice(SYMBOLS), Decimal("0.05")
        net = exchange.ledger.net(symbol)
        if net and rng.random() < 0.6:  # protect what is held
            side = Side.SELL if net > 0 else Side.BUY
            stop = PRICE + side.sign * rng.randint(4, 14) * tick
            return Wanted(
                tag="", symbol=symbol, side=side, type=OrderType.SL_MARKET, quantity=abs(net), stop_price=stop
            )  # fmt: skip
        side = rng.choice(list(Side))
        limit = PRICE - side.sign * rng.randint(-1, 10) * tick
        return Wanted(
            tag="APP", symbol=symbol, side=side, type=OrderType.LIMIT, quantity=rng.randint(1, 30), limit_price=limit
        )  # fmt: skip

    def _at_the_exchange(self) -> list[Order]:
        return [order for order in self.server.exchange.orders.values() if order.status is Status.PENDING]

    def _look_for_wrong_cancels(self) -> None:
        """Nobody told the daemon to halt, reduce or flatten: what was placed in the app is left alone.

        What the exchange cancels, for it would meet an order of its own account, isn't the daemon's doing.
        """
        orders = self.server.exchange.orders
        for order_id, known in self._foreign.items():
            cancelled = orders[order_id].status is Status.CANCELLED and orders[order_id].message != SELF_TRADE
            if cancelled and known != "cancelled":
                self._foreign[order_id] = "cancelled"
                self.tally.differences.append(f"wrong cancel: {order_id} was placed in the app")

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

    async def _shake(self, process: Any, seconds: float) -> None:
        """Let prices move until the daemon is dead or its time is up."""
        until = stopwatch_ns() + seconds * NS_PER_S
        while process.is_alive() and stopwatch_ns() < until:
            symbol = self._rng.choice(SYMBOLS)
            quote(self.server, symbol, PRICE + self._rng.randint(-8, 8) * 0.05)
            if self._rng.random() < 0.04:
                self._act_in_the_app()
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
        working = sorted(
            f"X{order.order_id}" if order.order_id in self._foreign else order.wanted.tag
            for order in self._at_the_exchange()
        )  # fmt: skip
        if found["positions"] != positions:
            return f"positions: {found['positions']}, the exchange {positions}"
        if Decimal(found["cash"]) != ledger.cash:
            return f"cash: {found['cash']}, the exchange {ledger.cash}"
        if found["working"] != working or found["unknown"]:
            return f"working: {found['working']} and unknown {found['unknown']}, the exchange {working}"
        bare = unprotected(found["protection"])
        if bare:
            return bare
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


def unprotected(found: dict[str, dict[str, Any]]) -> str:
    """Legs without a position, more of them than is held, or a position without its stop; "" where none.

    A target that the exchange doesn't take is watched by the daemon instead. Both sides have agreed on what works by
    then, so what the daemon says of its legs is what the exchange has.
    """
    for symbol, it in found.items():
        for kind, wanted in it["wants"].items():
            due = max(0, abs(it["held"]) - it["others"]) if wanted else 0
            if it["wrong"] or it[kind] > due:
                return f"orphans: {symbol} {it}"
            if kind == "stop" and it[kind] < due:
                return f"bare: {symbol} {it}"
    return ""


def quote(server: SandboxServer, symbol: str, price: float) -> None:
    """A new price with little to take, so that orders rest and fill in parts."""
    last = Decimal(str(round(price, 2)))
    tick = Decimal("0.05")
    server.exchange.on_quote(
        symbol, Quote(last=last, bid=last - tick, ask=last + tick, bid_quantity=15, ask_quantity=15)
    )
    server.publish()


def write_tape(path: Path, now_ns: int) -> None:
    """Five minutes of one price from now on, a tick a second and symbol: a life's clock is the exchange's."""
    seconds = [now_ns + second * NS_PER_S for second in range(TAPE_S) for _ in SYMBOLS]
    codes = list(range(len(SYMBOLS))) * TAPE_S
    with TapeWriter(path, columns=(), overwrite=True) as writer:
        writer.write(ticks(seconds, [float(PRICE)] * len(seconds), SYMBOLS, codes))


async def chaos(
    kills: int, seed: int, directory: Path, say: Callable[[str], None], speaks: Literal["fyers", "openalgo"] = "fyers",
    *, brackets: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Kill so often, then compare a last time; the table as a mapping."""
    begun = stopwatch_ns()
    clock = PacedClock(1.0)
    clock.start(OPEN + 1800 * NS_PER_S)  # the day of the tape: a fill of another day would be squared off at each start
    async with SandboxServer(SandboxOptions(starting_cash=Decimal(1_000_000), speaks=speaks), clock) as server:
        run = Chaos(server, directory, seed, brackets=brackets)
        for symbol in SYMBOLS:
            quote(server, symbol, PRICE)
        while run.tally.kills.total() < kills and len(run.tally.differences) < 10:
            await run.life(last=False)
            if run.tally.kills.total() % 25 == 0:
                say(f"{run.tally.kills.total()} kills, {len(server.exchange.orders)} orders")
        await run.life(last=True)
        state = server.admin.state()
        legs = run.legs_by_fate() if brackets else {}
        return table(run.tally, state, (stopwatch_ns() - begun) / NS_PER_S) | legs


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
        "in_the_app": dict(tally.in_the_app),
        "orderly_ends": dict(tally.ended),
        "floods": tally.floods,
        "dark": tally.dark,
        "compared": len(agreed),
        "lost": lost,
        "doubled": len([tag for tag in truth["doubled_tags"] if tag not in ("", "APP")]),
        "cancelled_not_ours": sum("wrong cancel" in text for text in tally.differences),
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
    parser.add_argument("--speaks", choices=("fyers", "openalgo"), default="fyers", help="the broker's words")
    parser.add_argument("--brackets", action="store_true", help="entries carry a stop and a target")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()

    def say(text: str) -> None:
        if not wanted.json:
            print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="hrmd-chaos-") as place:
        found = asyncio.run(chaos(wanted.kills, wanted.seed, Path(place), say, wanted.speaks, brackets=wanted.brackets))
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
