"""What `daemon.settings.layers` reads → typed, checked settings.

Invariant: what leaves `load_settings` is complete and consistent; anything unknown, of the wrong type or impossible
beside another key is refused in one line that names the key's path and what would be accepted.
"""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from daemon.core.errors import SettingsError
from daemon.settings.alerts import AlertSettings
from daemon.settings.layers import DEFAULT, DEFAULT_PATH, Layers, did_you_mean, read_layers
from daemon.settings.own_parameters import OwnParametersWrong, with_own
from daemon.settings.shape_of_model import ARTIFACT, following_model
from daemon.settings.texts import Misread, typed
from daemon.settings.tree import Settings


def load_settings(path: Path | None = None, overrides: list[str] | None = None, model: str = ARTIFACT) -> Settings:
    """Settings from the shipped defaults, `path` over them, environment and `a.b.c=VALUE` overrides.

    `model`: the key of the model that the shape of the network follows. Raises `SettingsError` with one line per
    problem.
    """
    return build_settings(read_layers(path, overrides), path, model)


def alerts_alone(path: Path | None = None, overrides: list[str] | None = None) -> AlertSettings:
    """Who is told of alerts by settings of which something else is wrong; as shipped where that can't be read."""
    try:
        return AlertSettings(**typed(read_layers(path, overrides).values.get("alerts", {}), AlertSettings))
    except (SettingsError, ValidationError, TypeError):
        return AlertSettings()


def build_settings(layers: Layers, path: Path | None = None, model: str = ARTIFACT) -> Settings:
    """What the layers come to, complete and consistent; `path` is the file to blame for what no single key is wrong in.

    Raises `SettingsError`.
    """
    file = str(path or DEFAULT_PATH)
    try:
        settings = Settings(**typed(layers.values, Settings))
        return following_model(with_own(settings, layers, path), layers, model)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item, layers, file) for item in _one_a_place(error.errors()))) from None
    except OwnParametersWrong as wrong:
        errors = _one_a_place(wrong.errors)
        raise SettingsError("; ".join(_explain(item, layers, file, wrong.known) for item in errors)) from None


def _one_a_place(errors: list[Any]) -> list[Any]:
    """Pydantic names each kind that a place could be of; one error a place, which says all that would be accepted."""
    found: dict[tuple[Any, ...], Any] = {}
    for error in errors:
        place = tuple(itertools.takewhile(lambda part: not (isinstance(part, str) and "[" in part), error["loc"]))
        if place == error["loc"]:
            found[place] = error
        elif place in found:
            found[place]["ctx"]["expected"] += f" or {_EXPECTED[error['type']]}"
        else:
            found[place] = error | {"loc": place}
    return list(found.values())


def _explain(error: Any, layers: Layers, file: str, known: list[str] | None = None) -> str:
    """One error in a line; `known`: the keys beside a wrong one, where the tree of settings doesn't know them."""
    loc: tuple[Any, ...] = error["loc"]
    path = ".".join(str(part) for part in loc)
    keys = list(itertools.takewhile(lambda part: isinstance(part, str), loc))  # a list is set as a whole
    origin = layers.origin(".".join(keys))
    where = f"{file if origin == DEFAULT else origin}: {path}" if path else file
    return f"{where}: {_wrong(error, path, known)}"


def refusals(error: ValidationError, section: str = "") -> list[str]:
    """What is wrong with values of `section` that are of no layer, in the words of a layer's, each after its key."""
    said = []
    for item in _one_a_place(error.errors()):
        path = ".".join(str(part) for part in (section, *item["loc"]) if part)
        said.append(f"{path}: {_wrong(item, path)}" if item["loc"] else _wrong(item, path))
    return said


def _wrong(error: Any, path: str, known: list[str] | None = None) -> str:
    """What would be accepted, and what was given."""
    loc: tuple[Any, ...] = error["loc"]
    if isinstance(error["input"], Misread):
        return f"expected {error['input'].expected}, got {error['input'].text!r}"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"no such setting{did_you_mean(path, known or _known_paths(loc))}"
    if kind == "missing":
        return "is not set and has no default"
    got = "" if isinstance(error["input"], dict) else f", got {_shown(error['input'])}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{got}"
    if kind == "literal_error":
        return f"expected one of {context['expected']}{got}"
    if kind == "value_error":
        # models/config.py and classes of a user's own say what is wrong, in a sentence
        sentence = known is not None or loc[:1] == ("hierarchical_reasoning_model",)
        return f"{'' if sentence else 'expected '}{context['error']}{got}"
    return f"expected {_SHOULD.sub('', error['msg'])}{got}"


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else repr(value)


_SHOULD = re.compile(r"^.*?should (be |have )?")
_EXPECTED = {
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "decimal_type": "a number",
    "path_type": "a path",
    "invalid_key": "a key that is text",
    "list_type": 'a list such as ["a", "b"]',
}


def _known_paths(loc: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in loc[:-1]:
        if _is_section(model):
            field = model.model_fields.get(part)
            model = field.annotation if field is not None else None
        else:  # an entry of a list or a mapping of sections
            model = next(filter(_is_section, get_args(model)), None)
    prefix = "".join(f"{part}." for part in loc[:-1])
    return [f"{prefix}{name}" for name in model.model_fields] if _is_section(model) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
