"""Decisions while the loop is busy: simulated ticks run through the bars in real time, bars ask, the model answers.

The stages are the daemon's own (tick filter, bars, complexity, strategy, inference thread); tape time runs so fast that
a bar closes every few tenths of a second, ticks come at the rate asked for, and nobody waits for anybody, as live.
Invariant: latency is from the closing of the bar to the publication of its decision, whatever happened between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.bars.complexity import ComplexityActor, ComplexityDetector
from daemon.benchmark.latency import Times, times
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_MS, LiveClock, stopwatch_ns
from daemon.core.events import Decision, Event, TickBatch, TimeAdvanced
from daemon.core.latency import MeasuredLatency
from daemon.feed.tick_filter import TickFilter
from daemon.market.calendar import MarketCalendar, Session
from daemon.market.instruments import InstrumentBook
from daemon.market.scheduled_events import ScheduledEvents
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.actor import StrategyActor
from daemon.strategy.build import thinking_limit, view_settings
from daemon.tape.simulator import SimulatedSymbol, simulate
from strategies.base import MarketView
from strategies.hrm import HRMStrategy

FIRST_NS = 1_704_067_200_000_000_000
"""2024-01-01, UTC: the first session is the next one."""
SESSION_S = 375 * 60
SLICE_S = 0.01
"""Ticks are handed over a hundred times a second."""
PROBE_S = 0.001
"""How long the probe of the loop's lag sleeps."""


class BusyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a busy run; times in milliseconds."""

    instruments: int
    ticks_per_s: float
    ticks: int
    decisions: int
    failed: int
    superseded: int
    thinking: int
    """Decisions in which the model ran; the first ones have too few bars."""
    decision_ms: Times
    loop_lag_ms: Times
    deadline_ms: float
    overruns: int
    """Decisions published after their deadline."""
    overruns_over_5_ms: int
    worst_overrun_ms: float
    segments: dict[str, int]
    """Decisions by depth; `single_cycle` and `late` are what load shedding came to."""


class BusyRun:
    """One run: `decisions` bars of each of `instruments` symbols close every `bar_s` seconds of real time."""

    def __init__(
        self,
        settings: Settings,
        strategy: HRMStrategy,
        instruments: int,
        decisions: int,
        ticks_per_s: int,
        bar_s: float,
        closed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`closed` is told of each bar that closes, how many it makes; what it takes is part of what is measured."""
        self._settings, self._strategy = settings, strategy
        self._ticks_per_s, self._bars_wanted = ticks_per_s, decisions
        self._symbols = [SimulatedSymbol(f"NSE:BENCH{n}-EQ", 100.0 + 10 * n) for n in range(instruments)]
        self._interval_ns = INTERVALS[settings.strategy.interval] * 1_000_000_000
        self._speed = self._interval_ns / 1e9 / bar_s
        self._bus = Bus()
        self._calendar = MarketCalendar()
        self._filter = TickFilter(InstrumentBook(settings.market), self._calendar, settings.feed.max_jump_percent)
        self._tell = closed
        self._ticks = 0
        self._closed_ns = 0
        self._latencies: list[int] = []
        self._lags: list[int] = []
        self._decisions: list[Decision] = []
        self._bus.tap((Decision,), self._hear)

    async def run(self) -> BusyReport:
        """Run to the last decision."""
        settings, bus, interval = self._settings, self._bus, self._settings.strategy.interval
        intervals: dict[str, int] = {name: INTERVALS[name] for name in settings.bars.intervals}
        bars = BarsActor(bus, BarBuilder(self._calendar, intervals, 0))
        detector = ComplexityDetector(settings.complexity_detection, ScheduledEvents.load(None))
        complexity = ComplexityActor(bus, detector, interval)
        view = view_settings(settings)
        strategy = StrategyActor(
            bus, MarketView(view, self._calendar), {"hrm": self._strategy}, "hrm", LiveClock(), MeasuredLatency(),
            thinking_limit(settings), (view.interval, view.coarse_interval),
        )  # fmt: skip
        tasks = [asyncio.create_task(actor.run()) for actor in (bars, complexity, strategy)]
        tasks.append(asyncio.create_task(self._probe()))
        started = stopwatch_ns()
        await self._pump()
        elapsed_s = (stopwatch_ns() - started) / 1e9
        await bus.idle()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        strategy.close()
        return self._report(strategy.superseded, elapsed_s)

    async def _pump(self) -> None:
        """Hand over ticks at their rate, and time as it passes bars' ends."""
        started = stopwatch_ns()
        due = started
        for raw, ends in self._slices():
            accepted, traded = self._filter.apply(raw)
            if len(accepted):
                self._ticks += len(accepted)
                self._bus.publish(msgspec.structs.replace(accepted, traded=traded))
            if ends is not None:
                self._closed_ns = stopwatch_ns()
                self._bus.publish(TimeAdvanced(ts=ends))
            due += round(SLICE_S * 1e9)
            await asyncio.sleep(max(0.0, (due - stopwatch_ns()) / 1e9))

    def _slices(self) -> Iterator[tuple[TickBatch, int | None]]:
        """Ticks of a hundredth of a second each, and the time on the tape where a bar has ended in it."""
        step_ns = round(SLICE_S * self._speed * 1e9)
        per_symbol = round(self._ticks_per_s * SESSION_S / self._speed / len(self._symbols))
        closed, session = 0, self._calendar.next_session(FIRST_NS)
        while True:
            edge = session.open_ns
            for batch in simulate(self._symbols, [session], per_symbol, seed=closed):
                row = 0
                while row < len(batch):
                    before, edge = edge, edge + step_ns
                    stop = int(np.searchsorted(batch.ts_recv, edge))
                    ended = self._bar(edge, session) > self._bar(before, session)
                    yield batch.slice(row, stop), edge if ended else None
                    row, closed = stop, closed + ended
                    if ended:
                        self._tell(closed)
                    if closed >= self._bars_wanted:
                        return
            session = self._calendar.next_session(session.close_ns)

    def _bar(self, ts: int, session: Session) -> int:
        return (ts - session.open_ns) // self._interval_ns

    async def _probe(self) -> None:
        while True:
            before = stopwatch_ns()
            await asyncio.sleep(PROBE_S)
            self._lags.append(max(0, stopwatch_ns() - before - round(PROBE_S * 1e9)))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Decision):
            self._decisions.append(event)
            if event.segments or event.halt_reason:
                self._latencies.append(stopwatch_ns() - self._closed_ns)

    def _report(self, superseded: int, elapsed_s: float) -> BusyReport:
        deadline_ms = self._settings.hierarchical_reasoning_model.act.deadline_ms
        over = np.asarray(self._latencies) / NS_PER_MS - deadline_ms
        depths: dict[str, int] = {}
        for decision in self._decisions:
            shed = decision.halt_reason in ("single_cycle", "late")
            depth = decision.halt_reason if shed else str(decision.segments)
            depths[depth] = depths.get(depth, 0) + 1
        return BusyReport(
            instruments=len(self._symbols),
            ticks_per_s=self._ticks / elapsed_s,
            ticks=self._ticks,
            decisions=len(self._decisions),
            failed=sum(decision.failed for decision in self._decisions),
            superseded=superseded,
            thinking=len(self._latencies),
            decision_ms=times(self._latencies),
            loop_lag_ms=times(self._lags),
            deadline_ms=deadline_ms,
            overruns=int((over > 0).sum()),
            overruns_over_5_ms=int((over > 5).sum()),
            worst_overrun_ms=float(over.max(initial=0.0)),
            segments=dict(sorted(depths.items())),
        )
