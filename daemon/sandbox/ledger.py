"""Trades of the sandbox → positions, cash and charges, by arithmetic of its own.

It shares no code with the daemon's portfolio, for it is what that is compared with: quantities and amounts bought and
sold are summed, and all else is derived from these sums.
Invariant: cash = starting cash + what former days left − Σ bought + Σ sold − Σ charges.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from daemon.core.events import Side

ZERO: Final = Decimal(0)


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One trade of ours; `charges` in rupees, `ts` UTC ns."""

    trade_id: str
    order_id: str
    tag: str
    symbol: str
    product: str
    type_code: int
    side: Side
    quantity: int
    price: Decimal
    charges: Decimal
    ts: int


class Position(msgspec.Struct, kw_only=True):
    """What was bought and sold of one symbol under one product: units, and rupees."""

    symbol: str
    product: str
    bought: int = 0
    sold: int = 0
    bought_value: Decimal = ZERO
    sold_value: Decimal = ZERO

    @property
    def net(self) -> int:
        """Signed units held."""
        return self.bought - self.sold

    @property
    def buy_average(self) -> Decimal:
        """Rupees a unit bought, 0 where none."""
        return self.bought_value / self.bought if self.bought else ZERO

    @property
    def sell_average(self) -> Decimal:
        """Rupees a unit sold, 0 where none."""
        return self.sold_value / self.sold if self.sold else ZERO

    @property
    def net_average(self) -> Decimal:
        """The average of the side that is open, 0 when flat."""
        return ZERO if self.net == 0 else self.buy_average if self.net > 0 else self.sell_average

    @property
    def realised(self) -> Decimal:
        """Rupees won on the units that were both bought and sold, by averages, as Fyers shows them."""
        return min(self.bought, self.sold) * (self.sell_average - self.buy_average)

    def unrealised(self, last: Decimal) -> Decimal:
        """Rupees won on the open units at the price `last`."""
        return self.net * (last - self.net_average)


class Ledger:
    """The account."""

    def __init__(self, starting_cash: Decimal) -> None:
        self.starting_cash = starting_cash
        self.trades: list[Trade] = []
        self.charges = ZERO
        self.carried = ZERO
        """Rupees won before a position was counted anew, with what was paid for parts of shares."""
        self.positions: dict[tuple[str, str], Position] = {}

    def book(self, trade: Trade) -> Position:
        """Add a trade; returns the position that it changed."""
        position = self.positions.setdefault(
            (trade.symbol, trade.product), Position(symbol=trade.symbol, product=trade.product)
        )
        value = trade.quantity * trade.price
        if trade.side is Side.BUY:
            position.bought += trade.quantity
            position.bought_value += value
        else:
            position.sold += trade.quantity
            position.sold_value += value
        self.trades.append(trade)
        self.charges += trade.charges
        return position

    def restate(self, symbol: str, numerator: int, denominator: int) -> list[tuple[Position, Fraction]]:
        """Count what is held of a symbol anew, for a price that counts `numerator` / `denominator` from now on.

        The value stays and the average follows; returns what changed, each with the part of a share (signed) that it
        lost, and that is to be paid for.
        """
        changed = []
        for item in self.positions.values():
            if item.symbol != symbol or not item.net:
                continue
            exact = Fraction(abs(item.net) * denominator, numerator)
            whole, average, long = int(exact), item.net_average * numerator / denominator, item.net > 0
            paid_for = whole * average
            self.carried += item.sold_value - item.bought_value + (paid_for if long else -paid_for)
            item.bought, item.sold = (whole, 0) if long else (0, whole)
            item.bought_value, item.sold_value = (paid_for, ZERO) if long else (ZERO, paid_for)
            changed.append((item, (exact - whole) if long else whole - exact))
        return changed

    def net(self, symbol: str) -> int:
        """Signed units of a symbol over all products."""
        return sum(position.net for position in self.positions.values() if position.symbol == symbol)

    def delivered(self, symbol: str) -> int:
        """Units of a symbol that were bought to be kept."""
        held = self.positions.get((symbol, "CNC"))
        return 0 if held is None else held.net

    @property
    def cash(self) -> Decimal:
        """Rupees: falls by what is bought, rises by what is sold, and pays the charges."""
        flow = sum((item.sold_value - item.bought_value for item in self.positions.values()), ZERO)
        return self.starting_cash + self.carried + flow - self.charges

    @property
    def balance(self) -> Decimal:
        """What the account is worth with open positions at cost, rupees."""
        return self.starting_cash + self.carried + self.realised - self.charges

    @property
    def realised(self) -> Decimal:
        """Rupees won by closed units, before charges; without what is `carried`."""
        return sum((position.realised for position in self.positions.values()), ZERO)
