"""The part of a trading day that a session falls into, and what that sets: when it begins, who squares off, the night.

Invariant: a whole minute of the wall clock is a whole minute of the session, so that bars close at the same moments of
it in every scene.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.market.calendar import ist_date
from tests.samples import CLOSE, DAY, MINUTE, OPEN


class Scene(StrEnum):
    """What part of a day it is."""

    MIDDAY = "midday"
    OPENING = "opening"
    """It begins before the open, in the auction's pause, and crosses it."""
    CLOSING = "closing"
    """It crosses the square-off, the broker's own square-off a little later, and the close."""
    NIGHT = "night"
    """It crosses the close; the computer is off over the night, and the next day opens."""
    ASLEEP = "asleep"
    """As at night, but the computer sleeps, and the daemon with it."""
    AWAKE = "awake"
    """As at night, but nobody switches anything off: the night passes, and the same process meets the next day."""
    CARRIED = "carried"
    """The computer is off before the square-off and over the night, so that positions are carried to the next open."""


class Night(StrEnum):
    """What the computer does over the night."""

    OFF = "off"
    ASLEEP = "asleep"
    AWAKE = "awake"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What a scene sets."""

    begins_ns: int
    """Wall time at the session's beginning, UTC ns."""
    hours: bool = True
    """Whether the venue takes orders in trading hours alone."""
    square_off_minutes: int = 15
    broker_squares_off: str = ""
    """At what time in India, "" never."""
    ends_s: float = 0.0
    """When trading ends for good, seconds of the session; 0: not in it."""
    off_s: tuple[float, float] | None = None
    """From when to when the night is."""
    night: Night = Night.OFF
    skipped_ns: int = 0
    """How much of the night passes in no time, at its end."""


STAGES = {
    Scene.MIDDAY: Stage(begins_ns=OPEN + 45 * MINUTE, hours=False),
    Scene.OPENING: Stage(begins_ns=OPEN - MINUTE),
    Scene.CLOSING: Stage(
        begins_ns=CLOSE - 3 * MINUTE, square_off_minutes=2, broker_squares_off="15:29", ends_s=180.0
    ),
    Scene.NIGHT: Stage(
        begins_ns=CLOSE - 2 * MINUTE, square_off_minutes=1, off_s=(130.0, 165.0),
        skipped_ns=(OPEN + DAY) - (CLOSE + MINUTE),
    ),
    **{
        scene: Stage(
            begins_ns=CLOSE - 2 * MINUTE, square_off_minutes=1, off_s=(130.0, 165.0), night=night,
            skipped_ns=(OPEN + DAY) - (CLOSE + MINUTE),
        ) for scene, night in ((Scene.ASLEEP, Night.ASLEEP), (Scene.AWAKE, Night.AWAKE))
    },
    Scene.CARRIED: Stage(
        begins_ns=CLOSE - 3 * MINUTE, square_off_minutes=1, off_s=(95.0, 165.0), skipped_ns=(OPEN + DAY) - CLOSE,
    ),
}  # fmt: skip
"""At night the close is at 120 s and the next open at 180 s; where positions are carried the night ends there, too."""
OPENS_AGAIN_S = 180.0
EX_DATE = ist_date(OPEN + DAY)
"""The day after the night."""

NIGHT_NS = 5 * 60 * NS_PER_S
"""More than that between two readings of a clock is a night."""
