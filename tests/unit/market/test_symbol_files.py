"""Symbol master files: downloaded, checked, kept; which runs need them; and what happens at midnight."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, NS_PER_S, LiveClock, ReplayClock
from daemon.core.errors import StartAgain, Unavailable, UsageError
from daemon.core.events import Event, Halt, Resume, TradingState, TradingStateChanged
from daemon.market.symbol_files import MasterDay, cached, ensure, newest_day, open_instruments, update
from daemon.settings.market import SymbolMasterSettings
from tests.samples import OPEN, settings_of
from tests.unit.core.readings import FakeReadings
from tests.unit.market.masters import DAY, put, texts_of
from tests.unit.sandbox.desk import opened

NEXT = DAY + dt.timedelta(days=1)
REAL = ("broker.name=fyers", "broker.fyers.token_file=/nowhere")


def files(directory: Path, url: str = "http://127.0.0.1:1", **changes: int) -> SymbolMasterSettings:
    """Settings of small files."""
    return SymbolMasterSettings.model_validate({"url": url, "directory": directory, "min_rows": 1, **changes})


def names_in(directory: Path) -> list[str]:
    """What lies there."""
    return [item.name for item in directory.iterdir()]


@asynccontextmanager
async def serving(texts: dict[str, bytes]) -> AsyncIterator[str]:
    """A server of these files."""

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.Response(body=texts[name]) if name in texts else web.Response(status=404)

    application = web.Application()
    application.router.add_get("/{name}.csv", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_download_is_checked_and_kept(tmp_path: Path) -> None:
    """From the sandbox, as of its market's day; a second one of the day takes its place; nothing else is left."""
    async with opened() as desk:
        settings = files(tmp_path, f"{desk.server.url}/sym_details")
        today = dt.date.today()
        seen: list[str] = []
        master = await update(settings, today, lambda name, _: seen.append(name))
        assert master.listing("NSE:SBIN-EQ") is not None
        await update(settings, today)
    assert set(seen) == {"NSE_CM", "NSE_FO"}
    assert cached(settings, today).rows == master.rows
    assert names_in(tmp_path) == [today.isoformat()]
    assert newest_day(tmp_path) == today
    assert newest_day(tmp_path / "none") is None


async def test_what_is_not_believed_is_not_kept(tmp_path: Path) -> None:
    """A file that is missing, one that can't be read, one that shrank by half, one that nobody serves."""
    put(tmp_path, DAY)
    fresh = {name: text.replace(b"2026-01-05", b"2026-01-06") for name, text in texts_of().items()}
    few = {**fresh, "NSE_CM": fresh["NSE_CM"].splitlines(keepends=True)[0],
           "NSE_FO": fresh["NSE_FO"].splitlines(keepends=True)[0]}  # fmt: skip
    for texts, why, kind in (
        ({"NSE_CM": fresh["NSE_CM"]}, r"NSE_FO.csv answered HTTP 404 \(is it the address.+\); try again", Unavailable),
        ({**fresh, "NSE_FO": b"<html>"}, "columns", Unavailable),
        (few, "holds 2 rows, but 11 on 2026-01-05: it was cut off", Unavailable),
    ):
        async with serving(texts) as url:
            with pytest.raises(UsageError, match=why) as raised:
                await update(files(tmp_path, url), NEXT)
            assert type(raised.value) is kind  # what is served may be right in a minute: systemd is to try again
    with pytest.raises(Unavailable, match="can't be read"):
        await update(files(tmp_path), NEXT)
    assert names_in(tmp_path) == [DAY.isoformat()]
    async with serving(fresh) as url:
        assert (await update(files(tmp_path, url), NEXT)).rows == 11


async def test_a_directory_that_can_not_be_written(tmp_path: Path) -> None:
    """Named."""
    (tmp_path / "file").write_text("")
    async with serving(texts_of()) as url:
        with pytest.raises(UsageError, match=r"market\.symbol_master\.directory: .* can't be written"):
            await update(files(tmp_path / "file", url), DAY)


async def test_a_live_start_gets_today_s(tmp_path: Path) -> None:
    """Once, and only where orders leave the machine."""
    async with serving(texts_of()) as url:
        master = (f"market.symbol_master.url={url}", f"market.symbol_master.directory={tmp_path}/s",
                  "market.symbol_master.min_rows=1")  # fmt: skip
        await ensure(settings_of(*master), DAY)
        assert newest_day(tmp_path / "s") is None
        await ensure(settings_of(*master, *REAL), DAY)
        assert newest_day(tmp_path / "s") == DAY
    await ensure(settings_of(*master, *REAL), DAY)


