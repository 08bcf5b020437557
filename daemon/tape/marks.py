"""What a feed said of itself, with its place among the ticks and moments, so that a replay can repeat it there.

Invariant: marks are kept in the order in which they were made, and their places never fall.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from daemon.core.errors import TapeError
from daemon.core.events import FeedState, FeedStatus

MARKS_NOTE = "feed_marks"
"""The note of a tape that holds its marks: a JSON list."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A status, the time told before it was published, and the receipt of the last tick before it, UTC ns."""

    status: FeedStatus
    told: int
    after: int

    @property
    def place(self) -> int:
        """Ticks received by then come before it, later ones after it; so do moments that are due."""
        return max(self.told, self.after)


def hole(after: int, reason: str) -> Mark:
    """Ticks are missing behind those received by `after`."""
    status = FeedStatus(ts=after, state=FeedState.STALE, symbol=None, reason=reason)
    return Mark(status=status, told=0, after=after)


def marks_of(notes: Mapping[str, str]) -> list[Mark]:
    """Decode the marks in a tape's notes, in order. Raises `TapeError`."""
    try:
        return msgspec.json.decode(notes.get(MARKS_NOTE, "[]"), type=list[Mark])
    except msgspec.MsgspecError as error:
        raise TapeError(f"the tape's note {MARKS_NOTE} is not a list of marks ({error})") from None
