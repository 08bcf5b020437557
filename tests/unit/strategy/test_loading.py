"""A model is loaded beside the one that decides: found, read, tried, and refused in one line where it is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from daemon.core.clock import LiveClock
from daemon.core.errors import ArtifactError
from daemon.settings.tree import Settings
from daemon.strategy.build import load_hrm, store_of, view_settings
from daemon.strategy.loading import ModelLoader, made_up
from daemon.strategy.switching import Known, known
from models.agent import HRMAgent
from strategies.hrm import HRMStrategy
from tests.samples import HRM, settings_of


def settings_in(folder: Path, *changes: str) -> Settings:
    """With a store of its own, a deadline that a busy machine keeps, and torch."""
    return settings_of(
        *HRM, f"model_management.store={folder}/store", "performance.runtime=torch",
        "hierarchical_reasoning_model.act.deadline_ms=5000", *changes,
    )  # fmt: skip


def saved(folder: Path, settings: Settings, seed: int) -> Path:
    """A model of that seed."""
    path = folder / f"m{seed}.safetensors"
    HRMAgent.untrained(settings.hierarchical_reasoning_model, seed).save_model(path)
    return path


def in_charge(settings: Settings, path: Path | None) -> HRMStrategy:
    """What decides now."""
    return load_hrm(settings, LiveClock(), path)


def load(settings: Settings, wanted: str, before: Known | None = None, now: Path | None = None) -> HRMStrategy:
    """As the switch does it."""
    deciding = in_charge(settings, now)
    loader = ModelLoader(settings, LiveClock())
    found = loader.load(wanted, before, known(deciding), deciding.runtime, made_up(view_settings(settings)))
    assert isinstance(found, HRMStrategy)
    return found


def test_a_file_a_version_a_name(tmp_path: Path) -> None:
    """All come to the same model, on the runtime of the one before, with nothing of the trial in its memory."""
    settings = settings_in(tmp_path, "performance.decision_cache_size=10")
    path = saved(tmp_path, settings, 1)
    release = store_of(settings).install(path, "first", 1)
    for wanted in (str(path), release.version, "first", "current"):
        found = load(settings, wanted)
        assert found.model_hash == release.sha256
        assert (found.runtime, found.cache_misses) == ("torch fp32", 0)


def test_previous_is_the_one_before_or_the_stores(tmp_path: Path) -> None:
    """What decided before in this process; else the store's, where its current one decides; else nobody knows."""
    settings = settings_in(tmp_path)
    one, two = saved(tmp_path, settings, 1), saved(tmp_path, settings, 2)
    before = known(in_charge(settings, one))
    assert load(settings, "previous", before, two).model_hash == before.model_hash
    store = store_of(settings)
    first, second = store.install(one, None, 1), store.install(two, None, 2)
    assert load(settings, "previous", None, store.file(second)).model_hash == first.sha256
    with pytest.raises(ArtifactError, match="no model decided before this one"):
        load(settings, "previous", None, None)
    one.write_bytes(two.read_bytes())
    store.archive("m1")
    with pytest.raises(ArtifactError, match="is archived"):
        load(settings, "previous", before, two)


def test_a_file_that_was_replaced_is_not_gone_back_to(tmp_path: Path) -> None:
    """Previous is a model, not a place."""
    settings = settings_in(tmp_path)
    one, two, three = (saved(tmp_path, settings, seed) for seed in (1, 2, 3))
    before = known(in_charge(settings, one))
    one.write_bytes(three.read_bytes())
    with pytest.raises(ArtifactError, match="isn't the model any more that decided before"):
        load(settings, "previous", before, two)


def test_back_to_seeded_weights(tmp_path: Path) -> None:
    """They need no file."""
    settings = settings_in(tmp_path)
    seeded = in_charge(settings, None)
    found = load(settings, "previous", known(seeded), saved(tmp_path, settings, 2))
    assert found.model_hash == seeded.model_hash


def test_the_model_in_charge_is_not_loaded_again(tmp_path: Path) -> None:
    """It says so."""
    settings = settings_in(tmp_path)
    path = saved(tmp_path, settings, 1)
    with pytest.raises(ArtifactError, match="is in charge already"):
        load(settings, str(path), None, path)


def test_one_that_is_too_slow(tmp_path: Path) -> None:
    """The deadline of the settings counts."""
    settings = settings_in(tmp_path, "hierarchical_reasoning_model.act.deadline_ms=0.001")
    with pytest.raises(ArtifactError, match=r"ms for a decision, the deadline \(act\.deadline_ms\) is 0.001 ms"):
        load(settings, str(saved(tmp_path, settings, 1)))


def test_one_whose_answers_are_not_finite(tmp_path: Path) -> None:
    """Weights that are finite and come to nothing that is."""
    settings = settings_in(tmp_path)
    agent = HRMAgent.untrained(settings.hierarchical_reasoning_model, 1)
    with torch.no_grad():
        for parameter in agent.model.heads.parameters():
            parameter.fill_(3e38)
    agent._weights_changed()
    agent.save_model(tmp_path / "wild.safetensors")
    with pytest.raises(ArtifactError, match="failed at a decision to try it: "):
        load(settings, str(tmp_path / "wild.safetensors"))


def test_a_release_that_was_damaged(tmp_path: Path) -> None:
    """Is refused, and the store is untouched."""
    settings = settings_in(tmp_path)
    store = store_of(settings)
    release = store.install(saved(tmp_path, settings, 1), None, 1)
    store.install(saved(tmp_path, settings, 2), None, 2)
    store.file(release).write_bytes(store.file(release).read_bytes()[:-8])
    before = store.index()
    with pytest.raises(ArtifactError, match="not a readable safetensors file"):
        load(settings, "m1")
    assert store.index() == before


def test_keep_makes_it_the_stores_current_one(tmp_path: Path) -> None:
    """Where the store has it, and it isn't put aside."""
    settings = settings_in(tmp_path)
    store = store_of(settings)
    first, second = (store.install(saved(tmp_path, settings, seed), None, seed) for seed in (1, 2))
    loader = ModelLoader(settings, LiveClock())
    loader.keep(first.sha256)
    assert store.find("current") == first
    loader.keep("ab" * 32)
    store.archive(second.version)
    loader.keep(second.sha256)
    assert store.find("current") == first
