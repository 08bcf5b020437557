"""Settings → live ticks of an OpenAlgo server, over a WebSocket that lives in the daemon's own loop.

The link speaks in the same frames as any other (`daemon.feed.live.frames`). Ticks come in the form of the broker behind
the server: a last price and a time always, the rest where it is told. Invariant: ticks of a sandbox pass for real ones
nowhere, for the server says whose they are when it lets us in.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any, Final

from daemon.calls.addresses import is_local
from daemon.calls.budget import RateBudget
from daemon.calls.outcome import NotSent, Outcome
from daemon.calls.secret import Secret
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import Clock, LiveClock, PacedClock
from daemon.core.errors import SettingsError, UsageError
from daemon.core.events import MISSING_INT
from daemon.feed.live.clock_watch import ClockWatch
from daemon.feed.live.feed import TOKEN_S, LiveFeed, Record
from daemon.feed.live.frames import (
    HEADER,
    LARGEST,
    ROWS_AT_ONCE,
    Authenticated,
    Counts,
    Frame,
    Link,
    Refusal,
    Refused,
    Row,
    Subscribed,
    Trouble,
    pack_ticks,
)
from daemon.feed.live.time import live_schedule
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook, Kind
from daemon.market.records import Quote
from daemon.openalgo.access import RENEW, access, check_addresses
from daemon.openalgo.rest import OpenAlgoRest
from daemon.openalgo.socket import Connection, LostError, SocketTimes, connected
from daemon.openalgo.symbols import Names
from daemon.openalgo.wire import read_time
from daemon.settings.tree import Settings

SANDBOX: Final = "sandbox"
"""What a sandbox calls the broker behind it."""
COUNTED_S: Final = 1.0


def check_feed(settings: Settings) -> None:
    """Raise `SettingsError` for what `feed.source openalgo` lacks or must not be combined with."""
    if not settings.feed.symbols:
        raise SettingsError('feed.symbols: expected at least one for feed.source openalgo, such as ["NSE:SBIN-EQ"]')
    book = InstrumentBook(settings.market)
    names = Names(book.resolve)
    for symbol in settings.feed.symbols:
        found = book.resolve(symbol)  # when a contract ends, or which an alias means, the symbol master may yet say
        if found is None or found.kind not in (Kind.FUTURE, Kind.OPTION):
            _named(names, symbol)
    check_addresses(settings.broker.openalgo)
    access(settings.broker.openalgo).read()


def _named(names: Names, symbol: str) -> tuple[str, str]:
    """OpenAlgo's symbol and exchange. Raises `SettingsError` where it has none that is known."""
    named = names.theirs(symbol)
    if named is None:
        raise SettingsError(
            f"feed.symbols: OpenAlgo's name of {symbol} isn't known: expected shares of NSE, indices, or futures and "
            "options of NSE and BSE whose expiry is known (market.symbol_master, market.instruments)"
        )
    return named


def ticks_are_real(settings: Settings) -> bool:
    """Whether orders may be decided on the ticks: those of a server only for orders to the same."""
    return not settings.feed.rehearse and settings.broker.name in ("paper", "openalgo")


class TickReader:
    """Messages → rows of ticks."""

    def __init__(self, wanted: Sequence[tuple[str, str]], clock: Clock) -> None:
        """`wanted`: OpenAlgo's symbols and exchanges, in the order of their codes."""
        self.refused: Counter[str] = Counter()
        self._codes = {name: code for code, name in enumerate(wanted)}
        self._clock = clock

    def row(self, message: Mapping[str, Any]) -> Row | None:
        """The tick; None where there is none, which is counted by reason."""
        values = message.get("data")
        code = self._codes.get((str(message.get("symbol")), str(message.get("exchange"))))
        if not isinstance(values, dict):
            self.refused[Refusal.NOT_A_MESSAGE.value] += 1
            return None
        if code is None:
            self.refused[Refusal.UNKNOWN_SYMBOL.value] += 1
            return None
        price = _number(values, "ltp")
        if not price or price <= 0:
            self.refused[Refusal.BAD_PRICE.value] += 1
            return None
        moment = read_time(values)
        if moment is None:
            self.refused[Refusal.BAD_TIME.value] += 1
            return None
        bid, ask = _price(values, "bid", "bid_price"), _price(values, "ask", "ask_price")
        if bid == ask == 0:  # what adapters of some brokers put where they know no quote
            bid = ask = math.nan
        return Row(
            code, moment or self._clock.now_ns(), price, _units(values, "last_quantity", "last_trade_quantity", "ltq"),
            _units(values, "volume"), bid, ask, _units(values, "bid_quantity", "bid_qty"),
            _units(values, "ask_quantity", "ask_qty"), _units(values, "oi", "open_interest"),
        )  # fmt: skip


