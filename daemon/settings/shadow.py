"""Agents that decide beside the one in charge and trade on paper of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from daemon.settings.own import is_own
from daemon.settings.strategy import RulesSettings, StrategyName
from daemon.settings.values import Positive, Section


class ShadowAgentSettings(Section):
    """One agent; what it doesn't say is as the settings of the one in charge have it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,23}$")]
    strategy: StrategyName
    artifact: Literal["shipped"] | Path | None = None
    rules: dict[str, Any] = {}
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.strategy == "rules" and self.artifact is not None:
            raise ValueError(f"no artifact for agent {self.name}: rules have none")
        if self.strategy == "hrm" and self.rules:
            raise ValueError(f"no rules for agent {self.name}: an hrm has an artifact")
        if self.parameters and not is_own(self.strategy):
            raise ValueError(f"no parameters for agent {self.name}: they are those of a class of your own")
        if is_own(self.strategy) and (self.artifact is not None or self.rules):
            raise ValueError(f"neither artifact nor rules for agent {self.name}: a class of your own has parameters")
        return self

    def rules_over(self, rules: RulesSettings) -> RulesSettings:
        """Its own values over `rules`. Raises `ValueError` for what doesn't fit."""
        try:
            return RulesSettings(**(rules.model_dump() | self.rules))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("rules", *first["loc"]))
            raise ValueError(f"agent {self.name}: {where}: {first['msg']}") from None


class ShadowSettings(Section):
    """Who decides beside the one in charge, and how long each may take."""

    agents: list[ShadowAgentSettings] = []
    budget_ms: Positive = 2000.0

    @field_validator("agents")
    @classmethod
    def _once_each(cls, agents: list[ShadowAgentSettings]) -> list[ShadowAgentSettings]:
        names = [agent.name for agent in agents]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"each name once, {name} stands {names.count(name)} times")
        return agents
