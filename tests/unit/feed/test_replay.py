"""The replay feed: the moments of a session, several tapes as one, a tape from first tick to last moment."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import PacedClock, ReplayClock
from daemon.core.errors import TapeError
from daemon.core.events import Event, FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings
from daemon.settings.values import INTERVALS
from daemon.tape.format import TapeWriter
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

CALENDAR = MarketCalendar()
MONDAY = dt.date(2026, 1, 5)
CLOSE_S = 375 * 60
DAY_S = 86_400


class Recorder(Actor):
    """Keeps every tick and moment it handles, in order, and lets others run in between."""

    name = "recorder"

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.seen: list[tuple[str, float]] = []
        self.batches = 0
        self.inbox = bus.subscribe(self.name, (TickBatch, TimeAdvanced))

    async def handle(self, event: Event) -> None:
        """Keep ("tick", price) or ("time", seconds after the open)."""
        await asyncio.sleep(0)
        if isinstance(event, TickBatch):
            self.batches += 1
            self.seen += [("tick", price) for price in event.ltp.tolist()]
        elif isinstance(event, TimeAdvanced):
            self.seen.append(("time", (event.ts - OPEN_NS) / SECOND))


def write(path: Path, *batches: TickBatch, **notes: str) -> Path:
    """Write a tape."""
    with TapeWriter(path, notes=notes) as writer:
        for batch in batches:
            writer.write(batch)
    return path


def rows(batches: list[TickBatch]) -> list[tuple[str, float, float]]:
    """(symbol, second of receipt, price) of every tick."""
    return [
        (batch.symbols[code], (recv - OPEN_NS) / SECOND, price)
        for batch in batches
        for code, recv, price in zip(batch.code.tolist(), batch.ts_recv.tolist(), batch.ltp.tolist(), strict=True)
    ]


def feed_of(
    tapes: Tapes, bus: Bus, clock: ReplayClock | PacedClock | None = None, schedule: Schedule | None = None
) -> TapeFeed:
    """Make a feed with the real filter and calendar, half-hour moments and a second of grace."""
    return TapeFeed(
        bus,
        tapes,
        TickFilter(InstrumentBook(MarketSettings()), CALENDAR, 50.0),
        CALENDAR,
        schedule or Schedule(INTERVALS["30m"], SECOND, 15),
        clock or ReplayClock(),
    )


async def played(tapes: Tapes, schedule: Schedule | None = None) -> tuple[TapeFeed, Recorder]:
    """Play to the end before a recorder."""
    bus = Bus()
    recorder = Recorder(bus)
    task = asyncio.create_task(recorder.run())
    feed = feed_of(tapes, bus, schedule=schedule)
    async with asyncio.timeout(30):
        await feed.run()
    task.cancel()
    assert bus.pending == 0
    return feed, recorder


# -- Schedule -------------------------------------------------------------------------------------------------------


def moments(interval: str, day: dt.date, *, grace_s: int = 1, square_off_minutes: float = 15) -> list[float]:
    """The moments of a day, seconds after its open."""
    session = CALENDAR.session(day)
    assert session is not None
    due = Schedule(INTERVALS[interval], grace_s * SECOND, square_off_minutes).of(session)
    assert due == sorted(set(due))
    return [(moment - session.open_ns) / SECOND for moment in due]


def test_schedule_of_a_day() -> None:
    """The open, each close with its grace, square-off 15 minutes before the end, and the end itself."""
    closes = [1800.0 * n + 1 for n in range(1, 13)]
    assert moments("30m", MONDAY) == sorted([1.0, *closes, CLOSE_S - 900.0, CLOSE_S + 1.0])


@pytest.mark.parametrize(
    ("interval", "closes"), [("1m", 375), ("3m", 125), ("5m", 75), ("15m", 25), ("60m", 7), ("1d", 1)]
)
def test_schedule_has_every_close(interval: str, closes: int) -> None:
    """As many closes as the interval has bars in a session, the last one at the session's end."""
    due = moments(interval, MONDAY, grace_s=2, square_off_minutes=14.5)
    assert len(due) == closes + 2
    assert due[-1] == CLOSE_S + 2


def test_schedule_without_grace() -> None:
    """With no grace the open and square-off at a close are one moment each."""
    assert moments("60m", MONDAY, grace_s=0) == [0, 3600, 7200, 10800, 14400, 18000, 21600, 22500]


