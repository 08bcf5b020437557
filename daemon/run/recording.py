"""`hrmd tape record`: a feed and the recorder, nothing else; and the recorder that a whole daemon takes along.

Invariant: a recorder sees what the feed hands over, in that order, before anything downstream has acted on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

import msgspec
import structlog

from daemon.assembly.ticks import venue_time
from daemon.brokers.choice import check_feed, feed_of
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_MS, OWN_TIME, Clock, PacedClock, VenueTime, wall_ns
from daemon.core.errors import SettingsError, Unavailable, UsageError
from daemon.core.events import FeedStatus, TickBatch, TimeAdvanced
from daemon.core.files import resolved
from daemon.feed.live.time import live_clock
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.machine import Machine
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.opening import CalendarWatch
from daemon.market.symbol_files import ensure, open_instruments
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.tape.recorded import reels_by_day
from daemon.tape.recorder import Recorder

log = structlog.get_logger("recorder")

END_S: Final = 25.0
"""How long the end waits for the last ticks, and for the day's tape where that is made: systemd waits for 45 s."""
LOOK_S: Final = 1.0


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What `hrmd tape record` came to."""

    path: str
    recorded: int
    lost: int


def open_recorder(settings: Settings, calendar: MarketCalendar, machine: Machine) -> Recorder:
    """Open the recorder that `feed.record` describes. Raises `UsageError` where its place can't be used."""
    record = settings.feed.record
    return Recorder(
        record.path, calendar, flush_s=record.flush_s, queue_ticks=record.queue_ticks, keep_days=record.keep_days,
        hand=machine.hand, worker=machine.thread, create=machine.file, now_ns=machine.readings.wall_ns,
    )  # fmt: skip


def wants_recorder(settings: Settings) -> bool:
    """Whether a daemon on these settings records its ticks: a rehearsal's are those of a day that may be there."""
    feed = settings.feed
    live = feed.source != "tape" and not feed.rehearse
    return feed.record.when == "always" or (feed.record.when == "live" and live)


def reels_of_today(settings: Settings, clock: Clock, machine: Machine) -> list[Path]:
    """What earlier processes recorded since midnight and nobody has sealed, oldest first."""
    directory = settings.feed.record.path
    if not wants_recorder(settings) or not directory.is_dir():
        return []
    return reels_by_day(directory).get(ist_date(clock.now_ns() or machine.readings.wall_ns()).isoformat(), [])


def follow(bus: Bus, recorder: Recorder, venue_time: VenueTime) -> None:
    """Let a recorder hear of time and of the feed's statuses; what it records is of the venue's time."""
    recorder.venue_time = venue_time.at
    bus.tap((FeedStatus,), recorder.note)
    bus.tap((TimeAdvanced,), recorder.on_time)


def record_published(bus: Bus, recorder: Recorder, tapes: Tapes) -> None:
    """Record what a tape's feed publishes: the ticks that its filter accepted, as they are handed over.

    A live feed gives its raw ticks to `Recorder.record` itself. Raises `UsageError` where the tapes are made of bars,
    or made up: recorded, their ticks would pass for the market's; and where one lies in the recording, which would
    have them twice.
    """
    for path in tapes.paths:
        if resolved(path).parent == resolved(recorder.path):
            raise UsageError(
                f"feed.record.path: {recorder.path} holds the tape {path.name} that is played, and its ticks would be "
                "added to it; name another place"
            )
    if tapes.bars:
        raise UsageError(
            f"feed.tape: {tapes.paths[0]} is made of {tapes.bars} bars, so there are no ticks to record; "
            "feed.record.when: live records none"
        )
    if tapes.simulated:
        raise UsageError(
            f"feed.tape: {', '.join(map(str, tapes.paths))}: simulated ticks aren't recorded, for they would pass for "
            "the market's; feed.record.when: live records none"
        )
    bus.tap((TickBatch,), recorder.record)


