"""Last prices by REST against those of the feed → symbols whose feed tells something else.

The market moves while a call is on its way, so a quote is compared with the whole range that the feed showed around
the call. Invariant: a symbol is only judged where the feed had a tick, and every judgement carries both numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from daemon.core.events import TickBatch
from daemon.market.records import Quote


class Verdict(msgspec.Struct, frozen=True):
    """A compared symbol; `reason` is "" where both agree."""

    symbol: str
    reason: str


class QuoteComparison:
    """Loop-free; takes turns through the symbols."""

    def __init__(self, symbols: Sequence[str], sample: int, max_percent: float) -> None:
        self.compared = 0
        self._symbols = tuple(symbols)
        self._sample = min(sample, len(self._symbols))
        self._share = max_percent / 100
        self._turn = 0
        self._last = np.full(len(self._symbols), np.nan)
        self._low = np.full(len(self._symbols), np.nan)
        self._high = np.full(len(self._symbols), np.nan)

    def on_ticks(self, batch: TickBatch) -> None:
        """Widen the ranges by accepted ticks."""
        self._last[batch.code] = batch.ltp
        np.fmin.at(self._low, batch.code, batch.ltp)
        np.fmax.at(self._high, batch.code, batch.ltp)

    def begin(self, suspects: Sequence[str]) -> list[str]:
        """The symbols to ask for now: those under suspicion first, then the next in turn; ranges start here."""
        known = [code for code in range(len(self._symbols)) if not np.isnan(self._last[code])]
        chosen = [symbol for symbol in suspects if symbol in self._symbols][: self._sample]
        turns = sorted(known, key=lambda code: (code - self._turn) % len(self._symbols))
        for code in turns:
            if len(chosen) >= self._sample:
                break
            if self._symbols[code] not in chosen:
                chosen.append(self._symbols[code])
                self._turn = code + 1
        self._low[:] = self._last
        self._high[:] = self._last
        return chosen

    def end(self, quotes: Sequence[Quote]) -> list[Verdict]:
        """Judge what the venue answered; symbols without a quote or without a tick are left out."""
        verdicts = []
        for quote in quotes:
            if quote.error or quote.last <= 0 or quote.symbol not in self._symbols:
                continue
            code = self._symbols.index(quote.symbol)
            low, high, said = float(self._low[code]), float(self._high[code]), float(quote.last)
            if np.isnan(low):
                continue
            self.compared += 1
            agrees = low * (1 - self._share) <= said <= high * (1 + self._share)
            shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            limit = f"more than {self._share * 100:g} % apart"
            verdicts.append(Verdict(quote.symbol, "" if agrees else f"feed {shown}, quote {said:g}: {limit}"))
        return verdicts
