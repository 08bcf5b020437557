"""Settings → the strategies of the ladder, and what their view of the market must hold.

Torch is imported here and only when a model is on the ladder, so that a rules-only run starts in a moment. Invariant:
every rung that the run can come to decides from the first bar on, without loading anything then.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from daemon.core.clock import Clock
from daemon.core.errors import ArtifactError
from daemon.core.events import ModelLoaded
from daemon.settings.own import is_own
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.actor import ThinkingLimit
from daemon.strategy.own import build_own
from daemon.strategy.store import CURRENT, Store
from strategies.base import Strategy, ViewSettings
from strategies.rules import SESSION_MINUTES, SLOW_SPANS, RulesStrategy

if TYPE_CHECKING:
    from daemon.strategy.loading import ModelLoader
    from strategies.hrm import HRMStrategy

log = structlog.get_logger("strategy")


class Built(msgspec.Struct, frozen=True):
    """The rungs that can decide, and why the others can't."""

    strategies: dict[str, Strategy]
    missing: dict[str, str] = {}
    """By rung, in a line each; a PPO policy that nobody shipped or named is missing and nothing is wrong."""


def build_strategies(settings: Settings, clock: Clock) -> dict[str, Strategy]:
    """Every strategy that the run can come to, by name. Raises `ArtifactError` for an unusable model."""
    return build_ladder(settings, clock, strict=True).strategies


def build_ladder(settings: Settings, clock: Clock, *, strict: bool) -> Built:
    """Every strategy that the run can come to; those that can't be had are named and left out.

    Raises `ArtifactError` for an unusable model where `strict`, and where no rung is left, not even flat.
    """
    strategies: dict[str, Strategy] = {}
    missing: dict[str, str] = {}
    for rung in rungs(settings):
        try:
            strategy = _built(rung, settings, clock)
        except _NobodyShipped as error:
            if strict and rung == settings.strategy.name:
                raise
            missing[rung] = str(error)
            log.info("a rung of the ladder is not there", rung=rung, reason=str(error))
        except ArtifactError as error:
            if strict:
                raise
            missing[rung] = str(error)
            log.error("a rung of the ladder can't be built: the start goes on without", rung=rung, reason=str(error))
        else:
            if strategy is not None:
                strategies[rung] = strategy
    if not strategies and "flat" not in rungs(settings):
        raise ArtifactError(f"supervisor.ladder: no rung of it can be built: {'; '.join(missing.values())}")
    return Built(strategies, missing)


def _built(rung: str, settings: Settings, clock: Clock) -> Strategy | None:
    match rung:
        case "hrm":
            return _hrm(settings, clock)
        case "ppo":
            return _ppo(settings)
        case "rules":
            return RulesStrategy(settings.strategy.rules)
        case "flat":
            return None
    return build_own(settings)


class _NobodyShipped(ArtifactError):  # noqa: N818 — no error, but for the strategy of the settings
    """There is no policy, and nobody said that there would be."""


def rungs(settings: Settings) -> list[str]:
    """The strategy in charge at the start and all that the ladder has below it; one beside the ladder has all of it."""
    ladder, name = list(settings.supervisor.ladder), settings.strategy.name
    return [*ladder[ladder.index(name) :]] if name in ladder else [name, *ladder]


def _hrm(settings: Settings, clock: Clock) -> HRMStrategy:
    return load_hrm(settings, clock, artifact_of("hrm", settings))


def store_of(settings: Settings) -> Store:
    """The store of the settings, for models that fit them."""
    return Store(settings.model_management.store, settings.hierarchical_reasoning_model.network())


def artifact_of(rung: str, settings: Settings) -> Path | None:
    """The file of the model that the settings name for a strategy, None where it has none. Raises `ArtifactError`."""
    management = settings.model_management
    match rung:
        case "hrm":
            name, artifact = settings.hierarchical_reasoning_model.profile, management.artifact
        case "ppo":
            name, artifact = "ppo", management.ppo_artifact
        case _:
            return None
    if artifact == "store":
        store = store_of(settings)
        return store.checked(store.find(CURRENT))
    return shipped(name) if artifact == "shipped" else Path(artifact) if artifact is not None else None