async def test_a_copy_that_is_not_whole_is_fetched_again(tmp_path: Path) -> None:
    """As the power may leave it; where nobody serves another the start says what is wrong."""
    put(tmp_path, DAY)
    (tmp_path / DAY.isoformat() / "NSE_FO.csv").write_bytes(b"")
    wanted = ("market.symbol_master.min_rows=1", f"market.symbol_master.directory={tmp_path}", *REAL)
    with pytest.raises(UsageError, match="can't be read"):
        await ensure(settings_of(*wanted, "market.symbol_master.url=http://127.0.0.1:1"), DAY)
    async with serving(texts_of()) as url:
        await ensure(settings_of(*wanted, f"market.symbol_master.url={url}"), DAY)
    assert cached(files(tmp_path), DAY).rows == 11


def test_who_trades_with_a_master(tmp_path: Path) -> None:
    """A real exchange needs it; paper and the sandbox only when told; without it no index is sent anywhere."""
    put(tmp_path)
    master = (f"market.symbol_master.directory={tmp_path}", "market.symbol_master.min_rows=1")
    local = "broker.fyers.api_url=http://127.0.0.1:8790/api/v3"
    index = "NSE:NIFTY50-INDEX"
    for settings, day, traded, tradeable in (
        (settings_of(*master), None, index, True),
        (settings_of(*master, *REAL, local), None, index, True),
        (settings_of(*master, *REAL), DAY, "NSE:NIFTY26JANFUT", False),
        (settings_of(*master, *REAL, "market.symbol_master.use=never"), None, index, False),
        (settings_of(*master, "market.symbol_master.use=always"), DAY, index, True),
    ):
        book, found = open_instruments(settings, None, DAY)
        instrument = book.resolve(index)
        assert instrument is not None
        assert (found, book.traded_as(index), instrument.tradeable) == (day, traded, tradeable)
    with pytest.raises(UsageError, match="hrmd instruments update"):
        open_instruments(settings_of(*master, *REAL), None, NEXT)


def test_a_replay_of_an_old_day_takes_that_day_s_contract(tmp_path: Path) -> None:
    """The tape's day decides, not today."""
    put(tmp_path, DAY)
    put(tmp_path, dt.date(2026, 2, 2))
    settings = settings_of(
        f"market.symbol_master.directory={tmp_path}", "market.symbol_master.min_rows=1", *REAL,
    )  # fmt: skip
    for day, front in ((DAY, "NSE:NIFTY26JANFUT"), (dt.date(2026, 2, 2), "NSE:NIFTY26FEBFUT")):
        book, _ = open_instruments(settings, day, dt.date(2026, 11, 21))
        assert book.traded_as("NSE:NIFTY-FUT1") == front


def test_a_run_that_outlives_its_master_s_day_halts() -> None:
    """At the first look after midnight in India; the next start resumes what only this had stopped."""
    bus, wall, asked = Bus(), ReplayClock(OPEN), list[Event]()
    bus.tap((Halt, Resume), asked.append)
    day = MasterDay(bus, DAY, ReplayClock(7), wall, wall.now_ns)
    day.look()
    assert asked == []
    wall.advance(OPEN + DAY_NS)
    day.look()
    reason = "the symbol master is of 2026-01-05, and it is 2026-01-06: start the daemon again"
    assert asked == [Halt(ts=7, reason=reason, automatic=True, who="hrmd")]
    fresh = MasterDay(bus, NEXT, ReplayClock(7), wall, wall.now_ns)
    bus.publish(TradingStateChanged(ts=7, state=TradingState.HALTED, reason="lunch"))
    fresh.look()
    assert len(asked) == 1
    bus.publish(TradingStateChanged(ts=7, state=TradingState.HALTED, reason=reason))
    fresh.look()
    assert isinstance(asked[-1], Resume)


async def test_a_clock_that_is_set_forward_into_another_day_is_a_new_start() -> None:
    """The run began with a wrong day, and has its contracts; a midnight that passes is no such thing."""
    bus, readings = Bus(), FakeReadings(OPEN)
    clock = LiveClock(readings)
    day = MasterDay(bus, DAY, clock, clock, clock.passed_ns)
    clock.step(120 * NS_PER_S)
    day.notice_step()
    readings.go(DAY_NS / NS_PER_S - 3600)
    day.notice_step()
    readings.go(3600)
    day.notice_step()
    clock = LiveClock(FakeReadings(OPEN))
    behind = MasterDay(bus, DAY, clock, clock, clock.passed_ns)
    clock.step(DAY_NS)
    said = (
        "clock of 2026-01-05, which was set forward by 86400 s: it is 2026-01-06, and a new start takes the day's own"
    )
    with pytest.raises(StartAgain, match=said):
        await behind.run()
