"""Instruments, and what is known of symbols."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from daemon.settings.values import Percent, PositiveInt, Section, TickSize

LARGEST_RATIO = 10_000
_RATIO = re.compile(r"\d{1,9}(\.\d{1,9})?|\d{1,9} ?/ ?\d{1,9}")


def _date(value: Any) -> Any:
    """A number would be taken for seconds since 1970."""
    try:
        return value if type(value) is dt.date else dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("a date such as 2026-01-06") from None


def _ratio(value: Any) -> str:
    """New price by old price, exactly: a third has no decimal writing."""
    text = str(value)
    try:
        ratio = Fraction(text.replace(" ", "")) if _RATIO.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        ratio = Fraction(0)
    if not Fraction(1, LARGEST_RATIO) <= ratio <= LARGEST_RATIO:
        raise ValueError(
            f"new price by old price, such as 1/5 or 0.2, above 0 (from 1/{LARGEST_RATIO} to {LARGEST_RATIO})"
        )
    return str(ratio)


class InstrumentSettings(Section):
    """One instrument that the tapes or the venue name."""

    symbol: str
    aliases: list[str] = []
    kind: Literal["equity", "index", "future", "option"]
    lot_size: PositiveInt = 1
    tick_size: TickSize = Decimal("0.05")
    expiry: Annotated[dt.date, BeforeValidator(_date)] | None = None


def _bare(symbol: str) -> str:
    """A bare name is NSE's share of that name."""
    return symbol if ":" in symbol else f"NSE:{symbol.removesuffix('-EQ')}-EQ"


class AdjustmentSettings(Section):
    """A corporate action: prices of `symbol` before `date` count times `ratio`, a number or a fraction such as 1/5."""

    date: Annotated[dt.date, BeforeValidator(_date)]
    symbol: Annotated[str, Field(min_length=1)]
    ratio: Annotated[str, BeforeValidator(_ratio)]
    kind: Literal["split", "bonus", "dividend"] = "split"

    @property
    def fraction(self) -> Fraction:
        """New price by old price."""
        return Fraction(self.ratio)

    @property
    def shares(self) -> bool:
        """Whether a holder has another number of shares afterwards."""
        return self.kind != "dividend"


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
    max_overnight_percent: Percent = 20.0
    adjustments: list[AdjustmentSettings] = []

    @field_validator("adjustments")
    @classmethod
    def _once_each(cls, adjustments: list[AdjustmentSettings]) -> list[AdjustmentSettings]:
        seen = Counter((_bare(item.symbol), item.date, item.kind) for item in adjustments)
        for (symbol, date, kind), count in seen.items():
            if count > 1:
                raise ValueError(f"each action once, {kind} of {symbol} on {date} stands {count} times")
        return adjustments

    def canonical(self, symbol: str) -> str:
        """One name for all that mean the same instrument: an alias is what it is listed for, a bare share NSE's."""
        for item in self.instruments:
            if symbol in item.aliases:
                symbol = item.symbol
        return _bare(symbol)

    def adjustments_of(self, symbol: str) -> list[AdjustmentSettings]:
        """The corporate actions of an instrument, oldest first."""
        name = self.canonical(symbol)
        found = [item for item in self.adjustments if self.canonical(item.symbol) == name]
        return sorted(found, key=lambda item: item.date)
