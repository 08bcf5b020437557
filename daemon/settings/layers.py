"""The places that settings come from → one tree of plain values, and who set each of them.

The shipped defaults, then `-c FILE`, then `HRMD_` environment variables, then `--set a.b.c=VALUE`: a mapping adds to
the one below it, everything else replaces it. Nothing is known of types here: values are the texts that were written,
in all places as they would stand behind their key in a file. So `hrmd ctl` reads one section and need not build all
settings (`daemon.control.finding`), from the same tree that `daemon.settings.loading` builds them from.
Invariant: a text that has no one meaning, or a section that isn't there, is refused in one line that names its origin.
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from daemon.core.documents import DocumentError, parse_value, read_texts
from daemon.core.errors import SettingsError
from daemon.settings.renamed import renamed

DEFAULT_PATH: Final = Path(__file__).resolve().parents[2] / "config" / "settings.yaml"
"""The shipped defaults; in a wheel they lie beside the packages as they do in the checkout."""
DEFAULT: Final = "default"
"""The origin of what nobody set."""
OVERRIDE: Final = "--set"
RECORDED: Final = "the journal"
"""The origin of what a recorded run was set to."""
PREFIX: Final = "HRMD_"


@dataclass(frozen=True, slots=True)
class Layers:
    """What all places come to. `origins` has the last place that spoke, by dotted key, of sections and of values."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """Who set `key` (or the mapping or list that it stands in)."""
        while key and key not in self.origins:
            key = key.rpartition(".")[0]
        return self.origins.get(key, DEFAULT)

    def lay(self, values: dict[str, Any], origin: str) -> None:
        """Put another place's values on top."""
        values = renamed(values, origin)
        _note(values, origin, self.origins)
        _merge(self.values, values)


def read_layers(
    path: Path | None = None, overrides: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> Layers:
    """All places, lowest first. Raises `SettingsError`."""
    layers = Layers()
    layers.lay(_read_file(DEFAULT_PATH), DEFAULT)
    sections = list(layers.values)
    if path is not None:
        layers.lay(_known(_read_file(path), sections, str(path)), str(path))
    for name, values in _read_environment(environment, sections):
        layers.lay(values, f"environment variable {name}")
    for override in overrides or []:
        layers.lay(_known(_parse_override(override), sections, OVERRIDE), OVERRIDE)
    return layers


def laid_over(text: str, overrides: Sequence[str]) -> Layers:
    """Complete settings, as JSON, and `a.b.c=VALUE` over them: no defaults, no environment. Raises `SettingsError`."""
    layers = Layers()
    layers.lay(parse_value(text), RECORDED)
    for override in overrides:
        layers.lay(_known(_parse_override(override), list(layers.values), OVERRIDE), OVERRIDE)
    return layers


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """The end of a refusal: the closest of the known keys, or all of them."""
    by_key = {path.rpartition(".")[2]: path for path in known}
    close = difflib.get_close_matches(given.rpartition(".")[2], by_key, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {by_key[close[0]]}?)"
    return f" (there are: {', '.join(known)})" if known else ""


def _known(values: dict[str, Any], sections: Sequence[str], origin: str) -> dict[str, Any]:
    for key in values:
        if key not in sections:
            raise SettingsError(f"{origin}: {key}: no such setting{did_you_mean(str(key), sections)}")
    return values


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = read_texts(path)
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file") from None
    except OSError as error:
        raise SettingsError(f"{path}: can't be read as UTF-8 text ({error.strerror})") from None
    except DocumentError as error:
        raise SettingsError(f"{path}: {error}") from None
    if values is None:
        raise SettingsError(f"{path}: is empty; expected keys and values such as risk: {{max_daily_loss: 5000}}")
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected keys and values at the top, got a {type(values).__name__}")
    return values


def _read_environment(environment: Mapping[str, str], sections: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """What each variable sets, those of whole sections first: `HRMD_RISK={…}` lies below `HRMD_RISK__MARGIN_RATE`."""
    mine = sorted((name for name in environment if name.upper().startswith(PREFIX)), key=lambda name: (len(name), name))
    known = [f"{PREFIX}{section.upper()}" for section in sections]
    for name in mine:
        section = name.upper().split("__")[0]
        if section not in known:
            raise SettingsError(f"environment variable {name}: no such setting{did_you_mean(section, sorted(known))}")
    for one, other in itertools.combinations(sorted(mine), 2):
        if one.upper() == other.upper():
            raise SettingsError(f"environment variables {one} and {other} set the same key: expected one of them")
    return [(name, _nested(name[len(PREFIX) :].lower().split("__"), _variable(name, environment))) for name in mine]


def _variable(name: str, environment: Mapping[str, str]) -> Any:
    try:
        return parse_value(environment[name])
    except DocumentError as error:
        raise SettingsError(f"environment variable {name}: the value {error.problem}") from None


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, raw = text.partition("=")
    if not separator or not key or any(not part for part in key.split(".")):
        raise SettingsError(f"--set {text!r}: expected a.b.c=VALUE")
    try:
        return _nested(key.split("."), parse_value(raw))
    except DocumentError as error:
        raise SettingsError(f"--set {text!r}: the value {error.problem}") from None


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return dict(value)


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _note(values: dict[str, Any], origin: str, origins: dict[str, str], prefix: str = "") -> None:
    """Remember under which dotted keys `origin` spoke."""
    for key, value in values.items():
        origins[f"{prefix}{key}"] = origin
        if isinstance(value, dict):
            _note(value, origin, origins, f"{prefix}{key}.")
