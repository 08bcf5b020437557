"""Orders that somebody wants → intents, each answered in the same step by an approval or a denial.

Whoever wants it, a strategy, a person or the risk stage itself, an order takes this way and no other. Loop-free.
Invariant: an intent is published before the gate is asked, and what the gate approves is in the book before anybody
hears of it; an entry that a standing limit denies is told once, until the answer is another. On a day of which nobody
knows that it is today nothing is published at all: an intent dates the account, over restarts, too.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from daemon.core.clock import Clock, VenueTime
from daemon.core.events import MANUAL, Event, ManualOrder, ManualOrderAnswered, OrderApproved, OrderDenied, OrderIntent
from daemon.risk.book import RiskBook
from daemon.risk.gate import FROZEN, RiskGate
from daemon.risk.intents import IntentBuilder
from daemon.risk.refusals import StandingDenials

log = structlog.get_logger("risk")


class Submitting:
    """See the module."""

    def __init__(
        self, book: RiskBook, builder: IntentBuilder, gate: RiskGate, clock: Clock, publish: Callable[[Event], None],
        venue_time: VenueTime,
    ) -> None:  # fmt: skip
        """`venue_time`: before it knows the day no intent is made at all."""
        self._book = book
        self._builder = builder
        self._gate = gate
        self._clock = clock
        self._publish = publish
        self._undated = venue_time.undated
        self._denials = StandingDenials()

    def start_day(self) -> None:
        """A new day: every denial is told again."""
        self._denials.forget()

    def look_at_lease(self) -> None:
        """A lease that has ended is none from here on, whether who renews it has noticed or not."""
        lease = self._book.lease
        ended = lease.look(self._clock.now_ns()) if lease is not None else None
        if ended is not None:
            log.error("no lease of the shared budget", reason=ended.reason)
            self._publish(ended)

    def submit(self, intent: OrderIntent | None) -> tuple[str, str, str] | None:
        """Ask the gate, and tell; what it answered, to an exit of several orders to the first that is denied."""
        if intent is None:
            return None
        undated = self._undated()
        if undated:
            return "day", "a day that the venue confirms", undated
        denials = [self._submit_one(part) for part in self._parts(intent)]
        return next((denial for denial in denials if denial is not None), None)

    def submit_wish(self, intent: OrderIntent) -> bool:
        """What a strategy wants, and whether all of it is let through.

        An entry that a standing limit denies is told once, until the answer is another.
        """
        if not intent.reduces and not self._undated():
            denial = self._gate.check(intent, self._book, intent.ts, self._clock.now_ns())
            if not self._denials.is_news(intent, denial):
                return False
            if denial is not None and self._denials.is_standing(denial):
                check, limit, value = denial
                log.warning(
                    "an entry is denied, and will be until something changes", order=intent.order_id,
                    decision=intent.decision, symbol=intent.symbol, side=intent.side, check=check, limit=limit,
                    value=value,
                )  # fmt: skip
        return self.submit(intent) is None

    def submit_by_hand(self, order: ManualOrder, meant: ManualOrder) -> None:
        """What a person wants, as it is `meant` by now; the answer is on disk before the order leaves."""
        intent = self._builder.manual(meant, self._book, self._clock.now_ns())
        check, limit, value = self.submit(intent) or ("", "", "")
        self._publish(
            ManualOrderAnswered(
                ts=intent.ts, order=order, order_id=intent.order_id, approved=not check, check=check, limit=limit,
                value=value,
            )
        )  # fmt: skip

    def _parts(self, intent: OrderIntent) -> list[OrderIntent]:
        """The orders that an intent becomes; one by hand that would be denied whole is one, so that nothing leaves."""
        parts = self._builder.parts(intent, self._book)
        if len(parts) == 1 or intent.strategy != MANUAL:
            return parts
        denial = self._gate.check(intent, self._book, intent.ts, self._clock.now_ns())
        return parts if denial is None or denial[0] == FROZEN else [intent]

    def _submit_one(self, intent: OrderIntent) -> tuple[str, str, str] | None:
        self.look_at_lease()
        self._publish(intent)
        denial = self._gate.check(intent, self._book, intent.ts, self._clock.now_ns())
        if denial is None:
            self._book.order_opened(intent, self._gate.margin(intent))
            self._publish(OrderApproved(ts=intent.ts, order_id=intent.order_id))
        else:
            check, limit, value = denial
            self._publish(
                OrderDenied(
                    ts=intent.ts, order_id=intent.order_id, symbol=intent.symbol, check=check, limit=limit, value=value
                )
            )
        return denial
