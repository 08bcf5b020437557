"""The kinds of values that settings are made of, each with bounds beyond which nothing is meant."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

INTERVALS: dict[str, int] = {"1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "1d": 86400}
"""Bar intervals and their length in seconds; `1d` is the session."""


class Section(BaseModel):
    """A part of the settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Interval = Literal["1m", "3m", "5m", "15m", "30m", "60m", "1d"]
MOST = 10**9
"""No count, second, percent or byte of a setting is plausible above it; a limit above it would be no limit."""
MOST_BARS = 1_000_000
MOST_DAYS = 36_500
MOST_RUPEES = Decimal(10**12)
"""A lakh crore: more than any account here holds."""
Positive = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
Money = Annotated[Decimal, Field(gt=0, le=MOST_RUPEES)]
TickSize = Annotated[Decimal, Field(ge=Decimal("0.0001"), le=Decimal(10_000))]
