"""Turns fills into positions, cash, profit and loss.

All amounts are exact `Decimal` rupees. Cash falls by what is bought and rises by what is sold, futures included, so
that equity = cash + Σ quantity × mark. A position keeps the exact cost of what is open; closing a part of it takes out
the proportional cost, rounded to the paisa, and closing the rest takes out what is left. Invariants, exact at every
step: cash = starting cash − Σ sign × quantity × price − Σ costs, and realised + unrealised − costs = equity − starting
cash. A mark that is told as a float is a price to a ten-thousandth of a rupee, finer than every exchange's grid: what
binary fractions add to one is no money.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

import msgspec

from daemon.core.amounts import exact_price
from daemon.core.clock import day_number, india_day
from daemon.core.errors import Fault
from daemon.core.events import Fill, HoldingRecord, PositionChanged, PositionRestated, SymbolHalted, SymbolResumed
from daemon.market.overnight import Opening, counted_anew

ZERO: Final = Decimal(0)
PAISA: Final = Decimal("0.01")


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


class _Holding:
    """One symbol's books. `basis` is the signed cost of the open quantity, `opened_ts` 0 while there is none.

    `seen`: its newest price, of a fill or a mark, and when that was; None where the next one is compared with none.
    """

    def __init__(self, mark: Decimal) -> None:
        self.price: Decimal | float = mark
        self.marked_ts = 0
        self.seen: tuple[int, Decimal | float] | None = None
        self.unsettled = False
        self.quantity = 0
        self.basis = ZERO
        self.realised = ZERO
        self.costs = ZERO
        self.opened_ts = 0
        self.opening = Opening()

    @property
    def mark(self) -> Decimal:
        """The price at which it is valued, made exact when somebody asks: it is given far more often."""
        if not isinstance(self.price, Decimal):
            self.price = exact_price(self.price)
        return self.price

    @property
    def average_price(self) -> Decimal:
        return self.basis / self.quantity if self.quantity else ZERO

    @property
    def valued(self) -> tuple[Decimal, int]:
        return (self.mark, self.marked_ts) if self.marked_ts else (ZERO, 0)

    @property
    def unrealised(self) -> Decimal:
        return self.quantity * self.mark - self.basis


class Portfolio:
    """All positions and the cash of one account."""

    def __init__(self, starting_cash: Decimal, keep: int | None = None) -> None:
        """`keep` bounds the fill ids that are remembered; None remembers all."""
        self._keep = keep
        self.starting_cash = starting_cash
        self.cash = starting_cash
        self._holdings: dict[str, _Holding] = {}
        self._fill_ids: dict[str, None] = {}

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
        day, change = india_day(fill.of_ts), fill.side.sign * fill.quantity
        holding.opening = holding.opening.traded(holding.quantity, day, change)
        closing = min(fill.quantity, abs(holding.quantity)) if holding.quantity * fill.side.sign < 0 else 0
        if closing:
            _close(holding, fill, closing)
        if closing < fill.quantity:
            _open(holding, fill, fill.quantity - closing)
        holding.costs += fill.costs
        if holding.seen is None or fill.of_ts >= holding.seen[0]:
            holding.seen = fill.of_ts, fill.price
        self.cash -= fill.side.sign * fill.quantity * fill.price + fill.costs
        return self._change(fill.symbol, fill.ts)

    def restate(self, event: PositionRestated) -> tuple[PositionChanged, Fraction] | None:
        """Count a holding in new shares: the change, and what is less than a share; None where nothing is.

        Cash stays. Less than a share is no more of the holding: its cost is booked as lost, for nobody says here what
        the company pays for it. What was traded since the action was traded in new shares, and counts as it is; what
        was closed by the old count took too much of the cost with it, which is put right.
        """
        holding = self._holdings.get(event.symbol)
        carried = event.carried if holding is None or event.carried is not None else holding.quantity
        if holding is None or not carried:
            return None
        numerator, denominator = event.numerator, event.denominator
        quantity, rest = counted_anew(holding.quantity, carried, numerator, denominator)
        _price_anew(holding, day_number(event.date), numerator, denominator)
        basis = _basis_anew(holding, carried, quantity, numerator, denominator)
        holding.realised -= holding.basis - basis
        holding.basis = basis
        holding.opening = Opening(holding.opening.day, holding.opening.quantity + quantity - holding.quantity)
        holding.quantity = quantity
        holding.opened_ts = (holding.opened_ts or event.ts) if quantity else 0
        return self._change(event.symbol, event.ts), rest

    def held_at(self, symbol: str, day: int) -> int:
        """How many of `symbol` (signed) were held as `day`, counted from 1970, began; the newest known if long ago."""
        holding = self._holdings.get(symbol)
        if holding is None:
            return 0
        opening = holding.opening
        if opening.day < day:
            return holding.quantity
        was_open = opening.day == day or (holding.opened_ts and india_day(holding.opened_ts) < day)
        return opening.quantity if was_open else 0

    def _change(self, symbol: str, ts: int) -> PositionChanged:
        item = self._holdings[symbol]
        return PositionChanged(
            ts=ts, symbol=symbol, quantity=item.quantity, average_price=item.average_price,
            realised_pnl=item.realised, costs=item.costs, cash=self.cash, opened_ts=item.opened_ts,
        )  # fmt: skip

    def mark(self, symbol: str, price: Decimal | float, ts: int = 0) -> None:
        """Value `symbol` at `price` rupees, of `ts` (UTC ns), from now on; before the first at its first fill's.

        One that is unsettled stays at the value that it had.
        """
        holding = self._holdings.get(symbol)
        if holding is not None:
            holding.seen = ts, price
            if not holding.unsettled:
                holding.marked_ts = ts
                holding.price = price

    def over_a_night(self, event: SymbolHalted | SymbolResumed) -> None:
        """What is held has become doubtful, or is so no more."""
        if not event.overnight:
            return
        if isinstance(event, SymbolHalted):
            self.unsettle(event.symbol)
        else:
            self.settle(event.symbol)

    def unsettle(self, symbol: str) -> None:
        """Nobody knows how many of `symbol` are held: a new price times the old number is no profit and no loss."""
        if symbol in self._holdings:
            self._holdings[symbol].unsettled = True

    def settle(self, symbol: str) -> None:
        """It is known again: value it at its newest price."""
        holding = self._holdings.get(symbol)
        if holding is None or not holding.unsettled:
            return
        holding.unsettled = False
        if holding.seen is not None and holding.seen[0] > holding.marked_ts:
            holding.marked_ts, holding.price = holding.seen

    @property
    def unsettled(self) -> list[str]:
        """Symbols that are held, and nobody knows how many of them."""
        return [symbol for symbol, item in self._holdings.items() if item.unsettled and item.quantity]

    def unmark(self, symbol: str) -> None:
        """Forget when `symbol` was valued: its next price is compared with none."""
        if symbol in self._holdings:
            self._holdings[symbol].marked_ts, self._holdings[symbol].seen = 0, None

    def closes(self) -> dict[str, tuple[int, float]]:
        """(time, price) at which each symbol that is held was last traded or valued, of those that were."""
        held = ((symbol, item.seen) for symbol, item in self._holdings.items() if item.quantity)
        return {symbol: (seen[0], float(seen[1])) for symbol, seen in held if seen is not None and seen[0]}

    def quantity(self, symbol: str) -> int:
        """Signed units held of `symbol`, 0 where none."""
        holding = self._holdings.get(symbol)
        return holding.quantity if holding else 0

    def unrealised(self, symbol: str) -> Decimal:
        """What the open quantity of `symbol` has won or lost at its mark, rupees."""
        holding = self._holdings.get(symbol)
        return holding.unrealised if holding else ZERO

    def profit(self, symbols: Iterable[str]) -> Decimal:
        """What `symbols` have won or lost in all, open positions at their marks, after costs, rupees."""
        held = [self._holdings[symbol] for symbol in symbols if symbol in self._holdings]
        return sum((item.realised + item.unrealised - item.costs for item in held), ZERO)

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
            HoldingRecord(
                symbol, item.quantity, item.basis, item.realised, item.costs, item.opened_ts, *item.valued,
                item.opening.day, item.opening.quantity,
            )
            for symbol, item in self._holdings.items()
        )  # fmt: skip

    def restore(self, cash: Decimal, holdings: Iterable[HoldingRecord], fill_ids: Iterable[str]) -> None:
        """Stand where a snapshot stood."""
        self.cash = cash
        self._fill_ids.update(dict.fromkeys(fill_ids))
        for record in holdings:
            average = record.basis / record.quantity if record.quantity else ZERO
            holding = self._holdings[record.symbol] = _Holding(record.mark if record.mark_ts else average)
            holding.marked_ts = record.mark_ts
            holding.seen = (record.mark_ts, record.mark) if record.mark_ts else (record.opened_ts, average)
            holding.quantity, holding.basis = record.quantity, record.basis
            holding.realised, holding.costs = record.realised, record.costs
            holding.opened_ts = record.opened_ts
            holding.opening = Opening(record.opening_day, record.opening)

    def standing(self, ts: int) -> list[PositionChanged]:
        """How every symbol stands, as events, for those who weren't there when it came about."""
        return [self._change(symbol, ts) for symbol in self._holdings]

    @property
    def equity(self) -> Decimal:
        """Cash and the marked value of all positions, rupees."""
        return self.cash + sum((item.quantity * item.mark for item in self._holdings.values()), ZERO)

    @property
    def realised_pnl(self) -> Decimal:
        """Of all symbols, before costs, rupees."""
        return sum((item.realised for item in self._holdings.values()), ZERO)

    @property
    def costs(self) -> Decimal:
        """Of all fills, rupees."""
        return sum((item.costs for item in self._holdings.values()), ZERO)


