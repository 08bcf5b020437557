"""One replay over many processes: each decides on some of the sessions, and all see the market from the tape's start.

A process plays the tape from its beginning, so that its bars, complexities and windows are those of the one-by-one run
to the last bit, but decides only on its own share; its events are then told in order, as if one process had lived them.
The first share is lived by the process that asks: it starts the others first, and plays while they do. That is the same
run where nothing but the market is carried from one share into the next. Invariant: where something
is (a position over night, a strategy that was swapped, a halt, a decision that failed), it is said, and nothing of the
shares is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from daemon.app import App
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
from daemon.plan import RunPlan
from daemon.run.chronicle import CHRONICLED
from daemon.run.latency import parse_latency
from daemon.run.many import Crew, Job
from daemon.settings.tree import Settings
from daemon.tape.format import TapeReader

CARRIED: tuple[type[Event], ...] = (
    StrategySwapped, MitigationTaken, TradingStateChanged, Halt, PositionRestated, ActorRestarted, ModelLoaded,
)  # fmt: skip
"""Events after which a later session isn't what it would be by itself."""
EVER = 2**63 - 1
SHARE_OVER = "the share is over"


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
    won: Decimal
    """Rupees after costs."""
    least_left: Decimal | None
    """What entries left of the free margin of an account that began with it, at the least; see `RiskGate`."""


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


def won(app: App) -> Decimal:
    """What a run that holds nothing has won, rupees after costs."""
    portfolio = app.account.portfolio
    return portfolio.cash - portfolio.starting_cash


def short_of_money(before: Decimal, told: Sequence[Told]) -> str:
    """Why shares that were played with the money of the beginning can't be used; `before`: what the first one won.

    An entry was made, or denied, that with what had been won or lost by then wouldn't have been.
    """
    for one in told:
        if before and one.least_left is not None and one.least_left + min(before, Decimal(0)) < 0:
            return f"{before:+,.2f} rupees of earlier sessions decide whether an entry can be paid for"
        before += one.won
    return ""


class Helpers:
    """Processes that live through all shares but the first."""

    def __init__(self, shares: Sequence[Share], crew: Crew) -> None:
        self._shares = [msgspec.json.encode(share) for share in shares]
        self.crew = crew

    def told(self) -> list[Told]:
        """What they lived through, in order. Raises `BrokenExecutor` where one of them ended."""
        return [msgspec.json.decode(told, type=Told) for told in self.crew.do(_told, self._shares)]


def live_through(share: Share) -> Told:
    """Play the tape until the share is over. Raises what a replay raises."""
    return asyncio.run(_Living(share).run())


def events_of(told: Told) -> Iterator[Event]:
    """In the order in which they were published."""
    for kind, body in told.events:
        yield msgspec.json.decode(body, type=KINDS[kind])


def _told(share: bytes) -> bytes:
    return msgspec.json.encode(live_through(msgspec.json.decode(share, type=Share)))


class Watch:
    """Ends an app's run where its share is over, and says what would be carried into the next one."""

    def __init__(self, app: App, share: Share) -> None:
        self.carried = ""
        self._app, self._share = app, share
        app.bus.tap(CARRIED, self._hear)
        app.bus.tap((Decision,), self._hear)
        app.bus.tap((TimeAdvanced,), self._watch)

    def holds(self, event: Event) -> bool:
        """Whether an event is of the share: by its time, and not the count of a run that goes on elsewhere."""
        ts = int(getattr(event, "ts_close", 0) or getattr(event, "ts", 0))
        last = self._share.until_ts == EVER
        return self._share.first_ts <= ts < self._share.until_ts and (last or not isinstance(event, RunCounted))

    def _hear(self, event: Event) -> None:
        if self.carried or self._share.until_ts == EVER or not self.holds(event):
            return
        if isinstance(event, CARRIED) or _failed(event):
            self.carried = f"{type(event).__name__} {getattr(event, 'reason', '')}".strip()

    def _watch(self, event: Event) -> None:
        """At the first moment of the next share, look what is carried into it, and end."""
        if not isinstance(event, TimeAdvanced) or event.ts < self._share.until_ts:
            return
        held = [item.symbol for item in self._app.account.portfolio.positions() if item.quantity]
        if held and not self.carried:
            self.carried = f"{', '.join(held)} held over the night of day {india_day(self._share.until_ts)}"
        self._app.stop(SHARE_OVER)


class _Living:
    """One share, as it is played in a process of its own."""

    def __init__(self, share: Share) -> None:
        job = share.job
        settings = Settings(**msgspec.json.decode(job.settings))
        plan = RunPlan(
            tapes=[Path(tape) for tape in job.tapes], symbols=job.symbols, clock=ReplayClock(),
            latency=parse_latency(job.latency), journal=None, durable=False, restarts=False,
            order_prefix="R" if not share.number else f"R{share.number}W", decides_from=share.first_ts, pumped=True,
            kernel=column_kernel(settings.performance.cache_dir),
        )  # fmt: skip
        self._app = App(settings, plan)
        self._events: list[tuple[str, msgspec.Raw]] = []
        self._inference_ns: list[int] = []
        self._watch = Watch(self._app, share)
        bus = self._app.bus
        bus.tap(CHRONICLED, self._hear)
        bus.tap((InferenceMeasured,), self._measure)

    async def run(self) -> Told:
        await self._app.run()
        return Told(
            events=self._events, inference_ns=self._inference_ns, carried=self._watch.carried, won=won(self._app),
            least_left=self._app.risk.least_left,
        )  # fmt: skip

    def _hear(self, event: Event) -> None:
        if self._watch.holds(event):
            self._events.append((type(event).__name__, msgspec.Raw(msgspec.json.encode(event))))

    def _measure(self, event: Event) -> None:
        if isinstance(event, InferenceMeasured) and self._watch.holds(event):
            self._inference_ns.append(event.elapsed_ns)


def _failed(event: Event) -> bool:
    return isinstance(event, Decision) and event.failed
