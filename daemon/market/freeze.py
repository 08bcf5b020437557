"""Underlyings and dates → freeze quantities: the most units that the exchange takes in one order of a contract.

The exchanges' own are dated data for index contracts (`freeze_quantities.yaml`); `market.freeze_quantities` adds others
or overrides, by symbol or by the underlying's name. Invariant: what nobody told is unknown, never guessed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from daemon.market.tables import shipped_table

_TABLE: Final = "freeze_quantities.yaml"


class FreezeTable:
    """The freeze quantities of one date."""

    def __init__(self, as_of: dt.date, own: Mapping[str, int]) -> None:
        """`own`: units by symbol or underlying, in place of the exchange's."""
        self._dated = {name: _due(rows, as_of) for name, rows in shipped_table(_TABLE).items()}
        self._own = own

    def of(self, *names: str, derivative: bool) -> int | None:
        """Units of one order at most of what goes by these names, the underlying's the last; None where nobody knows.

        Only derivatives have the table's.
        """
        for name in names:
            if name in self._own:
                return self._own[name]
        return self._dated.get(names[-1]) if derivative else None


def _due(rows: list[dict[str, Any]], as_of: dt.date) -> int:
    held = [row for row in rows if row["from"] <= as_of]
    return int((held or rows)[-1 if held else 0]["quantity"])
