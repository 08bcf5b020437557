"""Of what somebody is told who doesn't look at the daemon, how gravely, and how often."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from daemon.core.events import Severity
from daemon.settings.values import NonNegative, Positive, PositiveInt, Section


class AlertKind(StrEnum):
    """What an alert is about; most are a check of health by the same name."""

    HALT = "halt"
    LOSS_LIMIT = "loss_limit"
    LADDER = "ladder"
    ORDERS = "orders"
    POSITIONS = "positions"
    EXITS = "exits"
    HELD_OVER = "held_over"
    PROTECTION = "protection"
    EXPIRY = "expiry"
    CASH = "cash"
    BUDGET = "budget"
    MISSED_FILLS = "missed_fills"
    BROKER = "broker"
    TOKEN = "token"
    FEED = "feed"
    TICKS = "ticks"
    CLOCK = "clock"
    JOURNAL = "journal"
    DISK = "disk"
    MEMORY = "memory"
    RECORDER = "recorder"
    RUNNING = "running"
    BROKEN_OFF = "broken_off"
    STAGES = "stages"
    RESTARTS = "restarts"
    LOOP = "loop"
    DECISIONS = "decisions"
    OWED = "owed"
    ERRORS = "errors"
    LATENCY = "latency"
    REASONING = "reasoning"
    CONVERGENCE = "convergence"
    BASELINE = "baseline"
    MODEL = "model"
    MITIGATION = "mitigation"
    CANARY = "canary"
    MIGRATION = "migration"
    CALENDAR = "calendar"
    ALERTS = "alerts"
    DIGEST = "digest"


class AlertSettings(Section):
    """Alerts by apprise; the addresses are secrets and lie in a file of their own."""

    urls_file: Path | None = None
    minimum: Severity = Severity.WARNING
    muted: list[AlertKind] = []
    cleared: bool = True
    warn_after_s: NonNegative = 10.0
    clear_after_s: NonNegative = 60.0
    repeat_hours: Positive | None = None
    send_s: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    retry_longest_s: Positive = 300.0
    waiting: PositiveInt = 100
    digest_minutes: Annotated[float, Field(ge=0, le=480)] | None = 15.0

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.muted)) < len(self.muted):
            raise ValueError("each kind of muted once")
        return self
