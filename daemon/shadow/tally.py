"""The events of one agent → the figures by which it is compared, of the run and of the present session.

Pure. Invariant: the one in charge and every shadow are counted by this same class.
"""

from __future__ import annotations

from collections import Counter

from daemon.core.clock import NS_PER_MS
from daemon.core.events import Decision, Event, Fill, InferenceMeasured, OrderIntent, PositionRestated
from daemon.report.trades import TradeBook
from daemon.supervision.health_window import percentile
from strategies.base import LATE

COUNTED: tuple[type[Event], ...] = (Decision, OrderIntent, Fill, PositionRestated, InferenceMeasured)
"""The events that `Tally.record` takes."""


class Figures(Counter[str]):
    """Counts and sums by name, and what can be said of them."""

    @property
    def agreement(self) -> float | None:
        """The share of equal actions."""
        return self["agreed"] / self["compared"] if self["compared"] else None

    @property
    def depth(self) -> float | None:
        """Mean reasoning segments of those that reasoned."""
        return self["segments"] / self["reasoned"] if self["reasoned"] else None

    @property
    def latency_ms(self) -> float | None:
        """Mean time to a decision that was thought about, by the run's clock."""
        thought = self["decisions"] - self["late"]
        return self["latency_ns"] / thought / NS_PER_MS if thought else None

    @property
    def thinking_ms(self) -> float | None:
        """Mean time of the machine for a decision."""
        return self["thinking_ns"] / self["timed"] / NS_PER_MS if self["timed"] else None


class Tally:
    """Counts; `session` begins anew with each session, `total` never."""

    def __init__(self) -> None:
        self.total = Figures()
        self.session = Figures()
        self._latencies: list[int] = []
        self._thinking: list[int] = []
        self._trades = TradeBook()

    def begin(self) -> None:
        """A session begins."""
        self.session = Figures()
        self._latencies, self._thinking = [], []

    @property
    def latency_p99_ms(self) -> float:
        """From bar to decision, in the session."""
        return _p99_ms(self._latencies)

    @property
    def thinking_p99_ms(self) -> float:
        """The machine's time for a decision, in the session."""
        return _p99_ms(self._thinking)

    def count(self, name: str, by: int = 1) -> None:
        """Count in both."""
        self.total[name] += by
        self.session[name] += by

    def record(self, event: Event) -> None:
        """Count `event`."""
        match event:
            case Decision():
                self._decided(event)
            case OrderIntent():
                self.count("orders")
            case Fill():
                self.count("fills")
                if self._trades.add(event) is not None:
                    self.count("trades")
            case PositionRestated():
                self._trades.restate(event)
            case InferenceMeasured():
                self.count("timed")
                self.count("thinking_ns", event.elapsed_ns)
                self._thinking.append(event.elapsed_ns)

    def _decided(self, decision: Decision) -> None:
        self.count("decisions")
        self.count("failed", int(decision.failed))
        if decision.halt_reason == LATE:
            self.count("late")
            return
        self.count("latency_ns", decision.latency_ns)
        self._latencies.append(decision.latency_ns)
        if decision.segments:
            self.count("reasoned")
            self.count("segments", decision.segments)


def _p99_ms(values_ns: list[int]) -> float:
    """0 where nothing was measured."""
    return percentile(values_ns, 0.99) / NS_PER_MS if values_ns else 0.0
