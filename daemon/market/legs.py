"""Futures that are traded in place of an index → what a strategy that decides on the index sees of them.

A strategy knows its own symbol only: a position in the future is shown to it as one in the index, at an average price
moved by the basis (index less future, at their newest closes), so that profit is measured where the bars are. Pure.
Invariant: what isn't such a future passes unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from daemon.core.events import Bar, MarketRemembered, PositionChanged


class Legs:
    """`indices`: the index by its future."""

    def __init__(self, indices: Mapping[str, str] | None = None) -> None:
        self.indices = dict(indices or {})
        self._watched = {*self.indices, *self.indices.values()}
        self._closes: dict[str, float] = {}

    def holds(self, symbol: str) -> bool:
        """Whether `symbol` is traded for an index, so that nobody decides on it."""
        return symbol in self.indices

    def shown(self, symbol: str) -> str:
        """The symbol under which a position in `symbol` is seen."""
        return self.indices.get(symbol, symbol)

    def measured(self, symbol: str) -> bool:
        """Whether the basis of `symbol` is known, or none is needed."""
        index = self.indices.get(symbol)
        return index is None or (index in self._closes and symbol in self._closes)

    def on_bar(self, bar: Bar) -> None:
        """Remember a close."""
        if bar.symbol in self._watched:
            self._closes[bar.symbol] = bar.close

    def on_remembered(self, event: MarketRemembered) -> None:
        """Remember the newest of its closes."""
        for bar in event.bars:
            self.on_bar(bar)

    def seen(self, position: PositionChanged) -> PositionChanged:
        """The position as the one who decides sees it; the basis is 0 before both have closed a bar."""
        index = self.indices.get(position.symbol)
        if index is None:
            return position
        here, there = self._closes.get(index), self._closes.get(position.symbol)
        basis = Decimal(repr(here)) - Decimal(repr(there)) if here is not None and there is not None else Decimal(0)
        return msgspec.structs.replace(position, symbol=index, average_price=position.average_price + basis)
