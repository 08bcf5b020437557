"""One life of a daemon under `benchmarks/chaos.py`: a whole service that trades at random and kills itself when told.

It speaks with the harness over a pipe: "up" with its control server's address once it is active, "state" when asked.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import resource
import signal
import sys
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from daemon.core.errors import HrmdError
from daemon.core.events import (
    PROTECTION,
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
from daemon.run import log
from daemon.run.service import Service
from daemon.settings.loading import load_settings

SYMBOLS = ("NSE:SBIN-EQ", "NSE:RELIANCE-EQ", "NSE:INFY-EQ", "NSE:TCS-EQ", "NSE:ITC-EQ", "NSE:LT-EQ")
PRICE = 800
FILES = 256
"""File descriptors that a life may have: few, so that a flood of connections would exhaust them."""
BOUNDARIES: tuple[type[Event], ...] = (
    OrderIntent, OrderApproved, OrderDenied, OrderSent, OrderAccepted, OrderRejected, OrderUnknown, OrderAmended,
    OrderCancelRequested, OrderCancelFailed, OrderCancelled, Fill, PositionChanged, ManualOrder, ManualOrderAnswered,
    AccountSnapshot,
)  # fmt: skip


class Life(msgspec.Struct, frozen=True):
    """What one daemon process is told: where things are, and when it is to kill itself (`boundary` "" for never)."""

    overrides: list[str]
    seed: int
    boundary: str
    count: int
    durable: bool
    brackets: bool = False
    """Whether entries carry a stop and a target."""


def live(life: Life, pipe: Connection) -> None:
    """Run the daemon in this process, trade at random once told to, and report its state when asked."""
    os.environ.pop("NOTIFY_SOCKET", None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    settings = load_settings(None, life.overrides)
    log.configure(settings.log, sys.stderr)
    service = Service(settings)
    arm(service, life)

    async def attend() -> None:
        pipe.send(("up", service.control_url))
        loop = asyncio.get_running_loop()
        asked: asyncio.Queue[str] = asyncio.Queue()

        def hear() -> None:
            try:
                asked.put_nowait(pipe.recv())
            except (EOFError, ConnectionResetError):  # nobody is there any more
                loop.remove_reader(pipe.fileno())

        loop.add_reader(pipe.fileno(), hear)
        rng = random.Random(life.seed)
        trading = False
        try:
            while True:
                try:
                    async with asyncio.timeout(0.02 if trading else None):
                        message = await asked.get()
                    if message == "state":
                        pipe.send(("state", state(service)))
                    trading = trading or message == "trade"
                except TimeoutError:
                    if service.app.desk.open:  # who is told to end wants nothing more
                        act(rng, service, brackets=life.brackets)
        finally:
            loop.remove_reader(pipe.fileno())

    try:
        asyncio.run(service.run(alongside=(attend,)))
    except HrmdError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


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


def act(rng: random.Random, service: Service, *, brackets: bool) -> None:
    """A decision, an order by hand, or a change of mind about an order that works."""
    app, dice = service.app, rng.random()
    ts, working = app.plan.clock.now_ns(), [name for name, order in app.orders.working.items() if not order.foreign]
    if dice < 0.6:
        app.bus.publish(with_bracket(rng, decide(rng, ts)) if brackets else decide(rng, ts))
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


def with_bracket(rng: random.Random, decision: Decision) -> Decision:
    """Most entries with a stop and a target near the price, so that both are reached again and again."""
    away, sign = rng.randint(2, 7) * 0.05, -1 if decision.action is Action.SELL_SHORT else 1
    if decision.action not in (Action.BUY_LONG, Action.SELL_SHORT) or rng.random() < 0.3:
        return decision
    return msgspec.structs.replace(decision, stop_price=PRICE - sign * away, target_price=PRICE + sign * away)


def protection(service: Service) -> dict[str, dict[str, Any]]:
    """Of every symbol with a bracket or a leg of one: what is held, what is to protect it, and what works, by kind.

    Working orders of the other side of the position count as `others`, of its own as `wrong`.
    """
    book, found = service.app.risk.book, {}
    for symbol in book.protected():
        held, bracket = book.of(symbol).position, book.brackets.of.get(symbol)
        sums = {"stop": 0, "target": 0, "others": 0, "wrong": 0}
        for order in service.app.orders.working.values():
            intent = order.intent
            if intent.symbol == symbol:
                leg = intent.strategy == PROTECTION
                closes = held * intent.side.sign < 0
                kind = (intent.reason if closes else "wrong") if leg else "others"
                sums[kind] += order.remaining if leg or closes else 0
        wants = {"stop": bracket is not None and bracket.stop is not None and not bracket.stray,
                 "target": bracket is not None and bracket.target is not None and not bracket.stray}  # fmt: skip
        found[symbol] = {"held": held, "wants": wants, **sums}
    return found


def state(service: Service) -> dict[str, Any]:
    """Positions, working orders (those at the exchange, and those nobody knows of) and cash."""
    app = service.app
    working = app.orders.working.values()
    latest = [*list(app.orders.finished.values())[-1000:], *working]
    return {
        "positions": {item.symbol: item.quantity for item in app.portfolio.portfolio.positions() if item.quantity},
        "working": sorted(order.intent.order_id for order in working if order.state.value != "UNKNOWN"),
        "unknown": sorted(order.intent.order_id for order in working if order.state.value == "UNKNOWN"),
        "protection": protection(service),
        "cash": str(app.portfolio.portfolio.cash),
        "entries": [order.intent.order_id for order in latest if not order.intent.reduces],
        "records": app.account.records,
        "halted": dict(app.risk.book.halted),
        "trading": app.risk.book.state.value,
        "funds": "" if app.risk.funds is None or not app.risk.funds.differs else "differ",
    }