def load_hrm(settings: Settings, clock: Clock, artifact: Path | None) -> HRMStrategy:
    """The strategy on a model, ready to decide. Raises `ArtifactError` for a file that can't be used."""
    from daemon.strategy.inference import equip
    from models.errors import CheckpointError
    from strategies.hrm import HRMStrategy

    seed = settings.model_management.seed
    try:
        strategy = HRMStrategy.load(artifact, seed, settings.hierarchical_reasoning_model, clock)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None
    trained, asked = strategy.agent.trained_segments, settings.hierarchical_reasoning_model.act.max_segments
    if trained is not None and trained < asked:
        log.info(
            "depth is that of the model's training", model=strategy.description, segments=trained,
            asked=f"hierarchical_reasoning_model.act.max_segments {asked}",
        )  # fmt: skip
    equip(strategy, settings, artifact)
    return strategy


def untried(strategy: object, interval: str, *, real: bool) -> str:
    """What must be said of a model that knows other bars, or, where ticks are real, simulated markets alone; or ""."""
    model, made_for = getattr(strategy, "description", "the model"), getattr(strategy, "intervals", ())
    of_others = bool(made_for) and interval not in made_for
    told = [f"was made for bars of {' or '.join(made_for)}, and decides on {interval}"] if of_others else []
    if real and getattr(strategy, "simulated_only", False):
        told.append("has learned from simulated markets alone, and these ticks are real")
    return f"{model} {'; it '.join(told)}: what it earns there is unknown" if told else ""


def after_restart(settings: Settings, loaded: ModelLoaded) -> str:
    """What the next start loads, in words, when this model decides now."""
    artifact = settings.model_management.artifact
    if artifact == "store":
        store = store_of(settings)
        same = store.index().current == loaded.model_hash
        return "a restart loads it, too" if same else f"a restart loads the current one of {store.directory}"
    if loaded.file and artifact not in (None, "shipped") and Path(loaded.file).resolve() == Path(artifact).resolve():
        return "a restart loads it, too"
    return f"a restart loads what model_management.artifact says: {'null' if artifact is None else artifact}"


def model_loader(settings: Settings, clock: Clock) -> ModelLoader:
    """Who loads other models while the daemon runs."""
    from daemon.strategy.loading import ModelLoader

    return ModelLoader(settings, clock)


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

    try:
        artifact = artifact_of("ppo", settings)
    except ArtifactError:
        raise _NobodyShipped("no PPO policy is shipped; hrmd train --ppo makes one") from None
    if artifact is None:
        raise _NobodyShipped("model_management.ppo_artifact: null, so there is no PPO policy")
    try:
        return PPOStrategy.load(artifact, settings.strategy.rules.quantity)
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None


def thinking_limit(settings: Settings, *, replay: bool = False) -> ThinkingLimit:
    """When a decision that isn't there has hung; a replay has all the time that a slow machine may need."""
    supervisor, act = settings.supervisor, settings.hierarchical_reasoning_model.act
    if replay:
        return ThinkingLimit(supervisor.replay_hang_s, None)
    return ThinkingLimit(act.deadline_ms / 1000 + supervisor.hang_grace_s, supervisor.max_hangs_per_day)


def view_settings(settings: Settings) -> ViewSettings:
    """A view wide enough for every strategy of the run."""
    features = settings.hierarchical_reasoning_model.features
    rules = settings.strategy.rules
    session = math.ceil(SESSION_MINUTES * 60 / INTERVALS[settings.strategy.interval])
    deciders = (*rungs(settings), *(agent.strategy for agent in settings.shadow.agents))
    own = settings.strategy.bars if any(is_own(name) for name in deciders if name != "flat") else 0
    return ViewSettings(
        interval=settings.strategy.interval,
        coarse_interval=features.coarse_interval,
        window=max(features.window, SLOW_SPANS * rules.slow, rules.min_bars, session, own),
        coarse_window=max(features.coarse_window, own),
        max_position=settings.risk.max_position_quantity,
        no_entries_minutes=settings.strategy.no_entries_minutes,
        keeps_sessions="hrm" in deciders,
        entries=settings.hierarchical_reasoning_model.entries,
    )


def pin_runtime(settings: Settings, recorded: str) -> Settings:
    """The same settings with the runtime that a journal names (`native int8`); as they are where it names none."""
    if not recorded:
        return settings
    runtime, precision = recorded.split()
    pinned = settings.performance.model_copy(update={"runtime": runtime, "precision": precision})
    return settings.model_copy(update={"performance": pinned})
