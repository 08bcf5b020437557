"""From settings to strategies, and how much of the market they must be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.core.clock import ReplayClock
from daemon.core.errors import ArtifactError, SettingsError
from daemon.settings.loading import load_settings
from daemon.strategy.actor import ThinkingLimit
from daemon.strategy.artifacts import hash_on_disk
from daemon.strategy.build import (
    artifact_of,
    build_ladder,
    build_strategies,
    rungs,
    shipped,
    store_of,
    thinking_limit,
    view_settings,
)
from models.agent import HRMAgent
from models.checkpoint import load_model
from strategies.hrm import HRMStrategy
from strategies.rules import RulesStrategy
from tests.unit.strategies.moments import moment_of, rising


def test_rules_alone_need_no_model() -> None:
    """With rules in charge nothing else is built."""
    strategies = build_strategies(load_settings(None, ["strategy.name=rules"]), ReplayClock())
    assert set(strategies) == {"rules"}
    assert isinstance(strategies["rules"], RulesStrategy)


def test_the_model_has_the_rules_below_it() -> None:
    """With the HRM in charge both can decide at once, and the seed makes the model."""
    overrides = ["strategy.name=hrm", "supervisor.ladder=[hrm, rules, flat]"]
    overrides.append("model_management.artifact=null")
    one = build_strategies(load_settings(None, overrides), ReplayClock())
    other = build_strategies(load_settings(None, [*overrides, "model_management.seed=1"]), ReplayClock())
    assert set(one) == {"hrm", "rules"}
    assert isinstance(one["hrm"], HRMStrategy)
    assert isinstance(other["hrm"], HRMStrategy)
    assert one["hrm"].agent.model_hash != other["hrm"].agent.model_hash
    assert one["hrm"].description == "untrained (tiny, seed 20250626)"
    for name, strategy in one.items():
        assert strategy.decide(moment_of(rising(60))).strategy == name


def test_every_rung_that_the_run_can_come_to_is_built() -> None:
    """Of a ladder below PPO, which stands beside it, the HRM too; of the shipped one what is below; above nothing."""
    beside = load_settings(None, ["strategy.name=ppo", "supervisor.ladder=[hrm, rules, flat]"])
    assert set(build_strategies(beside, ReplayClock())) == {"ppo", "hrm", "rules"}
    assert rungs(beside) == ["ppo", "hrm", "rules", "flat"]
    assert set(build_strategies(load_settings(None, ["strategy.name=ppo"]), ReplayClock())) == {"ppo", "rules"}
    assert rungs(load_settings(None, ["strategy.name=rules", "supervisor.ladder=[hrm, rules, flat]"])) == [
        "rules",
        "flat",
    ]


def test_a_rung_that_can_not_be_built_is_one_line(tmp_path: Path) -> None:
    """The rung below PPO has no model: its file is named before anything runs."""
    overrides = ["strategy.name=ppo", f"model_management.artifact={tmp_path / 'none.safetensors'}"]
    overrides.append("supervisor.ladder=[hrm, rules, flat]")
    with pytest.raises(ArtifactError, match=r"none\.safetensors") as caught:
        build_strategies(load_settings(None, overrides), ReplayClock())
    assert "\n" not in str(caught.value)


def test_the_start_goes_on_without_what_can_not_be_built(tmp_path: Path) -> None:
    """It is named with its reason; the others decide. With nothing left at all there is no start."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"nothing")
    overrides = [f"model_management.artifact={path}", "strategy.name=hrm"]
    built = build_ladder(load_settings(None, overrides), ReplayClock(), strict=False)
    assert list(built.strategies) == ["ppo", "rules"]
    assert set(built.missing) == {"hrm"}
    assert str(path) in built.missing["hrm"]
    with pytest.raises(ArtifactError, match="no rung of it can be built") as caught:
        build_ladder(load_settings(None, [*overrides, "supervisor.ladder=[hrm]"]), ReplayClock(), strict=False)
    assert "\n" not in str(caught.value)


def test_a_policy_that_nobody_named_is_no_error() -> None:
    """Even a strict start goes on without; it is one where it is to decide."""
    none = ["model_management.ppo_artifact=null", "model_management.artifact=null", "strategy.name=hrm"]
    built = build_ladder(load_settings(None, none), ReplayClock(), strict=True)
    assert (list(built.strategies), list(built.missing)) == (["hrm", "rules"], ["ppo"])
    with pytest.raises(SettingsError, match=r"model_management\.ppo_artifact for strategy\.name ppo"):
        load_settings(None, [*none[:2], "strategy.name=ppo"])


@pytest.mark.parametrize("ladder", ["[hrm, hrm, flat]", "[flat, rules]", "[hrm, lstm, flat]"])
def test_a_ladder_that_can_not_be_meant_is_one_line(ladder: str) -> None:
    """A rung twice, flat above another, and a rung that nobody knows."""
    with pytest.raises(SettingsError, match=r"supervisor\.ladder|each rung of the ladder once") as caught:
        load_settings(None, [f"supervisor.ladder={ladder}"])
    assert "\n" not in str(caught.value)


def test_the_limit_is_the_deadline_and_a_grace() -> None:
    """A replay has its own, and no second chance."""
    settings = load_settings(None, ["hierarchical_reasoning_model.act.deadline_ms=250", "supervisor.hang_grace_s=1.5",
                                    "supervisor.max_hangs_per_day=7", "supervisor.replay_hang_s=99"])  # fmt: skip
    assert thinking_limit(settings) == ThinkingLimit(1.75, 7)
    assert thinking_limit(settings, replay=True) == ThinkingLimit(99, None)


