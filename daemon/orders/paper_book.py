"""One symbol's ticks → what they offer to each side: a price and a quantity, nobody, or nothing known.

A quote of 0 (or a quantity of 0, or no quote beside one on the other side) says that nobody is there. A tick with no
quote at all says nothing: while the symbol was quoted within `QUOTES_LAST_NS` the book is there all the same and only
isn't told, so that one waits for a tick that tells it; after that, on a day on which it was quoted, for a trade. A
source that tells no quotes is taken at its last price, when that is news: something traded, or it has moved. A side
that was empty stays so, for the day, until a quote tells otherwise or the price leaves where it was then: at a
circuit nothing else is ever traded. Zeros on both sides without a quantity are what a source writes that knows no
book, quantities of 0 beside both quotes what one writes that knows no quantities. A quote further from the tick's
last price than that may move at once is not believed where we would gain by it, and is no price where we would lose
by it. Invariant: how the ticks are cut into batches changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_S, india_day
from daemon.core.events import Side, TickBatch

WHOLE: Final = np.iinfo(np.int64).max
"""As much as one likes: nobody said how much there is."""
PRICE_DIGITS: Final = 6
"""More than any price has: what a sum of floats is off by would cost a tick."""
QUOTES_LAST_NS: Final = 60 * NS_PER_S
ANYWHERE: Final = (1e15, 1e15)
"""No quote is so far from its last price: of ticks that are made of bars, whose quotes are the bar's extremes."""
_FORGETS: Final = 60
"""In so many seconds a delay that was the least is forgotten by one."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp] | slice
_NOT_EMPTY: Final = (np.nan, -1)


class SymbolBook:
    """What is remembered of a symbol from batch to batch: its newest quote, its empty sides, the band, our takings."""

    __slots__ = ("empty", "lower", "quoted_ts", "taken", "upper")

    def __init__(self) -> None:
        self.quoted_ts = 0
        self.empty: dict[Side, tuple[float, int]] = dict.fromkeys(Side, _NOT_EMPTY)
        """Where nobody trades with a side: the last price then, and the day; NaN where somebody does."""
        self.lower: tuple[float, int] = (np.nan, -1)
        """The price, and the day of India's calendar for which it was told."""
        self.upper: tuple[float, int] = (np.nan, -1)
        self.taken: dict[Side, tuple[float, int]] = {}
        """By the side that took: at which price, and how many units; without those of whom nothing is left there."""

    def remember(self, batch: TickBatch, rows: Rows) -> None:
        """Take in the newest quote and band of these rows."""
        ticks = BookTicks(batch, rows, self)
        if len(ticks.ts):
            self.quoted_ts = int(ticks.quoted_ts[-1])
            last = int(ticks.day[-1])
            for side in Side:
                self.empty[side] = (float(ticks.ltp[-1]), last) if ticks.nobody(side)[-1] else _NOT_EMPTY
            self.lower, self.upper = (float(ticks.lower[-1]), last), (float(ticks.upper[-1]), last)
            self.taken = ticks.taken_at_end()

    def remember_quoted(self, ts: int) -> None:
        """The same of a tick received at `ts` (UTC ns) that leaves behind what all before it would (`tells_all`)."""
        day = india_day(ts)
        self.quoted_ts = max(self.quoted_ts, ts)
        self.empty = dict.fromkeys(Side, _NOT_EMPTY)
        self.lower = (self.lower[0] if self.lower[1] == day else np.nan, day)
        self.upper = (self.upper[0] if self.upper[1] == day else np.nan, day)

    def band(self, ts: int) -> tuple[float, float]:
        """The lowest and highest price of the day at `ts` (UTC ns); NaN where nobody told."""
        day = india_day(ts)
        return tuple(price if told == day else np.nan for price, told in (self.lower, self.upper))  # type: ignore[return-value]


class Delays:
    """How much longer ticks were on their way than the quickest of late, which tells two clocks apart, too.

    A feed that stalls catches up with ticks that are received together and were sent one after the other. What was
    quick once counts for less as time goes by, a second a minute: a clock that jumps, or another day's, is known then.
    """

    def __init__(self) -> None:
        self._least = int(np.iinfo(np.int64).max)
        """The least delay less what is forgotten of it from 1970 to its receipt, ns."""

    def sent_ts(self, batch: TickBatch) -> Ints:
        """(n,): when each tick was sent, UTC ns by our clock, had the quickest of late taken no time."""
        least = np.minimum.accumulate(np.minimum(self._delays(batch), self._least))
        return batch.ts_event + least + batch.ts_recv // _FORGETS

    def remember(self, batch: TickBatch) -> None:
        """Take in a batch that is done with."""
        self._least = min(self._least, int(self._delays(batch).min()))

    def _delays(self, batch: TickBatch) -> Ints:
        return batch.ts_recv - batch.ts_event - batch.ts_recv // _FORGETS


def tells_all(batches: Sequence[TickBatch]) -> bool:
    """Whether the last tick of a symbol leaves behind what all before it would: both sides quoted, and no band told.

    What is remembered of a band is of the newest day, and of a day without one nothing.
    """
    if any(batch.lower_band is not None or batch.upper_band is not None for batch in batches):
        return False
    return bool(_both_sides(batches[-1], -1))


