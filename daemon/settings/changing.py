"""What of the settings may change while the daemon runs, and the settings after a change.

Invariant: a limit that was changed is never wider than the file's, and settings after a change have passed all that
settings pass at a start.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError

from daemon.core.errors import SettingsError
from daemon.settings.loading import refusals
from daemon.settings.texts import typed
from daemon.settings.tree import Settings

LOG_LEVEL: Final = "log.level"
LIMITS: Final[Mapping[str, str]] = {
    "risk.max_order_quantity": "Units of one order",
    "risk.max_position_quantity": "Units held of one symbol",
    "risk.max_order_notional": "Rupees of one order",
    "risk.max_gross_notional": "Rupees of all positions, longs and shorts",
    "risk.max_net_notional": "Rupees of longs less shorts; null: no limit",
    "risk.max_daily_loss": "Rupees lost in a day; nothing is opened beyond it",
    "risk.max_day_drawdown": "Rupees below the day's highest profit; null: no limit",
    "risk.price_band_percent": "How far from the last price an order's price may be",
    "risk.max_orders_per_second": "Approved orders in a second",
    "risk.max_orders_per_minute": "Approved orders in a minute",
    "risk.max_orders_per_day": "Approved orders in a day",
}
"""Tighter is smaller; null is no limit. They hold over restarts, until they are the file's again."""
CHANGEABLE: Final[Mapping[str, str]] = {**LIMITS, LOG_LEVEL: "debug, info, warning or error; until the next start"}

Value = str | int | float | None


def value_of(settings: Settings, key: str) -> Any:
    """The value of a dotted key that may change."""
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def changed(now: Settings, file: Settings, changes: Mapping[str, Value]) -> Settings:
    """The settings after `changes`. Raises `SettingsError` that names the key, and what it may be."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        if key not in CHANGEABLE:
            raise SettingsError(f"{key}: doesn't change while hrmd runs; there are {', '.join(CHANGEABLE)}")
        section, _, name = key.partition(".")
        sections.setdefault(section, getattr(now, section).model_dump())[name] = value
    after = _whole(now, sections)
    for key in changes:
        if key in LIMITS and _wider(value_of(after, key), value_of(file, key)):
            raise SettingsError(
                f"{key}: expected at most {value_of(file, key)}, as in the settings file, got {changes[key]}"
            )
    return after


def tightened(file: Settings, remembered: Mapping[str, Value]) -> Settings:
    """The file's settings with the limits that an earlier process was told, where these are tighter and still fit."""
    kept = file
    for key, value in remembered.items():
        try:
            kept = changed(kept, file, {key: value}) if key in LIMITS else kept
        except SettingsError:  # the file is tighter by now, or from another version
            continue
    return kept


def differing(one: Settings, other: Settings) -> list[str]:
    """Dotted keys in which two settings differ."""
    first, second = _flat(one.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
    return sorted(key for key in {*first, *second} if first.get(key) != second.get(key))


def _whole(now: Settings, sections: Mapping[str, Mapping[str, Any]]) -> Settings:
    made, wrong = {}, []
    for name, values in sections.items():
        kind = type(getattr(now, name))
        try:
            made[name] = kind.model_validate(typed(_texts(values), kind))
        except ValidationError as error:
            wrong += refusals(error, name)
    if not wrong:
        try:
            return Settings(**{name: getattr(now, name) for name in Settings.model_fields} | made)
        except ValidationError as error:
            wrong = refusals(error)
    raise SettingsError("; ".join(wrong))


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Decimals stay what they are; a float of JSON is read as the text that it was."""
    return {name: repr(value) if type(value) is float else value for name, value in values.items()}


def _wider(value: Any, limit: Any) -> bool:
    if limit is None:
        return False
    return value is None or Decimal(str(value)) > Decimal(str(limit))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