def test_schedule_of_a_short_session() -> None:
    """An hour of muhurat trading has its own square-off, and one that is longer than the session is at its open."""
    muhurat = dt.date(2021, 11, 4)
    assert moments("30m", muhurat) == [1, 1801, 2700, 3601]
    assert moments("30m", muhurat, square_off_minutes=90) == [0, 1, 1801, 3601]


# -- Tapes ----------------------------------------------------------------------------------------------------------


def test_two_tapes_become_one_stream(tmp_path: Path) -> None:
    """Ticks of tapes with different symbol tables come in order of receipt, each under its own name."""
    one = write(tmp_path / "1", make_batch(("AAA", "BBB"), code=[0, 1, 0], ts_event=[1, 4, 6], ltp=[1, 2, 3]))
    two = write(tmp_path / "2", make_batch(("CCC", "AAA"), code=[0, 1, 0], ts_event=[2, 3, 9], ltp=[4, 5, 6]))
    tapes = Tapes([one, two], [], 1024)
    assert tapes.symbols == ("AAA", "BBB", "CCC")
    assert tapes.rows == 6
    assert tapes.opening_ts == OPEN_NS + 3 * SECOND  # the middle of its ticks
    assert rows(list(tapes.batches())) == [
        ("AAA", 1, 1), ("CCC", 2, 4), ("AAA", 3, 5), ("BBB", 4, 2), ("AAA", 6, 3), ("CCC", 9, 6),
    ]  # fmt: skip


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 100])
def test_equal_times_keep_the_order_of_the_tapes(tmp_path: Path, chunk_rows: int) -> None:
    """However little is read at a time, ticks of one time come tape by tape."""
    times = [1, 1, 1, 2, 2, 3]
    paths = [
        write(tmp_path / str(n), make_batch((f"S{n}",), ts_event=times[n:], ltp=[100.0 * n + i for i in range(6 - n)]))
        for n in range(3)
    ]
    expected = sorted(
        (second, n, i) for n in range(3) for i, second in enumerate(times[n:])
    )  # by time, then tape, then place on the tape
    merged = rows(list(Tapes(paths, [], chunk_rows).batches()))
    assert merged == [(f"S{n}", second, 100.0 * n + i) for second, n, i in expected]


def test_symbols_are_selected(tmp_path: Path) -> None:
    """Only the wanted symbols leave, and a tape without any of them is not read."""
    one = write(tmp_path / "1", make_batch(("AAA", "BBB"), code=[0, 1, 0], ts_event=[1, 2, 3], ltp=[1, 2, 3]))
    two = write(tmp_path / "2", make_batch(("CCC",), ts_event=[2], ltp=[4]))
    assert rows(list(Tapes([one, two], ["BBB"], 1024).batches())) == [("BBB", 2, 2)]
    both = Tapes([one, two], ["CCC", "AAA"], 1024)
    assert both.symbols == ("AAA", "CCC")
    assert rows(list(both.batches())) == [("AAA", 1, 1), ("CCC", 2, 4), ("AAA", 3, 3)]


def test_an_unknown_symbol_is_refused(tmp_path: Path) -> None:
    """The message names the symbol and what the tapes have."""
    one = write(tmp_path / "1", make_batch(("AAA",), ltp=[1]))
    two = write(tmp_path / "2", make_batch(("BBB",), ltp=[1]))
    with pytest.raises(TapeError, match=r"^symbol CCC: not on the tape; it has AAA, BBB$"):
        Tapes([one, two], ["AAA", "CCC"], 1024)


def test_a_bad_tape_is_refused_at_once(tmp_path: Path) -> None:
    """Opening, not playing, finds a missing file."""
    with pytest.raises(TapeError, match="no such tape"):
        Tapes([tmp_path / "none.parquet"], [], 1024)


def test_simulated_is_passed_on(tmp_path: Path) -> None:
    """One simulated tape makes the whole run simulated."""
    real = write(tmp_path / "1", make_batch(ltp=[1]))
    made = write(tmp_path / "2", make_batch(ltp=[1]), simulated="true")
    assert not Tapes([real], [], 1024).simulated
    assert Tapes([real, made], [], 1024).simulated
    assert [Tapes(tapes, [], 1024).real for tapes in ([real], [made], [real, made], [])] == [True, False, True, True]


