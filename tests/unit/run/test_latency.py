"""Latency: how it is asked for, and what it says of a decision."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from daemon.core.errors import UsageError
from daemon.core.events import Action, Decision
from daemon.core.latency import FixedLatency, MeasuredLatency
from daemon.journal.writer import Journal
from daemon.run.latency import RecordedLatency, parse_latency

DECISION = Decision(
    ts=0, ts_bar=100, symbol="AAA", interval="5m", strategy="rules", action=Action.HOLD, quantity=1, confidence=0.0,
    reason="", price=1.0,
)  # fmt: skip


def test_measured_is_what_the_clock_says() -> None:
    """Live, nothing is injected."""
    latency = MeasuredLatency()
    assert (latency.name, latency.order_ns, latency.decision_ns(DECISION, 123)) == ("measured", 0, 123)


@pytest.mark.parametrize(
    ("text", "name", "ns"),
    [
        ("zero", "zero", 0),
        ("fixed:0", "zero", 0),
        ("fixed:40", "fixed:40", 40_000_000),
        ("fixed:2.3", "fixed:2.3", 2_300_000),
        ("fixed:600000", "fixed:600000", 600_000_000_000),
    ],
)
def test_fixed(text: str, name: str, ns: int) -> None:
    """The same for each decision and each order, whatever was measured."""
    latency = parse_latency(text)
    assert isinstance(latency, FixedLatency)
    assert (latency.name, latency.order_ns, latency.decision_ns(DECISION, 999)) == (name, ns, ns)


@pytest.mark.parametrize(
    "text",
    ["", "zero:", "zero:1", "fixed", "fixed:", "fixed:-1", "fixed:x", "fixed:nan", "fixed:inf", "fixed:600001",
     "recorded", "recorded:", "none", "Zero"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """The line quotes what was given and names the three forms."""
    with pytest.raises(UsageError, match=r"expected zero, fixed:MS \(0 to 600000\) or recorded:JOURNAL") as caught:
        parse_latency(text)
    assert repr(text) in str(caught.value)


def recorded(path: Path, *latencies: tuple[str, int, int]) -> Path:
    """Write a journal of decisions (symbol, bar, latency)."""
    journal = Journal(path, safe=False)
    journal.describe({"version": "test"})
    for symbol, bar, latency in latencies:
        journal.append(msgspec.structs.replace(DECISION, symbol=symbol, ts_bar=bar, latency_ns=latency))
    journal.close()
    return path


def test_recorded_is_each_decision_s_own(tmp_path: Path) -> None:
    """A decision known by symbol and bar is as late as it was; others and orders as the median decision."""
    path = recorded(tmp_path / "j.sqlite", ("AAA", 100, 10), ("AAA", 200, 70), ("BBB", 100, 40))
    latency = parse_latency(f"recorded:{path}")
    assert isinstance(latency, RecordedLatency)
    assert latency.name == f"recorded:{path}"
    assert latency.decision_ns(DECISION, 5) == 10
    assert latency.decision_ns(msgspec.structs.replace(DECISION, symbol="BBB"), 5) == 40
    assert latency.decision_ns(msgspec.structs.replace(DECISION, ts_bar=300), 5) == 40
    assert latency.order_ns == 40


def test_recorded_needs_decisions(tmp_path: Path) -> None:
    """A journal without any, and a missing one, are refused by name."""
    empty = recorded(tmp_path / "empty.sqlite")
    with pytest.raises(UsageError, match=r"empty\.sqlite: the journal holds no decisions"):
        parse_latency(f"recorded:{empty}")
    with pytest.raises(UsageError, match=r"none\.sqlite: no such journal"):
        parse_latency(f"recorded:{tmp_path / 'none.sqlite'}")
