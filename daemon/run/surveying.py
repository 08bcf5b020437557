"""Tapes → what is on them and what a replay would make of it: a replay of feed and bars, without anybody who decides.

Invariant: what is counted is what `hrmd replay` with the same settings counts, whatever is on the tapes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_MS, ReplayClock, wall_ns
from daemon.core.events import TickBatch
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.survey import Surveyor, TapeSurvey
from daemon.market.calendar import CalendarRangeError, MarketCalendar, ist_date
from daemon.market.symbol_files import open_instruments
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS


class _Shown(Tapes):
    """Tapes whose every batch is shown to a surveyor first."""

    def __init__(self, paths: list[Path], chunk_rows: int, surveyor: Surveyor) -> None:
        super().__init__(paths, [], chunk_rows)
        self._surveyor = surveyor

    def batches(self) -> Iterator[TickBatch]:
        """Ticks of all tapes, at most a chunk of each at a time."""
        for batch in super().batches():
            self._surveyor.raw(batch)
            yield batch


async def survey_tapes(settings: Settings, paths: list[Path]) -> TapeSurvey:
    """Read tapes once. Raises `TapeError` where one is none or is damaged."""
    surveyor = Surveyor(paths)
    tapes = _Shown(paths, min(settings.feed.chunk_rows, surveyor.chunk_rows), surveyor)
    bus, feed = Bus(), settings.feed
    calendar = MarketCalendar.load(settings.market.calendar_file)
    grace_ns = settings.bars.grace_ms * NS_PER_MS
    first = tapes.opening_ts
    try:
        day = None if first is None else ist_date(first)
        if day is not None:
            calendar.session(day)
    except CalendarRangeError:  # a replay would refuse it; here one may look
        day = None
    instruments, _ = open_instruments(settings, day, ist_date(wall_ns()))
    tick_filter = tapes.tick_filter(feed, instruments, calendar)
    schedule = Schedule(INTERVALS[settings.strategy.interval], grace_ns, settings.strategy.square_off_minutes)
    player = TapeFeed(bus, tapes, tick_filter, calendar, schedule, ReplayClock())
    bars = BarsActor(bus, BarBuilder(calendar, tapes.intervals(settings.bars.intervals), grace_ns))
    bus.tap((TickBatch,), surveyor.accepted)
    playing, building = asyncio.create_task(player.run()), asyncio.create_task(bars.run())
    await asyncio.wait((playing, building), return_when=asyncio.FIRST_COMPLETED)
    ended = playing if playing.done() else building
    for task in (playing, building):
        task.cancel()
    await asyncio.wait((playing, building))
    ended.result()
    return surveyor.survey(tick_filter, bars.builder.late_of)
