"""Reasons to close → exits that are asked for until nothing is held.

Everything is closed before a session ends, and when a person or the supervisor says so; a symbol alone when it was
carried over, when another model takes nothing over, when its contract ends, when a canary ends, for want of a stop, and
when a strategy's exit failed. What could open a position, or waits at a price, leaves the market first. Loop-free; what
it does is said by the `Means` that it is given. Invariant: a refusal delays an exit and never ends it, and what is
unsettled is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.events import (
    BY_HAND,
    EXTERNAL,
    MANUAL,
    ContractClosing,
    Event,
    ExitOwed,
    Fill,
    OrderCancelled,
    OrderIntent,
    OrderRejected,
    Side,
    TradingState,
)
from daemon.core.ids import is_order_of_ours
from daemon.risk.book import RiskBook
from daemon.risk.expiry import ExpiryGuard
from daemon.risk.intents import IntentBuilder
from daemon.risk.owed import OwedExits
from daemon.risk.refusals import ExitRetries, too_large
from daemon.risk.unsettled import Unsettled

log = structlog.get_logger("risk")

CARRIED_OVER: Final = "carried over from an earlier session"
"""Why what is held as a session begins is closed."""
LEFT_BEHIND: Final = "the market has gone on without it"
"""Why an exit at market is taken off and sent again: it rests at a price that protects it, ours or the broker's."""
LEFT_BEHIND_NS: Final = 5 * NS_PER_S
"""An exit at market that hasn't traded for so long, while the price got worse, or at its protection, is left behind."""
RESTS_AT_MOST: Final = 6
"""So often in a row an exit that rests at its protection is sent again; then it stays, for who goes loses his turn."""


def comes_late(fill: Fill, position: int, state: TradingState) -> bool:
    """Whether an order of ours, given up or called off, has opened or added to what is held while nothing may be.

    `position`: with the fill.
    """
    grows = position * fill.side.sign > 0
    return grows and state is not TradingState.ACTIVE and is_order_of_ours(fill.order_id)


def is_open(position: int, working: Iterable[OrderIntent]) -> bool:
    """Whether something of a symbol is held, or works and may yet become a position; what only closes may not."""
    return bool(position) or any(not intent.reduces for intent in working)


class Means(msgspec.Struct, frozen=True):
    """What it may do: publish, ask the gate for an order (what it answered), and take one off the market.

    `exits_pass`: whether the gate lets any exit through.
    """

    publish: Callable[[Event], None]
    submit: Callable[[OrderIntent | None], tuple[str, str, str] | None]
    take_off: Callable[[str, str], None]
    exits_pass: Callable[[], bool]


