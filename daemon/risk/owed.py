"""Exits that strategies want and that aren't done yet → what the journal, and so the next process, knows of them.

One is owed from when it has to wait (for stop and target to leave the market, for the broker to agree, for the venue
to take it) until nothing is held to close, or until it is taken back. Loop-free. Invariant: what the journal tells last
of a symbol is what is owed of it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from daemon.core.clock import Clock
from daemon.core.events import (
    BY_HAND,
    ITSELF,
    PROTECTION,
    CancelOrder,
    Event,
    ExitOwed,
    OrderIntent,
    Side,
)

log = structlog.get_logger("risk")


def takes_back(event: CancelOrder, intent: OrderIntent) -> bool:
    """Whether a person takes a strategy's exit, or another try of one, off the market: it isn't wanted any more."""
    theirs = intent.strategy in (*BY_HAND, PROTECTION)
    return event.who != ITSELF and intent.reduces and not theirs


class OwedExits:
    """See the module."""

    def __init__(self, clock: Clock, publish: Callable[[Event], None]) -> None:
        self._clock = clock
        self._publish = publish
        self.of: dict[str, ExitOwed] = {}
        """By symbol."""

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.of

    def restore(self, owed: Iterable[ExitOwed]) -> None:
        """Go on with what an earlier process couldn't do."""
        self.of = {exit_.symbol: exit_ for exit_ in owed}
        for symbol, exit_ in self.of.items():
            log.warning("an exit is owed by an earlier process", symbol=symbol, side=exit_.side, reason=exit_.reason)

    def owe(self, symbol: str, side: Side, reason: str) -> None:
        """It is to be tried until it is done or taken back."""
        known = self.of.get(symbol)
        if known is None or (known.side, known.reason) != (side, reason):
            self._tell(ExitOwed(ts=self._clock.now_ns(), symbol=symbol, side=side, reason=reason))

    def settle(self, symbol: str) -> None:
        """It is done, on its way, or taken back."""
        known = self.of.get(symbol)
        if known is not None:
            self._tell(ExitOwed(self._clock.now_ns(), symbol, known.side, known.reason, over=True))

    def settle_done(self, symbol: str, position: int) -> bool:
        """Whether nothing is left to exit, or nothing was: what is held is none, or of the other side."""
        known = self.of.get(symbol)
        if known is not None and known.closes(position):
            return False
        self.settle(symbol)
        return True

    def _tell(self, event: ExitOwed) -> None:
        if event.over:
            del self.of[event.symbol]
        else:
            self.of[event.symbol] = event
        self._publish(event)
