"""A recorded tape → quotes on the sandbox's exchange, one tick after the other, at the tape's pace or by request.

Invariant: ticks are applied once, in the tape's order, only those that a replay would accept too, and nobody trades
on a side of the book that a replay reads as empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import NS_PER_S, PacedClock
from daemon.core.events import Side, TickBatch
from daemon.feed.replay import Tapes
from daemon.feed.tick_filter import TickFilter
from daemon.market.costs import ZERO
from daemon.orders.paper_book import BookTicks, Mask, SymbolBook
from daemon.sandbox.exchange import Exchange, Quote

GROUPING_S: Final = 0.02
LONGEST_PAUSE_NS: Final = 3600 * NS_PER_S


class Tick(msgspec.Struct, frozen=True, gc=False):
    """A quote of one symbol at a moment (UTC ns)."""

    ts: int
    symbol: str
    quote: Quote


class Feed(Protocol):
    """Whoever tells the clients what the exchange did."""

    def publish(self) -> None:
        """Tell what happened since the last call."""


class TapePlayer:
    """Plays one or several tapes."""

    def __init__(self, tapes: Tapes, tick_filter: TickFilter, exchange: Exchange, feeds: Sequence[Feed]) -> None:
        self.ended = False
        self.played = 0
        self._exchange = exchange
        self._feeds = feeds
        self._ticks = _ticks(tapes, tick_filter)
        self._next: Tick | None = next(self._ticks, None)

    def step(self, count: int) -> int:
        """Apply the next `count` ticks; returns how many there still were."""
        before = self.played
        while self._next is not None and self.played - before < count:
            self._apply(self._next)
        self.ended = self._next is None
        return self.played - before

    async def run(self, speed: float) -> None:
        """Play to the end, `speed` times as fast as it was recorded; closed hours are skipped."""
        clock = PacedClock(speed)
        last_ts = 0
        while self._next is not None:
            if self._next.ts - last_ts > LONGEST_PAUSE_NS:
                clock.start(self._next.ts)
            while self._next is not None and self._next.ts <= clock.now_ns():
                last_ts = self._next.ts
                self._apply(self._next)
            for feed in self._feeds:
                feed.publish()
            await asyncio.sleep(GROUPING_S)
        self.ended = True

    def _apply(self, tick: Tick) -> None:
        self._exchange.on_quote(tick.symbol, tick.quote, tick.ts)
        self.played += 1
        self._next = next(self._ticks, None)


def _ticks(tapes: Tapes, tick_filter: TickFilter) -> Iterator[Tick]:
    books: dict[str, SymbolBook] = {}
    for raw in tapes.batches():
        accepted, _ = tick_filter.apply(raw)
        nobody = _nobody(accepted, books)
        for row in range(len(accepted)):
            quote = _quote(accepted, row, no_bids=nobody[Side.SELL][row], no_offers=nobody[Side.BUY][row])
            yield Tick(int(accepted.ts_recv[row]), accepted.symbols[accepted.code[row]], quote)


def _nobody(batch: TickBatch, books: dict[str, SymbolBook]) -> dict[Side, Mask]:
    """(n,) of each side: whether nobody trades with it; `books`: what is remembered of the symbols."""
    nobody: dict[Side, Mask] = {side: np.zeros(len(batch), dtype=np.bool_) for side in Side}
    for code in np.unique(batch.code).tolist():
        rows = np.flatnonzero(batch.code == code)
        book = books.setdefault(batch.symbols[code], SymbolBook())
        ticks = BookTicks(batch, rows, book)
        for side in Side:
            nobody[side][rows] = ticks.nobody(side)
        book.remember(batch, rows)
    return nobody


def _quote(batch: TickBatch, row: int, *, no_bids: np.bool_, no_offers: np.bool_) -> Quote:
    bid, ask = float(batch.bid[row]), float(batch.ask[row])
    bid_quantity, ask_quantity = int(batch.bid_qty[row]), int(batch.ask_qty[row])
    counted = bid_quantity > 0 or ask_quantity > 0
    return Quote(
        last=_decimal(float(batch.ltp[row])),
        bid=ZERO if no_bids else _decimal(bid) if bid > 0 else None,
        ask=ZERO if no_offers else _decimal(ask) if ask > 0 else None,
        bid_quantity=0 if no_bids else bid_quantity if counted and bid > 0 and bid_quantity >= 0 else None,
        ask_quantity=0 if no_offers else ask_quantity if counted and ask > 0 and ask_quantity >= 0 else None,
        lower_band=_band(batch.lower_band, row),
        upper_band=_band(batch.upper_band, row),
        volume=_known(batch.volume[row]),
        last_quantity=_known(batch.last_qty[row]),
        open_interest=_known(batch.oi[row]),
        stamp_ns=int(batch.ts_event[row]),
    )


def _band(column: NDArray[np.float64] | None, row: int) -> Decimal | None:
    return _decimal(float(column[row])) if column is not None and column[row] > 0 else None


def _known(number: np.int64) -> int | None:
    return int(number) if number >= 0 else None


def _decimal(price: float) -> Decimal:
    return Decimal(repr(price))
