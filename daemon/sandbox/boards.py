"""Quotes of a symbol → what its topics on the data socket show: numbers as they go over the wire.

What nobody knows stays unknown (`UNCHANGED`, so that it is never sent): yesterday's close on the tape's first day,
quotes, quantities and price bands that the tape lacks. A side on which nobody is is 0, as at Fyers. Most are no trades:
`last_traded_time` moves only when volume rose or, where there is no volume, when the price moved.
Invariant: price, bid and ask are those of the quote that orders meet, rounded to the digits that the wire has.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

from daemon.core.clock import NS_PER_S, india_day
from daemon.sandbox.directory import SymbolDirectory
from daemon.sandbox.exchange import Print, Quote
from daemon.sandbox.hsm import LARGEST, UNCHANGED, Fields, Topic

_UNKNOWN_LEVELS = (0,) * 4


class Board(Protocol):
    """What one symbol shows."""

    def fields(self, topic: Topic) -> Fields | None:
        """What a topic shows now; None before the first quote."""


class QuoteBoard:
    """One symbol's numbers of the day. `digits`: behind the point of a price on the wire."""

    def __init__(self, digits: int) -> None:
        self._digits = digits
        self._quote: Quote | None = None
        self._day = -1
        self._stamp_s = self._traded_s = 0
        self._open = self._high = self._low = 0
        self._closed = UNCHANGED
        self._last_quantity = UNCHANGED
        self._turnover, self._traded = Decimal(0), 0

    def on_quote(self, quote: Quote, ts: int) -> None:
        """A quote that the market has from `ts` on (UTC ns)."""
        stamp = ts if quote.stamp_ns is None else quote.stamp_ns
        ltp = self._raw(quote.last)
        if india_day(stamp) != self._day:
            self._begin_day(stamp, ltp)
        traded = self._quantity_traded(quote)
        if traded or self._quote is None:
            self._traded_s = stamp // NS_PER_S
        self._stamp_s = stamp // NS_PER_S
        self._high, self._low = max(self._high, ltp), min(self._low, ltp)
        if quote.last_quantity is not None:
            self._last_quantity = _capped(quote.last_quantity)
        elif traded and quote.volume is not None:
            self._last_quantity = _capped(traded)
        if quote.volume is not None:
            self._turnover += traded * quote.last
            self._traded += traded
        self._quote = quote

    def fields(self, topic: Topic) -> Fields | None:
        """What a topic shows now; None before the first quote."""
        if self._quote is None:
            return None
        match topic:
            case Topic.SYMBOL:
                return self._symbol(self._quote)
            case Topic.INDEX:
                ltp = self._raw(self._quote.last)
                return (ltp, self._closed, self._stamp_s, self._high, self._low, self._open)
            case Topic.DEPTH:
                return self._depth(self._quote)

    def _begin_day(self, stamp: int, ltp: int) -> None:
        if self._quote is not None:
            self._closed = self._raw(self._quote.last)
        self._day = india_day(stamp)
        self._open = self._high = self._low = ltp
        self._turnover, self._traded = Decimal(0), 0
        self._quote = None

    def _quantity_traded(self, quote: Quote) -> int:
        """Since the quote before; where there is no volume, 1 stands for a price that moved."""
        if self._quote is None:
            return 0  # at what prices the volume before it was traded nobody knows
        if quote.volume is None or self._quote.volume is None:
            return int(quote.last != self._quote.last)
        return max(0, quote.volume - self._quote.volume)

    def _symbol(self, quote: Quote) -> Fields:
        average = self._turnover / self._traded if self._traded else None
        bid_size, ask_size = _size(quote.bid, quote.bid_quantity), _size(quote.ask, quote.ask_quantity)
        return (
            self._raw(quote.last), _known(quote.volume), self._traded_s, self._stamp_s, bid_size, ask_size,
            self._price(quote.bid), self._price(quote.ask), self._last_quantity, bid_size, ask_size,
            UNCHANGED if average is None else self._raw(average), _known(quote.open_interest), self._low, self._high,
            UNCHANGED, UNCHANGED, self._price(quote.lower_band), self._price(quote.upper_band), self._open,
            self._closed,
        )  # fmt: skip

    def _depth(self, quote: Quote) -> Fields:
        """The sandbox's book has one level; an order count of 1 stands for whoever is there."""
        bid_size, ask_size = _size(quote.bid, quote.bid_quantity), _size(quote.ask, quote.ask_quantity)
        best = (
            self._price(quote.bid), self._price(quote.ask), bid_size, ask_size, int(bool(quote.bid)),
            int(bool(quote.ask)),
        )  # fmt: skip
        return tuple(number for first in best for number in (first, *_UNKNOWN_LEVELS))

    def _price(self, price: Decimal | None) -> int:
        """A price as the wire has it; what isn't known is never sent."""
        return UNCHANGED if price is None else self._raw(price)

    def _raw(self, price: Decimal) -> int:
        return _capped(int(price.scaleb(self._digits).to_integral_value(ROUND_HALF_UP)))


class Boards:
    """The boards of all symbols; one can be misread for a while, which changes what is shown but not what is."""

    def __init__(self, directory: SymbolDirectory) -> None:
        self._directory = directory
        self._quoted: dict[str, QuoteBoard] = {}
        self._placed: dict[str, Board] = {}
        self._misread: dict[str, float] = {}

    def on_print(self, item: Print) -> None:
        """A quote came; one of a symbol that Fyers couldn't name is passed over."""
        board = self._quoted.get(item.symbol)
        if board is None:
            listing = self._directory.find(item.symbol)
            if listing is None:
                return
            board = self._quoted[item.symbol] = QuoteBoard(listing.precision)
        board.on_quote(item.quote, item.ts)

    def place(self, symbol: str, board: Board | None) -> None:
        """Let a symbol be shown by this board instead of its quotes; None: by its quotes again."""
        if board is None:
            self._placed.pop(symbol, None)
        else:
            self._placed[symbol] = board

    def misread(self, symbol: str, factor: float | None) -> None:
        """Let the price of a symbol be shown so many times as high until it is read rightly again (None)."""
        if factor is None:
            self._misread.pop(symbol, None)
        else:
            self._misread[symbol] = factor

    def fields(self, symbol: str, topic: Topic) -> Fields | None:
        """What a topic of a symbol shows now; None before its first quote."""
        board = self._placed.get(symbol) or self._quoted.get(symbol)
        fields = board.fields(topic) if board is not None else None
        if fields is None or symbol not in self._misread:
            return fields
        return (_capped(round(fields[0] * self._misread[symbol])), *fields[1:])


def _known(number: int | None) -> int:
    return UNCHANGED if number is None else _capped(number)


def _size(price: Decimal | None, quantity: int | None) -> int:
    """The quantity behind a price: none where nobody is, unknown where the quote doesn't say it."""
    return 0 if price == 0 else UNCHANGED if price is None else _known(quantity)


def _capped(number: int) -> int:
    """Into the wire's 32 bits."""
    return max(UNCHANGED + 1, min(number, LARGEST))
