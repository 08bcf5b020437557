"""One file and back: what was saved is what is loaded, and anything else is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.agent import HRMAgent
from models.artifact import read_manifest
from models.checkpoint import _hash, describe, load_model, save_model
from models.errors import CheckpointError, ModelError
from models.manifest import Manifest, Origin, TrainingSpan
from tests.unit.models.conftest import Observe, Settings

Tamper = Callable[[dict[str, Tensor], dict[str, str]], None]


@pytest.fixture
def artifact(agent: HRMAgent, tmp_path: Path) -> Path:
    """Return a saved fp32 model."""
    agent.save_model(tmp_path / "models" / "small.safetensors", dtype="float32")
    return tmp_path / "models" / "small.safetensors"


def rewrite(path: Path, tamper: Tamper) -> None:
    """Read a file, let `tamper` change tensors and metadata, and write it back without a new hash."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    tamper(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def manifest_change(**changes: object) -> Tamper:
    """Change keys of the manifest."""

    def tamper(_tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata["manifest"] = json.dumps(json.loads(metadata["manifest"]) | changes)

    return tamper


def test_what_is_saved_is_what_is_loaded(agent: HRMAgent, artifact: Path, settings: Settings, observe: Observe) -> None:
    """fp32: equal weights, equal hash, equal decisions, bit for bit; nothing partial is left beside the file."""
    loaded = HRMAgent.load_model(artifact, settings())
    assert loaded.model_hash == agent.model_hash
    assert loaded.decide(observe(), segments=3) == agent.decide(observe(), segments=3)
    assert loaded.manifest.instruments == ("NSE:NIFTY50-INDEX",)
    assert loaded.manifest.timeframes == ("5m", "30m")
    assert not loaded.trained
    assert [path.name for path in artifact.parent.iterdir()] == ["small.safetensors"]


def test_the_same_model_is_the_same_bytes(agent: HRMAgent, artifact: Path, tmp_path: Path) -> None:
    """However often it is saved; the library's own order of metadata is another in every process and file."""
    for number in range(8):
        agent.save_model(tmp_path / f"{number}.safetensors", dtype="float32")
        assert (tmp_path / f"{number}.safetensors").read_bytes() == artifact.read_bytes()


@pytest.mark.parametrize("figure", ["NaN", "Infinity"])
def test_a_manifest_with_a_figure_that_is_none_is_refused(artifact: Path, figure: str) -> None:
    """One line names the metric."""
    rewrite(
        artifact,
        lambda _, metadata: metadata.update(
            manifest=metadata["manifest"].replace('"metrics":{}', f'"metrics":{{"validation_bp":{figure}}}')
        ),
    )
    with pytest.raises(CheckpointError, match=r"manifest is not valid: metrics\.validation_bp: .*finite"):
        load_model(artifact)


@pytest.mark.parametrize(
    ("was", "says", "wrong"),
    [
        (
            '"training_span":null',
            '"training_span":{"first":"2026-01-05","last":"never"}',
            r"training_span\.last: .*'never'",
        ),
        ('"training_span":null', '"training_span":{"first":"20260105","last":"2026-01-06"}', r"first: .*'20260105'"),
        (
            '"origin":null',
            '"origin":{"version":"1","data":[],"settings":{"inherited":["2026-01-05","?"]}}',
            r"last: .*'\?'",
        ),
        ('"origin":null', '"origin":{"version":"1","data":[],"settings":{"validated":7}}', "validated: .*7"),
    ],
    ids=["no day", "another form", "inherited", "no span"],
)
def test_a_manifest_with_days_that_are_none_is_refused(artifact: Path, was: str, says: str, wrong: str) -> None:
    """A supervisor that asks how old the model is would end the daemon at the first decision."""
    rewrite(artifact, lambda _, metadata: metadata.update(manifest=metadata["manifest"].replace(was, says)))
    with pytest.raises(CheckpointError, match=f"manifest is not valid: .*{wrong}"):
        load_model(artifact)


def test_bf16_halves_the_file_and_keeps_answers_close(
    agent: HRMAgent, artifact: Path, tmp_path: Path, settings: Settings, observe: Observe
) -> None:
    """Two bytes a weight, a hash of its own, and answers within 0.02."""
    small = tmp_path / "bf16.safetensors"
    assert agent.save_model(small) != agent.model_hash
    loaded = HRMAgent.load_model(small, settings())
    assert small.stat().st_size < 0.6 * artifact.stat().st_size
    exact, rounded = (a.decide(observe(), segments=3).probabilities for a in (agent, loaded))
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    assert next(loaded.model.parameters()).dtype == torch.float32


def test_the_manifest_tells_the_story(agent: HRMAgent, tmp_path: Path) -> None:
    """Training span, metrics and revision come back."""
    span = TrainingSpan(first="2012-11-01", last="2019-12-31")
    agent.save_model(tmp_path / "m", training_span=span, metrics={"share": 0.8}, git_revision="abc")
    _, manifest = load_model(tmp_path / "m")
    assert manifest.training_span == span
    assert manifest.metrics == {"share": 0.8}
    assert manifest.git_revision == "abc"
    assert manifest.dtype == "bfloat16"
    assert manifest.parameters == sum(p.numel() for p in agent.model.parameters())


def test_the_hash_sees_weights_names_and_history(agent: HRMAgent) -> None:
    """A weight, a metric or a name changes it; saying the same twice doesn't."""
    first = describe(agent.model, trained=False).sha256
    assert describe(agent.model, trained=False).sha256 == first
    others = {describe(agent.model, trained=True).sha256, describe(agent.model, trained=False, metrics={"x": 1}).sha256}
    agent.grow(instruments=["B"])
    others.add(describe(agent.model, trained=False).sha256)
    with torch.no_grad():
        agent.model.heads.q.bias[0] += 1
    others.add(describe(agent.model, trained=False).sha256)
    assert len(others | {first}) == 5


def test_a_manifest_of_other_weights_is_not_written(agent: HRMAgent, tmp_path: Path) -> None:
    """Weights that moved between describing and saving are noticed."""
    manifest = describe(agent.model, trained=True)
    with torch.no_grad():
        agent.model.heads.q.bias[0] += 1
    with pytest.raises(CheckpointError, match="the manifest describes other weights"):
        save_model(tmp_path / "m", agent.model, manifest)
    assert not (tmp_path / "m").exists()


def drop(tensors: dict[str, Tensor], _metadata: dict[str, str]) -> None:
    """Leave one tensor out."""
    del tensors["heads.q.bias"]


def nudge(tensors: dict[str, Tensor], _metadata: dict[str, str]) -> None:
    """Change one weight in its last bits."""
    tensors["heads.q.bias"][0] *= 1 + 1e-6


def widen(tensors: dict[str, Tensor], _metadata: dict[str, str]) -> None:
    """Store one tensor in a precision that no artifact has."""
    tensors["heads.q.bias"] = tensors["heads.q.bias"].double()


def foreign(_tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Say nothing about the format."""
    metadata.clear()


def unreadable(_tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Put something else in the manifest's place."""
    metadata["manifest"] = "not json"


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (nudge, "sha256 is [0-9a-f]{64}, its manifest says [0-9a-f]{64}"),
        (drop, "sha256 is"),
        (widen, "heads.q.bias is of type F64, expected one of BF16, F32, I8"),
        (foreign, "format is None, expected hrmd-model/1"),
        (unreadable, "manifest is not valid: manifest: Invalid JSON"),
        (manifest_change(metrics={"sharpe": 9.9}), "sha256 is"),
        (manifest_change(sha256=""), "its manifest says none"),
        (manifest_change(licence="mine"), "manifest is not valid: licence"),
        (manifest_change(dtype="int3"), "manifest is not valid: dtype"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(artifact: Path, tamper: Tamper, message: str) -> None:
    """One line that names the file and what is wrong."""
    rewrite(artifact, tamper)
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_model(artifact)
    assert str(artifact) in str(refusal.value)
    assert isinstance(refusal.value, ModelError)


def resigned(path: Path, agent: HRMAgent, changes: dict[str, object], tamper: Tamper) -> None:
    """Tamper with a file and sign it again, as a careless tool would."""

    def both(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        tamper(tensors, metadata)
        manifest_change(**changes)(tensors, metadata)
        manifest = Manifest.model_validate_json(metadata["manifest"])
        metadata["manifest"] = manifest.model_copy(update={"sha256": _hash(manifest, tensors)}).model_dump_json()

    rewrite(path, both)


def reshape(tensors: dict[str, Tensor], _metadata: dict[str, str]) -> None:
    """Give a tensor another shape."""
    tensors["heads.q.bias"] = torch.zeros(3)


def poison(tensors: dict[str, Tensor], _metadata: dict[str, str]) -> None:
    """Put a NaN into a weight."""
    tensors["heads.q.bias"][0] = torch.nan


def keep(_tensors: dict[str, Tensor], _metadata: dict[str, str]) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    ("changes", "tamper", "message"),
    [
        ({}, drop, "missing or not asked for: heads.q.bias"),
        ({}, reshape, r"heads.q.bias is \(3,\), expected \(2,\)"),
        ({}, poison, "heads.q.bias holds a value that is not finite"),
        ({"instruments": ["A", "B"]}, keep, r"input.instrument.weight is \(2, 64\), expected \(3, 64\)"),
        ({"instruments": ["A", "A"]}, keep, "a vocabulary holds each name once"),
        (
            {"features": {"version": 0, "bar": [], "calendar": [], "position": []}},
            keep,
            "feature schema 0 differs from this code's 2",
        ),
    ],
)
def test_a_signed_file_that_does_not_fit_is_refused(
    artifact: Path, agent: HRMAgent, changes: dict[str, object], tamper: Tamper, message: str
) -> None:
    """A right hash over wrong contents helps nobody."""
    resigned(artifact, agent, changes, tamper)
    with pytest.raises(CheckpointError, match=message):
        load_model(artifact)


def test_settings_of_another_network_are_refused(artifact: Path, settings: Settings) -> None:
    """The keys that differ are named; another gradient mode is no difference."""
    with pytest.raises(CheckpointError, match=r"configuration differs from settings: architecture\.h_layers: 1 != 2"):
        HRMAgent.load_model(artifact, settings(shape={"h_layers": 2}))
    assert HRMAgent.load_model(artifact, settings(shape={"gradient": "full_bptt"})).manifest.sha256


@pytest.mark.parametrize("size", [0, 7, 100, 5000, -1])
def test_a_truncated_file_is_refused(artifact: Path, size: int) -> None:
    """Cut anywhere, from nothing to one byte short."""
    artifact.write_bytes(artifact.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_model(artifact)


def test_pickles_directories_and_nothing_are_refused(tmp_path: Path) -> None:
    """A pickle is never opened as one; a missing file and a directory are said to be so."""
    torch.save({"a": 1}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_model(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no such file"):
        load_model(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_model(tmp_path)


def test_what_a_model_was_made_of_is_told_and_hashed(agent: HRMAgent, tmp_path: Path) -> None:
    """Version, data and settings come back; another of them is another hash."""
    origin = Origin(version="1.2", data=("bars.parquet",), data_sha256="ab", settings={"training_params": {"steps": 3}})
    manifest = describe(agent.model, trained=True, origin=origin)
    save_model(tmp_path / "m", agent.model, manifest)
    assert load_model(tmp_path / "m")[1].origin == read_manifest(tmp_path / "m").origin == origin
    other = origin.model_copy(update={"settings": {"training_params": {"steps": 4}}})
    assert describe(agent.model, trained=True, origin=other).sha256 != manifest.sha256


def test_artifacts_from_before_a_field_was_added_keep_their_hash(agent: HRMAgent, tmp_path: Path) -> None:
    """Their manifest lacks it, and is whole."""
    agent.save_model(tmp_path / "m")

    def lacking(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        manifest = json.loads(metadata["manifest"])
        assert manifest.pop("origin") is None
        metadata["manifest"] = json.dumps(manifest)

    rewrite(tmp_path / "m", lacking)
    assert load_model(tmp_path / "m")[1].origin is None


def test_the_shipped_models_are_whole() -> None:
    """Whatever was added to manifests since."""
    for path in sorted(Path(str(resources.files("models").joinpath("artifacts"))).glob("*.safetensors")):
        if path.stem != "ppo":
            assert load_model(path)[1].trained


@pytest.mark.parametrize(
    ("segments", "supervised", "metrics", "found"),
    [
        (3, 2, {}, 3),
        (None, 2, {"validation_bp_depth_4": 1.0}, 2),
        (None, None, {"validation_bp_depth_1": 1.0, "validation_bp_depth_2": 1.0, "rb_share_depth_7": 1.0}, 2),
        (None, None, {"validation_bp": 1.0}, None),
        (None, "two", {"validation_bp_depth_x": 1.0, "validation_bp_depth_0": 1.0}, None),
    ],
)
def test_an_artifact_says_how_deep_it_was_trained(
    agent: HRMAgent, segments: int | None, supervised: object, metrics: dict[str, float], found: int | None
) -> None:
    """By its own field, else by the settings of its training, else by the deepest validation."""
    origin = None if supervised is None else made_of(None, {"deep_supervision": {"segments": supervised}})
    manifest = describe(agent.model, trained=True, segments=segments, metrics=metrics, origin=origin)
    assert manifest.trained_segments == found


def test_the_hash_sees_the_depth(agent: HRMAgent) -> None:
    """Nobody makes a model deeper without another hash."""
    assert describe(agent.model, trained=True).sha256 != describe(agent.model, trained=True, segments=2).sha256


def made_of(data_sha256: str | None, settings: dict[str, object] | None = None) -> Origin:
    """What it was made of."""
    return Origin(version="0.1.0", data=("family",), data_sha256=data_sha256, settings=settings or {})


def test_simulated_only_is_said_where_no_market_was_read(settings: Settings) -> None:
    """Drawn sessions and no instrument's name; with files, or a name, it isn't; nor is an untrained one."""
    drawn = HRMAgent.untrained(settings(), 1, instruments=["SIM"]).model
    named = HRMAgent.untrained(settings(), 1, instruments=["SIM", "NSE:SBIN-EQ"]).model
    assert describe(drawn, trained=True).simulated_only
    assert describe(drawn, trained=True, origin=made_of(None)).simulated_only
    assert not describe(drawn, trained=True, origin=made_of("ab")).simulated_only
    assert not describe(named, trained=True, origin=made_of(None)).simulated_only
    assert not describe(drawn, trained=False).simulated_only
