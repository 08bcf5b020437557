"""Futures and options: what is done before they expire, and what they may cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.settings.values import PositiveInt, Section

Rate = Annotated[float, Field(gt=0, le=1)]


class DerivativeSettings(Section):
    """Rules for futures and options beyond `risk`, for paper and live alike."""

    expiry_square_off_minutes: PositiveInt = 60
    delivery_days: Annotated[int, Field(ge=1, le=10)] = 2
    sell_options: bool = False
    future_margin_rate: Rate | None = None
    sold_option_margin_rate: Rate = 0.2
    ask_venue_margin: bool = True
