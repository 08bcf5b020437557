"""The rules for Prometheus and the dashboard for Grafana ask for what the daemon has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from daemon.control.gauges import Gauges
from daemon.control.metrics import Metrics
from daemon.control.view import InferenceStatus, RecorderStatus
from daemon.core.events import AlertChanged, FundsReported, Reconciled, Severity
from daemon.supervision.health import good
from daemon.supervision.health_readings import AlertsReading
from tests.unit.control.fakes import DECISIONS, NOW, SHADOW, STATUS

DOCS = Path(__file__).parents[2] / "docs"
RULES = DOCS / "prometheus-alerts.yaml"
DASHBOARD = DOCS / "grafana-dashboard.json"
METRIC = re.compile(r"\b(?:hrmd|process)_\w+|\bup\b")
OF_PROMETHEUS = {"up"}
GAUGES = Gauges(
    build={"version": "0.1.0", "python": "3.11.9", "settings": "abc"}, gross=Decimal(500), net=Decimal(-100),
    realised=Decimal(3), unrealised=Decimal(4), day_pnl=Decimal("-7.5"), waiting={"bars": 2, "risk": 0},
    journal_waiting=3, journal_committed=100, most_segments=8, canary=True,
    standing={("disk", "warning"): 1, ("halt", "critical"): 1},
    alerts=AlertsReading(2, {"1: JSON host": "it hangs"}, 4, 5),
)  # fmt: skip


def rendered() -> str:
    """The metrics of a daemon that has everything."""
    metrics = Metrics()
    metrics.gauges = GAUGES
    for decision in DECISIONS:
        metrics.record(msgspec.structs.replace(decision, failed=True, convergence=0.15))
    metrics.record(FundsReported(ts=NOW, total=Decimal(1), available=Decimal(1)))
    metrics.record(Reconciled(ts=NOW, orders=1, trades=1, missed_fills=0, unknown=0))
    metrics.record(
        AlertChanged(ts=NOW, key="disk", kind="disk", severity=Severity.WARNING, raised=True, text="4 GB free")
    )
    status = msgspec.structs.replace(
        STATUS, token_left_s=90.0, recorder=RecorderStatus(recorded=10, lost=0, trouble=""), feed_counts={"links": 1},
        inference=InferenceStatus(
            runtime="native int8", model_hash="ab", deadline_ms=50.0, overruns=0, superseded=0, cache_hits=1,
            cache_misses=1),
    )  # fmt: skip
    checks = [good("journal", "0 events wait", 0.0, 2.0, "s"), good("disk", "50 GB free", 50.0, 5.0, "GB")]
    return metrics.render(status, checks, [SHADOW]).decode()


def names(text: str) -> set[str]:
    """Every name that a query may ask for, those of families without a sample yet, too."""
    found: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        found |= {name} if kind != "histogram" else {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return found


def expressions() -> list[str]:
    """Of all rules and panels."""
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [*rules, *(target["expr"] for panel in panels for target in panel["targets"])]


def asked() -> set[str]:
    """The metrics that rules and dashboard ask for."""
    return {name for expression in expressions() for name in METRIC.findall(expression)} - OF_PROMETHEUS


def test_whatever_is_asked_for_is_there() -> None:
    """No rule waits for a metric that never comes, and no panel stays empty."""
    assert len(asked()) > 40
    assert asked() <= names(rendered())


def test_what_the_daemon_holds_is_shown() -> None:
    """Exposure, profit, queues, journal, depth, alerts, each by names of the program alone."""
    lines = rendered().splitlines()
    for line in (
        'hrmd_build_info{python="3.11.9",settings="abc",version="0.1.0"} 1.0',
        'hrmd_exposure_rupees{kind="gross"} 500.0',
        'hrmd_exposure_rupees{kind="net"} -100.0', 'hrmd_pnl_rupees{kind="unrealised"} 4.0',
        "hrmd_day_pnl_rupees -7.5", 'hrmd_inbox_events{stage="bars"} 2.0', "hrmd_journal_waiting_events 3.0",
        "hrmd_journal_events_total 100.0", "hrmd_journal_lag_seconds 0.0", "hrmd_canary_running 1.0",
        'hrmd_alerts_standing{kind="disk",severity="warning"} 1.0', "hrmd_alert_targets 2.0",
        "hrmd_alert_targets_failing 1.0", "hrmd_alerts_waiting 4.0", "hrmd_alerts_lost_total 5.0",
        'hrmd_alerts_raised_total{kind="disk"} 1.0', 'hrmd_convergence_ratio_bucket{le="0.2"} 5.0',
        "hrmd_depth_saved_ratio 0.375",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_before_the_first_look_nothing_is_made_up() -> None:
    """Rather no series than zeros."""
    text = Metrics().render(STATUS).decode()
    assert "hrmd_exposure_rupees" not in text
    assert "hrmd_depth_saved_ratio" not in text


def test_a_rule_says_how_grave_and_what_to_do() -> None:
    """And has a name of its own."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in list(Severity)
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["do"]


def test_panels_do_not_lie_on_each_other() -> None:
    """Nor have two the same number."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("command", "text"), [(["check", "rules", str(RULES)], ""), (["check", "metrics"], "metrics")]
)  # fmt: skip
def test_promtool_finds_nothing(command: list[str], text: str) -> None:
    """Neither in the rules nor in the names and types of the metrics."""
    done = subprocess.run(
        ["promtool", *command], input=rendered() if text else "", capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
