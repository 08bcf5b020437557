"""How a candidate is compared with the agent in charge."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from daemon.settings.values import MOST, NonNegative, Positive, PositiveInt, Section


class CanarySettings(Section):
    """When enough has been seen; basis points of the starting cash, a session."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    margin_bp: NonNegative = 0.0
    bound_bp: Annotated[Positive, Field(le=MOST)] = 50.0
    max_sessions: PositiveInt = 250

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.margin_bp >= self.bound_bp:
            raise ValueError(f"margin_bp below bound_bp (margin_bp is {self.margin_bp:g}, bound_bp {self.bound_bp:g})")
        return self
