"""The leases that a run's journal tells of → whether each entry was answered as the lease in force then asks for.

Invariant: an entry that was approved had a lease of something, and one that the budget denied is denied again, in the
same words. What was held at the prices of that moment is not in the journal, so that an approval isn't made again.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from daemon.core.errors import CheckFailed
from daemon.core.events import EXTERNAL, BudgetChanged, Event, OrderApproved, OrderDenied, OrderIntent
from daemon.risk.lease import CHECK, NONE, deny

LENT: Final[tuple[type[Event], ...]] = (BudgetChanged, OrderIntent, OrderApproved, OrderDenied)
"""What it reads."""


class LeaseOfRun:
    """Of one run; `known`: whether its beginning, where there is no lease, is in the journal."""

    def __init__(self, path: Path, *, known: bool) -> None:
        self._path = path
        self._known = known
        self._leased: Decimal | None = None
        self._wanted: OrderIntent | None = None

    def see(self, event: Event) -> None:
        """The next event. Raises `CheckFailed` for an answer that the lease in force doesn't give."""
        if isinstance(event, BudgetChanged):
            self._known, self._leased = True, event.leased
        elif isinstance(event, OrderIntent):
            self._wanted = event
        elif isinstance(event, OrderApproved) and self._known:
            self._on_approved(event)
        elif isinstance(event, OrderDenied) and self._known and event.check == CHECK:
            self._on_denied(event)

    def _on_approved(self, event: OrderApproved) -> None:
        intent = self._wanted
        if intent is None or intent.order_id != event.order_id or intent.reduces or intent.strategy == EXTERNAL:
            return
        if not self._leased:
            raise CheckFailed(
                f"{self._path}: order {event.order_id} ({intent.symbol}) was approved without a lease of the shared "
                "budget: the journal was altered"
            )

    def _on_denied(self, event: OrderDenied) -> None:
        if self._leased is None:
            again = deny(None, event.value if event.value.startswith(NONE) else NONE, Decimal(0))
        else:
            again = deny(self._leased, "", _amount(event.value))
        if again != (event.check, event.limit, event.value):
            raise CheckFailed(
                f"{self._path}: order {event.order_id} ({event.symbol}) was denied by the shared budget for "
                f"{event.value} ({event.limit}), and {self._leased} was leased: the journal was altered"
            )


def _amount(text: str) -> Decimal:
    """What is no number is no reason."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)
