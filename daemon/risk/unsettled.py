"""What is held and may not be what it was → a symbol that is left alone until it is known what became of it.

Its price jumped between two days as only a corporate action lets it, a corporate action is the broker's to make, or its
contract is over. Loop-free; what it finds is published. Invariant: whoever is told that a symbol is halted over a night
is told when it isn't any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from daemon.core.clock import Clock
from daemon.core.events import (
    Event,
    Fill,
    Flatten,
    PositionRestated,
    PriceAdjusted,
    PriceJumped,
    Resume,
    SymbolHalted,
    SymbolResumed,
    overnight,
)
from daemon.market.overnight import counted_anew
from daemon.risk.book import RiskBook
from daemon.risk.held_over import HeldOver

log = structlog.get_logger("risk")

EXTRAORDINARY: Final = 0.98
"""A dividend of 2 % of the price or more ("extraordinary" to NSE Clearing) changes the contracts on a share."""


class Unsettled:
    """See the module."""

    def __init__(self, book: RiskBook, held_over: HeldOver, clock: Clock, publish: Callable[[Event], None]) -> None:
        self.book = book
        self.held_over = held_over
        self._clock = clock
        self._publish = publish
        self._counted_anew: dict[str, str] = {}
        """The date of the newest action for which a symbol was counted anew."""
        self._by_jump: set[str] = set()
        """Those that are left alone for what their price did, and for nothing else: a price can take that back."""

    def is_in_doubt(self, symbol: str, ts: int) -> bool:
        """Whether nobody knows how many are held: after a corporate action, or before the day's first price tells."""
        return symbol in self.book.unsettled or self.held_over.is_unseen(symbol, ts)

    def watch(self, symbol: str) -> None:
        """A position has changed: one that is flat has nothing to be settled."""
        position = self.book.of(symbol).position
        self.held_over.watch(symbol, position)
        if not position and symbol in self.book.unsettled:
            self.settle(symbol, "nothing is held any more")

    def on_fill(self, fill: Fill) -> None:
        """A position has changed by a trade: one of an earlier day, told today, is held over a night, too."""
        if fill.traded_ts:
            self.held_over.restore({fill.symbol: (fill.traded_ts, float(fill.price))})
        self.watch(fill.symbol)

    def look(self) -> None:
        """What is held and jumped between two days is left alone until it is known what became of it."""
        for jump in self.held_over.look(self.book):
            if jump.back:
                self._take_back(jump.symbol, f"back at {jump.after:,.10g}: the first price of the day was false")
                continue
            if jump.symbol in self.book.unsettled:
                continue
            held = self.book.of(jump.symbol).position
            self.unsettle(
                jump.symbol,
                f"{overnight(jump.before, jump.after)} with {held} held: a corporate action? Quantity and price are "
                "the broker's to change, on paper by market.adjustments; hrmd ctl resume when they are right",
                jump.before,
            )
            self._by_jump.add(jump.symbol)

    def on_action(self, event: PriceAdjusted | PriceJumped | PositionRestated) -> None:
        """A corporate action: of prices, of a jump that the first bar confirms, or of what is held."""
        book, symbol = self.book, event.symbol
        if isinstance(event, PriceJumped) and self.held_over.is_undone(symbol, event.after):
            self._take_back(symbol, f"back at {event.after:,.10g}: the day began with an old price")
        elif isinstance(event, PriceJumped):
            self.held_over.confirm(symbol)
            self._doubt_contracts(symbol, overnight(event.before, event.after))
        elif isinstance(event, PositionRestated):
            book.restate(event)
            self._counted_anew[symbol] = event.date
            self.settle(symbol, f"counted anew for the {event.kind} of {event.date}: {book.of(symbol).position} held")
            self.watch(symbol)
        else:
            entry = book.of(symbol)
            held, price = entry.position, entry.price
            book.adjust(event)
            self.held_over.adjust(event)
            if event.shares or event.ratio <= EXTRAORDINARY:
                self._doubt_contracts(symbol, f"{event.kind} of {event.date} (×{event.ratio:.6g})", event.date)
            carried = held if event.carried is None else event.carried
            if (held or carried) and event.shares and event.by_broker:
                expected, _ = counted_anew(held, carried, event.numerator, event.denominator)
                reason = f"{event.kind} of {event.date} (×{event.ratio:.6g}) with {held} held: the broker is to make it"
                self.unsettle(symbol, f"{reason} {expected}; hrmd ctl resume when it is right", price)

    def _take_back(self, symbol: str, reason: str) -> None:
        """The price says that there was no jump; of an action that somebody named it says nothing."""
        if symbol in self._by_jump:
            self.settle(symbol, reason)

    def _doubt_contracts(self, share: str, words: str, date: str = "") -> None:
        """The exchange makes others of the contracts on a share: other strikes, lots and names."""
        for contract in self.held_over.contracts_on(share):
            if contract in self.book.unsettled or (date and self._counted_anew.get(contract) == date):
                continue
            entry = self.book.of(contract)
            self.unsettle(
                contract,
                f"{words} of {share} with {entry.position} held: the exchange makes another contract of it, which "
                "market.adjustments may name; hrmd ctl resume when quantity and strike are right",
                entry.price,
            )

    def unsettle(self, symbol: str, reason: str, price: float) -> None:
        """Leave it alone from here on, and say why; `price` is the newest that is known, rupees."""
        self._by_jump.discard(symbol)
        self.book.unsettle(symbol, reason, price)
        log.error(f"{symbol}: {reason}")
        self._publish(SymbolHalted(ts=self._clock.now_ns(), symbol=symbol, reason=reason, overnight=True))

    def settle(self, symbol: str, reason: str, *, as_it_stands: bool = False) -> None:
        """It is known what is held; `as_it_stands`: a person has said that it is as many as the book has."""
        self.held_over.settle(symbol)
        self._by_jump.discard(symbol)
        if self.book.settle(symbol, as_it_stands=as_it_stands):
            log.info(f"{symbol}: {reason}")
            self._publish(SymbolResumed(ts=self._clock.now_ns(), symbol=symbol, reason=reason, overnight=True))

    def settle_all(self, event: Resume | Flatten) -> None:
        """A person has said what is to become of what is held."""
        for symbol in [] if event.automatic else list(self.book.unsettled):
            self.settle(symbol, event.reason, as_it_stands=True)
