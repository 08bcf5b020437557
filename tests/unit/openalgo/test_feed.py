"""Ticks of an OpenAlgo server: over its WebSocket, from connecting to the end of a link."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.calls.budget import RateBudget
from daemon.calls.secret import Secret
from daemon.core.bus import Bus
from daemon.core.clock import LiveClock
from daemon.core.errors import SettingsError
from daemon.core.events import MISSING_INT
from daemon.feed.live.frames import HEADER, Authenticated, Counts, Frame, Refused, Subscribed, pack_ticks, read_ticks
from daemon.feed.tick_filter import MAX_PRICE, TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.openalgo.feed import SocketLink, TickReader, check_feed, openalgo_feed, ticks_are_real
from daemon.openalgo.symbols import Names
from daemon.sandbox.exchange import Quote
from tests.samples import settings_of
from tests.unit.market.masters import DAY, master_of
from tests.unit.sandbox.desk import SBIN, TOKEN, WIDE, Desk, opened

MESSAGE: dict[str, Any] = {
    "type": "market_data", "symbol": "SBIN", "exchange": "NSE", "mode": 2,
    "data": {"ltp": 820.5, "volume": 7, "timestamp": 1_767_584_700_000},
}  # fmt: skip


NAMED = [("SBIN", "NSE")]


async def heard(desk: Desk, key: str, *, real: bool = False, ticks: int = 1) -> list[Frame]:
    """What a link says until so many frames of ticks, or its end."""
    link = SocketLink(desk.server.openalgo_socket_url, Secret(key), NAMED, LiveClock(), real=real)
    found: list[Frame] = []
    async with asyncio.timeout(10), aclosing(link.frames()) as frames:
        async for frame in frames:
            found.append(frame)
            if isinstance(frame, bytes):
                ticks -= 1
                if not ticks:
                    link.kill()
                    break
                desk.price("821.25", bid=Decimal("821.2"), ask=Decimal("821.3"))
    return found


async def test_a_link_gives_ticks() -> None:
    """Let in, subscribed, the quote as it stands, and each that follows."""
    async with opened(speaks="openalgo") as desk:
        found = await heard(desk, TOKEN, ticks=2)
        news = [frame for frame in found if not isinstance(frame, bytes | Counts)]
        assert news == [Authenticated(), Subscribed(1)]
        first, second = (read_ticks(frame, (SBIN,), 1)[0] for frame in found if isinstance(frame, bytes))
        assert (first.ltp.tolist(), second.ltp.tolist()) == ([820.5], [821.25])
        assert (second.bid.tolist(), second.ask.tolist()) == ([821.2], [821.3])


@pytest.mark.parametrize(
    ("sides", "told"),
    [({"bid": 0.0, "ask": 0.0}, None), ({"bid": 820.4, "ask": 0.0}, (820.4, 0.0)), ({"bid": 0, "ask": 1}, (0.0, 1.0))],
    ids=["neither", "no seller", "no buyer"],
)  # fmt: skip
def test_two_sides_of_nothing_are_none_that_was_told(sides: dict[str, float], told: tuple[float, float] | None) -> None:
    """Adapters of some brokers put 0 where they know no quote: on paper nothing would ever trade there."""
    row = TickReader(NAMED, LiveClock()).row({**MESSAGE, "data": MESSAGE["data"] | sides})
    assert row is not None
    assert (None if math.isnan(row.bid) and math.isnan(row.ask) else (row.bid, row.ask)) == told


async def test_a_key_that_is_refused_ends_the_link() -> None:
    """Only another one will change that."""
    async with opened(speaks="openalgo") as desk:
        (refused,) = await heard(desk, "not-the-key-of-the-day")
        assert isinstance(refused, Refused)
        assert refused.token
        assert "not-the-key" not in refused.reason


async def test_ticks_of_a_sandbox_are_never_real() -> None:
    """Where money is at stake they are refused, whatever address they come from."""
    async with opened(speaks="openalgo") as desk:
        (refused,) = await heard(desk, TOKEN, real=True)
        assert isinstance(refused, Refused)
        assert "sandbox" in refused.reason


async def test_a_server_that_is_gone() -> None:
    """The link says so, and may be made again."""
    async with opened(speaks="openalgo") as desk:
        link = SocketLink(desk.server.openalgo_socket_url, Secret(TOKEN), NAMED, LiveClock(), real=False)
        await desk.server.stop()
        (refused,) = [frame async for frame in link.frames()]
        assert isinstance(refused, Refused)
        assert not refused.token


async def test_ticks_of_contracts_come_under_our_names() -> None:
    """An option of a week, a future and their index: subscribed as OpenAlgo names them, with their open interest."""
    symbols = ("NSE:NIFTY2610626000CE", "NSE:NIFTY26JANFUT", "NSE:NIFTY50-INDEX")
    settings = settings_of(
        "feed.source=openalgo", f"feed.symbols={list(symbols)}".replace("'", '"'), "broker.openalgo.url=http://127.0.0.1:1",
    )  # fmt: skip
    async with opened(speaks="openalgo") as desk:
        for number, symbol in enumerate(symbols):
            desk.server.exchange.on_quote(symbol, Quote(last=Decimal(100 + number), open_interest=7 + number))
        names = Names(InstrumentBook(settings.market).resolve)
        wanted = [named for symbol in symbols if (named := names.theirs(symbol))]
        link, rows = SocketLink(desk.server.openalgo_socket_url, Secret(TOKEN), wanted, LiveClock(), real=False), {}
        async with asyncio.timeout(10), aclosing(link.frames()) as frames:
            async for frame in frames:
                if isinstance(frame, bytes):
                    batch = read_ticks(frame, symbols, 1)[0]
                    rows |= dict(zip((symbols[code] for code in batch.code), batch.ltp.tolist(), strict=True))
                if len(rows) == len(symbols):
                    break
        assert rows == {symbol: 100.0 + number for number, symbol in enumerate(symbols)}


async def test_a_feed_names_contracts_by_the_instruments_of_the_run(tmp_path: Path) -> None:
    """With a symbol master one that it doesn't have is refused, an alias that was resolved is not."""
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "key").chmod(0o600)
    settings = settings_of(
        "feed.source=openalgo", 'feed.symbols=["NSE:NIFTY-FUT1"]', f"broker.openalgo.key_file={tmp_path / 'key'}"
    )
    book, clock = InstrumentBook(settings.market, DAY, master_of(DAY)), LiveClock()
    calendar = MarketCalendar()
    known = partial(
        openalgo_feed, settings, Bus(), TickFilter(book, calendar, 20.0), calendar, clock, RateBudget(clock, WIDE)
    )
    feed = known(symbols=tuple(book.needed_for(settings.feed.symbols)))
    await feed.close()
    with pytest.raises(SettingsError, match="OpenAlgo's name of NSE:SBIN26JANFUT isn't known"):
        known(symbols=("NSE:SBIN26JANFUT",))


