"""Settings and a model → the runner that decisions are made with, and why it is that one.

A named runtime that can't be had here gives way to the next one; `auto` measures every runtime that can be had, in
interleaved rounds, and keeps its answer in the cache, so that two runs on one machine reason with the same arithmetic.
Invariant: torch eager in fp32, the reference, is the last of every list, so there always is a runner.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from models.act import Runner
from models.config import HRMConfig
from models.errors import NotInstalled, RuntimeUnavailable
from models.features import BAR_FEATURES, POSITION_FEATURES, Features, calendar_names
from models.native.build import HEADERS, KERNEL, SOURCES
from models.native.build import default_cache as default_cache  # asked for here by who chooses a runtime
from models.runtimes.native import NativeRunner
from models.weights import Network

if TYPE_CHECKING:
    from models.hrm import HRM

log = logging.getLogger("hrmd.runtimes")

WARM_UP_SEGMENTS: Final = 3
ROUNDS: Final = 7
NEAR: Final = 1.1
"""Runtimes within so much of the fastest count as equally fast, and the most precise of them is taken."""
CHOICE_FORMAT: Final = 1


class Runtime(StrEnum):
    """Who computes a segment."""

    AUTO = "auto"
    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    NATIVE = "native"


class Precision(StrEnum):
    """Of weights and products, coarsest first."""

    INT8 = "int8"
    BF16 = "bf16"
    INT16 = "int16"
    FP32 = "fp32"


PRECISIONS: Final = tuple(Precision)
OFFERED: Final = {
    Runtime.NATIVE: (Precision.INT8, Precision.BF16, Precision.INT16, Precision.FP32),
    Runtime.ONNXRUNTIME: (Precision.INT8, Precision.FP32),
    Runtime.TORCH: (Precision.FP32,),
}


@dataclass(frozen=True, slots=True)
class RuntimePlan:
    """What the settings ask for. `precision` is the coarsest that may be used; `cache` a folder that is ours."""

    runtime: Runtime = Runtime.TORCH
    precision: Precision = Precision.FP32
    cache: Path = field(default_factory=default_cache)
    threads: int = 1
    """Of torch, where it computes."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run segments."""

    runtime: Runtime
    precision: Precision

    @property
    def name(self) -> str:
        """As logs and journals call it, e.g. `native int8`."""
        return f"{self.runtime} {self.precision}"


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The runner, what it is, what could not be had and what `auto` measured (ms a segment, by name)."""

    runner: Runner[Any, Any]
    candidate: Candidate
    refused: tuple[str, ...] = ()
    measured_ms: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name


def candidates(plan: RuntimePlan) -> list[Candidate]:
    """What may be tried, best guess first: the runtime asked for, coarsest precision first, then those behind it."""
    order = list(OFFERED)
    first = 0 if plan.runtime is Runtime.AUTO else order.index(plan.runtime)
    floor = PRECISIONS.index(plan.precision)
    return [
        Candidate(runtime, precision)
        for runtime in order[first:]
        for precision in OFFERED[runtime]
        if PRECISIONS.index(precision) >= floor
    ]


class Runners:
    """Builds the runners of one network; `sha256` is its hash and `artifact` its file, beside which exports are kept.

    torch is imported where it is asked for, and by ONNX Runtime's, whose input network it runs, on so many `threads`.
    """

    def __init__(
        self, network: Network, sha256: str, *, artifact: Path | None, cache: Path, settled_below: float,
        threads: int = 1,
    ) -> None:  # fmt: skip
        self._network, self._sha256, self._artifact, self._threads = network, sha256, artifact, threads
        self._cache, self._settled_below = cache, settled_below

    def build(self, candidate: Candidate) -> Runner[Any, Any]:
        """Return the runner. Raises RuntimeUnavailable with what is missing."""
        match candidate.runtime:
            case Runtime.NATIVE:
                return NativeRunner(
                    self._network.weights,
                    precision=candidate.precision.value,
                    cache=self._cache,
                    settled_below=self._settled_below,
                )
            case Runtime.ONNXRUNTIME:
                from models.runtimes.onnx import OnnxRunner

                return OnnxRunner(
                    self._in_torch(),
                    path=self._graph(candidate.precision),
                    sha256=self._sha256,
                    precision=candidate.precision.value,
                    settled_below=self._settled_below,
                )
            case _:
                from models.runtime import TorchRunner

                return TorchRunner(self._in_torch(), settled_below=self._settled_below)

    def _in_torch(self) -> HRM:
        import torch

        torch.set_num_threads(self._threads)
        return self._network.model

    def _graph(self, precision: Precision) -> Path:
        """The export beside the artifact where there is one, else one in the cache, written now if need be."""
        if self._artifact is not None and (kept := export_path(self._artifact, precision)).exists():
            return kept
        path = self._cache / f"{self._sha256[:16]}.{precision}.onnx"
        if not path.exists():
            from models.runtimes.graph import write_graph

            try:
                self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_graph(self._in_torch(), self._sha256, path, precision)
            except OSError as error:
                raise RuntimeUnavailable(f"onnxruntime: a graph can't be written: {error}") from error
        return path


def choose(plan: RuntimePlan, runners: Runners, config: HRMConfig, sha256: str, now_ns: Callable[[], int]) -> Choice:
    """Return the runner that the plan comes to on this machine."""
    kept = plan.cache / f"choice-{_key(plan, sha256)}.json"
    if plan.runtime is Runtime.AUTO and (known := _recall(kept)) is not None:
        try:
            return Choice(runners.build(known.candidate), known.candidate, known.refused, known.measured_ms)
        except RuntimeUnavailable:
            kept.unlink(missing_ok=True)  # the machine is another one now: measure again
    refused: list[str] = []
    built: dict[Candidate, Runner[Any, Any]] = {}
    for candidate in candidates(plan):
        try:
            built[candidate] = runners.build(candidate)
        except RuntimeUnavailable as error:
            if not isinstance(error, NotInstalled) or candidate.runtime is plan.runtime:
                refused.append(str(error))
            continue
        if plan.runtime is not Runtime.AUTO:
            return Choice(built[candidate], candidate, tuple(dict.fromkeys(refused)))
    log.info("measuring runtimes, once for this model and machine: %s", ", ".join(one.name for one in built))
    measured = measure(built, config, now_ns)
    taken = fastest(measured)
    choice = Choice(built[taken], taken, tuple(dict.fromkeys(refused)), {one.name: ms for one, ms in measured.items()})
    _keep(kept, choice)
    return choice


def measure(
    runners: dict[Candidate, Runner[Any, Any]], config: HRMConfig, now_ns: Callable[[], int]
) -> dict[Candidate, float]:
    """Least time of one segment of one row, ms, each runner once a round: what disturbs a round, disturbs them all."""
    features = blank_features(config)
    ready = {one: (runner.embed(features), runner.start(features, 1, None)) for one, runner in runners.items()}
    least: dict[Candidate, float] = {}
    for turn in range(WARM_UP_SEGMENTS + ROUNDS):
        for one, runner in runners.items():
            started = now_ns()
            runner.segment(*ready[one])
            elapsed_ms = (now_ns() - started) / 1e6
            if turn >= WARM_UP_SEGMENTS:
                least[one] = min(elapsed_ms, least.get(one, elapsed_ms))
    return least


def fastest(measured: dict[Candidate, float]) -> Candidate:
    """The most precise of those that are within 10 % of the fastest; of two as precise the faster."""
    bound = min(measured.values()) * NEAR
    near = [one for one, ms in measured.items() if ms <= bound]
    return max(near, key=lambda one: (PRECISIONS.index(one.precision), -measured[one]))


def blank_features(config: HRMConfig, rows: int = 1) -> Features:
    """Features of `rows` observations in which nothing happened: for warming up and measuring."""
    settings = config.features
    per_bar, zero = len(BAR_FEATURES), np.zeros(rows, np.int64)

    def zeros(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.zeros((rows, *shape), np.float32)

    return Features(
        patches=zeros(settings.window // settings.patch, settings.patch * per_bar),
        coarse=zeros(settings.coarse_window * per_bar),
        calendar=zeros(len(calendar_names(settings))),
        position=zeros(len(POSITION_FEATURES)),
        instrument=zero,
        timeframe=zero,
        coarse_timeframe=zero,
        valid=np.ones((rows, settings.tokens), np.bool_),
        side=zero,
        complexity=np.zeros(rows),
    )


def export_path(artifact: Path, precision: Precision) -> Path:
    """Where the exported graph of an artifact is kept: `base.safetensors` → `base.int8.onnx`."""
    return artifact.with_suffix(f".{precision}.onnx")


def _key(plan: RuntimePlan, sha256: str) -> str:
    """What a measurement holds for: the weights, the machine, the kernel and the libraries."""
    digest = hashlib.sha256()
    for source in (*KERNEL, *HEADERS):
        digest.update((SOURCES / source).read_bytes())
    libraries = [_version(name) for name in ("torch", "onnxruntime", "onnx")]
    said = (CHOICE_FORMAT, sha256, plan.precision.value, _processor(), *libraries)
    digest.update(repr(said).encode())
    return digest.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


class _Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A choice as it is kept on disk."""

    runtime: Runtime
    precision: Precision
    measured_ms: dict[str, float]
    refused: tuple[str, ...]

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.runtime, self.precision)


def _recall(path: Path) -> _Remembered | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Remembered)
    except (OSError, msgspec.DecodeError):
        return None


def _keep(path: Path, choice: Choice) -> None:
    one = choice.candidate
    said = _Remembered(one.runtime, one.precision, choice.measured_ms, choice.refused)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_bytes(msgspec.json.encode(said))
        os.replace(partial, path)
    except OSError:
        return  # a cache that can't be written costs a measurement at every start, nothing else


def warm_up(runner: Runner[Any, Any], config: HRMConfig, segments: int) -> None:
    """Run `segments` segments on a blank observation, so that no decision pays for first use."""
    features = blank_features(config)
    x, state = runner.embed(features), runner.start(features, segments, None)
    for _ in range(segments):
        _, state = runner.segment(x, state)