def quoted_and_untold(batch: TickBatch, newest: NDArray[np.intp]) -> Mask:
    """(m,): of each symbol's `newest` row, whether it leaves behind what all before it would; see `tells_all`."""
    if batch.lower_band is not None or batch.upper_band is not None:
        return np.zeros(len(newest), dtype=np.bool_)
    return np.asarray(_both_sides(batch, newest))


def _both_sides(batch: TickBatch, rows: NDArray[np.intp] | int) -> Mask:
    """Whether each of these rows tells a book of which neither side is empty."""
    quoted = (batch.bid[rows] > 0) & (batch.ask[rows] > 0)
    both: Mask = quoted & ((batch.bid_qty[rows] == 0) == (batch.ask_qty[rows] == 0))
    return both


class BookTicks:
    """The rows of one symbol in a batch, from our side's view: what one could trade at, and how much of it is left."""

    def __init__(
        self,
        batch: TickBatch,
        rows: Rows,
        book: SymbolBook,
        *,
        has_book: bool = True,
        quotes_last_ns: int = QUOTES_LAST_NS,
        reach: tuple[float, float] = ANYWHERE,
        least_reach: float = 0.0,
        sent_ts: Ints | None = None,
        price_before: float | None = None,
    ) -> None:
        """`book`: what was known before these rows; without `has_book` (an index) quotes and bands are no offers.

        `quotes_last_ns`: so long after a quote a tick without one is waited out; 0 where ticks are made of bars, of
        which only those inside a bar have quotes. `reach`: how far a quote may lie from the last price where it is
        better than that, and where it is worse, as shares of it; `least_reach` (rupees) it always may. `sent_ts`: of
        all ticks of the batch, as `Delays` tells it; None: as they are stamped. `price_before`: the symbol's last price
        before these rows, by which those that tell nothing new are known; None: all are taken for news.
        """
        self._quotes_last_ns = quotes_last_ns
        self._price_before = price_before
        self.rows = np.arange(len(batch))[rows]
        self.ts: Ints = batch.ts_recv[rows]
        self.sent_ts: Ints = (batch.ts_event if sent_ts is None else sent_ts)[rows]
        self.day: Ints = (self.ts + IST_OFFSET_NS) // DAY_NS
        self.ltp: Floats = batch.ltp[rows]
        self.new_trade: Mask = batch.traded[rows] != 0
        self._better, self._worse = (np.maximum(self.ltp * share, least_reach) for share in reach)
        none, unknown = np.full(len(self.ts), np.nan), np.full(len(self.ts), -1)
        bid, ask, bid_qty, ask_qty = none, none, unknown, unknown
        if has_book:
            bid, ask, bid_qty, ask_qty = batch.bid[rows], batch.ask[rows], batch.bid_qty[rows], batch.ask_qty[rows]
        uncounted = (bid > 0) & (ask > 0) & (bid_qty == 0) & (ask_qty == 0)
        bid_qty, ask_qty = np.where(uncounted, -1, bid_qty), np.where(uncounted, -1, ask_qty)
        self._quotes = {Side.BUY: (ask, bid, ask_qty), Side.SELL: (bid, ask, bid_qty)}
        blank = ~(bid > 0) & ~(ask > 0) & (bid_qty < 0) & (ask_qty < 0)
        empty = {side: _empty(*quotes) & ~blank for side, quotes in self._quotes.items()}
        quoted = (bid > 0) | (ask > 0) | empty[Side.BUY] | empty[Side.SELL]
        self._nobody = {side: self._lasting(empty[side], quoted, book.empty[side]) for side in Side}
        self.quoted_ts: Ints = np.maximum.accumulate(
            np.where(quoted, np.maximum(self.ts, book.quoted_ts), book.quoted_ts)
        )
        self.lower = self._band(batch.lower_band if has_book else None, rows, book.lower)
        self.upper = self._band(batch.upper_band if has_book else None, rows, book.upper)
        self._taken = {side: np.zeros(len(self.ts), dtype=np.int64) for side in Side}
        self._level = dict.fromkeys(Side, np.nan)
        for side, (price, quantity) in book.taken.items() if has_book else ():
            self._lasts(side, 0, price, quantity)

    def quote(self, side: Side) -> Floats:
        """(n,): what `side` would trade at (the ask for a BUY), NaN where unknown or too good to be true.

        Of a crossed book the worse.
        """
        opposite, own, _ = self._quotes[side]
        crossed = (own > 0) & (side.sign * (own - opposite) > 0)
        quote = np.where(opposite > 0, np.where(crossed, own, opposite), np.nan)
        return np.where(side.sign * (self.ltp - quote) > self._better, np.nan, quote)

    def wider(self, side: Side, times: float) -> Floats:
        """(n,): the quote, were the book so many `times` as wide around its middle; as it is where a side is empty."""
        if times == 1:
            return self.quote(side)
        opposite, own, _ = self._quotes[side]
        spread = np.where(own > 0, np.maximum(side.sign * (opposite - own), 0.0), 0.0)
        return np.round(self.quote(side) + side.sign * spread * (times - 1) / 2, PRICE_DIGITS)

    def out_of_reach(self, side: Side) -> Mask:
        """(n,): whether `side` would pay what the market can't have moved to since its last price."""
        out: Mask = side.sign * (self.quote(side) - self.ltp) > self._worse
        return out

    def nobody(self, side: Side) -> Mask:
        """(n,): whether nobody trades with `side`, as the source said last."""
        return self._nobody[side]

    def displayed(self, side: Side) -> Ints:
        """(n,): units left for `side` to take, `WHOLE` where unknown, 0 where nobody is or where it isn't told."""
        opposite, _, quantity = self._quotes[side]
        shown = np.where(quantity < 0, WHOLE, np.maximum(quantity - self._taken[side], 0))
        quoted = (self.quoted_ts + IST_OFFSET_NS) // DAY_NS == self.day
        silent = quoted & ~self.new_trade & (self._quotes_last_ns > 0)
        untold = np.where((self.ts - self.quoted_ts < self._quotes_last_ns) | silent | self._old, 0, WHOLE)
        told = opposite > 0 if self._quotes_last_ns else (opposite > 0) & ~self._old
        return np.where(self._nobody[side], 0, np.where(told, shown, untold))

    @property
    def _old(self) -> Mask:
        """(n,): a price that was known before, and nothing traded at it again."""
        if self._price_before is None:
            return np.zeros(len(self.ltp), dtype=np.bool_)
        old: Mask = ~self.new_trade & (self.ltp == np.concatenate(([self._price_before], self.ltp[:-1])))
        return old

    def beyond_band(self, side: Side) -> Mask:
        """(n,): whether `side` could only trade outside the day's band; at its end the book may be locked."""
        quote = self.quote(side)
        end = self.end_of_band(side)
        locked = np.isnan(quote) & (side.sign * (self.ltp - end) >= 0)
        beyond: Mask = (side.sign * (quote - end) > 0) | locked
        return beyond

    def end_of_band(self, side: Side) -> Floats:
        """(n,): the worst price that `side` can trade at on the day, NaN where unknown."""
        return self.upper if side is Side.BUY else self.lower

    def take(self, side: Side, row: int, quantity: int) -> None:
        """Let `quantity` of what `row` displays be ours: while that stands there it isn't given again."""
        opposite, _, shown = self._quotes[side]
        if opposite[row] > 0 and shown[row] >= 0:
            self._lasts(side, row, float(opposite[row]), int(self._taken[side][row]) + quantity)

    def taken_at_end(self) -> dict[Side, tuple[float, int]]:
        """What was taken of what the last row still displays, as `SymbolBook.taken`."""
        return {
            side: (self._level[side], int(taken[-1])) for side, taken in self._taken.items() if len(taken) and taken[-1]
        }

    def _lasts(self, side: Side, row: int, price: float, quantity: int) -> None:
        """From `row` on `quantity` is taken of what is displayed at `price`, until another price is, or less is."""
        opposite, _, shown = self._quotes[side]
        told = ~np.isnan(opposite[row:])
        gone = np.flatnonzero(told & (opposite[row:] != price))
        end = row + int(gone[0]) if len(gone) else len(opposite)
        left = np.where(told & (shown[row:] >= 0), shown[row:], WHOLE)[: end - row]
        self._taken[side][row:end] = np.minimum(np.minimum.accumulate(left), quantity)
        self._taken[side][end:] = 0
        self._level[side] = price

    def _lasting(self, empty: Mask, quoted: Mask, known: tuple[float, int]) -> Mask:
        """(n,): an empty side where it is told, and from there on while nothing is told and the price is the same."""
        if np.isnan(known[0]) and not empty.any():
            return empty
        rows = np.arange(len(empty))
        told = np.maximum.accumulate(np.where(quoted, rows, -1))
        was = np.where(told >= 0, empty[told], not np.isnan(known[0]))
        price = np.where(told >= 0, self.ltp[told], known[0])
        day = np.where(told >= 0, self.day[told], known[1])
        left = np.maximum.accumulate(np.where((self.ltp != price) | (self.day != day), rows, -1))
        lasting: Mask = was & (left <= told)
        return lasting

    def _band(self, column: Floats | None, rows: Rows, known: tuple[float, int]) -> Floats:
        """One end of the band at each row: the newest of the same day that was told by then."""
        prior = np.where(self.day == known[1], known[0], np.nan)
        if column is None:
            return prior
        told = column[rows]
        newest = np.maximum.accumulate(np.where(told > 0, np.arange(len(told)), -1))
        today = (newest >= 0) & (self.day[newest] == self.day)
        return np.where(today, told[newest], np.where(newest >= 0, np.nan, prior))


def _empty(opposite: Floats, own: Floats, quantity: Ints) -> Mask:
    """Where one side of the book is said to be empty, by its price, its quantity or the other side's price."""
    empty: Mask = (opposite == 0) | (quantity == 0) | (np.isnan(opposite) & (own > 0))
    return empty
