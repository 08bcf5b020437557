"""The record, what keeps the stages alive, control and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from daemon.settings.health import HealthSettings
from daemon.settings.values import MOST, MOST_DAYS, Percent, Positive, PositiveInt, Section


class JournalSettings(Section):
    """The record of every event that matters."""

    path: Path = Path("var/journal.sqlite")
    group_commit_ms: Annotated[int, Field(ge=0, le=1000)] = 5
    snapshot_every: Annotated[int, Field(ge=100, le=MOST)] = 20_000
    keep_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 45


class TriggerSettings(Section):
    """When the strategy in charge doesn't do well; shares are of the newest `window` decisions, one symbol or all."""

    window: Annotated[int, Field(ge=10, le=100_000)] = 100
    at_least: PositiveInt = 10
    error_warn_percent: Percent = 1.0
    error_trip_percent: Percent = 5.0
    latency_warn_ms: Positive = 50.0
    latency_trip_ms: Positive = 100.0
    not_finite_per_day: PositiveInt = 3
    flaps_per_hour: PositiveInt = 10
    model_age_days: PositiveInt | None = None
    novel_bars: PositiveInt | None = 75
    memory_rest_s: Positive = 30.0
    baseline: str | None = None
    baseline_warn_percent: Positive = 20.0
    baseline_trip_percent: Positive = 30.0
    baseline_floor_bp: Positive = 5.0

    def latency_limits_ms(self, deadline_ms: float) -> tuple[float, float]:
        """Of a strategy that may take `deadline_ms`: from where it is told, and from where something is done."""
        return max(self.latency_warn_ms, deadline_ms), max(self.latency_trip_ms, 2 * deadline_ms)

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.error_warn_percent > self.error_trip_percent:
            raise ValueError("error_warn_percent not above error_trip_percent")
        if self.latency_warn_ms > self.latency_trip_ms:
            raise ValueError("latency_warn_ms not above latency_trip_ms")
        if self.baseline_warn_percent > self.baseline_trip_percent:
            raise ValueError("baseline_warn_percent not above baseline_trip_percent")
        if self.at_least > self.window:
            raise ValueError("at_least not above window")
        return self


class SupervisorSettings(Section):
    """Restarts and the ladder of strategies."""

    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    restart_window_s: Positive = 60.0
    max_failed_decisions: PositiveInt = 3
    hang_grace_s: Positive = 2.0
    max_hangs_per_day: Annotated[int, Field(ge=0, le=1000)] = 3
    replay_hang_s: Positive = 300.0
    ladder: Annotated[list[Literal["hrm", "ppo", "rules", "flat"]], Field(min_length=1)] = [
        "hrm",
        "ppo",
        "rules",
        "flat",
    ]
    health: HealthSettings = HealthSettings()
    strict: bool = False
    max_steps_per_day: Annotated[int, Field(ge=0, le=1000)] = 20
    probation_minutes: Annotated[float, Field(ge=1, le=100_000)] = 60.0
    tries_per_day: Annotated[int, Field(ge=0, le=100)] = 0
    triggers: TriggerSettings = TriggerSettings()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.ladder)) < len(self.ladder) or "flat" in self.ladder[:-1]:
            raise ValueError(f"each rung of the ladder once, flat last (it is {', '.join(self.ladder)})")
        return self


LOOPBACK = ("127.0.0.1", "::1", "localhost")


class PublicSettings(Section):
    """Control for other machines, beside loopback: by TLS only."""

    host: str
    port: Annotated[int, Field(ge=0, le=65535)]
    tls_cert: Path
    tls_key: Path
    names: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}$")]], Field(min_length=1)]


class ControlSettings(Section):
    """Control over HTTP: local, and for other machines only where `public` says so."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8642
    token_file: Path = Path("var/control.token")
    tokens_file: Path = Path("var/control.tokens")
    socket: Path | None = None
    public: PublicSettings | None = None
    session_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    reads_per_s: Annotated[float, Field(gt=0, le=100_000)] = 100.0
    writes_per_s: Annotated[float, Field(gt=0, le=100_000)] = 10.0
    heavy_per_minute: Annotated[float, Field(gt=0, le=100_000)] = 6.0

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if self.host not in LOOPBACK:
            raise ValueError(
                "host 127.0.0.1, ::1 or localhost: without TLS control never leaves the machine; control.public has a "
                "certificate for other hosts"
            )
        return self


class LogSettings(Section):
    """Structured logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