class Closing:
    """See the module."""

    def __init__(
        self, book: RiskBook, builder: IntentBuilder, guard: ExpiryGuard | None, unsettled: Unsettled, clock: Clock,
        means: Means,
    ) -> None:  # fmt: skip
        self._book = book
        self._builder = builder
        self._guard = guard
        self._unsettled = unsettled
        self._clock = clock
        self._means = means
        self.owed = OwedExits(clock, means.publish)
        self.retries = ExitRetries(self.owed)
        self.flatten_reason = ""
        """Why everything is being closed, "" where it isn't."""
        self.flattened = ""
        """Why everything was to be closed last, "" where a person said since that trading goes on."""
        self.symbols: dict[str, str] = {}
        """Symbols that are being closed, and why, while all others are not."""
        self._bare: dict[str, str] = {}
        """Symbols that are being closed for want of a stop, or because their target is reached, and why."""
        self._ending: dict[str, str] = {}
        """Contracts that are being closed because they end, and why."""
        self._taken_off: set[str] = set()
        self._left_behind: set[str] = set()

    def restore(
        self, flatten_reason: str, flattened: str, symbols: Mapping[str, str], owed: Iterable[ExitOwed]
    ) -> None:
        """Go on with what an earlier process was closing."""
        self.flatten_reason, self.flattened, self.symbols = flatten_reason, flattened, dict(symbols)
        self.owed.restore(owed)

    def call_off(self) -> None:
        """A person has said that trading goes on; a contract that ends is closed all the same."""
        self.flatten_reason, self.flattened, self.symbols, self._bare = "", "", {}, {}

    def why(self, symbol: str) -> str:
        """Why all that is held of a symbol is being closed, "" where it isn't."""
        known = (self.symbols.get(symbol), self._ending.get(symbol), self._bare.get(symbol))
        return self.flatten_reason or next((why for why in known if why), "")

    def free_left_behind(self, *, everything: bool) -> None:
        """Take off exits at market that the price runs away from, or that rest at their protection: they go again.

        One by hand goes only where what it closes is being closed anyhow: `everything`, or its symbol.
        """
        exits = self._book.exits_at_market()
        if not exits:
            self._left_behind.clear()
            return
        now, rested = self._clock.now_ns(), set[str]()
        self._left_behind.intersection_update(intent.order_id for intent in exits)
        for intent in exits:
            kept = intent.strategy == EXTERNAL or (
                intent.strategy == MANUAL and not everything and not self.why(intent.symbol)
            )
            if kept or intent.order_id in self._left_behind or now - intent.ts < LEFT_BEHIND_NS:
                continue
            last, asked = self._book.of(intent.symbol).price, float(intent.reference_price)
            if (last - asked) * intent.side.sign > 0 or self._may_go_further(intent, now):
                log.warning(
                    "an exit was left behind by the market: it is sent again", order=intent.order_id,
                    symbol=intent.symbol, then=asked, now=last,
                )  # fmt: skip
                self._left_behind.add(intent.order_id)
                rested.add(intent.symbol)
                self._means.take_off(intent.order_id, LEFT_BEHIND)
        self._book.rested |= {symbol: self._book.rested.get(symbol, 0) + 1 for symbol in rested}

    def _may_go_further(self, intent: OrderIntent, now: int) -> bool:
        """Whether it rests at a limit that protects it, which the next one's may lie beyond: inside the day's band."""
        entry = self._book.of(intent.symbol)
        end = entry.band_on(now)[intent.side is Side.BUY]
        locked = end is not None and (entry.last_price - float(end)) * intent.side.sign >= 0
        often = self._book.rested.get(intent.symbol, 0) >= RESTS_AT_MOST
        return self._book.protects and not locked and not often

    def go_on(self) -> None:
        """Time has passed: ask again for what is to be closed, until it is."""
        if self.flatten_reason:
            self.close_all(self.flatten_reason, knowing=True)
            disputed = self._book.halted and self._book.state is not TradingState.ACTIVE
            if not any(map(self._can_be_closed, self._book.symbols)) and not disputed:  # flat in the broker's book, too
                self.symbols |= {symbol: self.flatten_reason for symbol in self._book.symbols if self.is_left(symbol)}
                self.flatten_reason = ""
            return
        self.close_owed()
        if self.symbols:
            self.close_symbols()
        if self._bare:
            self._close_bare()

    # -- everything, and symbols for a reason of their own ------------------------------------------------------------

    def close_all(self, reason: str, only: str | None = None, *, theirs: bool = True, knowing: bool = False) -> None:
        """Take off the market what could open a position or wait at a price, and close what is held.

        `only`: of one symbol. `theirs`: what somebody placed in the broker's app, too. `knowing`: not before today's
        price says that what was held over the night is as many. While no exit passes what rests stays, for a stop is
        all that the position has; what could open one is off by the halt itself.
        """
        resting = self._book.resting() if self._means.exits_pass() else []
        self._taken_off.intersection_update(resting)
        for order_id in resting:
            if order_id not in self._taken_off and self._is_of(order_id, only, theirs=theirs):
                self._taken_off.add(order_id)
                self._means.take_off(order_id, reason)
        now = self._clock.now_ns()
        for symbol, entry in self._book.symbols.items():
            if symbol in self._book.unsettled or only not in (None, symbol):
                continue
            if knowing and self._unsettled.held_over.is_unseen(symbol, now):
                continue
            if entry.position and self.retries.due(symbol, now):
                self.close(symbol, reason, now)

    def close_each(self, symbols: Iterable[str], reason: str) -> None:
        """Close all that is open of `symbols`, until it is; others are no business of one whose exit has to wait."""
        self.symbols |= dict.fromkeys(symbols, reason)
        self.close_symbols()

    def close_symbols(self) -> None:
        """Close what is to be closed of single symbols, until it is."""
        self.symbols = {symbol: why for symbol, why in self.symbols.items() if self.is_open(symbol)}
        for symbol, why in self.symbols.items():
            self.close_all(why, symbol, knowing=True)

    def close_unprotected(self, symbol: str, reason: str) -> None:
        """Close one that can't have its stop, or whose target is reached."""
        self._bare[symbol] = reason
        self._close_bare()

    def _close_bare(self) -> None:
        """Close what isn't protected; what somebody placed in the broker's app is left alone, and so is its part."""
        self._bare = {symbol: why for symbol, why in self._bare.items() if self._book.of(symbol).position}
        for symbol, why in self._bare.items():
            self.close_all(why, symbol, theirs=False, knowing=True)

    def close_ending(self, ts: int) -> None:
        """Close contracts that end, and say so once; what is held of one that is over is left to the exchange."""
        guard = self._guard
        if guard is None:
            return
        for symbol in [symbol for symbol in self._book.symbols if self.is_open(symbol)]:
            held = self._book.of(symbol).position
            over, reason = guard.over(symbol, ts), guard.due(symbol, ts)
            if over:
                self._book.over.add(symbol)
                if symbol not in self._book.unsettled:
                    words = f"{over} with {held} held: the exchange has settled it; compare with the broker's book"
                    self._unsettled.unsettle(symbol, words, self._book.of(symbol).last_price)
            if reason and symbol not in self._ending:
                self._ending[symbol] = reason
                log.error("a contract ends: it is closed", symbol=symbol, held=held, reason=reason)
                self._means.publish(ContractClosing(ts=ts, symbol=symbol, quantity=held, reason=reason))
            if reason:
                self.close_all(reason, symbol)

    def close_owed(self) -> None:
        """Try strategies' exits that have to wait, once stop and target are off, until they are done or taken back."""
        now = self._clock.now_ns()
        for symbol, owed in list(self.owed.of.items()):
            if self.owed.settle_done(symbol, self._book.of(symbol).position):
                continue
            in_doubt = self._unsettled.is_in_doubt(symbol, now)
            if not in_doubt and not self._book.legs(symbol) and self.retries.due(symbol, now):
                self.close(symbol, owed.reason, now)

    def close(self, symbol: str, reason: str, now: int) -> None:
        """Close all that is held of a symbol; a denial is a reason to wait, like a refusal."""
        denial = self._means.submit(self._builder.closing(symbol, self._book, now, reason))
        if denial is not None:
            check, limit, value = denial
            self.retries.note(symbol, f"{check}: {value}, where {limit} is right", now)

    def on_fill(self, fill: Fill) -> None:
        """Something traded: what is closed by that needs no reason any more, which would close what is opened next.

        What comes late of an order from before everything was closed is closed, too.
        """
        symbol, position = fill.symbol, self._book.of(fill.symbol).position
        self.retries.forget(symbol)
        self._book.rested.pop(symbol, None)
        self.owed.settle_done(symbol, position)
        if self.flattened and comes_late(fill, position, self._book.state):
            log.warning("an order came late: it is closed", order=fill.order_id, symbol=symbol, reason=self.flattened)
            self.symbols[symbol] = self.flattened
        if not self.is_open(symbol):
            self.symbols.pop(symbol, None)
            self._bare.pop(symbol, None)

    # -- exits that fail ----------------------------------------------------------------------------------------------

    def on_refusal(self, event: OrderRejected) -> None:
        """The venue said no. An exit is tried again, in smaller parts where it was too large; one by hand is not."""
        intent = self._book.open_intent(event.order_id)
        if intent is None:
            return
        if self.retries.refused(intent, event, self._clock.now_ns()):
            by_hand = intent.strategy in BY_HAND
            log.error(
                "an exit by hand was refused" if by_hand else "an exit was refused; it is tried again",
                symbol=intent.symbol, order=event.order_id,
                decision=intent.decision, quantity=intent.quantity, reason=event.reason,
            )  # fmt: skip
        halved = self._builder.halved(intent)
        if too_large(event.reason) and halved < intent.quantity:
            self._book.largest[intent.symbol] = halved
            self.retries.hasten(intent.symbol)

    def on_cancelled(self, event: OrderCancelled) -> None:
        """An exit that the venue cancelled by itself is tried again like one that it refused."""
        intent = self._book.open_intent(event.order_id)
        if intent is not None and self.retries.cancelled(intent, event, self._clock.now_ns()):
            log.error(
                "an exit was cancelled by the venue; it is tried again", symbol=intent.symbol, order=event.order_id,
                decision=intent.decision, quantity=intent.quantity, reason=event.reason,
            )  # fmt: skip

    # -- what there is to close ---------------------------------------------------------------------------------------

    def held(self) -> list[str]:
        """The symbols of what is held and can be traded."""
        book = self._book
        return [symbol for symbol, entry in book.symbols.items() if entry.position and symbol not in book.over]

    def is_left(self, symbol: str) -> bool:
        """Whether something of a symbol that can be traded is held, or works and may yet become a position."""
        return symbol not in self._book.over and self.is_open(symbol)

    def _can_be_closed(self, symbol: str) -> bool:
        """Whether something is left that the broker has, too: what it has not waits in `symbols` until it says so."""
        entry = self._book.of(symbol)
        works = entry.working_buys or entry.working_sells
        return symbol not in self._book.over and bool(works or self._book.closable(symbol))

    def is_open(self, symbol: str) -> bool:
        """See the function."""
        entry = self._book.of(symbol)
        works = self._book.working_of(symbol) if entry.working_buys or entry.working_sells else ()
        return is_open(entry.position, (intent for intent, _ in works))

    def _is_of(self, order_id: str, symbol: str | None, *, theirs: bool) -> bool:
        intent = self._book.open_intent(order_id)
        wanted = intent is None or theirs or intent.strategy != EXTERNAL
        return symbol is None or (intent is not None and intent.symbol == symbol and wanted)
