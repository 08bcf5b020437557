"""One replay over many processes: each decides on some of the sessions, and all see the market from the tape's start.

A process plays the tape from its beginning, so that its bars, complexities and windows are those of the one-by-one run
to the last bit, but decides only on its own share; its events are then told in order, as if one process had lived them.
That is the same run where nothing but the market is carried from one share into the next. Invariant: where something
is (a position over night, a strategy that was swapped, a halt, a decision that failed), it is said, and nothing of the
shares is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from daemon.app import App, RunPlan
from daemon.core.clock import ReplayClock, india_day
from daemon.core.events import (
    ActorRestarted,
    Decision,
    Event,
    Halt,
    InferenceMeasured,
    MitigationTaken,
    ModelLoaded,
    PositionRestated,
    RunCounted,
    StrategySwapped,
    TimeAdvanced,
    TradingStateChanged,
)
from daemon.journal.schema import KINDS
from daemon.market.calendar import MarketCalendar
from daemon.native.kernel import column_kernel
from daemon.run.chronicle import CHRONICLED
from daemon.run.latency import parse_latency
from daemon.run.many import Job, processes
from daemon.settings.tree import Settings
from daemon.tape.format import TapeReader

CARRIED: tuple[type[Event], ...] = (
    StrategySwapped, MitigationTaken, TradingStateChanged, Halt, PositionRestated, ActorRestarted, ModelLoaded,
)  # fmt: skip
"""Events after which a later session isn't what it would be by itself."""
EVER = 2**63 - 1


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of one process: decided on from `first_ts` until before `until_ts`, UTC ns."""

    job: Job
    number: int
    first_ts: int
    until_ts: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a process lived through, or `carried`: why its end isn't where a fresh process would begin."""

    events: list[tuple[str, msgspec.Raw]]
    inference_ns: list[int]
    carried: str


def not_to_be_split(settings: Settings) -> str:
    """Why a replay under these settings is one run, "" where it needn't be."""
    if settings.shadow.agents:
        return "shadow agents keep accounts of their own over all sessions"
    return ""


def shares(job: Job, calendar: MarketCalendar, workers: int) -> list[Share]:
    """As many as there are sessions for, in order; neighbours as equal as can be."""
    readers = [TapeReader([Path(tape)]) for tape in job.tapes]
    firsts = [ts for reader in readers if (ts := reader.opening_ts) is not None]
    lasts = [ts for reader in readers if (ts := reader.last_ts) is not None]
    sessions = calendar.sessions_between(min(firsts), max(lasts)) if firsts and lasts else []
    count = max(1, min(workers, len(sessions)))
    cuts = [sessions[len(sessions) * number // count].open_ns - 1 for number in range(1, count)]
    edges = [0, *cuts, EVER]
    return [
        Share(job=job, number=number, first_ts=edges[number], until_ts=edges[number + 1]) for number in range(count)
    ]


def live_through(share: Share) -> Told:
    """Play the tape until the share is over. Raises what a replay raises."""
    return asyncio.run(_Living(share).run())


def all_told(found: Sequence[Share]) -> Iterator[Told]:
    """Every share in a process of its own, in order."""
    with processes(len(found)) as pool:
        for told in pool.map(_told, [msgspec.json.encode(share) for share in found]):
            yield msgspec.json.decode(told, type=Told)


def events_of(told: Told) -> Iterator[Event]:
    """In the order in which they were published."""
    for kind, body in told.events:
        yield msgspec.json.decode(body, type=KINDS[kind])


def _told(share: bytes) -> bytes:
    return msgspec.json.encode(live_through(msgspec.json.decode(share, type=Share)))


class _Living:
    """One share, as it is played."""

    def __init__(self, share: Share) -> None:
        self._share, job = share, share.job
        settings = Settings(**msgspec.json.decode(job.settings))
        plan = RunPlan(
            tapes=[Path(tape) for tape in job.tapes], symbols=job.symbols, clock=ReplayClock(),
            latency=parse_latency(job.latency), journal=None, durable=False, restarts=False,
            order_prefix="R" if not share.number else f"R{share.number}W", decides_from=share.first_ts,
            kernel=column_kernel(settings.performance.cache_dir),
        )  # fmt: skip
        self._app = App(settings, plan)
        self._events: list[tuple[str, msgspec.Raw]] = []
        self._inference_ns: list[int] = []
        self._carried = ""
        bus = self._app.bus
        bus.tap(tuple(dict.fromkeys((*CHRONICLED, *CARRIED))), self._hear)
        bus.tap((InferenceMeasured,), self._measure)
        bus.tap((TimeAdvanced,), self._watch)

    async def run(self) -> Told:
        await self._app.run()
        return Told(events=self._events, inference_ns=self._inference_ns, carried=self._carried)

    def _hear(self, event: Event) -> None:
        ts = int(getattr(event, "ts_close", 0) or getattr(event, "ts", 0))
        if not self._share.first_ts <= ts < self._share.until_ts:
            return
        if isinstance(event, RunCounted) and self._share.until_ts != EVER:
            return
        last = self._share.until_ts == EVER
        if not self._carried and not last and (isinstance(event, CARRIED) or _failed(event)):
            self._carried = f"{type(event).__name__} {getattr(event, 'reason', '')}".strip()
        self._events.append((type(event).__name__, msgspec.Raw(msgspec.json.encode(event))))

    def _measure(self, event: Event) -> None:
        if isinstance(event, InferenceMeasured) and self._share.first_ts <= event.ts < self._share.until_ts:
            self._inference_ns.append(event.elapsed_ns)

    def _watch(self, event: Event) -> None:
        """At the first moment of the next share, look what is carried into it, and end."""
        if not isinstance(event, TimeAdvanced) or event.ts < self._share.until_ts:
            return
        held = [item.symbol for item in self._app.account.portfolio.positions() if item.quantity]
        if held and not self._carried:
            self._carried = f"{', '.join(held)} held over the night of day {india_day(self._share.until_ts)}"
        self._app.stop("the share is over")


def _failed(event: Event) -> bool:
    return isinstance(event, Decision) and event.failed
