"""The profile follows from the model that is named; one that somebody named against it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.core.errors import SettingsError
from daemon.settings.layers import laid_over
from daemon.settings.loading import build_settings, load_settings
from daemon.settings.shape_of_model import START
from models.config import ArchitectureSettings
from models.header import shape_in

ARTIFACTS = Path(__file__).parents[3] / "models" / "artifacts"
HRM = "hierarchical_reasoning_model"
BASE, TINY = ARTIFACTS / "base.safetensors", ARTIFACTS / "tiny.safetensors"


def named(model: Path, key: str = "model_management.artifact") -> str:
    """The override that names a model."""
    return f"{key}={json.dumps(str(model))}"


def written(path: Path, **shape: object) -> Path:
    """The beginning of a file of another shape: nothing behind its header."""
    tree = load_settings().hierarchical_reasoning_model.shape.model_dump(mode="json") | shape
    manifest = json.dumps({"config": {"architecture": tree}})
    header = json.dumps({"__metadata__": {"manifest": manifest}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


@pytest.mark.parametrize(("model", "profile"), [(BASE, "base"), (TINY, "tiny")])
def test_it_follows_from_the_model(model: Path, profile: str) -> None:
    """Nobody named one; or somebody named the same, or was recorded with the shipped one."""
    assert load_settings(None, [named(model)]).hierarchical_reasoning_model.profile == profile
    said = load_settings(None, [named(model), f"{HRM}.profile={profile}"])
    assert said.hierarchical_reasoning_model.profile == profile
    recorded = laid_over(load_settings().model_dump_json(), [named(model)])
    assert build_settings(recorded).hierarchical_reasoning_model.profile == profile


def test_a_shape_that_no_profile_has(tmp_path: Path) -> None:
    """It is taken as it is; a model trained with another gradient is of the same shape."""
    settings = load_settings(None, [named(written(tmp_path / "m", h_layers=3))]).hierarchical_reasoning_model
    assert (settings.profile, settings.shape.h_layers) == ("artifact", 3)
    tiny = load_settings(None, [named(written(tmp_path / "m", gradient="full_bptt"))])
    assert tiny == load_settings(None, [named(TINY)]).model_copy(update={"model_management": tiny.model_management})


@pytest.mark.parametrize(
    ("said", "key", "fits"),
    [
        (f"{HRM}.profile=tiny", f"{HRM}.profile", "profile base"),
        (f"{HRM}.architecture.tiny.h_layers=2", f"{HRM}.architecture.tiny.h_layers", "profile base"),
    ],
)
def test_a_contradiction_is_refused(said: str, key: str, fits: str) -> None:
    """One line: who said it, what, and which model it contradicts."""
    with pytest.raises(SettingsError) as refused:
        load_settings(None, [said, named(BASE)])
    expected = (
        f"--set: {key}: is another shape than that of {BASE} (model_management.artifact), which has that of {fits}: "
        "leave it away, it follows from the model"
    )
    assert str(refused.value) == expected


def test_a_network_that_is_trained_on_gives_its_shape() -> None:
    """To a training that names none; a deeper one may be named beside it."""
    start = named(BASE, START)
    assert load_settings(None, [start], START).hierarchical_reasoning_model.profile == "base"
    assert load_settings(None, [start]).hierarchical_reasoning_model.profile == "tiny"
    deeper = load_settings(None, [start, f"{HRM}.profile=tiny"], START)
    assert deeper.hierarchical_reasoning_model.profile == "tiny"


def test_a_file_that_is_no_model_says_nothing(tmp_path: Path) -> None:
    """Who loads it says what is wrong with it."""
    assert isinstance(shape_in(BASE), ArchitectureSettings)
    assert shape_in(ARTIFACTS / "ppo.safetensors") is None
    assert shape_in(tmp_path) is None
    assert shape_in(tmp_path / "none") is None
    for content in (b"", b"\xff" * 64, (5).to_bytes(8, "little") + b"[[[[["):
        (tmp_path / "m").write_bytes(content)
        assert shape_in(tmp_path / "m") is None
    assert shape_in(written(tmp_path / "m", h_layers=0)) is None