def test_quotes_are_looked_for(tmp_path: Path) -> None:
    """In any of the tapes, on both sides; a feed may always have some."""
    plain = write(tmp_path / "1", make_batch(ltp=[1]))
    quoted = write(tmp_path / "2", make_batch(ltp=[100], bid=[99], ask=[101]))
    found = [Tapes(tapes, [], 1024).quoted for tapes in ([plain], [quoted], [plain, quoted], [])]
    assert found == [False, True, True, True]


def test_first_time_without_a_valid_stamp(tmp_path: Path) -> None:
    """A tape of epoch-0 stamps has no first time."""
    path = write(tmp_path / "1", make_batch(ts_event=[-OPEN_NS / SECOND], ltp=[1]))
    assert Tapes([path], [], 1024).opening_ts is None


# -- TapeFeed -------------------------------------------------------------------------------------------------------


async def test_ticks_and_moments_alternate(tmp_path: Path) -> None:
    """A tick received exactly at a moment comes before it, one a nanosecond later after it; the session is closed."""
    batch = make_batch(ts_event=[0, 1800, 1800, 5000], ts_recv=[0.5, 1801, 1801 + 1e-9, 5000], ltp=[100, 101, 102, 103])
    feed, recorder = await played(Tapes([write(tmp_path / "t", batch)], [], 1024))
    assert recorder.seen[:7] == [
        ("tick", 100), ("time", 1), ("tick", 101), ("time", 1801), ("tick", 102), ("time", 3601), ("tick", 103),
    ]  # fmt: skip
    assert recorder.seen[7:] == [("time", moment) for moment in moments("30m", MONDAY) if moment > 3601]
    assert (feed.first_ts, feed.last_ts) == (OPEN_NS, OPEN_NS + 5000 * SECOND)
    assert [session.date for session in feed.sessions] == [MONDAY]


async def test_a_tape_that_begins_late_has_only_later_moments(tmp_path: Path) -> None:
    """Moments before the first tick are not made up; the rest of the session is."""
    path = write(tmp_path / "t", make_batch(ts_event=[5000], ltp=[100]))
    _, recorder = await played(Tapes([path], [], 1024))
    assert recorder.seen == [("tick", 100), *(("time", m) for m in moments("30m", MONDAY) if m > 5000)]


async def test_each_session_has_its_moments(tmp_path: Path) -> None:
    """Between the ticks of two days the first day is closed, before the second begins."""
    path = write(tmp_path / "t", make_batch(ts_event=[0, DAY_S, DAY_S + 1], ltp=[100, 101, 102]))
    feed, recorder = await played(Tapes([path], [], 1024))
    first, second = moments("30m", MONDAY), [DAY_S + m for m in moments("30m", MONDAY)]
    assert recorder.seen == [
        ("tick", 100), *(("time", m) for m in first), ("tick", 101), ("tick", 102), *(("time", m) for m in second),
    ]  # fmt: skip
    assert [session.date.day for session in feed.sessions] == [5, 6]


async def test_the_last_tick_begins_no_day_by_a_false_stamp(tmp_path: Path) -> None:
    """The tape has no times of receipt; the tick is counted as one of a bad time."""
    path = tmp_path / "t"
    with TapeWriter(path, columns=["volume"]) as writer:
        writer.write(make_batch(ts_event=[0, 1, 2, 3, DAY_S + 4], ltp=[100, 101, 102, 103, 104]))
    feed, recorder = await played(Tapes([path], [], 2))
    assert [session.date.day for session in feed.sessions] == [5]
    assert [value for kind, value in recorder.seen if kind == "tick"] == [100, 101, 102, 103]
    assert feed.tick_filter.rejected["bad_time"] == 1


async def test_a_straggler_after_the_last_moment_does_not_swallow_the_next_day(tmp_path: Path) -> None:
    """A tick stamped before the close and received after it leaves the next session its moments, in the same chunk."""
    path = write(
        tmp_path / "t",
        make_batch(
            ts_event=[CLOSE_S - 9, CLOSE_S - 8, CLOSE_S - 7, DAY_S, DAY_S + 5000],
            ts_recv=[CLOSE_S - 9, CLOSE_S + 5, CLOSE_S + 6, DAY_S, DAY_S + 5000],
            ltp=[100, 101, 102, 103, 104],
        ),
    )
    _, recorder = await played(Tapes([path], [], 1024))
    next_day = [("time", DAY_S + m) for m in moments("30m", MONDAY)]
    assert recorder.seen == [
        ("tick", 100), ("time", CLOSE_S + 1), ("tick", 101), ("tick", 102), ("tick", 103), *next_day[:3],
        ("tick", 104), *next_day[3:],
    ]  # fmt: skip


