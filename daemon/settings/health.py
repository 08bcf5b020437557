"""From where on the daemon is worth a look, and from where on it is ill."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from daemon.settings.values import MOST, MOST_DAYS, NonNegative, Percent, Positive, PositiveInt, Section


class HealthSettings(Section):
    """How often the daemon looks at itself, over which window, and the limits of each check."""

    every_s: Positive = 1.0
    model_check_minutes: Positive = 10.0
    disk_check_s: Positive = 30.0
    disk_answer_warn_s: Positive = 5.0
    disk_answer_fail_s: Positive = 15.0
    window_minutes: Positive = 240.0
    window_decisions: PositiveInt = 1000
    min_decisions: Annotated[int, Field(ge=2, le=MOST)] = 50
    owed_grace_s: Positive = 5.0
    stages_warn_s: Positive = 5.0
    stages_fail_s: Positive = 15.0
    exits_warn_s: Positive = 15.0
    exits_fail_s: Positive = 60.0
    deadline_stops_warn_percent: Percent = 20.0
    convergence_warn: Positive = 0.6
    journal_lag_warn_s: Positive = 2.0
    journal_lag_fail_s: Positive = 10.0
    loop_lag_warn_ms: Positive = 250.0
    loop_lag_fail_ms: Positive = 1000.0
    disk_warn_gb: NonNegative = 5.0
    disk_fail_gb: NonNegative = 1.0
    calendar_warn_days: Annotated[int, Field(ge=0, le=MOST_DAYS)] = 14

    @model_validator(mode="after")
    def _order(self) -> Self:
        for warn, fail in (
            ("stages_warn_s", "stages_fail_s"), ("exits_warn_s", "exits_fail_s"),
            ("journal_lag_warn_s", "journal_lag_fail_s"), ("loop_lag_warn_ms", "loop_lag_fail_ms"),
            ("disk_answer_warn_s", "disk_answer_fail_s"), ("disk_fail_gb", "disk_warn_gb"),
            ("min_decisions", "window_decisions"),
        ):  # fmt: skip
            low, high = getattr(self, warn), getattr(self, fail)
            if low > high:
                raise ValueError(f"{warn} not above {fail} (they are {low:g} and {high:g})")
        return self
