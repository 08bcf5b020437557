"""Live is replay: the bars that a live feed made are those of the tape that was recorded of it."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import TICK_COLUMNS, Bar, FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar, Session, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings
from daemon.settings.values import INTERVALS
from daemon.tape.recorded import tape_path
from daemon.tape.recorder import Recorder
from daemon.tape.simulator import SimulatedSymbol, simulate
from tests.depth import examples
from tests.samples import DAY, OPEN, RELIANCE, SBIN

CALENDAR = MarketCalendar()
GRACE_NS = NS_PER_S
SCHEDULE = Schedule(60, GRACE_NS, 15)
"""The close of every bar of any interval, as a live feed has it."""
NAMES = ("1m", "5m", "30m", "1d")
SYMBOLS = [SimulatedSymbol(SBIN, 800.0, 0.05, is_index=False), SimulatedSymbol(RELIANCE, 1450.0, 0.05, is_index=False)]

Outcome = tuple[list[Bar], int, dict[str, int]]


def sessions() -> list[Session]:
    """Two days that follow each other."""
    found = [CALENDAR.session(ist_date(OPEN + day * DAY)) for day in range(2)]
    return [session for session in found if session is not None]


def received_late(raw: TickBatch, rng: np.random.Generator) -> TickBatch:
    """The ticks as a live feed gets them: after a while, some much later, in the order of their receipt."""
    delay = rng.exponential(0.2, len(raw)) + np.where(rng.random(len(raw)) < 0.02, rng.exponential(20.0, len(raw)), 0)
    received = raw.ts_recv + (delay * NS_PER_S).astype(np.int64)
    late = msgspec.structs.replace(raw, ts_recv=received)
    return late.take(np.argsort(received, kind="stable"))


class Live:
    """A feed, by hand: raw ticks to the recorder, accepted ones to the bars, time and silences in between."""

    def __init__(self, recorder: Recorder, rng: np.random.Generator) -> None:
        self.tick_filter = TickFilter(InstrumentBook(MarketSettings()), CALENDAR, 20.0)
        self.builder = BarBuilder(CALENDAR, {name: INTERVALS[name] for name in NAMES}, GRACE_NS)
        self.bars: list[Bar] = []
        self._recorder = recorder
        self._rng = rng
        self._newest = 0

    def play(self, raw: TickBatch, session: Session) -> None:
        """A session's ticks in pieces as they happen to come; what is due is told before later ticks."""
        moments = SCHEDULE.of(session)
        cuts = np.searchsorted(raw.ts_recv, moments, side="right").tolist()
        edges = sorted({0, len(raw), *cuts, *self._rng.integers(0, len(raw), 60).tolist()})
        for start, stop in pairwise(edges):
            while moments and moments[0] < raw.ts_recv[start]:
                self.tell(moments.pop(0))
            self._hand_over(raw.slice(start, stop))
            now = int(raw.ts_recv[stop - 1])
            if stop < len(raw) and raw.ts_recv[stop] > now + 2:
                if self._rng.random() < 0.7:
                    self.tell(now + int(self._rng.integers(0, 2)))
                if self._rng.random() < 0.1:
                    self._fall_silent(now + 1)
        for moment in moments:
            self.tell(moment)

    def tell(self, now: int) -> None:
        """Time advances."""
        self._recorder.on_time(TimeAdvanced(ts=now))
        self.bars += self.builder.on_time(now)

    def _hand_over(self, piece: TickBatch) -> None:
        self._recorder.record(piece)
        accepted, _ = self.tick_filter.apply(piece)
        if len(accepted):
            received = np.maximum(np.maximum.accumulate(accepted.ts_recv), self._newest)
            self._newest = int(received[-1])
            self.builder.on_ticks(msgspec.structs.replace(accepted, ts_recv=received))

    def _fall_silent(self, now: int) -> None:
        symbol = str(self._rng.choice([SBIN, RELIANCE, ""])) or None
        self._recorder.note(FeedStatus(ts=now, state=FeedState.STALE, symbol=symbol, reason="silent"))
        self.builder.mark_gap(symbol, now)


def live(directory: Path, seed: int) -> Outcome:
    """Two recorded days."""
    rng = np.random.default_rng(seed)
    recorder = Recorder(directory, CALENDAR, flush_s=0.002, queue_ticks=1_000_000, keep_days=0)
    feed = Live(recorder, rng)
    for session in sessions():
        parts = list(simulate(SYMBOLS, [session], int(rng.integers(40, 400)), seed, 0.01))
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in TICK_COLUMNS}
        feed.play(received_late(TickBatch(symbols=parts[0].symbols, **columns), rng), session)
    recorder.close()
    assert (recorder.lost, recorder.trouble) == (0, "")
    return feed.bars, feed.builder.late, feed.tick_filter.rejected


def replay(directory: Path) -> Outcome:
    """The tapes of both days, through the feed of a replay."""
    bus, bars = Bus(), list[Bar]()
    bus.tap((Bar,), bars.append)
    tick_filter = TickFilter(InstrumentBook(MarketSettings()), CALENDAR, 20.0)
    builder = BarBuilder(CALENDAR, {name: INTERVALS[name] for name in NAMES}, GRACE_NS)
    actor = BarsActor(bus, builder)
    tapes = Tapes([tape_path(directory, session.date.isoformat()) for session in sessions()], [], 4096)
    feed = TapeFeed(bus, tapes, tick_filter, CALENDAR, Schedule(300, GRACE_NS, 15), ReplayClock())

    async def run() -> None:
        handling = asyncio.create_task(actor.run())
        await feed.run()
        handling.cancel()

    asyncio.run(run())
    return bars, builder.late, tick_filter.rejected


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=examples(25))
def test_the_replay_of_a_recording_makes_the_bars_that_were_made_live(seed: int) -> None:
    """To the last bar, with gaps, late ticks and rejections, however the ticks came and whenever anyone looked."""
    with tempfile.TemporaryDirectory() as name:
        bars, late, rejected = live(Path(name), seed)
        again = replay(Path(name))
    assert bars
    assert again == (bars, late, rejected)
