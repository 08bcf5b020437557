"""What the checks of the daemon's health are made from: plain values, as the stations and the monitor read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from daemon.core.events import Decision
from daemon.supervision.baseline import Standing
from daemon.supervision.health_window import Figures, Overdue


class JournalReading(msgspec.Struct, frozen=True):
    """Of the journal: its own trouble or doubt, events that wait for the disk, and those that are on it."""

    trouble: str
    waiting: int
    committed: int


class StageReading(msgspec.Struct, frozen=True):
    """Of a station's inbox: events that wait in it, and those that were taken so far."""

    name: str
    waiting: int
    taken: int


class BrokerReading(msgspec.Struct, frozen=True):
    """Of the link to the broker: its trouble, whether the last question failed, and how old the last answers are."""

    trouble: str
    failing: bool
    age_s: float | None


class TokenReading(msgspec.Struct, frozen=True):
    """Of the broker's access."""

    state: str
    holds: bool
    ending: bool
    text: str
    left_s: float | None
    do: str = "hrmd login"


class BudgetReading(msgspec.Struct, frozen=True):
    """Of the lease of a budget for several daemons: rupees, None where there is none, and why."""

    leased: Decimal | None
    trouble: str
    unanswered: str
    """Why the service gave no good answer when it was last asked."""


class BaselineReading(msgspec.Struct, frozen=True):
    """Of the shadow agent that the strategy in charge is measured by."""

    agent: str
    dropped: str
    """Why it decides no more, "" while it does."""
    standing: Standing


class AlertsReading(msgspec.Struct, frozen=True):
    """Of the services that are told of alerts: how many, those that can't be, and what waits or was lost."""

    targets: int
    failing: Mapping[str, str]
    """Why, by service."""
    waiting: int
    lost: int


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What the stations say of themselves now; None where there is no such station."""

    idle: str = ""
    """Why it doesn't trade yet, or any more."""
    ended: bool = False
    """The feed has."""
    barred: str = ""
    """That it is HALTED, or REDUCING, and why; "" while it is ACTIVE."""
    barred_by_itself: bool = False
    """Whether nobody asked for that."""
    journal: JournalReading | None = None
    calls: str = ""
    """Why the calls of an account aren't on record; "" where they are."""
    stages: Sequence[StageReading] = ()
    restarted: Sequence[str] = ()
    """What crashed of late and runs again."""
    strategy: str = ""
    """In charge."""
    first: str = ""
    """Whom the settings put in charge."""
    why: str = ""
    """Why another one is."""
    ladder_trouble: Sequence[str] = ()
    """What a person must do about the strategies."""
    canary: str = ""
    """Who decides on a share beside it, "" where nobody does."""
    own: str = ""
    """The strategy of the settings."""
    unbuilt: str = ""
    """Why it can't be had."""
    closing: int = 0
    """Positions that are still open though no strategy is left."""
    loaded: bool = True
    """Whether the strategy in charge is there."""
    baseline: BaselineReading | None = None
    unknown: int = 0
    halted: int = 0
    unsettled: Mapping[str, str] = {}
    exits: Mapping[str, str] = {}
    """By symbol what is held and is to be closed, and why it is held yet."""
    cash_differs: bool = False
    budget: BudgetReading | None = None
    broker: BrokerReading | None = None
    token: TokenReading | None = None
    recorder: str | None = None
    """Its trouble."""
    stale: Mapping[str | None, str] = {}
    silent_s: float | None = None
    """Since the newest tick, inside a session."""
    silent_limit_s: float = 60.0
    clock_trouble: str = ""
    clock_held: str = ""
    """Why new risk waits for the venue's time."""
    doubts: Sequence[str] = ()
    """What isn't known of the calendar today."""
    confirmed_days: int | None = None
    """From today to the last day whose holidays are known; None before the run has a time."""
    alerts: AlertsReading | None = None


class ModelFile(msgspec.Struct, frozen=True):
    """A model that is loaded, and what its file holds now."""

    strategy: str
    file: str
    loaded: str
    """Its hash."""
    found: str = ""
    """The hash of what the file holds; "" where it can't be read."""
    trouble: str = ""


class Place(msgspec.Struct, frozen=True):
    """A directory that is written to, and the room on its disk."""

    path: str
    free_bytes: int


class Unanswered(msgspec.Struct, frozen=True):
    """The disk that has owed an answer for longest: the directory that it was asked about."""

    path: str
    seconds: float


class Stuck(msgspec.Struct, frozen=True):
    """The station that has handled nothing for longest, while events wait for it."""

    stage: str
    waiting: int
    seconds: float


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor measured; None where it hasn't yet."""

    figures: Figures
    failing: Mapping[str, Decision]
    overdue: Overdue | None
    owed_limit_s: float
    journal_lag_s: float
    stuck: Stuck | None
    exits_s: Mapping[str, float] = {}
    """By symbol for how long an exit has been wanted."""
    loop_lag_ms: float | None
    loop_worst_ms: float = 0.0
    memory_bytes: int
    models: Sequence[ModelFile] | None
    models_age_s: float | None
    models_unanswered_s: float = 0.0
    """For how long the disk owes the newest look at the models' files."""
    places: Sequence[Place] | None
    places_age_s: float | None
    unanswered: Unanswered | None = None