def _open(holding: _Holding, fill: Fill, quantity: int) -> None:
    """Add `quantity` units on the fill's side."""
    if not holding.quantity:
        holding.opened_ts = fill.of_ts
    holding.quantity += fill.side.sign * quantity
    holding.basis += fill.side.sign * quantity * fill.price


def _close(holding: _Holding, fill: Fill, quantity: int) -> None:
    """Take `quantity` units out of the open position."""
    released = _share(holding.basis, quantity, abs(holding.quantity))
    holding.realised += -fill.side.sign * quantity * fill.price - released
    holding.basis -= released
    holding.quantity += fill.side.sign * quantity
    if holding.quantity == 0:
        holding.opened_ts = 0


def _price_anew(holding: _Holding, day: int, numerator: int, denominator: int) -> None:
    """Value it at a price of since `day`, counted from 1970; where there is none, at the ratio of the one before."""
    if holding.marked_ts and india_day(holding.marked_ts) >= day:
        return
    if holding.seen is not None and india_day(holding.seen[0]) >= day:
        holding.price = holding.seen[1]
        return
    holding.price = holding.mark * numerator / denominator
    if holding.seen is not None:
        holding.seen = holding.seen[0], float(holding.seen[1]) * numerator / denominator


def _basis_anew(holding: _Holding, carried: int, quantity: int, numerator: int, denominator: int) -> Decimal:
    """The cost of `quantity` new shares that a holding becomes of which `carried` count anew.

    Those that are left of before cost what they did; what is there beyond what the books had is worth the newest price.
    """
    held = holding.quantity
    if quantity * numerator == held * denominator:
        return holding.basis
    if held * carried <= 0 or held * quantity < 0:
        return quantity * holding.mark
    if abs(held) > abs(carried):  # what was added cost what it did
        return holding.basis
    exact = holding.basis * quantity * numerator / (held * denominator)
    return exact.quantize(PAISA, rounding=ROUND_HALF_EVEN)


def _share(amount: Decimal, part: int, whole: int) -> Decimal:
    """`part` of `whole` of `amount`, to the paisa; all of it exactly where they are equal."""
    return amount if part == whole else (amount * part / whole).quantize(PAISA, rounding=ROUND_HALF_EVEN)
