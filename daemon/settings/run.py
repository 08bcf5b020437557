"""The record, what keeps the stages alive, control and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from daemon.settings.health import HealthSettings
from daemon.settings.values import MOST, MOST_DAYS, Positive, PositiveInt, Section


class JournalSettings(Section):
    """The record of every event that matters."""

    path: Path = Path("var/journal.sqlite")
    group_commit_ms: Annotated[int, Field(ge=0, le=1000)] = 5
    snapshot_every: Annotated[int, Field(ge=100, le=MOST)] = 20_000
    keep_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30


class SupervisorSettings(Section):
    """Restarts and the ladder of strategies."""

    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    restart_window_s: Positive = 60.0
    max_failed_decisions: PositiveInt = 3
    hang_grace_s: Positive = 2.0
    max_hangs_per_day: Annotated[int, Field(ge=0, le=1000)] = 3
    replay_hang_s: Positive = 300.0
    ladder: Annotated[list[Literal["hrm", "ppo", "rules", "flat"]], Field(min_length=1)] = ["hrm", "rules", "flat"]
    health: HealthSettings = HealthSettings()


class ControlSettings(Section):
    """Local HTTP control."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    token_file: Path = Path("var/control.token")

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("host 127.0.0.1, ::1 or localhost: control never leaves the machine")
        return self


class LogSettings(Section):
    """Structured logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
