"""Turns fills into round trips: a trade opens when a symbol leaves flat and closes when it is flat again.

Invariant: to the paisa, the net P&L of the closed trades plus what the open ones have booked equals the cash that all
fills moved plus the open quantity at its average price. A fill that turns a position over is split at flat, its costs
pro rata.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

import msgspec

from daemon.core.amounts import rounded
from daemon.core.events import Fill, PositionRestated
from daemon.market.overnight import counted_anew, shares_after

PAISA = Decimal("0.01")
ZERO = Decimal(0)


class Direction(StrEnum):
    """Of a trade."""

    LONG = "LONG"
    SHORT = "SHORT"


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One round trip. `quantity` is all that was opened; prices are averages over it; rupees after `costs`.

    One that is still `open` is counted as if what is left of it had been sold, or bought back, at the last price.
    """

    symbol: str
    direction: Direction
    quantity: int
    entry_ts: int
    exit_ts: int
    entry_price: Decimal
    exit_price: Decimal
    gross_pnl: Decimal
    costs: Decimal
    open: bool = False

    @property
    def net_pnl(self) -> Decimal:
        """After costs, rupees."""
        return self.gross_pnl - self.costs


class _OpenTrade:
    """Sums of one round trip under way; notionals are exact."""

    __slots__ = ("closed", "closed_notional", "costs", "entry_ts", "opened", "opened_notional", "sign")

    def __init__(self, sign: int, entry_ts: int) -> None:
        self.sign = sign
        self.entry_ts = entry_ts
        self.opened = self.closed = 0
        self.opened_notional = self.closed_notional = self.costs = ZERO


class TradeBook:
    """Folds fills into trades, symbol by symbol, in the order in which they came."""

    def __init__(self) -> None:
        self._open: dict[str, _OpenTrade] = {}

    def add(self, fill: Fill) -> Trade | None:
        """Book `fill`; the trade that it closed, if it closed one."""
        trade = self._open.get(fill.symbol)
        if trade is None or trade.sign == fill.side.sign:
            self._increase(fill, fill.quantity, fill.costs)
            return None
        closing = min(fill.quantity, trade.opened - trade.closed)
        rest = fill.quantity - closing
        costs = (fill.costs * closing / fill.quantity).quantize(PAISA, ROUND_HALF_EVEN) if rest else fill.costs
        trade.closed += closing
        trade.closed_notional += fill.price * closing
        trade.costs += costs
        if trade.closed < trade.opened:
            return None
        del self._open[fill.symbol]
        if rest:
            self._increase(fill, rest, fill.costs - costs)
        return _finish(fill.symbol, trade, fill.ts)

    def carry(self, symbol: str, quantity: int, average_price: Decimal, entry_ts: int) -> None:
        """Begin with a position (`quantity` signed) that was there before; what its entry cost was paid before."""
        trade = self._open[symbol] = _OpenTrade(1 if quantity > 0 else -1, entry_ts)
        trade.opened = abs(quantity)
        trade.opened_notional = rounded(average_price * trade.opened)  # an average may have no end

    def restate(self, event: PositionRestated) -> None:
        """Count the trade under way in new shares; one of which less than a share is left is no trade any more.

        What was traded since the action counts as it is. Where that closed it by the old count, what is there beyond
        begins a trade that cost nothing: the one that was closed bore it all.
        """
        trade, held = self._open.get(event.symbol), self.open_quantity(event.symbol)
        carried = held if event.carried is None else event.carried
        left, _ = counted_anew(held, carried, event.numerator, event.denominator)
        if trade is None or held * carried < 0 or held * left < 0:
            self._begin_anew(event, left)
            return
        since = max(0, abs(carried) - abs(held))  # so much was closed since, in new shares
        before, _ = shares_after(max(0, trade.closed - since), event.numerator, event.denominator)
        trade.closed = before + min(since, trade.closed)
        trade.opened = trade.closed + abs(left)
        if not left:
            del self._open[event.symbol]

    def _begin_anew(self, event: PositionRestated, quantity: int) -> None:
        """A position that the fills don't make, with what the trade under way has moved of cash so far."""
        old = self._open.pop(event.symbol, None)
        if not quantity:
            return
        self.carry(event.symbol, quantity, ZERO, event.ts)
        if old is not None:
            trade = self._open[event.symbol]
            trade.opened_notional = (old.opened_notional - old.closed_notional) * old.sign * trade.sign
            trade.costs = old.costs

    def open_quantity(self, symbol: str) -> int:
        """What `symbol`'s trade under way still holds, signed; 0 when flat."""
        trade = self._open.get(symbol)
        return trade.sign * (trade.opened - trade.closed) if trade else 0

    def open_trades(self, last_prices: Mapping[str, Decimal], ts: int) -> list[Trade]:
        """The trades under way, at the last price of each (where none is known, at that of the entry) and at `ts`."""
        return [self._marked(symbol, trade, last_prices.get(symbol), ts) for symbol, trade in self._open.items()]

    def _marked(self, symbol: str, trade: _OpenTrade, last: Decimal | None, ts: int) -> Trade:
        marked = _OpenTrade(trade.sign, trade.entry_ts)
        marked.opened, marked.opened_notional, marked.costs = trade.opened, trade.opened_notional, trade.costs
        price = trade.opened_notional / trade.opened if last is None else last
        marked.closed_notional = trade.closed_notional + price * (trade.opened - trade.closed)
        return msgspec.structs.replace(_finish(symbol, marked, max(ts, trade.entry_ts)), open=True)

    def _increase(self, fill: Fill, quantity: int, costs: Decimal) -> None:
        trade = self._open.setdefault(fill.symbol, _OpenTrade(fill.side.sign, fill.ts))
        trade.opened += quantity
        trade.opened_notional += fill.price * quantity
        trade.costs += costs


def _finish(symbol: str, trade: _OpenTrade, exit_ts: int) -> Trade:
    return Trade(
        symbol=symbol,
        direction=Direction.LONG if trade.sign > 0 else Direction.SHORT,
        quantity=trade.opened,
        entry_ts=trade.entry_ts,
        exit_ts=exit_ts,
        entry_price=trade.opened_notional / trade.opened,
        exit_price=trade.closed_notional / trade.opened,
        gross_pnl=(trade.closed_notional - trade.opened_notional) * trade.sign,
        costs=trade.costs,
    )
