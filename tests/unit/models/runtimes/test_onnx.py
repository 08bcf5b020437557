"""Exported graphs on ONNX Runtime against torch, and the exports that are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models.act import HeadValues, one_cycle
from models.errors import RuntimeUnavailable
from models.hrm import HRM
from models.runtime import TorchRunner
from models.runtimes.graph import write_graph
from models.runtimes.onnx import OnnxRunner, adds_int8_exactly
from tests.unit.models.runtimes.conftest import Network, Observed

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

TOLERANCE = {"fp32": 2e-4, "int8": 0.25}
ROWS = 24


def runner(model: HRM, folder: Path, precision: str, settled_below: float = 0.0) -> OnnxRunner:
    """Export and load; skip what this processor would compute wrongly."""
    if precision == "int8" and not adds_int8_exactly():
        pytest.skip("this processor has no VNNI")
    path = folder / f"{precision}.onnx"
    write_graph(model, "hash", path, precision)
    return OnnxRunner(model, path=path, sha256="hash", precision=precision, settled_below=settled_below)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"l_dim": 32},
        {"l_reset": "hard"},
        {"l_reset": "soft"},
        {"l_reset": "learned", "gradient": "last_cycle"},
    ],
    ids=["crossing", "equal", "hard", "soft", "learned"],
)
def test_it_answers_what_torch_answers(
    shape: dict[str, object], precision: str, tmp_path: Path, network: Network, observed: Observed
) -> None:
    """Every reading of two segments, with missing tokens: each one in fp32, in int8 on the whole."""
    model = network(shape)
    features = observed(model, ROWS)
    own, reference = runner(model, tmp_path, precision), TorchRunner(model)
    x, y = own.embed(features), reference.embed(features)
    state, other = own.start(features, 4, None), reference.start(features, 4, None)
    for _ in range(2):
        values, state = own.segment(x, state)
        wanted, other = reference.segment(y, other)
        for name in HeadValues.__slots__:
            one, two = getattr(values, name), getattr(wanted, name)
            assert one.dtype == np.float32
            finite = np.isfinite(two)
            np.testing.assert_array_equal(np.isfinite(one), finite)
            error = np.abs(one[finite] - two[finite])
            assert (error.max() if precision == "fp32" else error.mean()) < TOLERANCE[precision]
    assert state.cycles.tolist() == other.cycles.tolist()


def test_settled_rows_stop_alone(tmp_path: Path, network: Network, observed: Observed) -> None:
    """Cycles run per row are torch's, and a single cycle is one."""
    model = network({"h_cycles": 6})
    features = observed(model, 16, masked=False)
    own, reference = runner(model, tmp_path, "fp32", 0.35), TorchRunner(model, settled_below=0.35)
    values, state = own.segment(own.embed(features), own.start(features, 1, None))
    wanted, other = reference.segment(reference.embed(features), reference.start(features, 1, None))
    assert len(set(state.cycles.tolist())) > 1
    assert state.cycles.tolist() == other.cycles.tolist()
    np.testing.assert_allclose(values.change_l, wanted.change_l, atol=1e-4)
    _, once = one_cycle(own).segment(own.embed(features), own.start(features, 1, None))
    assert set(once.cycles.tolist()) == {1}
    frozen = own.freeze(np.arange(16) % 2 == 0, once, state)
    np.testing.assert_array_equal(frozen.z_h[1], state.z_h[1])


@pytest.mark.parametrize(
    ("told", "exact"),
    [
        ("processor : 0\nflags : fpu avx2 fma\n", False),
        ("processor : 0\nflags : fpu avx2 avx512_vnni\n", True),
        ("processor : 0\nflags : fpu avx2 avx_vnni\n", True),
        ("processor : 0\nFeatures : asimd asimddp\n", True),
        (None, True),
    ],
)
def test_int8_is_for_processors_that_add_it_exactly(told: str | None, exact: bool, tmp_path: Path) -> None:
    """x86 without VNNI overflows; other processors, and systems that don't tell, are taken at their word."""
    path = tmp_path / "cpuinfo"
    if told is not None:
        path.write_text(told)
    assert adds_int8_exactly(path) is exact


@pytest.mark.parametrize(
    ("sha256", "precision", "reason"),
    [("other", "fp32", "sha256 is hash, expected other"), ("hash", "int8", "precision is fp32, expected int8")],
)
def test_an_export_of_another_model_is_refused(
    sha256: str, precision: str, reason: str, tmp_path: Path, network: Network
) -> None:
    """In one line that says which command mends it."""
    model = network()
    write_graph(model, "hash", tmp_path / "one.onnx", "fp32")
    with pytest.raises(RuntimeUnavailable, match=f"does not match its model: {reason}; .*hrmd model export"):
        OnnxRunner(model, path=tmp_path / "one.onnx", sha256=sha256, precision=precision)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, network: Network) -> None:
    """Missing or damaged: one line with its path."""
    for content in (None, b"nothing"):
        path = tmp_path / "one.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RuntimeUnavailable, match=r"one.onnx can't be run") as refusal:
            OnnxRunner(network(), path=path, sha256="hash", precision="fp32")
        assert "\n" not in str(refusal.value)


def test_missing_packages_are_named(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `onnx` nothing is written, without `onnxruntime` nothing is run."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeUnavailable, match="writing a graph needs the package onnx"):
        write_graph(network(), "hash", tmp_path / "one.onnx", "fp32")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeUnavailable, match="the package onnxruntime is not installed"):
        OnnxRunner(network(), path=tmp_path / "one.onnx", sha256="hash", precision="fp32")
