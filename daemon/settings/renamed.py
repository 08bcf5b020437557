"""Names that settings had before → those that they have now, in what a file, a variable, `--set` or a journal says.

Invariant: an old name goes on working, and means what the new one means; both in one place are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from daemon.core.errors import SettingsError

RENAMED: Final[Mapping[str, str]] = {
    f"broker.fyers.{name}": f"broker.live.{name}"
    for name in (
        "real_money", "product", "market_orders", "protection_percent", "starting_cash", "funds_tolerance",
        "funds_difference", "external_orders", "answer_s", "reconcile_s", "unknown_poll_s", "unknown_settle_s",
        "token_warn_s", "token_poll_s",
    )
} | {
    f"feed.live.{name}": f"broker.fyers.{name}" for name in ("socket_url", "symbol_token_url", "index_map_url")
}  # fmt: skip


def renamed(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """`values` under the present names; `origin` is to blame where it uses both. Raises `SettingsError`."""
    for old, new in RENAMED.items():
        holder = _section(values, old.split(".")[:-1])
        name = old.rpartition(".")[2]
        if holder is None or name not in holder:
            continue
        *path, last = new.split(".")
        place = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{origin}: {old} is called {new} now, and {part} isn't keys and values")
        if last in place:
            raise SettingsError(f"{origin}: {old} is called {new} now: expected one of them")
        place[last] = holder.pop(name)
    return values


def _section(values: Any, path: list[str]) -> dict[str, Any] | None:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else None