class SocketLink:
    """Implements `Link`: one connection, from connecting to its end."""

    def __init__(self, url: str, key: Secret, wanted: Sequence[tuple[str, str]], clock: Clock, *, real: bool) -> None:
        """`wanted`: OpenAlgo's symbols and exchanges, in the order of their codes."""
        self._url = url
        self._key = key
        self._wanted = wanted
        self._clock = clock
        self._real = real
        self._killed = asyncio.Event()
        self._reader = TickReader(wanted, clock)
        self._messages = self._ticks = 0

    def kill(self) -> None:
        """End it."""
        self._killed.set()

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """What it says, until its end."""
        try:
            async with connected(self._url, self._key, SocketTimes()) as (connection, broker):
                if self._real and broker == SANDBOX:
                    yield Refused("the ticks are a sandbox's, and broker.live.real_money is set", token=False)
                    return
                yield Authenticated()
                instruments = [{"symbol": symbol, "exchange": exchange} for symbol, exchange in self._wanted]
                await connection.say({"action": "subscribe", "mode": "Quote", "symbols": instruments})
                async with aclosing(self._listen(connection)) as frames:
                    async for frame in frames:
                        yield frame
        except LostError as error:
            yield Refused(str(error), token=error.key)

    async def _listen(self, connection: Connection) -> AsyncGenerator[Frame, None]:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        killed = asyncio.ensure_future(self._killed.wait())
        reading = asyncio.ensure_future(_fill(connection, messages))
        getting = asyncio.ensure_future(messages.get())
        try:
            while not killed.done():
                await asyncio.wait(
                    (killed, reading, getting), timeout=COUNTED_S, return_when=asyncio.FIRST_COMPLETED
                )  # fmt: skip
                heard = self._clock.monotonic_ns()
                rows: list[Row] = []
                while getting.done():
                    self._messages += 1
                    frame = self._take(getting.result(), rows)
                    getting = asyncio.ensure_future(messages.get())
                    if frame is not None:
                        yield frame
                    if messages.empty() or len(rows) >= ROWS_AT_ONCE:
                        break
                    await asyncio.sleep(0)
                if rows:
                    self._ticks += len(rows)
                    yield pack_ticks(rows, heard)[HEADER.size :]
                yield self._counts(messages.qsize())
                if reading.done() and messages.empty() and not getting.done():
                    reading.result()
        finally:
            for task in (killed, reading, getting):
                task.cancel()
            await asyncio.gather(killed, reading, getting, return_exceptions=True)

    def _take(self, message: dict[str, Any], rows: list[Row]) -> Frame | None:
        """A tick goes to `rows`, news is told."""
        match message.get("type"):
            case "market_data":
                row = self._reader.row(message)
                if row is not None:
                    rows.append(row)
            case "subscribe":
                told = message.get("subscriptions")
                listed = [it for it in told if isinstance(it, dict)] if isinstance(told, list) else []
                return Subscribed(sum(it.get("status") == "success" for it in listed))
            case "error":
                return Trouble(0, str(message.get("message"))[:200])
        return None

    def _counts(self, waiting: int) -> Counts:
        return Counts(
            messages=self._messages, ticks=self._ticks, conflated=0, waiting=waiting, peak_kb=0,
            refused=dict(self._reader.refused), unreadable={}, swallowed={},
        )  # fmt: skip


class Venue:
    """Quotes by REST, with whatever key there is."""

    def __init__(self, rest: OpenAlgoRest, read: Callable[[], Secret]) -> None:
        self._rest = rest
        self._read = read
        self.disk = Aside("quotes key")
        """Of the key's file, which may hang."""

    async def quotes(self, symbols: list[str]) -> Outcome[list[Quote]]:
        """Last prices; nothing is asked while there is no key."""
        try:
            self._rest.authorize(await self.disk.ask(self._read, TOKEN_S))
        except UsageError as error:
            return NotSent(str(error))
        except TimeoutError as error:
            return NotSent(f"the key's file can't be read ({error.strerror})")
        return await self._rest.quotes(symbols)

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()


def openalgo_feed(
    settings: Settings, bus: Bus, tick_filter: TickFilter, calendar: MarketCalendar, clock: LiveClock | PacedClock,
    budget: RateBudget, record: Record | None = None, symbols: tuple[str, ...] = (),
    gateway: Callable[[Any], AbstractAsyncContextManager[Link]] | None = None, rng: random.Random | None = None,
) -> LiveFeed:  # fmt: skip
    """The feed of `symbols` (default: `feed.symbols`); a `gateway` is given the symbols.

    Contracts are named by when they end, as the instruments of the filter have it. Raises `SettingsError`.
    """
    check_feed(settings)
    live, wanted, server = settings.feed.live, symbols or tuple(settings.feed.symbols), settings.broker.openalgo
    entry, real = access(server), settings.broker.live.real_money
    names = Names(tick_filter.resolve)
    named = [_named(names, symbol) for symbol in wanted]

    @asynccontextmanager
    async def connect(token: str) -> AsyncGenerator[Link, None]:
        yield SocketLink(server.socket_url, Secret(token), named, clock, real=real)

    watch = None
    if isinstance(clock, LiveClock):  # a server on this machine dates its answers by the same clock
        elsewhere = not is_local(server.url)
        watch = ClockWatch(clock, len(wanted), live.clock_limit_s, dated_elsewhere=elsewhere)
    rest = OpenAlgoRest(
        server.url, entry.read(), budget, clock, on_date=watch.on_date if watch is not None else None, names=names
    )
    return LiveFeed(
        bus, wanted, tick_filter, calendar, live_schedule(settings), clock, live,
        connect if gateway is None else lambda _: gateway(wanted), lambda: entry.read().reveal(),
        Venue(rest, entry.read), record, rng, watch, RENEW,
    )  # fmt: skip


async def _fill(connection: Connection, messages: asyncio.Queue[dict[str, Any]]) -> None:
    while True:
        messages.put_nowait(await connection.next())


def _number(values: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        value = values.get(name)
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                if math.isfinite(number := float(value)):
                    return number
    return None


def _price(values: Mapping[str, Any], *names: str) -> float:
    found = _number(values, *names)
    return math.nan if found is None or found < 0 else found


def _units(values: Mapping[str, Any], *names: str) -> int:
    found = _number(values, *names)
    return MISSING_INT if found is None or not 0 <= found < LARGEST else int(found)
