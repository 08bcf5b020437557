"""What a daemon and the budget service say to each other, as JSON. Rupees are exact; money travels as text."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

import msgspec

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Join(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A daemon begins, or begins anew."""

    name: Name
    of: Words
    """Which daemon it is: machine and journal."""


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """It is that daemon's turn number `session`; reports of earlier ones count no more."""

    session: int


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a daemon has, and what it may have until its lease ends; asks for the next lease."""

    name: Name
    session: int
    seq: Annotated[int, msgspec.Meta(ge=1)]
    used: Decimal
    """Gross, working orders included."""
    holds: Decimal
    """Of the lease that is in force while this is sent; 0 for none."""
    day: int = 0
    """Of India's calendar; 0 before the first."""
    pnl: Decimal | None = None
    """Of that day, after costs; None where not every position has a price yet."""
    ends: bool = False
    """The daemon stops: it has no lease any more, and wants none."""

    def __post_init__(self) -> None:
        _check(self.used, "used")
        _check(self.holds, "holds")
        if self.pnl is not None and not self.pnl.is_finite():
            raise ValueError(f"pnl: expected rupees, got {self.pnl}")


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """So much may be held in all, for `lease_s` seconds from when the report left."""

    session: int
    seq: int
    amount: Decimal
    lease_s: float
    total: Decimal
    others: Decimal
    """What all other daemons have, or may have."""
    halted: str = ""
    """Why nobody opens anything for the rest of the day, "" where they may."""


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person says what a daemon that is gone still has."""

    name: Name
    holding: Decimal
    who: Words
    reason: Words

    def __post_init__(self) -> None:
        _check(self.holding, "holding")


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """One daemon."""

    name: str
    of: str
    """Machine and journal."""
    used: Decimal
    """As it last said."""
    charged: Decimal
    """What it has, or may have by a lease that it was given."""
    lease_left_s: float
    """0 where its lease is over: what it had still counts."""
    day_pnl: Decimal
    """Of the newest day, as it last said."""
    released: str
    """Who last released it, and why."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The whole budget, as `hrmd budget show` has it."""

    max_gross_notional: Decimal
    max_daily_loss: Decimal
    charged: Decimal
    """What all daemons have or may have, together."""
    halted: str
    members: list[MemberRow]


def _check(amount: Decimal, name: str) -> None:
    """Raises `ValueError`, which a decoder makes its own."""
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{name}: expected rupees, 0 or more, got {amount}")