def test_what_has_no_name_there_is_refused_before_the_start(tmp_path: Path) -> None:
    """A currency, a share of BSE: one line; an alias may yet be a contract by the symbol master."""
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "key").chmod(0o600)
    key = f"broker.openalgo.key_file={tmp_path / 'key'}"
    for symbol in ("BSE:SBIN-A", "NSE:UNHEARD-INDEX"):
        with pytest.raises(SettingsError, match=f"OpenAlgo's name of {symbol} isn't known"):
            check_feed(settings_of("feed.source=openalgo", f'feed.symbols=["{symbol}"]', key))
    for symbol in ("NSE:NIFTY26JANFUT", "NSE:NIFTY-FUT1", "BSE:SENSEX-INDEX"):
        check_feed(settings_of("feed.source=openalgo", f'feed.symbols=["{symbol}"]', key))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": "TCS"}, "unknown_symbol"), ({"data": None}, "not_a_message"), ({"data": {"ltp": 0}}, "bad_price"),
        ({"data": {"ltp": "dear"}}, "bad_price"), ({"data": {}}, "bad_price"),
        ({"data": {"ltp": 10**400}}, "bad_price"),
        *(({"data": {"ltp": 1, "timestamp": stamp}}, "bad_time") for stamp in (
            -5, 5, 315_513_000, 10**20, Decimal("1e300"), Decimal("1e999999999"), "1980-01-01 00:00:00",
            "9999-12-31T23:59:59+05:30",
        )),
    ],
)  # fmt: skip
def test_what_is_no_tick_is_counted(change: dict[str, Any], reason: str) -> None:
    """By its reason."""
    reader = TickReader(NAMED, LiveClock())
    assert reader.row({**MESSAGE, **change}) is None
    assert reader.refused == {reason: 1}


def test_what_a_broker_does_not_tell_is_missing() -> None:
    """And a tick without a time is of now."""
    row = TickReader(NAMED, LiveClock()).row(MESSAGE)
    assert row is not None
    assert (row.ts_event, row.ltp, row.volume, row.last_qty) == (1_767_584_700_000_000_000, 820.5, 7, MISSING_INT)
    assert row.bid != row.bid
    clock = LiveClock()
    untimed = TickReader(NAMED, clock).row({**MESSAGE, "data": {"ltp": 1}})
    assert untimed is not None
    assert 0 <= clock.now_ns() - untimed.ts_event < 10_000_000_000


@pytest.mark.parametrize("per_s", [1, 1000, 1_000_000, 1_000_000_000])
def test_a_time_is_in_the_unit_in_which_it_is_one(per_s: int) -> None:
    """Brokers count seconds, or parts of them."""
    row = TickReader(NAMED, LiveClock()).row({**MESSAGE, "data": {"ltp": 1, "timestamp": 1_767_584_700 * per_s}})
    assert row is not None
    assert row.ts_event == 1_767_584_700_000_000_000


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, Decimal("1e300"), 10**400, -1])
def test_what_no_column_holds_is_missing(value: int | Decimal) -> None:
    """A tick goes on with its price, and its link with it."""
    fields = dict.fromkeys(("volume", "last_quantity", "bid", "ask", "bid_quantity", "ask_quantity", "oi"), value)
    row = TickReader(NAMED, LiveClock()).row({**MESSAGE, "data": {"ltp": 820.5, **fields}})
    assert row is not None
    assert (row.volume, row.last_qty, row.bid_qty, row.ask_qty, row.oi) == (MISSING_INT,) * 5
    assert all(math.isnan(quote) or quote >= MAX_PRICE for quote in (row.bid, row.ask))
    batch, _ = read_ticks(pack_ticks([row], 1)[HEADER.size :], (SBIN,), 1)
    assert batch.ltp.tolist() == [820.5]


def test_whose_orders_its_ticks_may_move() -> None:
    """Those of the same server; a rehearsal moves none."""
    assert ticks_are_real(settings_of("broker.name=openalgo"))
    assert not ticks_are_real(settings_of("broker.name=openalgo", "feed.rehearse=true"))
    assert not ticks_are_real(settings_of("broker.name=fyers"))
