"""How a candidate is compared with the agent in charge, and what it may do until that is over."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from daemon.settings.values import MOST, NonNegative, Positive, PositiveInt, Section

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class CanarySettings(Section):
    """When enough has been seen, basis points of the starting cash a session; and the share that it decides on."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    margin_bp: NonNegative = 0.0
    bound_bp: Annotated[Positive, Field(le=MOST)] = 50.0
    max_sessions: PositiveInt = 250
    instruments: Share = 0.25
    symbols: list[str] = []
    size: Share = 0.5
    max_loss_bp: Positive = 50.0
    promote: Literal["ask", "auto"] = "ask"

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.margin_bp >= self.bound_bp:
            raise ValueError(f"margin_bp below bound_bp (margin_bp is {self.margin_bp:g}, bound_bp {self.bound_bp:g})")
        for symbol in self.symbols:
            if self.symbols.count(symbol) > 1:
                raise ValueError(f"symbols: each once, {symbol} stands {self.symbols.count(symbol)} times")
        return self