async def record_only(
    settings: Settings, stop: asyncio.Event, machine: Machine | None = None, end_s: float = END_S
) -> Recording:
    """Record until the feed ends or `stop` is set. Raises `UsageError` for feeds or places that can't be used.

    `Unavailable` where the disk hangs, and the recording can't be brought to its end: the next one seals what is left.
    """
    machine = machine if machine is not None else Machine()
    if settings.feed.source == "tape" and not settings.feed.tape:
        raise SettingsError("feed.tape: expected at least one tape for feed.source tape (--set feed.tape=[FILE])")
    if settings.feed.source != "tape":
        check_feed(settings)
    await ensure(settings, ist_date(wall_ns()))
    bus, calendar = Bus(), MarketCalendar.load(settings.market.calendar_file)
    recorder = open_recorder(settings, calendar, machine)
    watching = asyncio.create_task(_tell_of_trouble(recorder))
    try:
        bus.tap((TimeAdvanced,), CalendarWatch(calendar).on_time)
        instruments, _ = open_instruments(settings, None, ist_date(wall_ns()))
        tick_filter = TickFilter(
            instruments, calendar, settings.feed.max_jump_percent, settings.feed.max_option_jump_percent
        )
        if settings.feed.source == "tape":
            tapes = Tapes(settings.feed.tape, [], settings.feed.chunk_rows)
            follow(bus, recorder, OWN_TIME)
            record_published(bus, recorder, tapes)
            await _until(_paced(settings, bus, tapes, tick_filter, calendar).run(), stop)
        else:
            clock, budget = live_clock(settings), feed_of(settings).budget(settings.broker, machine)
            symbols = tuple(instruments.needed_for(settings.feed.symbols))
            feed = feed_of(settings).feed(settings, bus, tick_filter, calendar, clock, budget, recorder.record, symbols)
            follow(bus, recorder, venue_time(feed, calendar))
            try:
                await _until(feed.run(), stop)
            finally:
                await feed.close()
                budget.close()
    finally:
        watching.cancel()
        await bring_to_its_end(recorder, settings.feed.record.path, machine, end_s)
    return Recording(path=str(settings.feed.record.path), recorded=recorder.recorded, lost=recorder.lost)


async def _tell_of_trouble(recorder: Recorder) -> None:
    """Say that nothing is recorded, and that it is again; what failed is said by the recorder, what hangs by nobody."""
    told = ""
    while True:
        await asyncio.sleep(LOOK_S)
        trouble = recorder.trouble
        if trouble and not told:
            log.error("ticks are not being recorded", reason=trouble)
        elif told and not trouble:
            log.warning("ticks are being recorded again", lost=recorder.lost)
        told = trouble


async def bring_to_its_end(recorder: Recorder, path: Path, machine: Machine, end_s: float) -> None:
    """Write and seal what is left, within `end_s`. Raises `Unavailable`, with how much that wasn't possible for."""
    try:
        await Aside("recorder ends", machine.thread).ask(recorder.close, end_s)
    except TimeoutError as error:
        left = recorder.given - recorder.recorded - recorder.lost
        raise Unavailable(
            f"feed.record.path: {path}: the recording was not brought to its end ({error.strerror}): {left:,} ticks "
            "are not on the disk; the next one seals what is"
        ) from None


async def _until(feed: Coroutine[None, None, None], stop: asyncio.Event) -> None:
    """Run a feed to its end, or to `stop`."""
    playing, stopping = asyncio.create_task(feed), asyncio.create_task(stop.wait())
    await asyncio.wait((playing, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, stopping):
        if not task.done():
            task.cancel()
    await asyncio.wait((playing, stopping))
    if not playing.cancelled():
        playing.result()


def _paced(settings: Settings, bus: Bus, tapes: Tapes, tick_filter: TickFilter, calendar: MarketCalendar) -> TapeFeed:
    schedule = Schedule(
        INTERVALS[settings.strategy.interval], settings.bars.grace_ms * NS_PER_MS, settings.strategy.square_off_minutes
    )
    return TapeFeed(bus, tapes, tick_filter, calendar, schedule, PacedClock(settings.feed.speed))
