"""`TapeFeed` on random tapes: at every moment exactly the ticks received by then have been handled."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.events import Event, TickBatch, TimeAdvanced
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.settings.market import MarketSettings
from daemon.settings.values import INTERVALS
from daemon.tape.format import TapeReader, TapeWriter
from tests.depth import examples
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

CALENDAR = MarketCalendar()
SESSION_S = 375 * 60
DAY_S = 86_400
GRACE_S = 3

Handled = tuple[str, float, int]


class Slow(Actor):
    """Keeps (symbol, price, time of receipt) of each tick and the moments between them, taking turns with others."""

    name = "slow"

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.ticks: list[Handled] = []
        self.moments: list[tuple[int, int]] = []
        self.inbox = bus.subscribe(self.name, (TickBatch, TimeAdvanced))

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Handle ticks late and moments at once."""
        if isinstance(event, TimeAdvanced):
            self.moments.append((event.ts, len(self.ticks)))
            return None
        return self._keep(event)

    async def _keep(self, event: Event) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        if isinstance(event, TickBatch):
            self.ticks += keep(event)


def keep(batch: TickBatch) -> list[Handled]:
    """What the actor keeps of a batch."""
    names = [batch.symbols[code] for code in batch.code.tolist()]
    return list(zip(names, batch.ltp.tolist(), batch.ts_recv.tolist(), strict=True))


def random_tape(seed: int, path: Path, symbols: tuple[str, ...]) -> None:
    """Write ticks over three days, inside and outside sessions, many at boundaries, some received minutes late."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 250))
    spread = rng.uniform(-600, SESSION_S + 600, n)
    on_edge = rng.integers(0, 14, n) * 1800.0 + rng.choice([0, 1e-9, GRACE_S - 1e-9, GRACE_S, GRACE_S + 1e-9], n)
    at_close = SESSION_S + rng.uniform(-5, 5, n)
    event = rng.integers(0, 3, n) * DAY_S + np.select(
        [rng.random(n) < 0.4, rng.random(n) < 0.3], [on_edge, at_close], spread
    )
    delay = np.where(rng.random(n) < 0.3, rng.exponential(rng.choice([2.0, 200.0]), n), 0.0)
    order = np.argsort(event + delay, kind="stable")
    with TapeWriter(path) as writer:
        writer.write(
            make_batch(
                symbols,
                code=rng.integers(0, len(symbols), n)[order],
                ts_event=event[order],
                ts_recv=(event + delay)[order],
                ltp=np.round(100 + rng.random(n), 2),
            )
        )


def expected_moments(ticks: list[tuple[int, int]], schedule: Schedule) -> list[int]:
    """Of every session that a tick opens, the moments from that tick's receipt on."""
    due: list[int] = []
    newest = 0
    for ts_event, ts_recv in ticks:
        session = CALENDAR.session_at(ts_event)
        assert session is not None
        if session.open_ns > newest:
            newest = session.open_ns
            due += [moment for moment in schedule.of(session) if moment >= ts_recv]
    return due


@settings(max_examples=examples(120))
@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3), st.integers(1, 300), st.sampled_from(["30m", "60m"])
)
def test_a_moment_sees_the_ticks_received_by_then_and_no_other(
    seeds: list[int], chunk_rows: int, interval: str
) -> None:
    """Every accepted tick is handled once, in order; at each moment those received by then were and no other.

    And every moment of every session, from the session's first tick on, comes once, in order.
    """
    tables = [("AAA", "BBB"), ("CCC", "AAA"), ("BBB",)]
    schedule = Schedule(INTERVALS[interval], GRACE_S * SECOND, 15)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.parquet" for n in range(len(seeds))]
        for seed, path, table in zip(seeds, paths, tables, strict=False):
            random_tape(seed, path, table)
        actor, moments_seen = asyncio.run(play(Tapes(paths, [], chunk_rows), schedule))
        accepted, ticks = filtered(Tapes(paths, [], 1_000_000))
    assert actor.ticks == accepted
    for moment, handled in actor.moments:
        assert all(recv <= moment for _, _, recv in accepted[:handled])
        assert all(recv > moment for _, _, recv in accepted[handled:])
    assert [moment for moment, _ in actor.moments] == expected_moments(ticks, schedule)
    assert moments_seen == [moment for moment, _ in actor.moments]


async def play(tapes: Tapes, schedule: Schedule) -> tuple[Slow, list[int]]:
    """Play tapes before a slow actor; also the clock's time at each moment."""
    bus, clock, times = Bus(), ReplayClock(), list[int]()
    actor = Slow(bus)
    bus.tap((TimeAdvanced,), lambda event: times.append(clock.now_ns()))
    task = asyncio.create_task(actor.run())
    tick_filter = TickFilter(InstrumentBook(MarketSettings()), CALENDAR, 50.0)
    async with asyncio.timeout(60):
        await TapeFeed(bus, tapes, tick_filter, CALENDAR, schedule, clock).run()
    task.cancel()
    return actor, times


def filtered(tapes: Tapes) -> tuple[list[Handled], list[tuple[int, int]]]:
    """The accepted ticks of the tapes as one: what an actor keeps of them, and (ts_event, ts_recv)."""
    tick_filter = TickFilter(InstrumentBook(MarketSettings()), CALENDAR, 50.0)
    accepted = [tick_filter.apply(batch)[0] for batch in tapes.batches()]
    times = [pair for b in accepted for pair in zip(b.ts_event.tolist(), b.ts_recv.tolist(), strict=True)]
    return [row for batch in accepted for row in keep(batch)], times


@settings(max_examples=examples(60))
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3), st.integers(1, 300))
def test_several_tapes_are_one_sorted_stream(seeds: list[int], chunk_rows: int) -> None:
    """Whatever the chunks, the merged stream is all rows of all tapes, sorted by receipt, equal times tape by tape."""
    tables = [("AAA", "BBB"), ("CCC", "AAA"), ("BBB",)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.parquet" for n in range(len(seeds))]
        rows: list[Handled] = []
        for seed, path, table in zip(seeds, paths, tables, strict=False):
            random_tape(seed, path, table)
            rows += [row for batch in TapeReader([path]).batches(1_000_000) for row in keep(batch)]
        merged = [row for batch in Tapes(paths, [], chunk_rows).batches() for row in keep(batch)]
    assert merged == sorted(rows, key=lambda row: row[2])


def test_the_random_tapes_have_what_they_promise() -> None:
    """Among a few seeds are ticks at boundaries, received after the close, and outside a session."""
    with tempfile.TemporaryDirectory() as folder:
        late = edge = outside = 0
        for seed in range(10):
            path = Path(folder) / f"{seed}.parquet"
            random_tape(seed, path, ("AAA",))
            for batch in TapeReader([path]).batches(1_000_000):
                event, recv = ((ts - OPEN_NS) % (DAY_S * SECOND) for ts in (batch.ts_event, batch.ts_recv))
                inside = event < SESSION_S * SECOND
                outside += int((~inside).sum())
                late += int((inside & (recv > (SESSION_S + GRACE_S) * SECOND)).sum())
                edge += int((recv % (1800 * SECOND) == GRACE_S * SECOND).sum())
    assert min(late, edge, outside) > 10
