"""Turns fills into positions, cash, profit and loss, and closed round trips.

All amounts are exact `Decimal` rupees. Cash falls by what is bought and rises by what is sold, futures included, so
that equity = cash + Σ quantity × mark. A position keeps the exact cost of what is open; closing a part of it takes out
the proportional cost, rounded to the paisa, and closing the rest takes out what is left. Invariants, exact at every
step: cash = starting cash − Σ sign × quantity × price − Σ costs, and realised + unrealised − costs = equity − starting
cash.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import msgspec

from daemon.errors import Fault
from daemon.events import Fill, HoldingRecord, PositionChanged, Side

ZERO: Final = Decimal(0)
PAISA: Final = Decimal("0.01")


class Trade(msgspec.Struct, frozen=True):
    """A closed round trip, from flat to flat or to the other side. `side` is that of the entry, prices are averages."""

    symbol: str
    side: Side
    quantity: int
    entry_ts: int
    entry_price: Decimal
    exit_ts: int
    exit_price: Decimal
    gross: Decimal
    costs: Decimal
    net: Decimal


class Position(msgspec.Struct, frozen=True):
    """A look at one symbol: `quantity` is signed; `realised_pnl` is before costs; all amounts in rupees."""

    symbol: str
    quantity: int
    average_price: Decimal
    mark: Decimal
    unrealised: Decimal
    realised_pnl: Decimal
    costs: Decimal
    opened_ts: int


class _Trip:
    """An open round trip: what went in, what came out, what it cost."""

    def __init__(self, side: Side, ts: int) -> None:
        self.side = side
        self.entry_ts = ts
        self.entered = 0
        self.entry_notional = ZERO
        self.exit_notional = ZERO
        self.costs = ZERO


class _Holding:
    """One symbol's books. `basis` is the signed cost of the open quantity."""

    def __init__(self, mark: Decimal) -> None:
        self.mark = mark
        self.quantity = 0
        self.basis = ZERO
        self.realised = ZERO
        self.costs = ZERO
        self.trip: _Trip | None = None

    @property
    def average_price(self) -> Decimal:
        return self.basis / self.quantity if self.quantity else ZERO

    @property
    def opened_ts(self) -> int:
        return self.trip.entry_ts if self.trip else 0

    @property
    def unrealised(self) -> Decimal:
        return self.quantity * self.mark - self.basis


