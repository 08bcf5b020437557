"""Positions with a stop or a target → the orders that protect them, and who wants those out of his way.

What is missing is placed, what is too much is taken off, by `daemon.risk.brackets.plan`, whenever something about the
symbol has changed and whenever time advances. An exit waits until stop and target are off the market, so that none of
them can trade what the exit has traded already. A stop that can't be had, or that the price has passed without its
being done, closes the position. Loop-free; what it does is said by the `Hands` that it is given. Invariant: nothing is
placed while the position is being closed.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec
import structlog

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    BY_HAND,
    EXTERNAL,
    ITSELF,
    PROTECTION,
    CancelOrder,
    Decision,
    Event,
    Fill,
    ManualOrder,
    OrderIntent,
    OrderType,
    ProtectionFailed,
    Side,
)
from daemon.core.ids import IN_NO_JOURNAL
from daemon.core.pairs import is_stop
from daemon.risk.book import RiskBook
from daemon.risk.brackets import Missing, plan
from daemon.risk.intents import IntentBuilder
from daemon.risk.refusals import NEVER_LEFT, RETRY_NS

log = structlog.get_logger("risk")

TRIES: Final = 3
"""A stop that the venue refused (or cancelled by itself) so often in a row is given up, and the position with it."""
IN_A_ROW_NS: Final = 60 * NS_PER_S
GATHER_NS: Final = NS_PER_S
"""While an entry still fills its parts are protected together, so often at most: each costs the venue two orders."""
PASSED_NS: Final = 5 * NS_PER_S
"""So long may the price be beyond a stop that isn't done."""


class Hands(msgspec.Struct, frozen=True):
    """What it may do: publish, ask the gate for an order (what it answered), and have a symbol closed."""

    publish: Callable[[Event], None]
    submit: Callable[[OrderIntent], tuple[str, str, str] | None]
    close: Callable[[str, str], None]


class _Failures:
    """How often the venue said no to a symbol's stop, or its target, lately; and when it was tried last in vain."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, bool], list[int]] = {}
        self._latest: dict[tuple[str, bool], int] = {}

    def note(self, symbol: str, ts: int, placed_ts: int, *, stop: bool, never_left: bool) -> int:
        """One more; how many in a row. What never left the machine is tried again, and no answer of the venue's.

        What was placed before the latest no, as other parts of the same, is no try of its own.
        """
        self._latest[symbol, stop] = ts
        known = [it for it in self._of.get((symbol, stop), []) if ts - it < IN_A_ROW_NS]
        counts = not never_left and (not known or placed_ts > known[-1])
        self._of[symbol, stop] = [*known, ts] if counts else known
        return len(self._of[symbol, stop])

    def due(self, symbol: str, ts: int, *, stop: bool) -> bool:
        """Whether it may be tried (again)."""
        latest = self._latest.get((symbol, stop))
        return latest is None or ts - latest >= RETRY_NS

    def gives_up(self, symbol: str, *, stop: bool) -> bool:
        """Whether it isn't tried any more."""
        return len(self._of.get((symbol, stop), ())) >= TRIES

    def forget(self, symbol: str) -> None:
        """The position is another."""
        for stop in (True, False):
            self._of.pop((symbol, stop), None)
            self._latest.pop((symbol, stop), None)


