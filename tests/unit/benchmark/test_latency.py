"""The measurements of `hrmd bench`: what they count and compare, never how fast anything is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.benchmark.agreement import agrees, compare
from daemon.benchmark.busy import BusyRun
from daemon.benchmark.latency import measure_latency, times
from daemon.benchmark.machine import Machine, block_weights, measure_machine, segment_operations
from daemon.cli.options import run_loop
from daemon.core.clock import LiveClock
from daemon.settings.loading import load_settings
from daemon.settings.tree import Settings
from models.act import HeadValues
from models.agent import HRMAgent
from models.runtimes.choice import Precision, Runtime, RuntimePlan
from strategies.hrm import HRMStrategy


def settings(*overrides: str) -> Settings:
    """The project's settings, untrained."""
    return load_settings(None, ["model_management.artifact=null", *overrides])


def test_operations_are_those_of_the_matrices() -> None:
    """Counted from the shape, they are what the weights of a real model come to."""
    hrm = settings("hierarchical_reasoning_model.profile=base").hierarchical_reasoning_model
    config = hrm.network()
    weights = HRMAgent.untrained(hrm, 1).model.state_dict()

    def of(part: str) -> int:
        return sum(weights[name].numel() for name in weights if name.startswith(part) and "_proj" in name)

    assert block_weights(config) == (of("core.L_level"), of("core.H_level"))
    low, high = block_weights(config)
    crossing = 2 * 512 * 256
    assert segment_operations(config) == 2 * config.features.tokens * 3 * (5 * low + high + crossing)


def test_a_machine_without_the_kernel_has_no_peaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are absent, and so are the floors made of them."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    machine = measure_machine(tmp_path, 1 << 20, rounds=1)
    assert (machine.peak_gops, machine.memory_gb_per_s, machine.weights_gb_per_s) == ({}, None, None)
    assert machine.floor_ms(1e9, "int8") is None


def test_a_floor_is_operations_by_peak() -> None:
    """A billion operations at 500 GOP/s take 2 ms."""
    machine = Machine(processor="", peak_gops={"int8": 500.0}, memory_gb_per_s=None, weights_gb_per_s=None)
    assert machine.floor_ms(1e9, "int8") == pytest.approx(2.0)


def test_times_are_milliseconds() -> None:
    """Median, 99th percentile and maximum of nanoseconds."""
    found = times([1_000_000, 2_000_000, 9_000_000])
    assert (found.median, found.max, found.runs) == (2.0, 9.0, 3)
    assert 2.0 < found.p99 <= 9.0
    assert times([]).runs == 0


@pytest.mark.nightly
def test_torch_is_in_every_run(built: Path) -> None:
    """Each batch has the reference, as fast as itself, and what can't be had is said."""
    agent = HRMAgent.untrained(settings().hierarchical_reasoning_model, 1)
    plan = RuntimePlan(Runtime.AUTO, Precision.FP32, built)
    report = measure_latency(agent, plan, [Runtime.TORCH], [1, 3], rounds=2)
    assert [(row.runtime, row.instruments, row.times_torch) for row in report.runtimes] == [
        ("torch fp32", 1, 1.0), ("torch fp32", 3, 1.0),
    ]  # fmt: skip
    assert report.runtimes[0].segment_ms.runs == 8
    assert report.runtimes[0].decision_ms.runs == 2
    assert report.peak_memory_mb > 0
    assert not report.trained


def head_values(policy: list[float], value: float = 0.0) -> HeadValues:
    """One row that is the same in each position, HOLD and CLOSE masked."""
    row = np.array([*policy, -np.inf, -np.inf, 0.0], np.float32)
    one = np.full(1, value, np.float32)
    return HeadValues(np.tile(row, (1, 3, 1)), one, np.full((1, 3), value, np.float32), one, one, one, one)


def test_agreement_counts_actions_and_errors() -> None:
    """A toss-up that falls the other way is a difference, but no clear one."""
    same = compare("any", 1, head_values([2.0, 1.0], 0.25), head_values([2.5, 1.0]))
    assert (same.same_action, same.clear_differences, same.policy_error, same.value_error) == (1.0, 0, 0.5, 0.25)
    toss = compare("any", 1, head_values([1.0, 1.01]), head_values([1.01, 1.0]))
    assert (toss.same_action, toss.clear_differences, toss.decisions) == (0.0, 0, 3)
    clear = compare("any", 2, head_values([1.0, 2.0]), head_values([2.0, 1.0]))
    assert (clear.same_action, clear.clear_differences, clear.segment) == (0.0, 3, 2)


def test_agreement_is_judged_where_decisions_are_made() -> None:
    """A clear difference counts down to the depth that decisions reach, and only of what may decide."""
    clear = compare("any", 3, head_values([1.0, 2.0]), head_values([2.0, 1.0]))
    hidden = msgspec.structs.replace(clear, same_action=0.995, clear_differences=1)
    assert not agrees([hidden], 3)
    assert agrees([hidden], 2)
    assert agrees([msgspec.structs.replace(hidden, allowed=False)], 3)
    assert agrees([msgspec.structs.replace(hidden, clear_differences=0)], 3)
    assert not agrees([msgspec.structs.replace(hidden, same_action=0.98)], 2)


def test_a_busy_run_decides_every_bar() -> None:
    """Ticks go through the bars, every bar of every symbol is decided or passed over, depth and lag are counted."""
    chosen = settings("bars.intervals=[1m, 5m, 30m]", "hierarchical_reasoning_model.features.min_bars=2")
    hrm = chosen.hierarchical_reasoning_model
    strategy = HRMStrategy(HRMAgent.untrained(hrm, 1, now_ns=LiveClock().monotonic_ns), hrm, LiveClock(), "test")
    told: list[int] = []
    report = run_loop(BusyRun(chosen, strategy, 2, 6, 2_000, 0.05, told.append).run())
    assert told == [1, 2, 3, 4, 5, 6]
    assert report.decisions + report.superseded == 12
    assert sum(report.segments.values()) == report.decisions
    assert 0 < report.thinking <= report.decisions
    assert report.ticks > 0
    assert report.loop_lag_ms.runs > 0
    assert report.decision_ms.runs == report.thinking
    assert report.overruns_over_5_ms <= report.overruns
