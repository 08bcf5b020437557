"""The sandbox's parts put together and served on loopback.

Invariant: it listens on 127.0.0.1 only, and its book lives as long as the object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import Final, Literal, Self

import msgspec
from aiohttp import web

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import Fault, UsageError
from daemon.feed.replay import Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.costs import CostSchedule
from daemon.market.instruments import InstrumentBook
from daemon.sandbox.admin import AdminApi, say_usage_errors
from daemon.sandbox.boards import Boards
from daemon.sandbox.calls import CallMeter
from daemon.sandbox.candles import Candles
from daemon.sandbox.data_feed import DEFAULT_ACK_COUNT, PATH, DataFeed
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import Exchange
from daemon.sandbox.faults import FaultPlan
from daemon.sandbox.gate import DEFAULT_AUTHORIZATION, TokenGate
from daemon.sandbox.hours import Hours
from daemon.sandbox.load import Load
from daemon.sandbox.market_rest import MarketApi
from daemon.sandbox.openalgo import OpenAlgoApi
from daemon.sandbox.openalgo_socket import SOCKET_PATH, OpenAlgoSocket
from daemon.sandbox.order_feed import OrderFeed
from daemon.sandbox.rest import FyersApi
from daemon.sandbox.symbol_rest import INDEX_NAMES_PATH, TOKENS_PATH, SymbolApi
from daemon.sandbox.tape_player import TapePlayer
from daemon.settings.market import MarketSettings

HOST: Final = "127.0.0.1"
SHUTDOWN_S: Final = 1.0
TIME_S: Final = 0.5
"""How often the time is looked at where no tick tells it."""
CHUNK_ROWS: Final = 65_536
MAX_JUMP_PERCENT: Final = 20.0


class SandboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox is made of; port 0 takes any that is free.

    `speaks`: whose API it has. `hours`: orders are taken as NSE's calendar says.
    `square_off`: when the broker closes INTRADAY positions, "HH:MM".
    """

    port: int = 0
    tapes: Sequence[Path] = ()
    seed: int = 0
    starting_cash: Decimal = Decimal(1_000_000)
    margin_rate: Decimal = Decimal("0.2")
    authorization: str = DEFAULT_AUTHORIZATION
    enforce_limits: bool = False
    ack_count: int = DEFAULT_ACK_COUNT
    market: MarketSettings = MarketSettings()
    hours: bool = False
    square_off: str = ""
    speaks: Literal["fyers", "openalgo"] = "fyers"


class SandboxServer:
    """A running sandbox; an async context manager. Raises `UsageError` for a bad tape or a bad calendar file."""

    def __init__(self, options: SandboxOptions, clock: Clock) -> None:
        instruments = InstrumentBook(options.market)
        calendar = MarketCalendar.load(options.market.calendar_file)
        self.plan = FaultPlan(options.seed)
        self.exchange = Exchange(
            instruments, CostSchedule(), clock, options.starting_cash, options.margin_rate,
            Hours(calendar) if options.hours else None, options.square_off,
        )  # fmt: skip
        self.player: TapePlayer | None = None
        self._port = options.port
        self._clock = clock
        gate, meter = TokenGate(options.authorization), CallMeter(clock, enforce=options.enforce_limits)
        self.gate, self.meter = gate, meter
        directory = SymbolDirectory(instruments)
        self.speaks = options.speaks
        openalgo = options.speaks == "openalgo"
        self.feed = (OpenAlgoSocket if openalgo else OrderFeed)(self.exchange, self.plan, gate)
        boards = Boards(directory)
        self.data_feed = DataFeed(self.exchange, directory, boards, self.plan, gate, clock, options.ack_count)
        if isinstance(self.feed, OpenAlgoSocket):
            self.data_feed.followers.append(self.feed.tell)
        self.load = Load(self.data_feed, boards, directory, clock)
        if options.tapes:
            tick_filter = TickFilter(instruments, calendar, MAX_JUMP_PERCENT)
            tapes = Tapes(options.tapes, (), CHUNK_ROWS)
            self.player = TapePlayer(tapes, tick_filter, self.exchange, (self.feed, self.data_feed))
            for symbol in tapes.symbols:
                directory.find(symbol)
        self.admin = AdminApi(self.exchange, self.feed, self.data_feed, self.load, self.plan, gate, meter, self.player)
        self._api = FyersApi(self.exchange, self.feed, self.plan, gate, meter)
        self._symbols = SymbolApi(self._api, directory, self.plan, gate, meter)
        candles = Candles(options.tapes, instruments, calendar)
        self._market = MarketApi(self._api, self.exchange, gate, instruments, candles, calendar, options.authorization)
        self.openalgo = (
            OpenAlgoApi(self.exchange, self.feed, self.plan, gate, meter, candles) if openalgo else None
        )  # fmt: skip
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:8790`; raises `Fault` before `start`."""
        if self._runner is None:
            raise Fault("the sandbox is not started")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @property
    def data_socket_url(self) -> str:
        """Where the data socket is, such as `ws://127.0.0.1:8790/hsm/v1-5/prod`; raises `Fault` before `start`."""
        return self.url.replace("http", "ws", 1) + PATH

    @property
    def symbol_tokens_url(self) -> str:
        """Where symbols become tokens; raises `Fault` before `start`."""
        return self.url + TOKENS_PATH

    @property
    def index_names_url(self) -> str:
        """Where the names of the indices are; raises `Fault` before `start`."""
        return self.url + INDEX_NAMES_PATH

    @property
    def openalgo_socket_url(self) -> str:
        """Where OpenAlgo's WebSocket is; raises `Fault` before `start`."""
        return self.url.replace("http", "ws", 1) + SOCKET_PATH

    async def keep_time(self) -> None:
        """Do what is due where no tick says that it is, until cancelled."""
        while True:
            self.exchange.advance()
            self.publish()
            await asyncio.sleep(TIME_S)

    def publish(self) -> None:
        """Tell every client what the exchange did since the last time."""
        self.feed.publish()
        self.data_feed.publish()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; raises `UsageError` where the port can't be had."""
        application = web.Application(middlewares=[say_usage_errors])
        application.on_response_prepare.append(self._date)
        application.add_routes([*self._market.masters(), *self.admin.routes()])
        if self.openalgo is not None:
            application.add_routes([*self.openalgo.routes(), web.get(SOCKET_PATH, self.feed.handle)])
        else:
            application.add_routes([*self._api.routes(), *self._market.routes(), *self._symbols.routes()])
            application.add_routes([web.get("/trade/v3", self.feed.handle), web.get(PATH, self.data_feed.handle)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(
                f"--port {self._port}: can't be listened on ({error.strerror}); stop what listens there, or name "
                "another one (0 takes any that is free)"
            ) from None
        self._runner = runner

    async def _date(self, request: web.Request, response: web.StreamResponse) -> None:
        """Every answer says what time it is by the sandbox's own clock."""
        response.headers["Date"] = formatdate(self._clock.now_ns() // NS_PER_S, usegmt=True)

    async def stop(self) -> None:
        """Close all connections and stop listening; the book stays. Stopped already, does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self.feed.close()
            await self.data_feed.close()
            await runner.cleanup()
