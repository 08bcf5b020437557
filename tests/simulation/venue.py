"""The sandbox on a simulated network, and a market of drawn prices that its exchange and the daemon's ticks share."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal

from daemon.core.clock import NS_PER_S
from daemon.core.events import OrderType, Side
from daemon.feed.live.frames import Row
from daemon.sandbox.exchange import Quote, Status, Wanted
from daemon.sandbox.hours import Phase
from daemon.sandbox.server import SandboxOptions, SandboxServer
from tests.simulation.link import TickLinks
from tests.simulation.loop import SimLoop
from tests.simulation.plan import Plan
from tests.simulation.scenes import Stage
from tests.simulation.settings import base_settings

PRICES = (Decimal("820.50"), Decimal("1432.10"))
"""At which the session's instruments begin."""
CASH = Decimal(1_000_000)
GRID = Decimal("0.05")


class VenueClock:
    """The venue's time, which is right."""

    def __init__(self, loop: SimLoop, wall_ns: int) -> None:
        self._loop = loop
        self._wall_ns = wall_ns
        self._passed_ns = 0

    def now_ns(self) -> int:
        """UTC ns."""
        return self._wall_ns + self._passed_ns + self._loop.now_ns

    def monotonic_ns(self) -> int:
        """Since some moment."""
        return self._passed_ns + self._loop.now_ns

    def pass_night(self, ns: int) -> None:
        """So much time passed at once, as for everybody."""
        self._passed_ns += ns


class Venue:
    """One account's exchange, and who trades there besides."""

    def __init__(self, loop: SimLoop, plan: Plan, stage: Stage, port: int, ticks: TickLinks) -> None:
        self.clock = VenueClock(loop, stage.begins_ns)
        options = SandboxOptions(
            port=port, seed=plan.seed, speaks=plan.speaks, starting_cash=CASH, enforce_limits=True, hours=stage.hours,
            square_off=stage.broker_squares_off, market=base_settings(plan.symbols).market,
        )  # fmt: skip
        self.server = SandboxServer(options, self.clock)
        self.gate = self.server.gate
        self.exchange = self.server.exchange
        self.ticks = ticks
        self._loop = loop
        self.banded_until = 0.0
        """Until when the day's price band is as wide as the spread."""
        self.paid = Decimal(0)
        """Rupees that companies paid for parts of a share."""
        self.foreign = 0
        """Units that somebody else traded in the account."""
        self._rng = random.Random(f"market:{plan.seed}")
        self.symbols = symbols = plan.symbols
        self._prices = dict(zip(symbols, PRICES, strict=True))
        self._volume = dict.fromkeys(symbols, 1000)
        for symbol in symbols:
            self._quote(symbol)

    async def run(self) -> None:
        """Serve, and let prices move, until cancelled."""
        async with self.server:
            while True:
                await asyncio.sleep(self._rng.uniform(0.4, 2.2))
                symbol = self._rng.choice(self.symbols)
                self._prices[symbol] += GRID * self._rng.randrange(-12, 13)
                self._volume[symbol] += self._rng.randrange(1, 50)
                self._quote(symbol)

    def trade_elsewhere(self, number: int, product: str) -> None:
        """Somebody with the account's password buys or sells a little."""
        symbol = self.symbols[number % len(self.symbols)]
        side, quantity = (Side.BUY, Side.SELL)[number // 2 % 2], 1 + number % 3
        order = Wanted(
            tag="", symbol=symbol, side=side, type=OrderType.MARKET, quantity=quantity, product=product
        )  # fmt: skip
        self.exchange.place(order)
        self.foreign += quantity
        self.server.publish()

    def price(self, symbol: str) -> Decimal:
        """The last one."""
        return self._prices[symbol]

    def heal(self) -> None:
        """Nothing fails any more, and the market is as on other days."""
        self.server.plan.clear()
        self.exchange.past.hold(0)
        self.rule(None)
        self.banded_until = 0.0
        for symbol in self.symbols:
            self.lock(symbol, None)

    def rule(self, phase: Phase | None) -> None:
        """The phase of the whole market; None: as the clock has it."""
        self.exchange.session(phase)
        self.server.publish()

    def lock(self, symbol: str, side: Side | None) -> None:
        """Only buyers are left, or only sellers; None: both are there again."""
        self.exchange.lock(symbol, side)
        self.server.publish()

    def square_off(self) -> None:
        """The broker closes what is held, and takes no more today."""
        self.exchange.square_off()
        self.server.publish()

    def split(self, symbol: str, ratio: tuple[int, int]) -> None:
        """Over a night a share's price counts at `ratio`, its number inversely; what is less than a share is paid."""
        ledger, (numerator, denominator) = self.exchange.ledger, ratio
        held, cash = abs(ledger.net(symbol)), ledger.cash
        self.exchange.corporate_action(symbol, numerator, denominator)
        self.foreign += abs(ledger.net(symbol)) - held
        self.paid += ledger.cash - cash
        self._prices[symbol] = self.exchange.quotes[symbol].last
        self.server.publish()

    def change(self, number: int) -> None:
        """Somebody changes an order in the broker's app: its quantity."""
        working = [it for it in self.exchange.orders.values() if it.status is Status.PENDING]
        if not working:
            return
        order = working[number % len(working)]
        more = 1 + number % 3
        wanted = order.wanted
        self.exchange.modify(order.order_id, wanted.type, wanted.quantity + more, None, None)
        self.foreign += more
        self.server.publish()

    def _quote(self, symbol: str) -> None:
        rng, price = self._rng, self._prices[symbol]
        sizes = [rng.choice((3, 20, 400)) for _ in range(2)]
        banded = self._loop.time() < self.banded_until
        self.exchange.on_quote(
            symbol,
            Quote(
                last=price, bid=price - GRID, ask=price + GRID, bid_quantity=sizes[0], ask_quantity=sizes[1],
                volume=self._volume[symbol], last_quantity=1, lower_band=price - GRID if banded else None,
                upper_band=price + GRID if banded else None,
            ),
        )  # fmt: skip
        self.server.publish()
        stamp = self.clock.now_ns() // NS_PER_S * NS_PER_S
        shown = self.exchange.quotes[symbol]
        bid, ask = shown.bid or 0, shown.ask or 0
        row = Row(
            0, stamp, float(price), 1, self._volume[symbol], float(bid), float(ask), shown.bid_quantity or 0,
            shown.ask_quantity or 0, -1,
        )  # fmt: skip
        self.ticks.tell(symbol, row)
