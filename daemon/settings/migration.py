"""What a candidate must have shown before a person may let it take the next step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.settings.values import MOST, Percent, Positive, PositiveInt, Section


class MigrationSettings(Section):
    """Who the candidate is, and the numbers of the gates."""

    candidate: str | None = None
    baseline_sessions: PositiveInt = 20
    parallel_sessions: PositiveInt = 20
    gradual_sessions: PositiveInt = 10
    probation_sessions: PositiveInt = 20
    max_failed_percent: Percent = 1.0
    max_latency_ms: Positive = 50.0
    min_mean_bp: Annotated[float, Field(ge=-MOST, le=MOST, allow_inf_nan=False)] = 0.0
    max_drop_percent: Percent = 30.0
