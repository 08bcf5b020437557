"""Instruments, and what is known of symbols."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from daemon.settings.values import PositiveInt, Section, TickSize


class InstrumentSettings(Section):
    """One instrument that the tapes or the venue name."""

    symbol: str
    aliases: list[str] = []
    kind: Literal["equity", "index", "future", "option"]
    lot_size: PositiveInt = 1
    tick_size: TickSize = Decimal("0.05")


class SymbolMasterSettings(Section):
    """Fyers' public files of all symbols: where they come from, where copies are kept, which are believed."""

    use: Literal["live", "always", "never"] = "live"
    url: str = "https://public.fyers.in/sym_details"
    directory: Path = Path("var/symbols")
    min_rows: PositiveInt = 1000
    max_age_days: PositiveInt = 5


class MarketSettings(Section):
    """Instruments, what to do with a symbol that is not listed, and what is known beyond the shipped calendar."""

    instruments: list[InstrumentSettings] = []
    unlisted: Literal["infer", "reject"] = "infer"
    index_as_future: bool = True
    roll_days: Annotated[int, Field(ge=0, le=15)] = 1
    calendar_file: Path | None = None
    freeze_quantities: dict[str, PositiveInt] = {}
    symbol_master: SymbolMasterSettings = SymbolMasterSettings()