def test_artifacts_are_shipped() -> None:
    """By default the trained `tiny` decides and the exported PPO policy can stand below it; others must be trained."""
    ladder = "supervisor.ladder=[hrm, ppo, rules, flat]"
    strategies = build_strategies(load_settings(None, [ladder]), ReplayClock())
    assert list(strategies) == ["hrm", "ppo", "rules"]
    assert strategies["hrm"].description.startswith("tiny.safetensors (")
    assert strategies["ppo"].description.startswith("ppo.safetensors (")
    for name, strategy in strategies.items():
        assert strategy.decide(moment_of(rising(60))).strategy == name
    with pytest.raises(ArtifactError, match="no artifact is shipped for 'wide'"):
        shipped("wide")


def test_shipped_models_say_that_they_have_seen_no_market() -> None:
    """HRM and PPO learned from the simulated one alone, the untrained nothing; one more name is a market."""
    strategies = build_strategies(load_settings(None, ["supervisor.ladder=[hrm, ppo, rules, flat]"]), ReplayClock())
    hrm = strategies["hrm"]
    assert isinstance(hrm, HRMStrategy)
    known = {name: getattr(one, "simulated_only", False) for name, one in strategies.items()}
    assert known == {"hrm": True, "ppo": True, "rules": False}
    hrm.agent.grow(instruments=("NSE:SBIN-EQ",))
    assert not hrm.simulated_only
    settings = load_settings(None, []).hierarchical_reasoning_model
    assert not HRMStrategy.load(None, 1, settings, ReplayClock()).simulated_only


def test_the_large_model_is_shipped() -> None:
    """Trained, of the settings' shape, 27 M parameters in at most 30 MB."""
    expected = load_settings(None, ["hierarchical_reasoning_model.profile=base"]).hierarchical_reasoning_model.network()
    _, manifest = load_model(shipped("base"), expected=expected)
    assert manifest.trained
    assert manifest.parameters == 26_792_949
    assert shipped("base").stat().st_size < 30e6


@pytest.mark.parametrize(("name", "key"), [("hrm", "artifact"), ("ppo", "ppo_artifact")])
def test_a_bad_artifact_is_one_clear_line(tmp_path: Path, name: str, key: str) -> None:
    """A file that is missing or no model is refused by name before anything runs."""
    path = tmp_path / "model.bin"
    overrides = [f"strategy.name={name}", f"model_management.{key}={path}", f"supervisor.ladder=[{name}, rules, flat]"]
    settings = load_settings(None, overrides)
    for content in (None, b"nothing"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"model\.bin") as caught:
            build_strategies(settings, ReplayClock())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "window"),
    [
        ([], 136),  # four spans of the slow average, 34
        (["strategy.rules.slow=10"], 75),  # a whole session
        (
            ["strategy.rules.slow=10", "strategy.interval=15m", "bars.intervals=[15m, 30m]"],
            60,
        ),  # the model's own window
        (["strategy.rules.slow=10", "strategy.rules.min_bars=80"], 80),
    ],
)
def test_the_view_is_wide_enough_for_every_strategy(overrides: list[str], window: int) -> None:
    """The window is the longest that a strategy asks for, its wait for bars included."""
    settings = load_settings(None, overrides)
    view = view_settings(settings)
    assert view.window == window
    assert (view.interval, view.coarse_interval, view.coarse_window) == (settings.strategy.interval, "30m", 16)
    assert (view.max_position, view.no_entries_minutes) == (5000, 30)


def test_the_hash_on_disk_is_that_of_what_is_in_the_file(tmp_path: Path) -> None:
    """Of either kind of model; a file that isn't whole is one line."""
    settings = load_settings()
    for rung in ("hrm", "ppo"):
        path = artifact_of(rung, settings)
        assert path is not None
        strategy = build_strategies(load_settings(None, [f"strategy.name={rung}"]), ReplayClock())[rung]
        assert hash_on_disk(rung, path) == getattr(strategy, "model_hash", None)
        whole = path.read_bytes()
        for number, damaged in enumerate((whole[:-10], whole[:-1] + bytes([whole[-1] ^ 1]))):
            file = tmp_path / f"{rung}{number}.safetensors"
            file.write_bytes(damaged)
            with pytest.raises(ArtifactError, match=file.name) as caught:
                hash_on_disk(rung, file)
            assert "\n" not in str(caught.value)
        with pytest.raises(ArtifactError):
            hash_on_disk(rung, tmp_path / "none")
    assert artifact_of("rules", settings) is None
    assert artifact_of("hrm", load_settings(None, ["model_management.artifact=null"])) is None


def test_the_current_model_of_the_store(tmp_path: Path) -> None:
    """By the word `store`; an empty one is refused in one line."""
    overrides = [
        "strategy.name=hrm", "model_management.artifact=store", f"model_management.store={tmp_path / 'models'}",
        "performance.runtime=torch",
    ]  # fmt: skip
    settings = load_settings(None, overrides)
    with pytest.raises(ArtifactError, match=r"models: has no current model; hrmd model install FILE puts one there"):
        build_strategies(settings, ReplayClock())
    HRMAgent.untrained(settings.hierarchical_reasoning_model, 5).save_model(tmp_path / "five.safetensors")
    release = store_of(settings).install(tmp_path / "five.safetensors", "five", 1)
    hrm = build_strategies(settings, ReplayClock())["hrm"]
    assert isinstance(hrm, HRMStrategy)
    assert (hrm.model_hash, hrm.artifact) == (release.sha256, store_of(settings).file(release))
    assert hrm.renewed().artifact == hrm.artifact
