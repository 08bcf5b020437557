"""Stations that are run by hand do what they do as tasks of the loop, in the same order."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.app import App
from daemon.core.actor import Actor
from daemon.core.bus import Bus
from daemon.core.clock import ReplayClock
from daemon.core.events import Event, Flatten, Halt, Reduce, Resume, TimeAdvanced
from daemon.core.latency import FixedLatency
from daemon.core.pump import Pump
from daemon.market.calendar import MarketCalendar, Session
from daemon.market.instruments import InstrumentBook
from daemon.native.kernel import column_kernel
from daemon.plan import RunPlan
from daemon.tape.format import TapeWriter
from daemon.tape.simulator import SimulatedSymbol, simulate
from tests.depth import examples
from tests.samples import HRM, LIVELY, RELIANCE, SBIN, settings_of

CALENDAR = MarketCalendar()
KINDS: tuple[type[Event], ...] = (Halt, Resume, Reduce, Flatten)
COMMANDS = {"halt": Halt, "reduce": Reduce, "flatten": Flatten}


class Relay(Actor):
    """Passes what it hears on as other commands, as often as it is told to; the n-th of them it has to await."""

    def __init__(self, bus: Bus, name: str, hears: tuple[int, ...], tells: tuple[int, ...], log: list[Any]) -> None:
        super().__init__(bus)
        self.name = name
        self._tells = tells
        self._log = log
        self.inbox = bus.subscribe(name, tuple(KINDS[kind] for kind in hears))

    def handle(self, event: Event) -> Awaitable[None] | None:
        """Note it, and pass it on while it has strength left."""
        assert isinstance(event, Halt | Resume | Reduce | Flatten)
        self._log.append((self.name, type(event).__name__, event.ts))
        return self._later(event.ts) if event.ts % 3 == 0 else self._tell(event.ts)

    def _tell(self, strength: int) -> None:
        for kind in self._tells if strength else ():
            self.bus.publish(KINDS[kind](ts=strength - 1, reason=""))

    async def _later(self, strength: int) -> None:
        self._tell(strength)


def handled(actors: list[tuple[list[int], list[int]]], strength: list[int], *, pumped: bool) -> list[Any]:
    """What is handled by whom, in order; each of `strength` is published when all before is done."""
    log: list[Any] = []

    async def play() -> None:
        pump = Pump() if pumped else None
        bus = Bus(runner=pump)
        relays = [
            Relay(bus, str(n), tuple(set(hears)), tuple(tells), log) for n, (hears, tells) in enumerate(actors)
        ]  # fmt: skip
        tasks = []
        for relay in relays:
            if pump is not None:
                pump.add(relay.inbox, relay.handle)
            else:
                tasks.append(asyncio.create_task(relay.run()))
        await asyncio.sleep(0)
        for one in strength:
            bus.publish(Halt(ts=one, reason=""))
            bus.publish(Resume(ts=one, reason=""))
            await bus.idle()
            log.append("idle")
        for task in tasks:
            task.cancel()

    asyncio.run(play())
    return log


KIND = st.integers(0, len(KINDS) - 1)


@given(
    st.lists(st.tuples(st.lists(KIND, min_size=1, max_size=3), st.lists(KIND, max_size=2)), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
@settings(max_examples=examples(60))
def test_whoever_hears_whom_the_order_is_the_loops(
    actors: list[tuple[list[int], list[int]]], strength: list[int]
) -> None:
    """Any stations that pass on what they hear to any others, some of it in coroutines."""
    assert handled(actors, strength, pumped=True) == handled(actors, strength, pumped=False)


def rows_of(journal: Path) -> list[tuple[Any, ...]]:
    """The events of a journal, byte for byte."""
    db = sqlite3.connect(journal)
    rows = db.execute("SELECT run, seq, ts, type, body FROM events ORDER BY run, seq").fetchall()
    db.close()
    return rows


def write(path: Path, symbols: list[str], seed: int, fault_rate: float, ticks: int) -> None:
    """A simulated tape of two days, with every kind of faulty tick."""
    book = InstrumentBook(settings_of().market)
    made = []
    for number, symbol in enumerate(symbols):
        instrument = book.resolve(symbol)
        assert instrument is not None
        made.append(SimulatedSymbol(symbol, 900.0 + 300 * number, float(instrument.tick_size)))
    days: list[Session] = [
        session for day in (5, 6) if (session := CALENDAR.session(dt.date(2026, 1, day))) is not None
    ]  # fmt: skip
    with TapeWriter(path) as writer:
        for batch in simulate(made, days, ticks, seed, fault_rate, 3.0):
            writer.write(batch)


def journal_of(tape: Path, overrides: tuple[str, ...], delay_ms: int, said: tuple[str, int], *, pumped: bool) -> Any:
    """What a replay writes, in which somebody gives one command, takes it back later, and bars that were refused.

    `pumped` is how `hrmd replay` plays, in C++ where that can be; the other way is that of tasks, in Python alone.
    """
    path = tape.with_name(f"pumped-{pumped}")
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(delay_ms), journal=path,
        durable=False, restarts=False, order_prefix="T", pumped=pumped, kernel=column_kernel(None) if pumped else None,
    )  # fmt: skip
    app = App(settings_of(*overrides), plan)
    moments = [0]

    def speak(event: TimeAdvanced) -> None:
        moments[0] += 1
        if said[0] in COMMANDS and moments[0] == said[1]:
            app.bus.publish(COMMANDS[said[0]](ts=event.ts, reason="as asked", who="a test"))
        if moments[0] == said[1] + 20:
            app.bus.publish(Resume(ts=event.ts, reason="go on", who="a test"))

    app.bus.tap((TimeAdvanced,), speak)
    asyncio.run(app.run())
    return rows_of(path)


def same(symbols: int, seed: int, faults: float, overrides: tuple[str, ...], delay_ms: int, said: tuple[str, int],
         ticks: int = 900) -> None:  # fmt: skip
    """Both ways, and the journals compared."""
    with tempfile.TemporaryDirectory() as directory:
        tape = Path(directory) / "t.parquet"
        write(tape, [SBIN, RELIANCE][:symbols], seed, faults, ticks)
        by_hand, as_tasks = (journal_of(tape, overrides, delay_ms, said, pumped=way) for way in (True, False))
    assert by_hand == as_tasks
    assert {kind for _, _, _, kind, _ in by_hand} >= {"Bar", "Decision", "RunCounted"}


LIMITS = st.sampled_from(["risk.max_daily_loss=200", "risk.max_orders_per_minute=1", "execution.order_type=LIMIT"])


@given(
    st.integers(1, 2), st.integers(0, 2**16), st.sampled_from([0.0, 0.03]), st.lists(LIMITS, max_size=2, unique=True),
    st.sampled_from([0, 800]), st.tuples(st.sampled_from(["", *COMMANDS]), st.integers(5, 120)),
)  # fmt: skip
@settings(max_examples=examples(3), deadline=None)
def test_a_journal_is_the_same_either_way(
    symbols: int, seed: int, faults: float, limits: list[str], delay_ms: int, said: tuple[str, int]
) -> None:
    """Byte for byte: the rules on any tape, with faults, limits, latency and commands in between."""
    same(symbols, seed, faults, (*LIVELY, *limits), delay_ms, said)


@pytest.mark.parametrize("overrides", [HRM, ("strategy.name=ppo",)], ids=["hrm", "ppo"])
def test_a_journal_is_the_same_where_a_thread_thinks(overrides: tuple[str, ...]) -> None:
    """Byte for byte, however long each answer took."""
    same(2, 7, 0.02, overrides, 300, ("halt", 60), 300)
