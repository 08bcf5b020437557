"""Settings that name classes of a user's own → the same with all their parameters, checked by the class itself.

Invariant: what leaves here says in `strategy.path` where the classes lie and has every parameter, those that nobody
set too, so that a journal's settings make the same strategy again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from daemon.core.errors import SettingsError
from daemon.core.own_code import OwnCodeFailed, attempt_own
from daemon.settings.layers import Layers
from daemon.settings.own import OwnClass, as_written, common_folder, find_class, is_own
from daemon.settings.texts import typed
from daemon.settings.tree import Settings


class OwnParametersWrong(Exception):  # noqa: N818 — is always turned into a refusal of the settings
    """What a class of the user's own doesn't take, in pydantic's form with the keys' whole place."""

    def __init__(self, errors: list[Any], known: list[str]) -> None:
        super().__init__("parameters")
        self.errors = errors
        self.known = known


def with_own(settings: Settings, layers: Layers, path: Path | None) -> Settings:
    """The settings with their own classes' parameters whole. Raises `SettingsError` or `OwnParametersWrong`."""
    agents = settings.shadow.agents
    names = [settings.strategy.name, *(agent.strategy for agent in agents)]
    if not any(map(is_own, names)):
        return settings
    places = places_of(settings, path)
    strategy = settings.strategy
    if is_own(strategy.name):
        found = _found("strategy.name", strategy.name, places, layers, path)
        values = _checked(found, strategy.parameters, ("strategy", "parameters"))
        strategy = strategy.model_copy(update={"parameters": values})
    whole = []
    for number, agent in enumerate(agents):
        if is_own(agent.strategy):
            found = _found(f"shadow.agents.{number}.strategy", agent.strategy, places, layers, path)
            values = _checked(found, agent.parameters, ("shadow", "agents", number, "parameters"))
            agent = agent.model_copy(update={"parameters": values})
        whole.append(agent)
    folder = common_folder(names, places)
    if folder is None and any(is_own(name) and ":" in name for name in names):
        looked = " or ".join(str(place.resolve()) for place in places)
        raise SettingsError(f"strategy.path: no one folder has all of {', '.join(filter(is_own, names))} ({looked})")
    return settings.model_copy(
        update={
            "strategy": strategy.model_copy(update={"path": folder}),
            "shadow": settings.shadow.model_copy(update={"agents": whole}),
        }
    )


def places_of(settings: Settings, path: Path | None) -> list[Path]:
    """The folders in which classes of one's own are looked for, first first; `path` is the settings file."""
    if settings.strategy.path is not None:
        return [settings.strategy.path]
    return [*([path.parent] if path is not None else []), Path()]


def own_class(settings: Settings, name: str | None = None) -> OwnClass:
    """The class of loaded settings, the one in charge unless `name` is another's. Raises `SettingsError`."""
    wanted = settings.strategy.name if name is None else name
    try:
        return find_class(wanted, places_of(settings, None))
    except SettingsError as error:
        raise SettingsError(f"strategy {wanted}: {error}") from None


def parameters_again(found: OwnClass, values: Mapping[str, Any]) -> BaseModel | None:
    """The parameters of checked settings. Raises `SettingsError` where the class takes others by now."""
    if found.parameters is None:
        return None
    model = found.parameters
    try:
        made = attempt_own(lambda: _valid(model, values), found.folder)
    except OwnCodeFailed as error:
        raise SettingsError(f"strategy.parameters: {error}") from None
    if isinstance(made, BaseModel):
        return made
    said = "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in made)
    raise SettingsError(f"strategy.parameters: {found.file} takes others by now ({said})")


def _found(key: str, name: str, places: list[Path], layers: Layers, path: Path | None) -> OwnClass:
    try:
        return find_class(name, places)
    except SettingsError as error:
        origin = layers.origin(key if key.startswith("strategy") else "shadow.agents")
        raise SettingsError(f"{origin}: {key} {name}: {error}") from None


def _checked(found: OwnClass, values: Mapping[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    """Every parameter, as the class's model takes and completes them."""
    model = found.parameters
    where = ".".join(map(str, place))
    if model is None:
        if values:
            why = f"{found.kind.__name__} has no parameters (give it a class Parameters(strategies.own.Parameters))"
            raise SettingsError(f"{where}: {why}, got {', '.join(values)}")
        return {}
    known = [f"{where}.{name}" for name in model.model_fields]
    strange = [name for name in values if name not in _keys(model)]
    if strange and model.model_config.get("extra") != "allow":
        errors = [{"type": "extra_forbidden", "loc": (*place, name), "input": values[name]} for name in strange]
        raise OwnParametersWrong(errors, known or [f"{where} has none"])
    try:
        made = attempt_own(lambda: _valid(model, typed(dict(values), model)), found.folder)
    except OwnCodeFailed as error:
        raise SettingsError(f"{where}: {error}") from None
    if not isinstance(made, BaseModel):
        raise OwnParametersWrong([it | {"loc": (*place, *it["loc"])} for it in made], known)
    try:
        return as_written(made)
    except ValueError as error:
        raise SettingsError(f"{where}.{error}") from None


def _keys(model: type[BaseModel]) -> set[str]:
    fields = model.model_fields
    return {*fields, *(str(field.alias) for field in fields.values() if field.alias is not None)}


def _valid(model: type[BaseModel], values: Any) -> BaseModel | list[Any]:
    """The parameters, or what is wrong with them."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        return list(error.errors())
