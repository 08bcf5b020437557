"""The whole daemon on the sandbox's data socket: the real SDK in its gateway, ticks into bars, an order, and trouble.

Tape and daemon run ten times as fast as the machine's clock, so a minute's bar takes six seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.app import App
from daemon.core.clock import PacedClock
from daemon.core.events import Action, Bar, Event, FeedState, FeedStatus, Fill, OrderDenied, TickBatch
from daemon.core.latency import MeasuredLatency
from daemon.feed.live.feed import LiveFeed
from daemon.journal.reader import JournalReader
from daemon.plan import RunPlan
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.tokens import make_token
from daemon.tape.format import TapeWriter
from tests.integration.daemons import running
from tests.samples import decide, journaled, settings_of
from tests.unit.feed.ticks import make_batch
from tests.unit.sandbox.desk import APP_ID, TOKEN, Desk, opened

pytest.importorskip("fyers_apiv3", reason="the Fyers SDK is not installed")

NAMES = (*(f"NSE:SHARE{number:02}-EQ" for number in range(49)), "NSE:NIFTY50-INDEX")
FIRST = NAMES[0]
SPEED = 10.0
START_S = 1800
LENGTH_S = 3000
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty symbols, each twice a second, each tick another price; ten shares are offered with each."""
    steps = 2 * LENGTH_S
    number = np.arange(steps * len(NAMES))
    step, code = number // len(NAMES), (number % len(NAMES)).astype(np.int32)
    index = code == len(NAMES) - 1
    price = np.round(100.0 + 10 * code + 0.05 * (step % 40), 2)
    path = tmp_path_factory.mktemp("tape") / "fifty.parquet"
    with TapeWriter(path, columns=("volume", "last_qty", "bid", "ask", "bid_qty", "ask_qty")) as writer:
        writer.write(
            make_batch(
                NAMES,
                code=code,
                ts_event=START_S + step / 2,
                ltp=price,
                volume=np.where(index, -1, 1000 + step),
                last_qty=np.where(index, -1, 1),
                bid=np.where(index, np.nan, price - 0.05),
                ask=np.where(index, np.nan, price + 0.05),
                bid_qty=np.where(index, -1, 10),
                ask_qty=np.where(index, -1, 10),
            )
        )
    return path


class Live:
    """A daemon on the sandbox, and what its bus said."""

    def __init__(self, desk: Desk, directory: Path) -> None:
        self.token_file = directory / "token"
        self.token_file.write_text(TOKEN)
        self.journal = directory / "j.sqlite"
        self.events: list[Event] = []
        self.raw: list[TickBatch] = []
        server, places = desk.server, desk.endpoints
        settings = settings_of(
            "strategy.name=rules", "strategy.interval=1m", "bars.intervals=[1m, 30m]",
            f"feed.symbols=[{', '.join(NAMES)}]", "feed.source=fyers", "feed.rehearse=true",
            f"broker.fyers.socket_url={server.data_socket_url}",
            f"broker.fyers.symbol_token_url={server.symbol_tokens_url}",
            f"broker.fyers.index_map_url={server.index_names_url}", "feed.live.start_s=300", "feed.live.silence_s=15",
            "feed.live.restart_longest_s=0.5", "feed.live.compare_every_s=0.5", "feed.live.stale_after_s=120",
            "broker.name=fyers", f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
            f"broker.fyers.order_socket_url={places.orders}", f"broker.fyers.token_file={self.token_file}",
            f"broker.fyers.calls_file={self.token_file}.calls", "broker.live.reconcile_s=20",
            "broker.live.answer_s=20", "market.unlisted=infer",
        )  # fmt: skip
        plan = RunPlan(
            tapes=[], symbols=[], clock=PacedClock(SPEED), latency=MeasuredLatency(), journal=self.journal,
            durable=True, restarts=True, order_prefix="L", record=self.raw.append,
        )  # fmt: skip
        self.app = App(settings, plan)
        self.app.bus.tap((Bar, FeedStatus, Fill, OrderDenied), self.events.append)

    @property
    def feed(self) -> LiveFeed:
        """The station under test."""
        assert isinstance(self.app.feed, LiveFeed)
        return self.app.feed

    def bars(self) -> list[Bar]:
        """The minutes of the first share."""
        return [e for e in self.events if isinstance(e, Bar) and (e.symbol, e.interval) == (FIRST, "1m")]

    def states(self) -> list[FeedStatus]:
        """What was said of the whole feed."""
        return [event for event in self.events if isinstance(event, FeedStatus) and event.symbol is None]

    def connected(self) -> bool:
        """Whether the feed's last word is that it is."""
        return bool(self.states()) and self.states()[-1].state is FeedState.CONNECTED

    async def minute(self) -> Bar:
        """The next bar to close."""
        count = len(self.bars())
        await until(lambda: len(self.bars()) > count)
        return self.bars()[-1]


