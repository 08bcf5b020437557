"""Positions held over a night → those whose price jumped as only a corporate action lets it.

The first price of a day is enough: exits wait from then on. Whether the price was true shows later: `confirm` when the
first bar says so too, or the price is back within the limit. Before that first price nothing is closed by itself: an
exit of yesterday's quantity may be half of one, or turn the position round; a first price that is yesterday's last may
be that, told once more: exits wait for another one for a minute, and whatever follows it is still looked at. Loop-free.
Invariant: only what is held is looked at, and a jump inside a day is none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from daemon.core.clock import NS_PER_S, day_number, india_day
from daemon.core.events import PriceAdjusted
from daemon.market.overnight import OvernightLimit
from daemon.risk.book import RiskBook

SAME_LASTS_NS = 60 * NS_PER_S
"""So long a price that is yesterday's last is no price of today."""


class Jump(msgspec.Struct, frozen=True):
    """A held symbol's price from one day to the next, rupees; `back` where it has come back since."""

    symbol: str
    before: float
    after: float
    back: bool = False


class HeldOver:
    """The newest day and price of each symbol that is held."""

    def __init__(self, limit: OvernightLimit | None) -> None:
        self._limit = limit
        self._closes: dict[str, tuple[int, float]] = {}
        self._watched: set[str] = set()
        self._doubted: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}
        """Where those came from whose first bar bore the jump out, rupees."""
        self._same_since: dict[str, int] = {}
        """When the day began (UTC ns) for those that were told yesterday's last price alone, on that day."""
        self._counted_anew: set[str] = set()
        """Those whose last price is counted by an action: it was never told, so that it is no old one."""

    def restore(self, closes: Mapping[str, tuple[int, float]]) -> None:
        """Prices (and when they were, UTC ns) at which what is held was last seen before now; newer ones stay."""
        self._closes = {symbol: (india_day(ts), price) for symbol, (ts, price) in closes.items()} | self._closes

    def watch(self, symbol: str, quantity: int) -> None:
        """So much is held of `symbol`."""
        if quantity:
            self._watched.add(symbol)
        elif symbol in self._watched:
            self._watched.discard(symbol)
            self._closes.pop(symbol, None)
            self._doubted.pop(symbol, None)
            self._confirmed.pop(symbol, None)
            self._same_since.pop(symbol, None)

    def adjust(self, event: PriceAdjusted) -> None:
        """A price of before its date counts at a ratio."""
        day, price = self._closes.get(event.symbol, (0, 0.0))
        if day and day < day_number(event.date):
            self._closes[event.symbol] = day, price * event.ratio
            self._counted_anew.add(event.symbol)

    def is_unseen(self, symbol: str, ts: int) -> bool:
        """Whether a share was last seen before the day of `ts` (UTC ns), and is held: so many as it was then.

        Nobody knows yet whether what was held over the night is still as many.
        """
        known = self._closes.get(symbol) if symbol in self._watched else None
        if known is None or known[0] >= india_day(ts) or self._limit is None or not self._limit.is_share(symbol):
            return False
        return ts - self._since(symbol, ts) < SAME_LASTS_NS

    def contracts_on(self, share: str) -> list[str]:
        """Those that are held of the futures and options on `share`."""
        limit = self._limit
        return [] if limit is None else sorted(it for it in self._watched if limit.stands_for(it, share))

    def confirm(self, symbol: str) -> None:
        """The first bar bears the jump out."""
        if symbol in self._doubted:
            self._confirmed[symbol] = self._doubted.pop(symbol)

    def settle(self, symbol: str) -> None:
        """It is known what became of it."""
        self._doubted.pop(symbol, None)
        self._confirmed.pop(symbol, None)

    def is_undone(self, symbol: str, after: float) -> bool:
        """Whether a jump to `after` takes back the one before: that was to an old price, told through a whole bar."""
        before = self._confirmed.get(symbol)
        return before is not None and self._limit is not None and not self._limit.broken(symbol, before, after)

    def look(self, book: RiskBook) -> list[Jump]:
        """After new ticks: who jumped, and who is back."""
        if self._limit is None:
            return []
        found: list[Jump] = []
        for symbol in self._watched:
            entry = book.symbols[symbol]
            if not entry.last_ts:
                continue
            day, known = india_day(entry.last_ts), self._closes.get(symbol)
            if known is not None and known[0] < day and self._is_old(symbol, known[1], entry.last_price):
                self._same_since[symbol] = self._since(symbol, entry.last_ts)
                continue
            self._same_since.pop(symbol, None)
            self._counted_anew.discard(symbol)
            self._closes[symbol] = day, entry.last_price
            if known is not None and known[0] < day and self._limit.broken(symbol, known[1], entry.last_price):
                self._doubted[symbol] = known[1]
                found.append(Jump(symbol, known[1], entry.last_price))
            elif symbol in self._doubted and not self._limit.broken(symbol, self._doubted[symbol], entry.last_price):
                found.append(Jump(symbol, self._doubted.pop(symbol), entry.last_price, back=True))
        return sorted(found, key=lambda jump: jump.symbol)

    def _is_old(self, symbol: str, before: float, price: float) -> bool:
        """Whether a first price of the day may be the last of the day `before`, told once more."""
        return price == before and symbol not in self._counted_anew

    def _since(self, symbol: str, ts: int) -> int:
        """Since when, on the day of `ts`, yesterday's last price alone was told; `ts` where it wasn't."""
        since = self._same_since.get(symbol, ts)
        return since if india_day(since) == india_day(ts) else ts
