"""Settings → the strategies of the ladder, and what their view of the market must hold.

Torch is imported here and only when a model is on the ladder, so that a rules-only run starts in a moment. Invariant:
every rung named in the settings can decide from the first bar on, without loading anything then.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

from daemon.core.clock import Clock
from daemon.core.errors import ArtifactError
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from strategies.base import Strategy, ViewSettings
from strategies.rules import SESSION_MINUTES, SLOW_SPANS, RulesStrategy


def build_strategies(settings: Settings, clock: Clock) -> dict[str, Strategy]:
    """The strategy in charge and every rung below it, by name. Raises `ArtifactError` for an unusable model."""
    strategies: dict[str, Strategy] = {"rules": RulesStrategy(settings.strategy.rules)}
    wanted = {settings.strategy.name, *settings.supervisor.ladder}
    if settings.strategy.name == "hrm":
        strategies["hrm"] = _hrm(settings, clock)
    if "ppo" in wanted and settings.strategy.name != "rules":
        strategies["ppo"] = _ppo(settings)
    return strategies


def _hrm(settings: Settings, clock: Clock) -> Strategy:
    import torch

    from daemon.strategy.inference import equip
    from models.errors import CheckpointError
    from strategies.hrm import HRMStrategy

    torch.set_num_threads(settings.performance.torch_threads)
    management = settings.model_management
    artifact = management.artifact
    if artifact == "shipped":
        artifact = shipped(settings.hierarchical_reasoning_model.profile)
    try:
        strategy = HRMStrategy.load(artifact, management.seed, settings.hierarchical_reasoning_model, clock)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    equip(strategy, settings, artifact)
    return strategy


def shipped(name: str) -> Path:
    """The artifact of that name that comes with hrmd. Raises `ArtifactError` where there is none."""
    path = Path(str(resources.files("models").joinpath("artifacts", f"{name}.safetensors")))
    if not path.is_file():
        raise ArtifactError(
            f"model_management: no artifact is shipped for {name!r}; train one (hrmd train) and name it, "
            "or set it to null for an untrained network"
        )
    return path


def _ppo(settings: Settings) -> Strategy:
    from models.errors import CheckpointError
    from strategies.ppo import PPOStrategy

    artifact = settings.model_management.ppo_artifact
    if artifact is None:
        raise ArtifactError("model_management.ppo_artifact: strategy ppo needs an exported policy")
    if artifact == "shipped":
        artifact = shipped("ppo")
    try:
        return PPOStrategy.load(artifact, settings.strategy.rules.quantity)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None


def view_settings(settings: Settings) -> ViewSettings:
    """A view wide enough for every strategy of the run."""
    features = settings.hierarchical_reasoning_model.features
    rules = settings.strategy.rules
    session = math.ceil(SESSION_MINUTES * 60 / INTERVALS[settings.strategy.interval])
    return ViewSettings(
        interval=settings.strategy.interval,
        coarse_interval=features.coarse_interval,
        window=max(features.window, SLOW_SPANS * rules.slow, rules.min_bars, session),
        coarse_window=features.coarse_window,
        max_position=settings.risk.max_position_quantity,
        no_entries_minutes=settings.strategy.no_entries_minutes,
    )


def pin_runtime(settings: Settings, recorded: str) -> Settings:
    """The same settings with the runtime that a journal names (`native int8`); as they are where it names none."""
    if not recorded:
        return settings
    runtime, precision = recorded.split()
    pinned = settings.performance.model_copy(update={"runtime": runtime, "precision": precision})
    return settings.model_copy(update={"performance": pinned})