async def test_a_straggler_at_the_end_of_the_tape(tmp_path: Path) -> None:
    """Late ticks with nothing after them are handed over and change no moment."""
    path = write(tmp_path / "t", make_batch(ts_event=[CLOSE_S - 9, CLOSE_S - 8], ts_recv=[CLOSE_S - 9, CLOSE_S + 5]))
    _, recorder = await played(Tapes([path], [], 1024))
    assert recorder.seen == [("tick", 100), ("time", CLOSE_S + 1), ("tick", 100)]


async def test_rejected_ticks_are_not_handed_over(tmp_path: Path) -> None:
    """A tape of which nothing is believed ends without a tick, a moment or a session, and the count says why."""
    path = write(tmp_path / "t", make_batch(ts_event=[-60, -30], ltp=[100, 101]))
    feed, recorder = await played(Tapes([path], [], 1024))
    assert recorder.seen == []
    assert (feed.first_ts, feed.last_ts, feed.sessions) == (None, None, [])
    assert feed.tick_filter.rejected["outside_session"] == 2


async def test_time_of_receipt_never_falls_over_tapes_of_one_stream(tmp_path: Path) -> None:
    """What the feed hands over has rising times of receipt even where chunks were read one by one."""
    times = [0, 10, 20, 30, 40]
    path = write(tmp_path / "t", make_batch(ts_event=times, ltp=[100, 101, 102, 103, 104]))
    _, recorder = await played(Tapes([path], [], 1))
    assert [value for kind, value in recorder.seen if kind == "tick"] == [100, 101, 102, 103, 104]
    assert recorder.batches == 5


async def test_the_feed_says_when_it_begins_and_ends(tmp_path: Path) -> None:
    """CONNECTED before the first tick, ENDED after the last moment, at the clock's time."""
    bus, statuses = Bus(), list[FeedStatus]()
    bus.tap((FeedStatus,), statuses.append)
    path = write(tmp_path / "t", make_batch(ts_event=[CLOSE_S - 60], ltp=[100]))
    await feed_of(Tapes([path], [], 1024), bus).run()
    assert [status.state for status in statuses] == [FeedState.CONNECTED, FeedState.ENDED]
    assert statuses[-1].ts == OPEN_NS + (CLOSE_S + 1) * SECOND


async def test_a_filter_that_lets_a_closed_hour_through_is_a_fault(tmp_path: Path) -> None:
    """A tick in no session is refused by the feed: it would never be closed."""

    class AlwaysOpen(MarketCalendar):
        """A calendar whose mask disagrees with its sessions."""

        def in_session(self, ts: NDArray[np.int64]) -> NDArray[np.bool_]:
            """Say yes to all."""
            return np.ones(len(ts), dtype=np.bool_)

    path = write(tmp_path / "t", make_batch(ts_event=[-60], ltp=[100]))
    tick_filter = TickFilter(InstrumentBook(MarketSettings()), AlwaysOpen(), 50.0)
    schedule = Schedule(INTERVALS["30m"], SECOND, 15)
    feed = TapeFeed(Bus(), Tapes([path], [], 1024), tick_filter, CALENDAR, schedule, ReplayClock())
    with pytest.raises(ValueError, match="outside every session"):
        await feed.run()


async def test_a_paced_tape_shows_the_same_ticks_and_moments(tmp_path: Path) -> None:
    """In real time, a hundred thousand times as fast, ticks and moments come in the order of the replay."""
    times = [0, 1801, 1802, 7000, 7001, CLOSE_S - 1, DAY_S + CLOSE_S - 30]
    path = write(tmp_path / "t", make_batch(ts_event=times, ltp=[100 + i for i in range(7)]))
    _, replayed = await played(Tapes([path], [], 1024))
    bus = Bus()
    recorder = Recorder(bus)
    task = asyncio.create_task(recorder.run())
    clock = PacedClock(100_000.0)
    feed = feed_of(Tapes([path], [], 1024), bus, clock)
    async with asyncio.timeout(30):
        await feed.run()
    task.cancel()
    due = {("time", DAY_S * day + m) for day in (0, 1) for m in moments("30m", MONDAY)}
    assert [entry for entry in recorder.seen if entry[0] == "tick" or entry in due] == replayed.seen
    assert clock.now_ns() >= ist_ns(dt.date(2026, 1, 6), "15:30")


