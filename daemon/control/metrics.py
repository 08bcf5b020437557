"""Turns events and the daemon's status into Prometheus' text format.

Counters and histograms follow the bus (tap `Metrics.record`); everything that the daemon already counts or holds is
read from its `Status` at the scrape. Invariant: nothing is counted in two places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.control.gauges import GaugeCollector, Gauges
from daemon.control.stream import StreamCounts
from daemon.control.view import InferenceStatus, RecorderStatus, Status
from daemon.core.events import (
    ActorRestarted,
    AlertChanged,
    Decision,
    Event,
    FundsDiffer,
    FundsReported,
    OrderUnknown,
    Reconciled,
    StrategySwapped,
    SymbolHalted,
    TradingState,
)
from daemon.report.side_by_side import ShadowRow
from daemon.supervision.health import Check

MEASURED: tuple[type[Event], ...] = (
    Decision, StrategySwapped, ActorRestarted, OrderUnknown, Reconciled, SymbolHalted, FundsReported, FundsDiffer,
    AlertChanged,
)  # fmt: skip
"""The events that `Metrics.record` counts."""

INFERENCE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 1.0)
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
CONVERGENCE_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)
SEGMENT_BUCKETS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)


class Metrics:
    """The daemon's own registry: no global one, so two daemons in one test don't meet."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.gauges: Gauges | None = None
        """What the daemon held when it last looked; whoever looks puts it here."""
        self._reasoned = self._segments_taken = 0
        self._decisions = Counter(
            "hrmd_decisions", "Decisions by strategy and action", ["strategy", "action"], registry=registry
        )
        self._failed = Counter("hrmd_decisions_failed", "Decisions that failed", ["strategy"], registry=registry)
        self._halts = Counter("hrmd_halts", "Why the model stopped reasoning", ["reason"], registry=registry)
        self._segments = Histogram(
            "hrmd_segments", "Reasoning segments per decision", buckets=SEGMENT_BUCKETS, registry=registry
        )
        self._convergence = Histogram(
            "hrmd_convergence_ratio", "Change of the model's state in its last cycle, as a share of its norm",
            buckets=CONVERGENCE_BUCKETS, registry=registry,
        )  # fmt: skip
        self._alerts = Counter("hrmd_alerts_raised", "Alerts by kind", ["kind"], registry=registry)
        self._swaps = Counter("hrmd_strategy_swaps", "Strategies put in charge", ["new"], registry=registry)
        self._restarts = Counter("hrmd_actor_restarts", "Crashed actors restarted", ["actor"], registry=registry)
        self._unknown = Counter("hrmd_orders_unknown", "Orders that the venue never answered for", registry=registry)
        self._unresolved = Gauge("hrmd_orders_unresolved", "Orders whose fate is unknown now", registry=registry)
        self._missed = Counter("hrmd_missed_fills", "Fills that only the broker's book told of", registry=registry)
        self._halted = Counter("hrmd_symbols_halted", "Positions that differed from the broker's", registry=registry)
        self._available = Gauge("hrmd_available_rupees", "What the broker says is free", registry=registry)
        self._funds_differ = Gauge(
            "hrmd_funds_difference_rupees", "The broker's cash less the journal's where they differ", registry=registry
        )
        self._inference = Histogram(
            "hrmd_inference_seconds", "Time in the model's forward pass", buckets=INFERENCE_BUCKETS_S, registry=registry
        )
        self._malformed = Counter(
            "hrmd_control_malformed_requests", "What came to the control port and isn't HTTP", registry=registry
        )
        self._turned_out = Counter(
            "hrmd_control_turned_out", "Connections that had to make room for another one", registry=registry
        )
        self._unread = Counter(
            "hrmd_control_unread", "Connections that did not take what was sent to them", registry=registry
        )
        self._refused = Counter("hrmd_control_refused", "Requests refused, by status", ["status"], registry=registry)
        self._lag = Histogram(
            "hrmd_loop_lag_seconds", "How late the event loop woke", buckets=LAG_BUCKETS_S, registry=registry
        )

    def malformed_request(self) -> None:
        """Something that isn't HTTP came to the control port."""
        self._malformed.inc()

    def turned_out(self) -> None:
        """A connection to the control port had to make room for another one."""
        self._turned_out.inc()

    def unread(self) -> None:
        """A connection to the control port did not take what was sent to it."""
        self._unread.inc()

    def refused(self, status: int) -> None:
        """A request was answered with `status`, 400 or more."""
        self._refused.labels(str(status)).inc()

    def record(self, event: Event) -> None:
        """Count `event`; types not in `MEASURED` are passed over."""
        match event:
            case Decision():
                self._decisions.labels(event.strategy, event.action.name).inc()
                if event.failed:
                    self._failed.labels(event.strategy).inc()
                if event.segments:
                    self._reason(event)
                if event.halt_reason:
                    self._halts.labels(event.halt_reason).inc()
            case StrategySwapped():
                self._swaps.labels(event.new).inc()
            case ActorRestarted():
                self._restarts.labels(event.actor).inc()
            case OrderUnknown():
                self._unknown.inc()
            case Reconciled():
                self._missed.inc(event.missed_fills)
                self._unresolved.set(event.unknown)
            case SymbolHalted():
                self._halted.inc()
            case FundsReported():
                self._available.set(float(event.available))
            case FundsDiffer():
                self._funds_differ.set(float(event.broker - event.journal) if event.reason else 0.0)
            case AlertChanged():
                if event.raised:
                    self._alerts.labels(event.kind).inc()

    def _reason(self, decision: Decision) -> None:
        self._segments.observe(decision.segments)
        self._convergence.observe(decision.convergence)
        self._reasoned += 1
        self._segments_taken += decision.segments

    def inference(self, seconds: float) -> None:
        """A forward pass of the model took `seconds`, on the machine's clock."""
        self._inference.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke `seconds` later than asked."""
        self._lag.observe(max(0.0, seconds))

    @property
    def _saved(self) -> float | None:
        most = self.gauges.most_segments if self.gauges is not None else 0
        return 1 - self._segments_taken / self._reasoned / most if self._reasoned and most else None

    def render(
        self, status: Status, checks: Sequence[Check] = (), shadow: Sequence[ShadowRow] = (),
        stream: StreamCounts | None = None,
    ) -> bytes:  # fmt: skip
        """Everything, in Prometheus' text format (content type `prometheus_client.CONTENT_TYPE_LATEST`)."""
        standing = CollectorRegistry()
        standing.register(_StatusCollector(status, checks))
        standing.register(_ShadowCollector(shadow))
        standing.register(GaugeCollector(self.gauges))
        standing.register(_DepthCollector(self._saved))
        standing.register(_StreamCollector(stream))
        return generate_latest(self._registry) + generate_latest(standing)