async def until(condition: Any) -> None:
    """Wait for something, long enough for a busy machine."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 — no event for every condition of a test
            await asyncio.sleep(0.02)


@asynccontextmanager
async def living(tape: Path, directory: Path) -> AsyncIterator[tuple[Live, Desk]]:
    """Sandbox and daemon, until the block ends."""
    async with opened(tapes=[tape]) as desk:
        assert desk.server.player is not None
        live = Live(desk, directory)
        playing = asyncio.create_task(desk.server.player.run(SPEED))
        task = asyncio.create_task(live.app.run())
        try:
            await until(lambda: live.connected() or task.done())
            yield live, desk
        finally:
            live.app.stop("enough")
            await task
            playing.cancel()


@pytest.mark.nightly
async def test_a_day_with_trouble(tape: Path, tmp_path: Path) -> None:
    """Bars of fifty symbols, an order filled in parts; a cut, a half-open link, an expired token, a wrong price."""
    async with living(tape, tmp_path) as (live, desk):
        app = live.app
        assert (await live.minute()).gap, "the daemon began inside this minute"
        whole = await live.minute()
        assert not whole.gap
        assert (whole.ticks, whole.volume) == (120, 120)
        assert {event.symbol for event in live.events if isinstance(event, Bar)} == set(NAMES)

        app.bus.publish(decide(Action.BUY_LONG, 25, ts=app.plan.clock.now_ns(), symbol=FIRST, price=100.0))
        await until(lambda: app.portfolio.portfolio.quantity(FIRST) == 25)
        fills = [event for event in live.events if isinstance(event, Fill)]
        assert sum(fill.quantity for fill in fills) == 25
        assert len(fills) == 3, "ten at a time"

        await live.minute()
        await desk.admin("POST", "cut")
        await _recovered(live, "the connection was closed")

        desk.trouble(FaultKind.MUTE, Route.FRAME)
        await _recovered(live, "no ticks for")

        desk.trouble(FaultKind.WRONG_PRICE, Route.TICK, symbol=NAMES[3], factor=1.1, times=10_000)
        await until(lambda: NAMES[3] in app.risk.book.stale)
        assert "quote" in app.risk.book.stale[NAMES[3]]
        await desk.admin("DELETE", "faults")
        await until(lambda: NAMES[3] not in app.risk.book.stale)

        await desk.admin("POST", "token", {})
        await until(lambda: not live.connected())
        fresh = make_token("another-key")
        await desk.admin("POST", "token", {"authorization": f"{APP_ID}:{fresh}"})
        live.token_file.write_text(fresh)
        await _recovered(live, "")
        assert sum(live.feed.tick_filter.rejected.values()) < 0.02 * live.feed.tick_filter.accepted

    written = journaled(live.journal, FeedStatus)
    assert [status.state for status in written if status.symbol is None][:2] == [FeedState.STALE, FeedState.CONNECTED]
    JournalReader(live.journal).close()
    assert sum(map(len, live.raw)) >= live.feed.tick_filter.accepted


async def test_the_command_runs_it(tape: Path, tmp_path: Path) -> None:
    """`hrmd run` on a live feed: READY, ticks, a status that tells of the link; SIGTERM ends it and its child."""
    async with opened(tapes=[tape]) as desk:
        assert desk.server.player is not None
        server, token_file = desk.server, tmp_path / "fyers.token"
        token_file.write_text(TOKEN)
        playing = asyncio.create_task(desk.server.player.run(1.0))

        def day() -> dict[str, Any]:
            changes = (
                "strategy.name=rules", "feed.source=fyers", "feed.rehearse=true", f"feed.symbols=[{FIRST}]",
                f"broker.fyers.socket_url={server.data_socket_url}",
                f"broker.fyers.token_file={token_file}",
                f"broker.fyers.symbol_token_url={server.symbol_tokens_url}", "feed.live.compare_every_s=0",
                f"broker.fyers.index_map_url={server.index_names_url}", f"broker.fyers.calls_file={tmp_path}/calls",
            )  # fmt: skip
            with running(tmp_path, tape, *changes) as daemon:
                daemon.until("ticks", lambda: daemon.status()["ticks_accepted"] > 5)
                status = daemon.status()
                assert daemon.terminate() == 0
                assert any(notice.startswith("READY=1") for notice in daemon.heard())
                assert TOKEN not in json.dumps(daemon.log)
            return status

        status = await asyncio.to_thread(day)
        playing.cancel()
        await until(lambda: not desk.server.data_feed.state()["open"])
    assert (status["mode"], status["feed"], status["symbols"]) == ("paper · fyers, rehearsal", "connected", [FIRST])
    assert status["feed_counts"]["links"] == 1
    assert TOKEN.encode() not in (tmp_path / "j.sqlite").read_bytes()


async def _recovered(live: Live, reason: str) -> None:
    """The feed is lost for this reason, comes back, and the bars around it are marked; then they are whole again."""
    links, seen = live.feed.links, len(live.bars())
    await until(lambda: live.feed.links > links and live.connected())
    lost = [status for status in live.states() if status.state is FeedState.STALE][-1]
    assert reason in lost.reason
    await until(lambda: any(bar.gap for bar in live.bars()[seen:]))
    while (await live.minute()).gap:
        assert len(live.bars()) < seen + 10
