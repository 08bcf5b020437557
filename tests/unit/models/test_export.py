"""Artifacts in other precisions and the graphs beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from models.agent import HRMAgent
from models.checkpoint import _hash, load_model
from models.errors import CheckpointError
from models.export import convert, export_graphs, exports, mismatches
from models.manifest import Manifest
from models.runtimes.choice import Precision
from tests.unit.models.conftest import Observe, Settings


@pytest.fixture
def artifact(agent: HRMAgent, tmp_path: Path) -> Path:
    """A saved model."""
    path = tmp_path / "small.safetensors"
    agent.save_model(path, dtype="float32", metrics={"score": 0.5})
    return path


def test_int8_keeps_matrices_within_half_a_step(artifact: Path, tmp_path: Path) -> None:
    """Each weight of a block is off by at most half its output's scale; what is small is kept in bf16."""
    model, manifest = load_model(artifact)
    converted = convert(model, manifest, tmp_path / "int8.safetensors", "int8")
    assert (converted.dtype, converted.trained, dict(converted.metrics)) == ("int8", False, {"score": 0.5})
    loaded, found = load_model(tmp_path / "int8.safetensors")
    assert found.sha256 == converted.sha256 != manifest.sha256
    before, after = model.state_dict(), loaded.state_dict()
    name = "core.H_level.layers.0.mlp.gate_up_proj.weight"
    step = before[name].abs().amax(1, keepdim=True) / 127
    assert ((before[name] - after[name]).abs() <= step * 0.5001).all()
    assert not torch.equal(before[name], after[name])
    assert torch.equal(after["heads.policy.weight"], before["heads.policy.weight"].bfloat16().float())
    assert load_file(tmp_path / "int8.safetensors")[name].dtype == torch.int8


def test_int8_of_int8_is_the_same(artifact: Path, tmp_path: Path) -> None:
    """Quantising what was quantised moves no weight to another step."""
    convert(*load_model(artifact), tmp_path / "one.safetensors", "int8")
    convert(*load_model(tmp_path / "one.safetensors"), tmp_path / "two.safetensors", "int8")
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        if tensor.dtype == torch.int8:
            assert torch.equal(tensor, two[name])


def test_int8_without_its_scales_is_refused(artifact: Path, tmp_path: Path) -> None:
    """A file that a hash would catch anyway is refused by what is wrong with it where the hash was made to fit."""
    path = tmp_path / "int8.safetensors"
    convert(*load_model(artifact), path, "int8")
    tensors = load_file(path)
    name = "core.L_level.layers.0.mlp.down_proj.weight"
    del tensors[f"{name}.scale"]
    with safe_open(path, framework="pt") as opened:
        manifest = Manifest.model_validate_json(opened.metadata()["manifest"])
    manifest = manifest.model_copy(update={"sha256": _hash(manifest, tensors)})
    save_file(tensors, path, metadata={"format": "hrmd-model/1", "manifest": manifest.model_dump_json()})
    with pytest.raises(CheckpointError, match=f"{name} is int8 and has no scale for each of its outputs"):
        load_model(path)


def test_an_int8_artifact_decides_much_like_its_source(
    artifact: Path, tmp_path: Path, settings: Settings, observe: Observe
) -> None:
    """Probabilities of an untrained model move by little."""
    model, manifest = load_model(artifact)
    convert(model, manifest, tmp_path / "int8.safetensors", "int8")
    other, _ = load_model(tmp_path / "int8.safetensors")
    one, two = (HRMAgent(it, settings(), manifest).decide(observe()).probabilities for it in (model, other))
    assert one == pytest.approx(two, abs=0.02)


def test_graphs_lie_beside_their_artifact(artifact: Path) -> None:
    """They are found, checked, and named once they are another model's."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, manifest = load_model(artifact)
    assert (exports(artifact), mismatches(artifact)) == ([], [])
    written = export_graphs(artifact, model, manifest, [Precision.INT8, Precision.FP32])
    assert written == exports(artifact) == [artifact.with_suffix(".int8.onnx"), artifact.with_suffix(".fp32.onnx")]
    assert mismatches(artifact) == []
    export_graphs(artifact, model, manifest.model_copy(update={"sha256": "other"}), [Precision.FP32])
    (line,) = mismatches(artifact)
    assert "small.fp32.onnx does not match its model: sha256 is other" in line