class Portfolio:
    """All positions and the cash of one account."""

    def __init__(self, starting_cash: Decimal, keep: int | None = None) -> None:
        """`keep` bounds the closed trades and the fill ids that are remembered; None remembers all."""
        self._keep = keep
        self.starting_cash = starting_cash
        self.cash = starting_cash
        self.trades: list[Trade] = []
        self._holdings: dict[str, _Holding] = {}
        self._fill_ids: dict[str, None] = {}
        self._day: dt.date | None = None
        self._day_start_equity = starting_cash

    def apply(self, fill: Fill) -> PositionChanged | None:
        """Book a fill; None where its `fill_id` was booked before (nothing changes then).

        Raises `Fault` on a quantity that is not positive.
        """
        if fill.quantity <= 0:
            raise Fault(f"fill {fill.fill_id} of {fill.symbol}: quantity {fill.quantity} is not positive")
        if fill.fill_id in self._fill_ids:
            return None
        self._fill_ids[fill.fill_id] = None
        if self._keep is not None and len(self._fill_ids) > self._keep:
            del self._fill_ids[next(iter(self._fill_ids))]
        holding = self._holdings.setdefault(fill.symbol, _Holding(fill.price))
        closing, closing_costs = 0, ZERO
        trip = holding.trip
        if trip is not None and holding.quantity * fill.side.sign < 0:
            closing = min(fill.quantity, abs(holding.quantity))
            closing_costs = _share(fill.costs, closing, fill.quantity)
            self._close(holding, trip, fill, closing, closing_costs)
        if closing < fill.quantity:
            self._open(holding, fill, fill.quantity - closing, fill.costs - closing_costs)
        holding.costs += fill.costs
        self.cash -= fill.side.sign * fill.quantity * fill.price + fill.costs
        return PositionChanged(
            ts=fill.ts, symbol=fill.symbol, quantity=holding.quantity, average_price=holding.average_price,
            realised_pnl=holding.realised, costs=holding.costs, cash=self.cash, opened_ts=holding.opened_ts,
        )  # fmt: skip

    def mark(self, symbol: str, price: Decimal | float) -> None:
        """Value `symbol` at `price` rupees from now on; before the first mark it stands at its first fill's price."""
        holding = self._holdings.get(symbol)
        if holding is not None:
            holding.mark = price if isinstance(price, Decimal) else Decimal(repr(float(price)))

    def start_day(self, day: dt.date) -> None:
        """Count `day_pnl` from here; a day that has started stays as it is."""
        if day != self._day:
            self._day = day
            self._day_start_equity = self.equity

    def quantity(self, symbol: str) -> int:
        """Signed units held of `symbol`, 0 where none."""
        holding = self._holdings.get(symbol)
        return holding.quantity if holding else 0

    def unrealised(self, symbol: str) -> Decimal:
        """What the open quantity of `symbol` has won or lost at its mark, rupees."""
        holding = self._holdings.get(symbol)
        return holding.unrealised if holding else ZERO

    def positions(self) -> list[Position]:
        """Every symbol that was ever traded, flat ones too, in the order of their first fills."""
        return [
            Position(
                symbol, holding.quantity, holding.average_price, holding.mark, holding.unrealised, holding.realised,
                holding.costs, holding.opened_ts,
            )
            for symbol, holding in self._holdings.items()
        ]  # fmt: skip

    def holdings(self) -> tuple[HoldingRecord, ...]:
        """What a snapshot keeps of every symbol that was ever traded."""
        return tuple(
            HoldingRecord(symbol, item.quantity, item.basis, item.realised, item.costs, item.opened_ts)
            for symbol, item in self._holdings.items()
        )

    def restore(self, cash: Decimal, holdings: Iterable[HoldingRecord], fill_ids: Iterable[str]) -> None:
        """Stand where a snapshot stood; an open round trip begins anew, at its cost."""
        self.cash = cash
        self._fill_ids.update(dict.fromkeys(fill_ids))
        for record in holdings:
            average = record.basis / record.quantity if record.quantity else ZERO
            holding = self._holdings[record.symbol] = _Holding(average)
            holding.quantity, holding.basis = record.quantity, record.basis
            holding.realised, holding.costs = record.realised, record.costs
            if record.quantity:
                trip = holding.trip = _Trip(Side.BUY if record.quantity > 0 else Side.SELL, record.opened_ts)
                trip.entered, trip.entry_notional = abs(record.quantity), abs(record.basis)

    def standing(self, ts: int) -> list[PositionChanged]:
        """How every symbol stands, as events, for those who weren't there when it came about."""
        return [
            PositionChanged(
                ts=ts, symbol=symbol, quantity=item.quantity, average_price=item.average_price,
                realised_pnl=item.realised, costs=item.costs, cash=self.cash, opened_ts=item.opened_ts,
            )
            for symbol, item in self._holdings.items()
        ]  # fmt: skip

    @property
    def equity(self) -> Decimal:
        """Cash and the marked value of all positions, rupees."""
        return self.cash + sum((item.quantity * item.mark for item in self._holdings.values()), ZERO)

    @property
    def gross_notional(self) -> Decimal:
        """Σ of the absolute marked values of all positions, rupees."""
        return sum((abs(item.quantity) * item.mark for item in self._holdings.values()), ZERO)

    @property
    def realised_pnl(self) -> Decimal:
        """Of all symbols, before costs, rupees."""
        return sum((item.realised for item in self._holdings.values()), ZERO)

    @property
    def costs(self) -> Decimal:
        """Of all fills, rupees."""
        return sum((item.costs for item in self._holdings.values()), ZERO)

    @property
    def day_pnl(self) -> Decimal:
        """Change of equity since `start_day` (before it: since the beginning), costs included, rupees."""
        return self.equity - self._day_start_equity

    def _open(self, holding: _Holding, fill: Fill, quantity: int, costs: Decimal) -> None:
        """Add `quantity` units on the fill's side."""
        if holding.trip is None:
            holding.trip = _Trip(fill.side, fill.ts)
        notional = quantity * fill.price
        holding.quantity += fill.side.sign * quantity
        holding.basis += fill.side.sign * notional
        holding.trip.entered += quantity
        holding.trip.entry_notional += notional
        holding.trip.costs += costs

    def _close(self, holding: _Holding, trip: _Trip, fill: Fill, quantity: int, costs: Decimal) -> None:
        """Take `quantity` units out of the open position; at 0 the round trip is done."""
        released = _share(holding.basis, quantity, abs(holding.quantity))
        holding.realised += -fill.side.sign * quantity * fill.price - released
        holding.basis -= released
        holding.quantity += fill.side.sign * quantity
        trip.exit_notional += quantity * fill.price
        trip.costs += costs
        if holding.quantity == 0:
            self.trades.append(_closed(fill.symbol, trip, fill.ts))
            if self._keep is not None and len(self.trades) > self._keep:
                del self.trades[: self._keep // 2]
            holding.trip = None


def _share(amount: Decimal, part: int, whole: int) -> Decimal:
    """`part` of `whole` of `amount`, to the paisa; all of it exactly where they are equal."""
    return amount if part == whole else (amount * part / whole).quantize(PAISA, rounding=ROUND_HALF_EVEN)


def _closed(symbol: str, trip: _Trip, ts: int) -> Trade:
    gross = trip.side.sign * (trip.exit_notional - trip.entry_notional)
    return Trade(
        symbol=symbol, side=trip.side, quantity=trip.entered, entry_ts=trip.entry_ts,
        entry_price=trip.entry_notional / trip.entered, exit_ts=ts, exit_price=trip.exit_notional / trip.entered,
        gross=gross, costs=trip.costs, net=gross - trip.costs,
    )  # fmt: skip
