"""What the daemon holds at a moment → metric families. The struct is made on the daemon's own loop and never changes.

Invariant: labels are names of the program (stages, kinds), never symbols or order ids: the number of series is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.supervision.health_readings import AlertsReading


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """Of one moment; rupees."""

    build: Mapping[str, str]
    """Version, Python, and the beginning of the settings' hash."""
    gross: Decimal
    """Longs plus shorts at their last prices."""
    net: Decimal
    realised: Decimal
    unrealised: Decimal
    day_pnl: Decimal
    waiting: Mapping[str, int]
    """Events in each stage's inbox."""
    journal_waiting: int | None
    """Events that wait for the disk; None where nothing is journaled."""
    journal_committed: int
    most_segments: int
    """That a decision may take."""
    canary: bool
    """Whether one runs."""
    standing: Mapping[tuple[str, str], int]
    """Alerts that last, by kind and severity."""
    alerts: AlertsReading


class GaugeCollector(Collector):
    """`Gauges` as metric families; none before the first were taken."""

    def __init__(self, gauges: Gauges | None) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        gauges = self._gauges
        if gauges is None:
            return
        yield InfoMetricFamily("hrmd_build", "Which hrmd this is", value=dict(gauges.build))
        yield from _money(gauges)
        inboxes = GaugeMetricFamily("hrmd_inbox_events", "Events that wait for a stage", labels=["stage"])
        for stage, count in gauges.waiting.items():
            inboxes.add_metric([stage], count)
        yield inboxes
        if gauges.journal_waiting is not None:
            text = "Events that wait for the disk"
            yield GaugeMetricFamily("hrmd_journal_waiting_events", text, value=gauges.journal_waiting)
            text = "Events that are on disk"
            yield CounterMetricFamily("hrmd_journal_events", text, value=gauges.journal_committed)
        yield GaugeMetricFamily("hrmd_canary_running", "1 while a canary decides on a share", value=int(gauges.canary))
        yield from _alerts(gauges)


def _money(gauges: Gauges) -> Iterator[Metric]:
    exposure = GaugeMetricFamily("hrmd_exposure_rupees", "Positions at their last prices", labels=["kind"])
    exposure.add_metric(["gross"], float(gauges.gross))
    exposure.add_metric(["net"], float(gauges.net))
    yield exposure
    pnl = GaugeMetricFamily("hrmd_pnl_rupees", "Since the start, before costs", labels=["kind"])
    pnl.add_metric(["realised"], float(gauges.realised))
    pnl.add_metric(["unrealised"], float(gauges.unrealised))
    yield pnl
    yield GaugeMetricFamily("hrmd_day_pnl_rupees", "Of the day, after costs", value=float(gauges.day_pnl))


def _alerts(gauges: Gauges) -> Iterator[Metric]:
    standing = GaugeMetricFamily("hrmd_alerts_standing", "Alerts that last", labels=["kind", "severity"])
    for (kind, severity), count in sorted(gauges.standing.items()):
        standing.add_metric([kind, severity], count)
    yield standing
    reading = gauges.alerts
    yield GaugeMetricFamily("hrmd_alert_targets", "Services that are told of alerts", value=reading.targets)
    failing = len(reading.failing)
    yield GaugeMetricFamily("hrmd_alert_targets_failing", "Those of them that can't be told", value=failing)
    yield GaugeMetricFamily("hrmd_alerts_waiting", "Alerts that no service took yet", value=reading.waiting)
    yield CounterMetricFamily("hrmd_alerts_lost", "Alerts for which there was no room any more", value=reading.lost)
