"""Where ticks come from, which are believed, and the tape that is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from daemon.settings.values import MOST, MOST_DAYS, NonNegative, Percent, Positive, PositiveInt, Section


class RecordSettings(Section):
    """The tape that is made of the ticks as they come."""

    when: Literal["live", "always", "never"] = "live"
    path: Path = Path("var/tapes")
    flush_s: Positive = 1.0
    queue_ticks: Annotated[int, Field(ge=1024, le=MOST)] = 1_000_000
    keep_days: Annotated[int, Field(ge=0, le=MOST_DAYS)] = 0
    on_failure: Literal["alert", "halt"] = "alert"


class LiveSettings(Section):
    """The link to a broker's data socket: when it counts as dead, and how its prices are checked."""

    start_s: Positive = 20.0
    silence_s: Positive = 10.0
    stale_after_s: Positive = 60.0
    renew_before_open_s: NonNegative = 1200.0
    restart_first_s: Positive = 0.5
    restart_longest_s: Positive = 30.0
    max_gateway_mb: Positive = 512.0
    conflate_above: PositiveInt = 4096
    compare_every_s: NonNegative = 30.0
    compare_symbols: Annotated[int, Field(ge=1, le=50)] = 10
    compare_max_percent: Percent = 1.0
    clock_limit_s: Annotated[float, Field(ge=1.5, le=60)] = 2.0


class FeedSettings(Section):
    """Where ticks come from and which are believed."""

    source: Literal["tape", "fyers", "openalgo"] = "tape"
    tape: list[Path] = []
    speed: Positive = 1.0
    symbols: Annotated[list[str], Field(max_length=5000)] = []
    rehearse: bool = False
    live: LiveSettings = LiveSettings()
    chunk_rows: Annotated[int, Field(ge=1024, le=10_000_000)] = 32768
    max_jump_percent: Percent = 20.0
    max_option_jump_percent: Positive = 100.0
    record: RecordSettings = RecordSettings()

    @field_validator("symbols")
    @classmethod
    def _each_once(cls, symbols: list[str]) -> list[str]:
        if len(set(symbols)) < len(symbols):
            raise ValueError("each symbol once")
        return symbols
