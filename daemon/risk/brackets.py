"""Fills of entries that carry a stop and a target → what protects each position, and what is missing of that.

A position has one stop and one target, those of the newest entry that filled with any. They are for all that is held
and not being closed by another order already. Pure, and the same for risk and for whoever reads a journal: both come to
the same by the same fills. Invariant: what `plan` lets stand and what it places, all stops filled or all targets,
never close more than is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from daemon.core.clock import day_number, india_day
from daemon.core.events import ITSELF, PROTECTION, Bracket, OrderAmended, OrderIntent, PositionRestated, Side
from daemon.core.pairs import is_stop

BOTH_DONE = "its stop and its target were both done at the venue"


class Leg(msgspec.Struct, frozen=True):
    """A stop or a target that is, or may be, on the market: `remaining` of it isn't filled.

    Without a price it is one that was reached and became another order at the venue: it does what it was to do.
    """

    order_id: str
    side: Side
    is_stop: bool
    price: Decimal | None
    remaining: int


class Missing(msgspec.Struct, frozen=True):
    """A stop or a target to be placed."""

    side: Side
    is_stop: bool
    price: Decimal
    quantity: int


class Plan(msgspec.Struct, frozen=True):
    """What is to be taken off the market, and what is to be placed: stops first."""

    cancel: tuple[str, ...] = ()
    place: tuple[Missing, ...] = ()


def leg_of(intent: OrderIntent, remaining: int) -> Leg:
    """An order of `PROTECTION` as it works."""
    price = intent.stop_price if is_stop(intent) else intent.limit_price
    return Leg(intent.order_id, intent.side, is_stop(intent), price, remaining)


class Brackets:
    """Stop and target of every position that has any."""

    def __init__(self, known: Mapping[str, Bracket] | None = None) -> None:
        self.of: dict[str, Bracket] = dict(known or {})

    def on_fill(self, symbol: str, intent: OrderIntent | None, before: int, after: int) -> None:
        """A position went from `before` to `after` by a fill of `intent`, None where nobody knows it any more."""
        if not after:
            self.of.pop(symbol, None)
            return
        turned = before * after < 0
        if turned:
            self.of.pop(symbol, None)
        if intent is None:
            return
        if intent.strategy == PROTECTION:
            if turned or not before:
                self.of[symbol] = Bracket(None, None, intent.decision, BOTH_DONE)
        elif wants_bracket(intent) and intent.side.sign * after > 0:
            self.of[symbol] = Bracket(intent.stop_loss, intent.take_profit, intent.decision, since_ts=intent.ts)

    def on_amended(self, intent: OrderIntent, event: OrderAmended) -> None:
        """Somebody moved a stop or a target at the venue: he means it."""
        bracket = self.of.get(intent.symbol)
        if bracket is None or intent.strategy != PROTECTION or event.type is None:
            return
        if is_stop(intent) and event.stop_price is not None:
            self.of[intent.symbol] = msgspec.structs.replace(bracket, stop=event.stop_price)
        elif not is_stop(intent) and event.limit_price is not None:
            self.of[intent.symbol] = msgspec.structs.replace(bracket, target=event.limit_price)

    def on_cancel(self, intent: OrderIntent, who: str) -> None:
        """A person took a stop or a target off the market: the position has none any more."""
        bracket = self.of.get(intent.symbol)
        if bracket is None or intent.strategy != PROTECTION or who in ("", ITSELF):
            return
        gone = {"stop": None} if is_stop(intent) else {"target": None}
        self.of[intent.symbol] = msgspec.structs.replace(bracket, **gone)

    def give_up(self, symbol: str, reason: str) -> None:
        """The position can't have its stop: it is to be closed."""
        bracket = self.of.get(symbol) or Bracket(None, None)
        self.of[symbol] = msgspec.structs.replace(bracket, stray=bracket.stray or reason)

    def restate(self, event: PositionRestated) -> None:
        """What is held counts in new shares: so do its prices of before. Whoever places them puts them on the grid."""
        bracket = self.of.get(event.symbol)
        if bracket is not None and india_day(bracket.since_ts) < day_number(event.date):
            stop, target = (
                None if price is None else price * event.numerator / event.denominator
                for price in (bracket.stop, bracket.target)
            )
            self.of[event.symbol] = msgspec.structs.replace(bracket, stop=stop, target=target)


def wants_bracket(intent: OrderIntent) -> bool:
    """Whether an entry carries a stop or a target."""
    return intent.stop_loss is not None or intent.take_profit is not None


def plan(bracket: Bracket | None, position: int, others: int, legs: Sequence[Leg]) -> Plan:
    """What is to be done for a position (signed) of which `others` units are being closed by other orders.

    `legs` are all that may still fill, oldest first, those that are being taken off too: nothing is placed where they
    are before they are gone.
    """
    side = Side.SELL if position > 0 else Side.BUY
    wanted = max(0, abs(position) - others) if bracket is not None and not bracket.stray else 0
    cancel: list[str] = []
    place: list[Missing] = []
    for stops in (True, False):
        price = None
        if bracket is not None:
            price = bracket.stop if stops else bracket.target
        mine = [leg for leg in legs if leg.is_stop is stops]
        most = wanted if price is not None else 0
        kept = 0
        for leg in mine:
            if leg.side is side and leg.price in (price, None) and kept + leg.remaining <= most:
                kept += leg.remaining
            else:
                cancel.append(leg.order_id)
        left = most - sum(leg.remaining for leg in mine)
        if price is not None and left > 0:
            place.append(Missing(side, stops, price, left))
    return Plan(tuple(cancel), tuple(place))


def legs_of(working: Iterable[tuple[OrderIntent, int]]) -> list[Leg]:
    """Those of the working orders, given with what remains of each, that protect."""
    return [leg_of(intent, remaining) for intent, remaining in working if intent.strategy == PROTECTION]
