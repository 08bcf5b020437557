"""Which runtime is taken: the one asked for, the next where it can't be had, the fastest under `auto`."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from pathlib import Path

import pytest

from models.errors import RuntimeUnavailable
from models.hrm import HRM
from models.runtime import TorchRunner
from models.runtimes.choice import (
    Candidate,
    Precision,
    Runners,
    Runtime,
    RuntimePlan,
    candidates,
    choose,
    default_cache,
    export_path,
    fastest,
    warm_up,
)
from models.runtimes.graph import write_graph
from models.weights import Network as Both
from tests.unit.models.runtimes.conftest import Network

NO_COMPILER = "no-such-compiler"
TORCH = Candidate(Runtime.TORCH, Precision.FP32)


def ticking() -> int:
    """A clock on which every look takes a millisecond."""
    return next(_TICKS) * 1_000_000


_TICKS = itertools.count()


def runners(model: HRM, cache: Path, artifact: Path | None = None) -> Runners:
    """The runners of a model whose hash is `hash`."""
    return Runners(Both(model), "hash", artifact=artifact, cache=cache, settled_below=0.0)


def test_what_is_tried_follows_the_plan(tmp_path: Path) -> None:
    """From the runtime asked for down the list, never coarser than allowed, torch fp32 always last."""

    def names(runtime: Runtime, precision: Precision) -> list[str]:
        return [one.name for one in candidates(RuntimePlan(runtime, precision, tmp_path))]

    everything = [
        "native int8", "native bf16", "native int16", "native fp32", "onnxruntime int8", "onnxruntime fp32",
        "torch fp32",
    ]  # fmt: skip
    assert names(Runtime.AUTO, Precision.INT8) == everything
    assert names(Runtime.NATIVE, Precision.BF16) == [
        "native bf16", "native int16", "native fp32", "onnxruntime fp32", "torch fp32",
    ]  # fmt: skip
    assert names(Runtime.NATIVE, Precision.INT16)[0] == "native int16"
    assert names(Runtime.ONNXRUNTIME, Precision.FP32) == ["onnxruntime fp32", "torch fp32"]
    assert names(Runtime.TORCH, Precision.INT8) == ["torch fp32"]


def test_the_most_precise_of_the_fast_is_taken() -> None:
    """Within 10 % of the fastest precision decides, then time; what is slower is out whatever its precision."""
    int8, bf16 = Candidate(Runtime.NATIVE, Precision.INT8), Candidate(Runtime.NATIVE, Precision.BF16)
    onnx = Candidate(Runtime.ONNXRUNTIME, Precision.INT8)
    assert fastest({int8: 1.0, bf16: 1.09, TORCH: 1.2}) == bf16
    assert fastest({int8: 1.0, bf16: 1.2, TORCH: 1.3}) == int8
    assert fastest({int8: 1.05, onnx: 1.0, TORCH: 9.0}) == onnx
    assert fastest({TORCH: 3.0}) == TORCH


def test_a_runtime_that_cannot_be_had_gives_way(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a compiler native says so, once, and the next runtime is taken."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model = network()
    plan = RuntimePlan(Runtime.NATIVE, Precision.BF16, tmp_path)
    choice = choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    assert choice.candidate.runtime is not Runtime.NATIVE
    assert choice.refused[0] == f"native needs a C++ compiler: CXX={NO_COMPILER} is not there"
    assert len(set(choice.refused)) == len(choice.refused)


@pytest.fixture
def _without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the daemon is installed without the extra `onnx`."""
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.usefixtures("_without_onnx")
@pytest.mark.parametrize(
    ("runtime", "complaints"),
    [
        (Runtime.AUTO, []),
        (Runtime.NATIVE, []),
        (Runtime.ONNXRUNTIME, ["onnxruntime: writing a graph needs the package onnx (extra `onnx`)"]),
    ],
)
def test_an_optional_package_is_missed_where_it_was_asked_for(
    runtime: Runtime, complaints: list[str], tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who didn't ask for ONNX Runtime hears that it isn't there; the missing compiler is said, once."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model = network()
    plan = RuntimePlan(runtime, Precision.FP32, tmp_path)
    choice = choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    assert choice.name == "torch fp32"
    assert [reason for reason in choice.refused if "compiler" not in reason] == complaints


def test_what_is_remembered_holds_for_the_versions_that_were_measured(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of any library that a runtime is made of, and it is measured anew."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model, plan = network(), RuntimePlan(Runtime.AUTO, Precision.FP32, tmp_path / "cache")
    choose(plan, runners(model, plan.cache), model.config, "hash", ticking)
    for count, package in enumerate(("torch", "onnxruntime", "onnx"), start=2):
        installed = tmp_path / "installed" / f"{package}-0.0.1.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
        monkeypatch.syspath_prepend(tmp_path / "installed")
        choose(plan, runners(model, plan.cache), model.config, "hash", ticking)
        assert len(list(plan.cache.glob("choice-*.json"))) == count, package


def test_measuring_is_said(built: Path, network: Network, caplog: pytest.LogCaptureFixture) -> None:
    """The first start takes its time, and says for what; the second needs none."""
    caplog.set_level(logging.INFO)
    model, plan = network(), RuntimePlan(Runtime.AUTO, Precision.FP32, built)
    for said in (1, 1):
        choose(plan, runners(model, plan.cache), model.config, "hash", ticking)
        lines = [line for line in caplog.messages if line.startswith("measuring runtimes, once for this model")]
        assert len(lines) == said
        assert "torch fp32" in lines[0]


def test_auto_measures_once(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is kept with what was measured; another model or another allowed precision is measured anew."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model = network()
    plan = RuntimePlan(Runtime.AUTO, Precision.FP32, tmp_path)
    first = choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    assert "torch fp32" in first.measured_ms
    kept = list(tmp_path.glob("choice-*.json"))
    assert len(kept) == 1
    said = json.loads(kept[0].read_text())
    said |= {"runtime": "torch", "precision": "fp32", "measured_ms": {"torch fp32": 42.0}}
    kept[0].write_text(json.dumps(said))
    again = choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    assert (again.name, again.measured_ms, again.refused) == ("torch fp32", {"torch fp32": 42.0}, first.refused)
    choose(plan, runners(model, tmp_path), model.config, "other", ticking)
    assert len(list(tmp_path.glob("choice-*.json"))) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"runtime": "abacus", "precision": "fp32", "measured_ms": {}}'])
def test_a_damaged_memory_is_measured_anew(
    content: str, tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file holds, there is a runner."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model = network()
    plan = RuntimePlan(Runtime.AUTO, Precision.FP32, tmp_path)
    choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    (kept,) = tmp_path.glob("choice-*.json")
    kept.write_text(content)
    assert "torch fp32" in choose(plan, runners(model, tmp_path), model.config, "hash", ticking).measured_ms


def test_a_remembered_runtime_that_is_gone_is_measured_anew(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler was there when it was measured and isn't now."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model = network()
    plan = RuntimePlan(Runtime.AUTO, Precision.INT8, tmp_path)
    choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    (kept,) = tmp_path.glob("choice-*.json")
    kept.write_text('{"runtime": "native", "precision": "int8", "measured_ms": {}, "refused": []}')
    choice = choose(plan, runners(model, tmp_path), model.config, "hash", ticking)
    assert choice.candidate.runtime is not Runtime.NATIVE
    assert "torch fp32" in choice.measured_ms


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder nothing is kept, and torch is there."""
    monkeypatch.setenv("CXX", NO_COMPILER)
    model = network()
    (tmp_path / "file").write_text("")
    plan = RuntimePlan(Runtime.AUTO, Precision.FP32, tmp_path / "file")
    choice = choose(plan, runners(model, plan.cache), model.config, "hash", ticking)
    assert choice.name == "torch fp32"
    assert isinstance(choice.runner, TorchRunner)


def test_an_export_beside_the_artifact_is_used(tmp_path: Path, network: Network) -> None:
    """It is read, and refused where it is of another model, instead of being written over."""
    pytest.importorskip("onnx")
    model, artifact = network(), tmp_path / "base.safetensors"
    assert export_path(artifact, Precision.INT8) == tmp_path / "base.int8.onnx"
    candidate = Candidate(Runtime.ONNXRUNTIME, Precision.FP32)
    write_graph(model, "hash", export_path(artifact, Precision.FP32), "fp32")
    runners(model, tmp_path / "cache", artifact).build(candidate)
    assert not (tmp_path / "cache").exists()
    write_graph(model, "another", export_path(artifact, Precision.FP32), "fp32")
    with pytest.raises(RuntimeUnavailable, match="does not match its model"):
        runners(model, tmp_path / "cache", artifact).build(candidate)


def test_warming_up_runs_segments(network: Network) -> None:
    """As many as asked for, each on the state of the one before."""
    model = network()
    counted: list[int] = []

    class Counting(TorchRunner):
        def segment(self, x, state):  # type: ignore[no-untyped-def]
            counted.append(int(state.segments[0]))
            return super().segment(x, state)

    warm_up(Counting(model), model.config, 3)
    assert counted == [0, 1, 2]


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`XDG_CACHE_HOME`, or `~/.cache`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "hrmd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "hrmd"