async def test_a_paced_wait_announces_time_on_the_way_and_never_beyond_the_next_tick(tmp_path: Path) -> None:
    """Without ticks time still advances, always short of the tick or moment that is waited for."""
    path = write(
        tmp_path / "t", make_batch(ts_event=[CLOSE_S - 1200, CLOSE_S - 905, CLOSE_S - 904], ltp=[100, 101, 102])
    )
    bus = Bus()
    recorder = Recorder(bus)
    task = asyncio.create_task(recorder.run())
    async with asyncio.timeout(30):
        await feed_of(Tapes([path], [], 1024), bus, PacedClock(800.0)).run()
    task.cancel()
    times = [value for kind, value in recorder.seen if kind == "time"]
    assert times == sorted(times)
    before = [value for kind, value in recorder.seen[: recorder.seen.index(("tick", 101))] if kind == "time"]
    assert before
    assert all(CLOSE_S - 1200 < value < CLOSE_S - 905 for value in before)
    assert {CLOSE_S - 900.0, CLOSE_S + 1.0} <= set(times)


class Brake(Recorder):
    """Handles nothing any more after so many ticks, so that whoever waits for it can be stopped there."""

    def __init__(self, bus: Bus, ticks: int) -> None:
        super().__init__(bus)
        self.stands = asyncio.Event()
        self._ticks = ticks

    async def handle(self, event: Event) -> None:
        """Stand still at the last of the ticks."""
        await super().handle(event)
        if sum(kind == "tick" for kind, _ in self.seen) >= self._ticks:
            self.stands.set()
            await asyncio.Event().wait()


async def stopped_after(ticks: int, tapes: Tapes, clock: PacedClock | None = None) -> TapeFeed:
    """Play until so many ticks were handled, and stop there."""
    bus = Bus()
    brake = Brake(bus, ticks)
    handling = asyncio.create_task(brake.run())
    feed = feed_of(tapes, bus, clock)
    playing = asyncio.create_task(feed.run())
    async with asyncio.timeout(30):
        await brake.stands.wait()
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    handling.cancel()
    return feed


@pytest.mark.parametrize("chunk_rows", [1, 4, 1024])
async def test_a_tape_that_is_stopped_counts_what_was_played(tmp_path: Path, chunk_rows: int) -> None:
    """Not the rest of the rows that were read with it: half of it wasn't seen by anybody."""
    times = [0, 10, 20, 1900, 1800, 1910, 4000, 4010, 3990]
    prices = [100, -1, 101, 102, 103, -1, 104, np.nan, 105]
    volumes = [10, 10, 20, 30, 40, 40, 50, 60, 70]
    path = write(tmp_path / "t", make_batch(ts_event=times, ts_recv=range(0, 4500, 500), ltp=prices, volume=volumes))
    feed = await stopped_after(2, Tapes([path], [], chunk_rows))
    told = {reason: count for reason, count in feed.tick_filter.rejected.items() if count}
    assert (feed.tick_filter.accepted, told) == (2, {"bad_price": 1})
    assert feed.first_ts is not None
    assert feed.last_ts is not None
    assert ((feed.first_ts - OPEN_NS) / SECOND, (feed.last_ts - OPEN_NS) / SECOND) == (0, 20)


async def test_a_paced_tape_counts_no_tick_that_is_still_to_come(tmp_path: Path) -> None:
    """Bad ticks an hour ahead are read with the first ones, and nobody has seen them yet."""
    times = [0, 1, 3600, 3601]
    path = write(tmp_path / "t", make_batch(ts_event=times, ts_recv=times, ltp=[100, 100, -1, 101]))
    bus, counts = Bus(), []
    feed = feed_of(Tapes([path], [], 1024), bus, PacedClock(60))
    bus.tap((TickBatch,), lambda _: counts.append((feed.tick_filter.accepted, sum(feed.tick_filter.rejected.values()))))
    recorder = Recorder(bus)
    handling, playing = asyncio.create_task(recorder.run()), asyncio.create_task(feed.run())
    async with asyncio.timeout(30):
        while not counts:  # noqa: ASYNC110  # the tape is paced by the machine's clock
            await asyncio.sleep(0.01)
    for task in (playing, handling):
        task.cancel()
    await asyncio.gather(playing, handling, return_exceptions=True)
    assert counts[0] == (2, 0)