class Protector:
    """See the module."""

    def __init__(self, book: RiskBook, builder: IntentBuilder, hands: Hands, *, gathers: bool) -> None:
        """`gathers`: whether orders have a price of their own, so that parts of an entry are protected together."""
        self._gather_ns = GATHER_NS if gathers else 0
        self._book = book
        self._builder = builder
        self._hands = hands
        self._asked_off: set[str] = set()
        self._failures = _Failures()
        self._placed: dict[str, int] = {}
        self._passed: dict[str, int] = {}
        """Symbols whose price is beyond their stop, and since when."""
        self.exits: dict[str, Decision] = {}
        """Decisions to close that wait for stop and target to leave the market."""
        self.by_hand: dict[str, list[ManualOrder]] = {}
        """Orders by hand that do."""

    # -- who wants them out of his way ------------------------------------------------------------------------------

    def waits(self, symbol: str) -> bool:
        """Whether an exit of the symbol waits for its stop and target to leave the market."""
        return symbol in self.exits or symbol in self.by_hand

    def holds_up(self, symbol: str) -> bool:
        """Whether a stop or a target may still trade."""
        return bool(self._book.legs(symbol))

    def frees(self, order: ManualOrder) -> bool:
        """Whether an order by hand is an exit that stop and target make room for: at market, for what is held."""
        held = self._book.of(order.symbol).position
        closes = 0 < order.quantity <= -order.side.sign * held
        return closes and order.type is OrderType.MARKET and self.holds_up(order.symbol)

    def make_room(self, wanted: Decision | ManualOrder, symbol: str, ts: int) -> None:
        """Take stop and target off the market; `wanted` waits for that."""
        if isinstance(wanted, Decision):
            self.exits[symbol] = wanted
        else:
            self.by_hand.setdefault(symbol, []).append(wanted)
        reason = f"room for an exit: {wanted.reason}"
        for leg in self._book.legs(symbol):
            self._take_off(leg.order_id, reason, ts)

    def take_off_entries(self, symbol: str, side: Side, reason: str, ts: int) -> None:
        """Take a strategy's entries of that side off the market."""
        for intent, _ in self._book.working_of(symbol):
            if intent.side is side and _is_entry(intent):
                self._take_off(intent.order_id, reason, ts)

    # -- what is missing, and what is too much ----------------------------------------------------------------------

    def look(self, symbol: str, ts: int, *, closing: bool) -> None:
        """Place and take off what a symbol needs; while it is being closed nothing is placed."""
        book, bracket = self._book, self._book.brackets.of.get(symbol)
        working = book.working_of(symbol)
        position = book.of(symbol).position
        side = Side.SELL if position > 0 else Side.BUY
        if bracket is not None and bracket.stray and not closing:
            self._give_up(symbol, bracket.stray, ts)
            return
        if bracket is not None:
            bracket = self._builder.on_grid(symbol, bracket, side)
            self.take_off_entries(symbol, side, "the position has a stop or a target: it isn't turned round", ts)
            for lost in [intent for intent, _ in working if intent.side is side and _is_lost(intent)]:
                self._take_off(lost.order_id, "stop and target take the place of an order of ours that was lost", ts)
        others = sum(left for intent, left in working if intent.strategy != PROTECTION and intent.side is side)
        wanted = plan(None if closing else bracket, position, others, book.legs(symbol))
        why = "the position is closed" if not position else "the position or its stop and target have changed"
        for order_id in wanted.cancel:
            self._take_off(order_id, why, ts)
        if self._gathers(symbol, side, working, ts):
            return
        decision = bracket.decision if bracket is not None else ""
        theirs = abs(book.closable(symbol)) - others
        for missing in wanted.place:
            if missing.quantity > theirs:  # the broker holds less than the journal: a stop would open the opposite
                continue
            if not self._place(symbol, missing, decision, ts):
                return

    def lacks_stop(self, symbol: str) -> bool:
        """Whether a position is to have a stop, and none is known to be there for all that no other order closes."""
        book, bracket = self._book, self._book.brackets.of.get(symbol)
        position = book.of(symbol).position
        if bracket is None or bracket.stop is None or bracket.stray or book.closable(symbol) != position:
            return False
        side = Side.SELL if position > 0 else Side.BUY
        known = [it for it in book.working_of(symbol) if it[0].side is side and it[0].order_id not in book.unknown]
        return abs(position) > sum(left for it, left in known if it.strategy != PROTECTION or is_stop(it))

    def on_fill(self, fill: Fill, intent: OrderIntent | None) -> None:
        """A stop or a target traded: what is left of the entry isn't wanted any more."""
        if not self._book.of(fill.symbol).position:
            self._failures.forget(fill.symbol)
            self._passed.pop(fill.symbol, None)
        if intent is None or intent.strategy != PROTECTION:
            return
        for other, _ in self._book.working_of(fill.symbol):
            if _is_entry(other):
                self._take_off(other.order_id, f"the {intent.reason} of what it opened is done", fill.ts)

    def asked_off(self, order_id: str) -> None:
        """Somebody wants the order off the market: its end is no failure."""
        self._asked_off.add(order_id)

    def on_end(self, intent: OrderIntent, ts: int, reason: str, *, by_itself: bool) -> None:
        """One of ours left the market; `by_itself`: the venue refused it, or ended it though nobody asked."""
        asked = intent.order_id in self._asked_off
        self._asked_off.discard(intent.order_id)
        if intent.strategy == PROTECTION and by_itself and not asked:
            self._failed(intent.symbol, reason, ts, intent.ts, stop=is_stop(intent))

    def watch(self, symbol: str, ts: int) -> None:
        """Look at the price: a stop that it has passed must be done soon, a target that can't be had is taken by us."""
        book, bracket = self._book, self._book.brackets.of.get(symbol)
        entry = book.of(symbol)
        if bracket is None or not entry.position or entry.last_price <= 0:
            self._passed.pop(symbol, None)
            return
        sign, last = (1 if entry.position > 0 else -1), Decimal(str(entry.last_price))
        if bracket.stop is not None and (last - bracket.stop) * sign <= 0:
            since = self._passed.setdefault(symbol, ts)
            if ts - since >= PASSED_NS:
                self._give_up(symbol, f"the price {last} is beyond the stop {bracket.stop}, which isn't done", ts)
            return
        self._passed.pop(symbol, None)
        given_up = self._failures.gives_up(symbol, stop=False)
        if given_up and bracket.target is not None and (last - bracket.target) * sign >= 0:
            self._hands.close(symbol, f"the target {bracket.target} is reached")

    def _gathers(self, symbol: str, side: Side, working: list[tuple[OrderIntent, int]], ts: int) -> bool:
        """Whether what was filled just now waits for more of its entry: a part of it is protected already."""
        fills = any(_is_entry(intent) and intent.side is not side for intent, _ in working)
        stands = any(intent.strategy == PROTECTION for intent, _ in working)
        return fills and stands and 0 <= ts - self._placed.get(symbol, 0) < self._gather_ns

    # -- small things -----------------------------------------------------------------------------------------------

    def _place(self, symbol: str, missing: Missing, decision: str, ts: int) -> bool:
        """Place one; False where the position is being closed for want of it."""
        kind = {"stop": missing.is_stop}
        if not self._failures.due(symbol, ts, **kind) or self._failures.gives_up(symbol, **kind):
            return True
        denial = self._hands.submit(self._builder.protecting(symbol, missing, ts, decision))
        self._placed[symbol] = ts
        if denial is None:
            return True
        check, limit, value = denial
        self._failed(symbol, f"{check}: {value}, where {limit} is right", ts, ts, **kind)
        return not missing.is_stop

    def _failed(self, symbol: str, reason: str, ts: int, placed_ts: int, *, stop: bool) -> None:
        count = self._failures.note(symbol, ts, placed_ts, stop=stop, never_left=reason.startswith(NEVER_LEFT))
        what = "stop" if stop else "target"
        log.error(f"a {what} could not be had", symbol=symbol, reason=reason, tries=count)
        if stop and count >= TRIES:
            self._give_up(symbol, f"its stop can't be had: {reason}", ts)

    def _give_up(self, symbol: str, reason: str, ts: int) -> None:
        """No stop, no position."""
        held = self._book.of(symbol).position
        if not held:
            return
        self._book.brackets.give_up(symbol, reason)
        log.error("a position is closed", symbol=symbol, held=held, reason=reason)
        self._hands.publish(ProtectionFailed(ts=ts, symbol=symbol, quantity=held, reason=reason))
        self._hands.close(symbol, reason)

    def _take_off(self, order_id: str, reason: str, ts: int) -> None:
        if order_id not in self._asked_off:
            self._asked_off.add(order_id)
            self._hands.publish(CancelOrder(ts=ts, order_id=order_id, reason=reason, who=ITSELF))


def _is_lost(intent: OrderIntent) -> bool:
    """Whether it rests at the broker by an id of ours and no journal tells what for, as a target that outlived it.

    Somebody else's would be left its part, and the position its stop for the rest alone.
    """
    rests = intent.type is OrderType.LIMIT
    return rests and intent.strategy == EXTERNAL and intent.reason.endswith(IN_NO_JOURNAL)


def _is_entry(intent: OrderIntent) -> bool:
    """Whether a strategy's order opens a position or adds to one."""
    return not intent.reduces and intent.strategy not in BY_HAND
