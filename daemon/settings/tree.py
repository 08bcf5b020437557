"""The whole of `config/settings.yaml`: all sections, and what must fit between them."""

from __future__ import annotations

import hashlib
from typing import Self

import msgspec
from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.settings.alerts import AlertSettings
from daemon.settings.bars import BarSettings, ComplexitySettings
from daemon.settings.budget import BudgetSettings
from daemon.settings.canary import CanarySettings
from daemon.settings.derivatives import DerivativeSettings
from daemon.settings.feed import FeedSettings
from daemon.settings.market import MarketSettings
from daemon.settings.migration import MigrationSettings
from daemon.settings.orders import BrokerSettings, ExecutionSettings
from daemon.settings.risk import RiskSettings
from daemon.settings.run import ControlSettings, JournalSettings, LogSettings, SupervisorSettings
from daemon.settings.shadow import ShadowSettings
from daemon.settings.strategy import ModelManagementSettings, PerformanceSettings, StrategySettings
from models.config import HRMSettings
from models.training.settings import DeepSupervisionSettings, TrainingSettings


class Settings(BaseSettings):
    """The whole of `config/settings.yaml`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    feed: FeedSettings = FeedSettings()
    market: MarketSettings = MarketSettings()
    bars: BarSettings = BarSettings()
    complexity_detection: ComplexitySettings = ComplexitySettings()
    strategy: StrategySettings = StrategySettings()
    hierarchical_reasoning_model: HRMSettings
    deep_supervision: DeepSupervisionSettings = DeepSupervisionSettings()
    training_params: TrainingSettings = TrainingSettings()
    model_management: ModelManagementSettings = ModelManagementSettings()
    performance: PerformanceSettings = PerformanceSettings()
    shadow: ShadowSettings = ShadowSettings()
    canary: CanarySettings = CanarySettings()
    migration: MigrationSettings = MigrationSettings()
    risk: RiskSettings = RiskSettings()
    budget: BudgetSettings = BudgetSettings()
    derivatives: DerivativeSettings = DerivativeSettings()
    execution: ExecutionSettings = ExecutionSettings()
    broker: BrokerSettings = BrokerSettings()
    journal: JournalSettings = JournalSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    alerts: AlertSettings = AlertSettings()
    control: ControlSettings = ControlSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is given, and nothing else: `daemon.settings.layers` has read all places, and knows who set what."""
        return (init_settings,)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strategy.interval not in self.bars.intervals:
            raise ValueError(
                f"strategy.interval among bars.intervals (it is {self.strategy.interval!r}, "
                f"bars has {self.bars.intervals})"
            )
        if self.strategy.name == "ppo" and self.model_management.ppo_artifact is None:
            raise ValueError("model_management.ppo_artifact for strategy.name ppo")
        for agent in self.shadow.agents:
            try:
                agent.rules_over(self.strategy.rules)
            except ValueError as error:
                raise ValueError(f"shadow.agents as strategy.rules is ({error})") from None
        agents = [agent.name for agent in self.shadow.agents]
        for key, name in (
            ("supervisor.triggers.baseline", self.supervisor.triggers.baseline),
            ("migration.candidate", self.migration.candidate),
        ):
            if name is not None and name not in agents:
                raise ValueError(
                    f"{key} among the names of shadow.agents (it is {name!r}, they are {', '.join(agents) or 'none'})"
                )
        coarse = self.hierarchical_reasoning_model.features.coarse_interval
        if coarse not in self.bars.intervals:
            raise ValueError(
                f"hierarchical_reasoning_model.features.coarse_interval among bars.intervals (it is {coarse!r}, "
                f"bars has {self.bars.intervals})"
            )
        if self.strategy.no_entries_minutes < self.strategy.square_off_minutes:
            raise ValueError("strategy.no_entries_minutes not below strategy.square_off_minutes")
        if self.risk.max_order_quantity > self.risk.max_position_quantity:
            raise ValueError("risk.max_order_quantity not above risk.max_position_quantity")
        return self

    def digest(self) -> str:
        """SHA-256 of all values: run metadata, so that two journals can be told apart."""
        return hashlib.sha256(msgspec.json.encode(self.model_dump(mode="json"), order="sorted")).hexdigest()
