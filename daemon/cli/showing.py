"""All settings as they hold → a list that says of each who set it, for `hrmd check --show`.

Invariant: every setting is listed once, under the key that `--set` takes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from daemon.cli.options import print_json
from daemon.settings.layers import DEFAULT, read_layers
from daemon.settings.loading import build_settings

WIDEST: Final = 40
"""Columns that a value is padded to; a longer one shifts its line."""


def show_settings(config: Path | None, overrides: list[str] | None, *, as_json: bool) -> None:
    """Print them: one line a setting, those that somebody set in bold; or one JSON document. Raises `SettingsError`."""
    layers = read_layers(config, overrides)
    values = build_settings(layers, config).model_dump(mode="json")
    rows = [(key, value, layers.origin(key)) for key, value in _leaves(values)]
    if as_json:
        print_json({"settings": values, "origins": {key: origin for key, _, origin in rows}})
        return
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        line = f"{key:{width}}  {text:{WIDEST}}  {origin}"
        typer.echo(typer.style(line, bold=origin != DEFAULT) if sys.stdout.isatty() else line)


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted key; a list or an empty mapping is one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
