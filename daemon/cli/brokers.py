"""`hrmd brokers`: which brokers there are, what each can do, and which one these settings name."""

from __future__ import annotations

from typing import Any

from daemon.brokers.adapter import Ability
from daemon.brokers.choice import ADAPTERS
from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.report.tables import show, table
from daemon.settings.tree import Settings


def brokers(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """List the brokers, what each can do, and which of them the settings name."""
    rows = listed(settings_and_logs(config, overrides))
    if as_json:
        return print_json(rows)
    shown = table("=name", "=what", "=orders go there", "=ticks come from it", "can", "can't (docs/brokers.md)")
    for row in rows:
        marks = ("yes" if row[name] else "" for name in ("takes_orders", "gives_ticks"))
        shown.add_row(row["name"], row["title"], *marks, ", ".join(row["can"]), ", ".join(row["lacks"]))
    show(shown)


def listed(settings: Settings) -> list[dict[str, Any]]:
    """One row a broker, the simulated venue first."""
    paper = {
        "name": "paper", "title": "the simulated venue", "takes_orders": settings.broker.on_paper,
        "gives_ticks": settings.feed.source == "tape", "can": [Ability.ORDERS.value], "lacks": [],
    }  # fmt: skip
    return [
        paper,
        *(
            {
                "name": adapter.name, "title": adapter.title, "takes_orders": settings.broker.name == adapter.name,
                "gives_ticks": settings.feed.source == adapter.name, "can": [it.value for it in adapter.can],
                "lacks": [it.value for it in Ability if it not in adapter.can],
            }
            for adapter in ADAPTERS.values()
        ),
    ]  # fmt: skip
