"""What the exchange did, piece by piece → the account as it stood at an earlier moment, for answers that lag.

A broker's REST book is fed from the order system as its pushes are, and not always as fast: after a reconnect it may
show less than was pushed already. Invariant: a view of the past is one that the account once had, whole.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from daemon.core.clock import NS_PER_S, Clock
from daemon.sandbox.ledger import Position, Trade
from daemon.sandbox.orders import News, Order


class View(msgspec.Struct, frozen=True):
    """Orders in the order in which they came, trades, and positions."""

    orders: list[Order]
    trades: list[Trade]
    positions: list[Position]


class Past:
    """All news, with their times on the exchange (UTC ns); `clock` measures how long a view is held."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._news: list[News] = []
        self._times: list[int] = []
        self._held = self._held_until_ns = 0

    def note(self, news: News, ts: int) -> None:
        """Something happened; `news` is a copy."""
        self._news.append(news)
        self._times.append(max(ts, self._times[-1]) if self._times else ts)

    def hold(self, seconds: float) -> None:
        """Show for so long the account as it is now."""
        self._held = len(self._news)
        self._held_until_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_S)

    @property
    def held(self) -> View | None:
        """What is held, while it is."""
        if self._clock.monotonic_ns() >= self._held_until_ns:
            return None
        return self._view(self._held)

    def at(self, ts: int) -> View:
        """The account at `ts` (UTC ns of the exchange)."""
        return self._view(bisect_right(self._times, ts))

    def _view(self, count: int) -> View:
        orders: dict[str, Order] = {}
        positions: dict[tuple[str, str], Position] = {}
        trades: list[Trade] = []
        for news in self._news[:count]:
            if isinstance(news, Order):
                orders[news.order_id] = news
            elif isinstance(news, Trade):
                trades.append(news)
            else:
                positions[news.symbol, news.product] = news
        return View(list(orders.values()), trades, list(positions.values()))
