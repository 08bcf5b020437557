"""A model → how long a segment and a decision take in every runtime, measured in turns.

A round runs every runtime once, so that what disturbs the machine disturbs them all; ratios are of medians of one run.
Invariant: torch eager fp32, the reference, is in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from daemon.benchmark.machine import Machine, block_weights, measure_machine, segment_operations
from daemon.core.clock import NS_PER_MS, stopwatch_ns
from daemon.strategy.inference import choose_runtime
from models.act import Runner
from models.agent import HRMAgent
from models.config import HRMConfig
from models.errors import RuntimeUnavailable
from models.features import Features
from models.runtimes.choice import Candidate, Precision, Runners, Runtime, RuntimePlan, blank_features, candidates
from models.training.progress import resident_mb

REFERENCE = Candidate(Runtime.TORCH, Precision.FP32)
DECISION_SEGMENTS = 4
WARM_UP = 2


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    median: float
    p99: float
    max: float
    runs: int


class RuntimeTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime at one batch; a decision is the input network and 4 segments."""

    runtime: str
    instruments: int
    segment_ms: Times
    decision_ms: Times
    times_torch: float
    """How many times as fast as torch eager fp32 in the same rounds."""
    times_floor: float | None
    """How many times as long as the machine's peak at this precision would take for the products alone."""
    times_int8_floor: float | None


class LatencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `hrmd bench latency` prints."""

    profile: str
    trained: bool
    machine: Machine
    operations_per_segment: float
    runtimes: list[RuntimeTimes]
    auto: str
    refused: list[str]
    peak_memory_mb: float


def measure_latency(
    agent: HRMAgent, plan: RuntimePlan, wanted: Sequence[Runtime], batches: Sequence[int], rounds: int
) -> LatencyReport:
    """Run the rounds, at every precision. `plan` says where things are kept and how coarse what `auto` takes may be."""
    config = agent.config
    runners, refused = _build(agent, plan, wanted)
    low, high = block_weights(config)
    machine = measure_machine(plan.cache, low + high)
    rows: list[RuntimeTimes] = []
    for batch in batches:
        rows += _measure_batch(runners, config, machine, batch, rounds)
    auto = choose_runtime(agent, None, RuntimePlan(Runtime.AUTO, plan.precision, plan.cache, plan.threads))
    return LatencyReport(
        profile=agent.settings.profile,
        trained=agent.trained,
        machine=machine,
        operations_per_segment=segment_operations(config),
        runtimes=rows,
        auto=auto.name,
        refused=refused,
        peak_memory_mb=resident_mb(),
    )


def _build(
    agent: HRMAgent, plan: RuntimePlan, wanted: Sequence[Runtime]
) -> tuple[dict[Candidate, Runner[Any, Any]], list[str]]:
    source = Runners(
        agent.network, agent.model_hash, artifact=None, cache=plan.cache, settled_below=0.0, threads=plan.threads
    )
    runners, refused = {REFERENCE: source.build(REFERENCE)}, []
    for candidate in candidates(RuntimePlan(Runtime.AUTO, Precision.INT8, plan.cache)):
        if candidate == REFERENCE or candidate.runtime not in wanted:
            continue
        try:
            runners[candidate] = source.build(candidate)
        except RuntimeUnavailable as error:
            refused.append(str(error))
    return runners, refused


def _measure_batch(
    runners: dict[Candidate, Runner[Any, Any]], config: HRMConfig, machine: Machine, batch: int, rounds: int
) -> list[RuntimeTimes]:
    features = _believable(config, batch)
    segments: dict[Candidate, list[int]] = {one: [] for one in runners}
    decisions: dict[Candidate, list[int]] = {one: [] for one in runners}
    for turn in range(WARM_UP + rounds):
        for one, runner in runners.items():
            decision, each = _decide(runner, features)
            if turn >= WARM_UP:
                decisions[one].append(decision)
                segments[one] += each
    operations = segment_operations(config) * batch
    reference = float(np.median(segments[REFERENCE]))
    rows = []
    for one in runners:
        median_ms = float(np.median(segments[one])) / NS_PER_MS
        own, int8 = machine.floor_ms(operations, one.precision), machine.floor_ms(operations, Precision.INT8)
        rows.append(
            RuntimeTimes(
                runtime=one.name,
                instruments=batch,
                segment_ms=times(segments[one]),
                decision_ms=times(decisions[one]),
                times_torch=reference / NS_PER_MS / median_ms,
                times_floor=None if own is None else median_ms / own,
                times_int8_floor=None if int8 is None else median_ms / int8,
            )
        )
    return rows


def _decide(runner: Runner[Any, Any], features: Features) -> tuple[int, list[int]]:
    """Nanoseconds of the input network and 4 segments, and of each segment."""
    started = stopwatch_ns()
    x, state = runner.embed(features), runner.start(features, DECISION_SEGMENTS, None)
    each = []
    for _ in range(DECISION_SEGMENTS):
        before = stopwatch_ns()
        _, state = runner.segment(x, state)
        each.append(stopwatch_ns() - before)
    return stopwatch_ns() - started, each


def _believable(config: HRMConfig, rows: int) -> Features:
    """Features with seeded noise where a market's would be: zeros could be faster than what is meant."""
    features, rng = blank_features(config, rows), np.random.default_rng(0)
    for column in (features.patches, features.coarse, features.calendar):
        column += rng.normal(0, 1, column.shape).astype(np.float32)
    return features


def times(elapsed_ns: Sequence[int]) -> Times:
    """Median, 99th percentile and maximum of nanoseconds, as milliseconds; zeros where there are none."""
    if not elapsed_ns:
        return Times(median=0.0, p99=0.0, max=0.0, runs=0)
    values = np.asarray(elapsed_ns) / NS_PER_MS
    median, p99 = np.quantile(values, [0.5, 0.99])
    return Times(median=float(median), p99=float(p99), max=float(values.max()), runs=len(values))