class _DepthCollector(Collector):
    """How much of the depth that is allowed was not needed."""

    def __init__(self, saved: float | None) -> None:
        self._saved = saved

    def collect(self) -> Iterator[Metric]:
        if self._saved is not None:
            text = "1 less the mean of a decision's segments as a share of the most"
            yield GaugeMetricFamily("hrmd_depth_saved_ratio", text, value=self._saved)


class _StreamCollector(Collector):
    """Those who listen to `/stream` and its kind, as metric families."""

    def __init__(self, counts: StreamCounts | None) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        if counts is None:
            return
        yield GaugeMetricFamily("hrmd_stream_readers", "Who listens now", value=counts.readers)
        yield CounterMetricFamily("hrmd_stream_frames", "Frames, each once for all readers", value=counts.published)
        text = "Frames that a newer one replaced before a reader took them"
        yield CounterMetricFamily("hrmd_stream_conflated", text, value=counts.conflated)
        lost = [(why.value, count) for why, count in counts.lost.items()]
        yield _by_label("hrmd_stream_dropped", "Readers let go because they did not keep up", "reason", lost)


class _StatusCollector(Collector):
    """A `Status` as metric families."""

    def __init__(self, status: Status, checks: Sequence[Check]) -> None:
        self._status = status
        self._checks = checks

    def collect(self) -> Iterator[Metric]:
        status = self._status
        yield CounterMetricFamily("hrmd_ticks", "Ticks accepted", value=status.ticks_accepted)
        yield _by_label("hrmd_ticks_rejected", "Ticks rejected by reason", "reason", status.ticks_rejected.items())
        yield CounterMetricFamily("hrmd_bars", "Bars closed", value=status.bars)
        yield CounterMetricFamily("hrmd_orders", "Orders wanted", value=status.orders)
        yield CounterMetricFamily("hrmd_fills", "Fills", value=status.fills)
        yield _by_label("hrmd_orders_denied", "Orders that risk refused, by check", "check", status.denied.items())
        yield GaugeMetricFamily("hrmd_healthy", "1 when healthy or degraded", value=int(status.healthy))
        yield from _health(self._checks)
        state = GaugeMetricFamily("hrmd_trading_state", "1 for the state that holds", labels=["state"])
        for name in TradingState:
            state.add_metric([name.value], int(name is status.trading_state))
        yield state
        strategy = GaugeMetricFamily(
            "hrmd_strategy_rung", "Place on the ladder of the strategy in charge", labels=["strategy"]
        )
        strategy.add_metric([status.strategy], status.strategy_rung)
        yield strategy
        yield GaugeMetricFamily("hrmd_open_positions", "Symbols held", value=status.open_positions)
        yield GaugeMetricFamily("hrmd_working_orders", "Orders at the venue", value=status.working_orders)
        yield GaugeMetricFamily("hrmd_equity_rupees", "Cash plus positions", value=float(status.equity))
        yield GaugeMetricFamily("hrmd_net_pnl_rupees", "Since the start, after costs", value=float(status.net_pnl))
        yield GaugeMetricFamily("hrmd_costs_rupees", "Charges since the start", value=float(status.costs))
        if status.token_left_s is not None:
            yield GaugeMetricFamily(
                "hrmd_token_seconds_left", "Until the broker's access ends, 0 when it has", value=status.token_left_s
            )
        if status.feed_counts:
            counts = status.feed_counts.items()
            yield _by_label("hrmd_feed", "What the live feed counted, by kind", "kind", counts)
        if status.last_tick_ts is not None:
            age_s = max(0.0, (status.ts - status.last_tick_ts) / 1e9)
            yield GaugeMetricFamily("hrmd_last_tick_age_seconds", "Since the newest tick", value=age_s)
        yield from () if status.inference is None else _inference(status.inference)
        yield from () if status.recorder is None else _recorder(status.recorder)


