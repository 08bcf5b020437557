"""A share of a budget for several daemons → how much may be held in all, now.

Risk reads it in memory; who renews it (`daemon.budget.keeper`) does so beside the path. Invariant: from the end of a
lease on there is none until the next one, whether anybody renews it or not; each change is one event.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from daemon.core.events import BudgetChanged
from daemon.report.text import PAISA, ist_time

CHECK: Final = "budget"
NONE: Final = "no lease"
"""How it begins why there is none."""


def deny(leased: Decimal | None, trouble: str, gross: Decimal) -> tuple[str, str, str] | None:
    """Why `gross` rupees in all may not be held, as (check, limit, value); None where they may."""
    if leased is None:
        return CHECK, "a lease of the shared budget", trouble
    if gross.quantize(PAISA) > leased:
        return CHECK, f"{leased} leased of the shared budget", str(gross.quantize(PAISA))
    return None


class Lease:
    """Of one daemon; `steady_ns` is the machine's clock that never jumps."""

    def __init__(self, who: str, steady_ns: Callable[[], int]) -> None:
        self.who = who
        """The daemon's name in the budget."""
        self.leased: Decimal | None = None
        """Rupees, gross; None where there is no lease."""
        self.trouble = f"{NONE} yet"
        """Why there is none, "" while there is one."""
        self.unanswered = ""
        """Why who renews it had no good answer when it last asked, "" where it had."""
        self.steady_ns = steady_ns
        self._until_ns = 0

    def renew(self, ts: int, amount: Decimal, until_ns: int, reason: str) -> BudgetChanged | None:
        """Another lease, to `until_ns` of the steady clock; the event where it isn't for the same amount."""
        before, self.leased, self._until_ns, self.trouble = self.leased, amount, until_ns, ""
        return None if before == amount else BudgetChanged(ts=ts, who=self.who, leased=amount, reason=reason)

    def drop(self, ts: int, reason: str) -> BudgetChanged | None:
        """There is none from now on; the event where there was one."""
        if self.leased is None:
            return None
        self.leased, self.trouble = None, f"{NONE} since {ist_time(ts)}: {reason}"
        return BudgetChanged(ts=ts, who=self.who, leased=None, reason=reason)

    def look(self, ts: int) -> BudgetChanged | None:
        """Whether it has ended; the event when it has."""
        if self.leased is None or self.steady_ns() < self._until_ns:
            return None
        return self.drop(ts, "it was not renewed in time")
