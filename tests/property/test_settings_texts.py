"""A setting's text means what it looks like: the same by file, variable and `--set`, or the same refusal."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.core.errors import SettingsError
from daemon.settings.layers import read_layers
from daemon.settings.loading import build_settings

FIELDS: dict[str, Callable[[Any], Any]] = {
    "broker.fyers.app_id": lambda settings: settings.broker.fyers.app_id,  # str
    "journal.path": lambda settings: settings.journal.path,  # Path
    "model_management.artifact": lambda settings: settings.model_management.artifact,  # Path | "shipped" | None
    "risk.max_order_quantity": lambda settings: settings.risk.max_order_quantity,  # int
    "feed.speed": lambda settings: settings.feed.speed,  # float
    "risk.max_daily_loss": lambda settings: settings.risk.max_daily_loss,  # Decimal
    "risk.max_net_notional": lambda settings: settings.risk.max_net_notional,  # Decimal | None
    "execution.cancel_on_shutdown": lambda settings: settings.execution.cancel_on_shutdown,  # bool
    "log.level": lambda settings: settings.log.level,  # Literal
    "hierarchical_reasoning_model.carry_state": lambda s: s.hierarchical_reasoning_model.carry_state,  # StrEnum
    "training_params.objective.costs": lambda settings: settings.training_params.objective.costs,  # dates in a list
}
LOOK = ["0100", "20:00", "1e3", "on", "0012345", "1_000", "0x10", ".5", "~", "yes", "2026-01-05", ".inf", "no", "Off",
        "true", "1.5", "1.0", "null", "", "''", '"0100"', "'~'", "!!int 5", "-0", "+7", "1__0", "0b1", "07:30:00",
        "5.", "1E3", "nan", "=", "<<", "190:20:30", "TRUE", "y", "9" * 5000, "[]", "{}", "5 # units",
        "warning"]  # fmt: skip


def three_ways(key: str, text: str, folder: Path) -> list[Any]:
    """The value, or what is expected in its place, of the file, the variable and `--set`."""
    path = folder / "mine.yaml"
    *sections, last = key.split(".")
    path.write_text(
        "".join(f"{'  ' * n}{name}:\n" for n, name in enumerate(sections)) + f"{'  ' * len(sections)}{last}: {text}\n",
        encoding="utf-8",
    )
    found = []
    variable = f"HRMD_{key.upper().replace('.', '__')}"
    for file, overrides, environment in (
        (path, [], {}), (None, [], {variable: text}), (None, [f"{key}={text}"], {}),
    ):  # fmt: skip
        try:
            value = FIELDS[key](build_settings(read_layers(file, overrides, environment), file))
            found.append((type(value), value))
        except SettingsError as error:
            found.append(str(error).partition(" expected ")[2] or "no YAML")
    return found


@given(
    st.sampled_from(list(FIELDS)), st.one_of(st.sampled_from(LOOK), st.text("0123456789eE+-._:~xy'\" #", max_size=8))
)
@example("broker.fyers.app_id", "---")
@example("broker.fyers.app_id", "...")
@example("broker.fyers.app_id", "%TAG")
def test_three_ways_to_say_it_are_one(key: str, text: str) -> None:
    """The text alone and its field decide, not the place that it stands in."""
    with tempfile.TemporaryDirectory() as folder:
        by_file, by_variable, by_set = three_ways(key, text, Path(folder))
    assert by_file == by_variable == by_set


@pytest.mark.parametrize(
    ("key", "values"),
    [
        (
            "broker.fyers.app_id",
            dict.fromkeys(["0100", "20:00", "on", "0012345", "1e3", "1_000", "0x10", "2026-01-05"]),
        ),
        ("risk.max_order_quantity", {"1_000": 1000, "+7": 7}),
        ("feed.speed", {"1e3": 1000.0, ".5": 0.5, "5.": 5.0, "1_000": 1000.0}),
        ("risk.max_daily_loss", {"1e3": Decimal(1000), ".5": Decimal("0.5")}),
        ("execution.cancel_on_shutdown", {"yes": True, "on": True, "Off": False, "TRUE": True, "no": False}),
        ("risk.max_net_notional", {"~": None, "null": None, "": None}),
    ],
)
def test_what_is_meant_by_it(key: str, values: dict[str, Any], tmp_path: Path) -> None:
    """A text stays what was typed; a number is the one that it looks like."""
    for text, value in values.items():
        for _, got in three_ways(key, text, tmp_path):
            assert got == (text if key.endswith("app_id") else value), text


@pytest.mark.parametrize(
    ("key", "texts", "expected"),
    [
        ("risk.max_order_quantity", ["0100", "20:00", "1e3", "0x10", "1.5", "1__0", "'~'", "٣"], "a whole number"),
        ("feed.speed", ["0100", "20:00", "0x10", ".inf", "nan", "2026-01-05", "on"], "a number such as"),
        ("risk.max_daily_loss", ["0100", "20:00", "0x10", ".inf", "NaN"], "a number such as"),
        ("execution.cancel_on_shutdown", ["1", "0", "y", "t", "~x", "''"], "true or false"),
        ("training_params.objective.costs", ["[{since: 20260105, cost_bp: 1}]", "[{since: 5}]"], "a date such"),
    ],
)  # fmt: skip
def test_what_looks_like_two_values_is_none(key: str, texts: list[str], expected: str, tmp_path: Path) -> None:
    """One line that says what is expected."""
    for text in texts:
        for said in three_ways(key, text, tmp_path):
            assert isinstance(said, str), (text, said)
            assert said.startswith(expected), (text, said)


def test_yaml_1_1_would_have_guessed() -> None:
    """What this is about."""
    assert yaml.safe_load("[0100, 20:00, on]") == [64, 1200, True]