def _health(checks: Sequence[Check]) -> Iterator[Metric]:
    found = GaugeMetricFamily("hrmd_health", "0 ok, 1 worth a look, 2 to be mended", labels=["check"])
    values = GaugeMetricFamily("hrmd_health_value", "What the check measured, in its own unit", labels=["check"])
    for check in checks:
        found.add_metric([check.name], check.status.rank)
        if check.value is not None:
            values.add_metric([check.name], check.value)
        if check.name == "journal" and check.value is not None:
            text = "How long the oldest event has waited for the disk"
            yield GaugeMetricFamily("hrmd_journal_lag_seconds", text, value=check.value)
    yield found
    yield values


class _ShadowCollector(Collector):
    """The agents beside the one in charge as metric families, none without any."""

    def __init__(self, rows: Sequence[ShadowRow]) -> None:
        self._rows = [row for row in rows if not row.in_charge]

    def collect(self) -> Iterator[Metric]:
        if not self._rows:
            return
        for name, text in _SHADOW_COUNTS.items():
            counts = [(row.name, getattr(row, name)) for row in self._rows]
            yield _by_label(f"hrmd_shadow_{name}", text, "agent", counts)
        families = {
            name: GaugeMetricFamily(f"hrmd_shadow_{name}", text, labels=["agent"])
            for name, text in _SHADOW_GAUGES.items()
        }
        for row in self._rows:
            for name, value in _shadow_values(row).items():
                if value is not None:
                    families[name].add_metric([row.name], value)
        yield from families.values()


_SHADOW_COUNTS = {
    "decisions": "Decisions of shadow agents",
    "skipped": "Shadow decisions that there was no time for",
    "failed": "Shadow decisions that failed",
    "trades": "Round trips of shadow agents, on paper",
}
_SHADOW_GAUGES = {
    "agreement_ratio": "Share of decisions equal to those in charge",
    "thinking_seconds": "Mean time of the machine for a decision",
    "net_pnl_rupees": "On paper since the start, after costs",
    "difference_rupees": "The same less what the one in charge earned",
    "dropped": "1 where the agent decides no more",
}


def _shadow_values(row: ShadowRow) -> dict[str, float | None]:
    return {
        "agreement_ratio": row.agreement,
        "thinking_seconds": None if row.thinking_ms is None else row.thinking_ms / 1e3,
        "net_pnl_rupees": float(row.net_pnl),
        "difference_rupees": None if row.difference is None else float(row.difference),
        "dropped": float(bool(row.dropped)),
    }


def _inference(status: InferenceStatus) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "hrmd_inference", "What thinks", value={"runtime": status.runtime, "model_hash": status.model_hash}
    )
    yield GaugeMetricFamily("hrmd_deadline_seconds", "From bar close to decision", value=status.deadline_ms / 1e3)
    yield CounterMetricFamily("hrmd_deadline_overruns", "Decisions published after the deadline", value=status.overruns)
    yield CounterMetricFamily(
        "hrmd_decisions_superseded", "Decisions that a newer bar made needless", value=status.superseded
    )
    yield CounterMetricFamily("hrmd_decision_cache_hits", "Decisions remembered", value=status.cache_hits)
    yield CounterMetricFamily("hrmd_decision_cache_misses", "Decisions not remembered", value=status.cache_misses)
    asked = status.cache_hits + status.cache_misses
    if asked:
        yield GaugeMetricFamily(
            "hrmd_decision_cache_hit_ratio", "Share of decisions remembered", value=status.cache_hits / asked
        )


def _recorder(status: RecorderStatus) -> Iterator[Metric]:
    yield CounterMetricFamily("hrmd_ticks_recorded", "Ticks on the tape", value=status.recorded)
    yield CounterMetricFamily("hrmd_ticks_unrecorded", "Ticks that the tape lacks", value=status.lost)
    yield GaugeMetricFamily("hrmd_recorder_failing", "1 while nothing can be recorded", value=int(bool(status.trouble)))


def _by_label(name: str, text: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values:
        family.add_metric([value], count)
    return family
