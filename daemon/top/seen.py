"""What is known of the daemon that is looked at, and since when.

Invariant: what is known is of one daemon, and it is lost from the moment in which it fails to answer, however good the
last answer was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.control.rows import EquityRow, LogRow, RiskView
from daemon.control.view import DecisionRow, Health, OrderRow, PositionRow, Status
from daemon.core.clock import NS_PER_S
from daemon.core.events import TradingState
from daemon.orders.book import DONE, OrderState
from daemon.supervision.health import Overall

LOST_AFTER_NS = 4 * NS_PER_S
"""Without an answer for so long nobody knows what the daemon does; a whole look has less than that."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything, all of it of the same moment within a second."""

    status: Status
    health: Health
    risk: RiskView
    positions: Sequence[PositionRow]
    orders: Sequence[OrderRow]
    decisions: Sequence[DecisionRow]
    equity: Sequence[EquityRow]
    """Newest first, as all of them but the log."""
    logs: Sequence[LogRow]


@dataclass(slots=True)
class Seen:
    """The newest look, and what came after it."""

    look: Look | None = None
    heard_ns: int = 0
    """When the newest look was begun, by the stopwatch: it is at least as old."""
    trouble: str = ""
    """Why there is no newer one; "" where there may be."""
    streams: bool = False
    """Whether changes are told as they happen; else they are looked for."""
    where: str = ""
    remark: str = ""
    """How it was found, where that isn't plain."""
    notice: str = ""
    """What came of the last command."""
    notice_bad: bool = False
    chosen: str = ""
    """The id of the order that `c` cancels."""

    def heard(self, look: Look, since_ns: int) -> None:
        """A look that was begun at `since_ns` is whole."""
        self.look, self.heard_ns, self.trouble = look, since_ns, ""
        if self.chosen and all(order.order_id != self.chosen for order in look.orders):
            self.chosen = ""

    def lost(self, now_ns: int) -> str:
        """Why nobody knows what the daemon does now; "" where that is known."""
        if self.trouble or self.look is None:
            return self.trouble or "not reached yet"
        age_ns = now_ns - self.heard_ns
        return f"no answer for {age_ns // NS_PER_S} s" if age_ns > LOST_AFTER_NS else ""

    def is_well(self, now_ns: int) -> bool:
        """Whether a green light is true: it answers, it trades, may open something, and no check is worth a look."""
        look = self.look
        return (
            look is not None
            and not self.lost(now_ns)
            and look.status.trading_state is TradingState.ACTIVE
            and look.status.healthy
            and look.health.state is Overall.HEALTHY
            and not look.risk.reached
        )

    def orders(self) -> list[OrderRow]:
        """Those that work first, each part newest first."""
        rows = [] if self.look is None else list(self.look.orders)
        return sorted(rows, key=lambda row: not works(row))

    def choose(self, by: int) -> None:
        """The next order (1) or the one before (-1)."""
        ids = [row.order_id for row in self.orders()]
        if not ids:
            self.chosen = ""
            return
        at = ids.index(self.chosen) + by if self.chosen in ids else 0
        self.chosen = ids[min(max(at, 0), len(ids) - 1)]

    def chosen_order(self) -> OrderRow | None:
        """The order that is chosen."""
        return next((row for row in self.orders() if row.order_id == self.chosen), None)


def works(row: OrderRow) -> bool:
    """Whether an order may yet be filled or cancelled."""
    return OrderState(row.state) not in DONE
