"""What became of a call to the venue, so that a time-out is never taken for a rejection.

| outcome    | an order-changing call                                   | a read                       |
|------------|----------------------------------------------------------|------------------------------|
| `Done`     | the venue took it, and said so                           | the answer                   |
| `Rejected` | the venue said no: nothing changed                       | the venue said no            |
| `NotSent`  | it never reached the venue's order system: nothing changed | the same                   |
| `Unknown`  | it may or may not have been done: ask the book, never send again before | ask again     |

Invariant: `Rejected` and `NotSent` of an order-changing call mean that nothing was done and nothing will be; whatever
leaves the least doubt about that is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")


class Done(msgspec.Struct, Generic[T], frozen=True):
    """The venue's answer."""

    value: T


class Rejected(msgspec.Struct, frozen=True):
    """The venue's no. `venue_id` is the id that some refused orders carry all the same (they stand in its book)."""

    code: int
    message: str
    venue_id: str = ""
    token_refused: bool = False
    """Whether only another token or key will change that."""


class NotSent(msgspec.Struct, frozen=True):
    """Nothing was done; after `retry_after_s` seconds (None: no matter when) it may be tried again."""

    reason: str
    retry_after_s: float | None = None


class Unknown(msgspec.Struct, frozen=True):
    """No answer, or none that can be believed. `venue_id` where the venue named one all the same."""

    reason: str
    venue_id: str = ""


Outcome: TypeAlias = Done[T] | Rejected | NotSent | Unknown


KeptBack: TypeAlias = Callable[[], str]
"""Why something may not leave any more; "" while it may."""


def may_go() -> str:
    """Nothing keeps it back."""
    return ""
