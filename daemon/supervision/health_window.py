"""Decisions, bars and pulses as they come → what the checks measure: shares, percentiles, what is owed. Loop-free.

Invariant: each keeps a bounded number of things, however long the daemon runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from daemon.core.clock import NS_PER_MS, NS_PER_S
from daemon.core.events import Decision
from strategies.base import LATE, SINGLE_CYCLE

DEADLINE: Final = "deadline"
"""Halt reason of a decision whose reasoning the clock ended (`models.act.HaltReason`)."""
_CUT_SHORT: Final = (DEADLINE, SINGLE_CYCLE, LATE)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which `share` of them lie; of up to 100 values the 99th percentile leaves out the worst."""
    return sorted(values)[int(share * (len(values) - 1))]


class Figures(msgspec.Struct, frozen=True):
    """What a window of decisions comes to."""

    decisions: int
    failed: int
    latency_p50_ms: float
    latency_p99_ms: float
    reasoned: int
    """Decisions of a model that reasons, those that had no time to included."""
    cut_short: int
    """Of them, those that the deadline ended or left no time."""
    mean_segments: float
    mean_convergence: float
    """How much the last cycle changed the state, as a share of its norm."""


class _Kept(msgspec.Struct, frozen=True, gc=False):
    ts: int
    latency_ms: float
    failed: bool
    segments: int
    cut_short: bool
    convergence: float


class DecisionWindow:
    """The newest decisions of the strategy in charge."""

    def __init__(self, most: int, minutes: float) -> None:
        self._kept: deque[_Kept] = deque(maxlen=most)
        self._span_ns = int(minutes * 60 * NS_PER_S)
        self._figures: Figures | None = None
        self._model = ""

    def add(self, decision: Decision) -> None:
        """Another one; what lies too far back is forgotten, and what another model decided."""
        if decision.model_hash and decision.model_hash != self._model:
            if self._model:
                self.forget()
            self._model = decision.model_hash
        self._kept.append(
            _Kept(
                decision.ts, decision.latency_ns / NS_PER_MS, decision.failed, decision.segments,
                decision.halt_reason in _CUT_SHORT, decision.convergence,
            )
        )  # fmt: skip
        self._figures = None
        while decision.ts - self._kept[0].ts > self._span_ns:
            self._kept.popleft()

    def forget(self) -> None:
        """Another strategy is in charge: a clean record."""
        self._kept.clear()
        self._figures, self._model = None, ""

    def figures(self) -> Figures:
        """What they come to; zeros where there is none. Counted once however often it is asked for."""
        if self._figures is None:
            self._figures = self._count()
        return self._figures

    def _count(self) -> Figures:
        kept = self._kept
        if not kept:
            return Figures(0, 0, 0.0, 0.0, 0, 0, 0.0, 0.0)
        latencies = [one.latency_ms for one in kept]
        thought = [one for one in kept if one.segments]
        return Figures(
            decisions=len(kept),
            failed=sum(one.failed for one in kept),
            latency_p50_ms=percentile(latencies, 0.5),
            latency_p99_ms=percentile(latencies, 0.99),
            reasoned=sum(bool(one.segments) or one.cut_short for one in kept),
            cut_short=sum(one.cut_short for one in kept),
            mean_segments=sum(one.segments for one in thought) / max(1, len(thought)),
            mean_convergence=sum(one.convergence for one in thought) / max(1, len(thought)),
        )


class Overdue(msgspec.Struct, frozen=True):
    """Decisions that are owed for longer than they may be."""

    count: int
    symbol: str
    """Of the oldest one."""
    oldest_s: float


class _Debt(msgspec.Struct, gc=False):
    """Of one symbol: since when a decision is owed, and on which bar the newest one."""

    since_ns: int
    newest_ts: int
    newest_ns: int


class Owed:
    """Bars of the decision interval that closed, against decisions that came. Times are of the machine's clock.

    A decision on a newer bar answers for the older ones, too: those were superseded.
    """

    def __init__(self) -> None:
        self._debts: dict[str, _Debt] = {}

    def closed(self, symbol: str, ts_close: int, now_ns: int) -> None:
        """A bar closed: a decision is owed."""
        debt = self._debts.get(symbol)
        if debt is None:
            self._debts[symbol] = _Debt(now_ns, ts_close, now_ns)
        else:
            debt.newest_ts, debt.newest_ns = ts_close, now_ns

    def decided(self, symbol: str, ts_bar: int) -> None:
        """A decision came."""
        debt = self._debts.get(symbol)
        if debt is not None and ts_bar >= debt.newest_ts:
            del self._debts[symbol]
        elif debt is not None:
            debt.since_ns = debt.newest_ns

    def overdue(self, now_ns: int, limit_s: float) -> Overdue | None:
        """What is owed for longer than the limit; None where nothing is."""
        late = [(debt.since_ns, symbol) for symbol, debt in self._debts.items()
                if now_ns - debt.since_ns > limit_s * NS_PER_S]  # fmt: skip
        if not late:
            return None
        since, symbol = min(late)
        return Overdue(len(late), symbol, (now_ns - since) / NS_PER_S)


class Failing:
    """Symbols whose last decision failed, and how. A turn that came too late says nothing either way."""

    def __init__(self) -> None:
        self.symbols: dict[str, Decision] = {}

    def add(self, decision: Decision) -> None:
        """Another decision."""
        if decision.failed:
            self.symbols[decision.symbol] = decision
        elif decision.halt_reason != LATE:
            self.symbols.pop(decision.symbol, None)


STARTING = 20
"""Wakings of the start."""


class Lag:
    """How late the event loop woke, the newest `most` times."""

    def __init__(self, most: int) -> None:
        self._kept: deque[float] = deque(maxlen=most)
        self._count = 0

    def add(self, seconds: float) -> None:
        """Once more."""
        self._count += 1
        self._kept.append(max(0.0, seconds))

    def worst_ms(self) -> float:
        """The longest of them, those of the start aside: models are loaded then, and caches are filled."""
        aside = max(0, STARTING - (self._count - len(self._kept)))
        return max(islice(self._kept, aside, None), default=0.0) * 1000

    def p99_ms(self, least: int) -> float | None:
        """None before it was looked at `least` times."""
        return percentile(self._kept, 0.99) * 1000 if len(self._kept) >= least else None


class Standstill:
    """For how long a queue hasn't moved: nothing of it was taken while something waited."""

    def __init__(self) -> None:
        self._taken = -1
        self._since_ns = 0

    def seconds(self, waiting: int, taken: int, now_ns: int) -> float:
        """As of now; `taken` is how many were taken so far."""
        if not waiting or taken != self._taken:
            self._taken, self._since_ns = taken, now_ns
        return (now_ns - self._since_ns) / NS_PER_S
