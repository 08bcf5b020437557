"""Refusals → when an exit is tried again, how large it may be, and which of them are worth a word.

An exit stays wanted whatever the venue says. One that was refused is tried again after a second; the same order that is
refused again for the same reason waits twice as long each time, up to `LONGEST_NS`, so that a reason which can't change
isn't asked for every second for ever. So is one that the venue cancelled by itself, as to prevent a self-trade. One
whose quantity is refused is halved. An entry that a standing limit denies is told once, until the answer changes.
Invariant: nothing here forbids an exit, it only says when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    BY_HAND,
    PROTECTION,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    OrderType,
)
from daemon.risk.owed import OwedExits

RETRY_NS: Final = NS_PER_S
"""After a refusal, how long until the symbol's exit is tried again: a broker that says no is not hammered."""
LONGEST_NS: Final = 16 * NS_PER_S
PUT_OFF_NS: Final = 4 * NS_PER_S
"""An exit whose next try is so far off leaves its place to stop and target until then."""
STANDING: Final = frozenset(
    {
        "instrument", "missing_lot", "lot_size", "freeze_quantity", "order_quantity", "order_notional", "position",
        "gross_notional", "net_notional", "canary_size", "budget", "short_selling", "charges",
    }
)  # fmt: skip
"""Checks whose answer to the same wish stays the same until a position or a setting changes."""
_NUMBERS: Final = re.compile(r"[\d.,]+")
RISK: Final = "risk"
"""The strategy of exits that this stage wants by itself, and asks for until nothing is held."""

NEVER_LEFT: Final = "not sent:"
"""How the reason begins of an order that didn't leave the machine."""
_TOO_LARGE: Final = re.compile(
    r"freeze|\b(max\w*|exceed\w*|higher)\b.*\b(quantity|qty)|\b(quantity|qty)\b.*\b(max\w*|exceed\w*|higher|limit)\b",
    re.IGNORECASE,
)


def too_large(reason: str) -> bool:
    """Whether a venue's words say that an order was for more than it takes in one."""
    return _TOO_LARGE.search(reason) is not None


class _Refusal(msgspec.Struct):
    ts: int
    reason: str
    said: str = ""
    """As it was, with its numbers."""
    pause_ns: int = RETRY_NS


class ExitRetries:
    """When the exits of each symbol may be tried again."""

    def __init__(self, owed: OwedExits) -> None:
        """`owed`: exits of strategies that are to be tried again are told it."""
        self._latest: dict[str, _Refusal] = {}
        self._asked_off: set[str] = set()
        self._taken_back: set[str] = set()
        self._owed = owed

    def refused(self, intent: OrderIntent, event: OrderRejected, now: int) -> bool:
        """Note a venue's refusal; whether it is news: of an exit, and for another reason than the last."""
        if intent.strategy == PROTECTION:  # `daemon.risk.protecting` has its own
            return False
        asked = event.order_id in self._asked_off
        self._asked_off.discard(event.order_id)
        if intent.reduces and not asked:
            self.owe(intent)
        if intent.reduces and not event.reason.startswith(NEVER_LEFT):
            return self.note(intent.symbol, event.reason, now)
        if self.due(intent.symbol, now):
            self._latest[intent.symbol] = _Refusal(now, "", event.reason if intent.reduces else "")
        return False

    def asked_off(self, order_id: str) -> None:
        """Somebody wants the order off the market: its end is no failure."""
        self._asked_off.add(order_id)

    def cancelled(self, intent: OrderIntent, event: OrderCancelled, now: int) -> bool:
        """Note the end of an order; whether it is news: an exit at market that the venue ended by itself."""
        asked = event.order_id in self._asked_off
        self._asked_off.discard(event.order_id)
        if asked or not intent.reduces or intent.type is not OrderType.MARKET or intent.strategy in BY_HAND:
            return False
        self.owe(intent)
        return self.note(intent.symbol, event.reason, now)

    def owe(self, intent: OrderIntent) -> None:
        """A strategy's exit is to be tried again, until it is done or taken back."""
        if intent.strategy not in (*BY_HAND, RISK) and intent.order_id not in self._taken_back:
            self._owed.owe(intent.symbol, intent.side, intent.reason)

    def take_back(self, order_ids: Iterable[str]) -> None:
        """These are wanted no more, though they may still trade: none is tried again."""
        self._taken_back.update(order_ids)

    def note(self, symbol: str, reason: str, now: int) -> bool:
        """Somebody said no to an exit; whether for another reason than the last time. Numbers make no other reason."""
        before, said, reason = self._latest.get(symbol), reason, _NUMBERS.sub("#", reason)
        if before is None or before.reason != reason:
            self._latest[symbol] = _Refusal(now, reason, said)
            return True
        if now - before.ts >= before.pause_ns:  # else it is a part of the same try
            before.ts, before.pause_ns = now, min(2 * before.pause_ns, LONGEST_NS)
        return False

    def hasten(self, symbol: str) -> None:
        """The next try is not the same: it waits no longer than the first."""
        if symbol in self._latest:
            self._latest[symbol].pause_ns = RETRY_NS

    def due(self, symbol: str, now: int) -> bool:
        """Whether an exit may be tried now."""
        refusal = self._latest.get(symbol)
        return refusal is None or now - refusal.ts >= refusal.pause_ns

    def said(self, symbol: str) -> str:
        """What the latest refusal of an exit said, "" where there was none since something was done."""
        refusal = self._latest.get(symbol)
        return refusal.said if refusal is not None else ""

    def puts_off(self, symbol: str, now: int) -> bool:
        """Whether a strategy's exit was refused so often that its stop is wanted until the next try."""
        return symbol in self._owed and not self.due(symbol, now) and self._latest[symbol].pause_ns >= PUT_OFF_NS

    def forget(self, symbol: str | None = None) -> None:
        """Try at once again: something was done in the symbol, or (None) a person asked for it."""
        if symbol is None:
            self._latest.clear()
        else:
            self._latest.pop(symbol, None)


class StandingDenials:
    """What strategies were told about entries, by symbol and side."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str, str], tuple[str, str]] = {}

    def is_news(self, intent: OrderIntent, denial: tuple[str, str, str] | None) -> bool:
        """Whether the answer to an entry has to be told: all but a standing denial that was told already."""
        key = (intent.strategy, intent.symbol, intent.side.value)
        if denial is None or denial[0] not in STANDING:
            self._told.pop(key, None)
            return True
        check, limit, _ = denial
        if self._told.get(key) == (check, limit):
            return False
        self._told[key] = (check, limit)
        return True

    def is_standing(self, denial: tuple[str, str, str]) -> bool:
        """Whether the denial will be told once only."""
        return denial[0] in STANDING

    def forget(self) -> None:
        """A new day: all of it is told again."""
        self._told.clear()
