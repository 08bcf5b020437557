"""The words of front ends that were written for the trading API of before, in the words of this one, and back.

`POST /api/trading/manual-trade` and `/execute` become orders by hand, through risk and journal like any other.
Invariant: an action that closes never opens anything: risk denies what is more than what is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from daemon.control.view import (
    BY_THE_OPERATOR,
    HandSide,
    HandType,
    Key,
    OrderAnswer,
    OrderTicket,
    PositionRow,
    PriceNumber,
    PriceText,
    Reason,
    Symbol,
)
from daemon.core.clock import NS_PER_MS
from daemon.core.events import Decision

Units = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class FrontSide(StrEnum):
    """As front ends write it."""

    BUY = "BUY"
    SELL = "SELL"
    BUY_TOO = "buy"
    SELL_TOO = "sell"


class FrontAction(StrEnum):
    """The five actions, by name."""

    BUY_LONG = "BUY_LONG"
    SELL_SHORT = "SELL_SHORT"
    CLOSE_LONG = "CLOSE_LONG"
    CLOSE_SHORT = "CLOSE_SHORT"
    HOLD = "HOLD"


class Outcome(StrEnum):
    """Of a trade that was asked for."""

    APPROVED = "approved"
    DENIED = "denied"
    NOTHING = "nothing"
    """There was nothing to do: HOLD, or nothing is held that could be closed."""


class ManualTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order by hand; with a `price` it is a limit order, without one it is at the market."""

    symbol: Symbol
    side: FrontSide
    quantity: Units
    price: PriceText | PriceNumber | None = None
    key: Key | None = None
    reason: Reason = BY_THE_OPERATOR

    def ticket(self, key: str) -> OrderTicket:
        """The same, for the desk."""
        return OrderTicket(
            key=self.key or key, symbol=self.symbol, side=HandSide(self.side.lower()), quantity=self.quantity,
            type=HandType.MARKET if self.price is None else HandType.LIMIT, price=self.price, reason=self.reason,
        )  # fmt: skip


class ExecuteTicket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the five actions, at the market; without a quantity an action that closes closes all that is held."""

    symbol: Symbol
    action: FrontAction
    quantity: Units | None = None
    key: Key | None = None
    reason: Reason = BY_THE_OPERATOR

    def ticket(self, key: str, positions: Sequence[PositionRow]) -> OrderTicket | None:
        """The order, None where there is nothing to do. Raises `ValueError` for an entry without a quantity."""
        if self.action is FrontAction.HOLD:
            return None
        closes = self.action in (FrontAction.CLOSE_LONG, FrontAction.CLOSE_SHORT)
        quantity = self.quantity
        if quantity is None and not closes:
            raise ValueError(f"quantity: expected with {self.action}")
        if closes:
            sign = 1 if self.action is FrontAction.CLOSE_LONG else -1
            held = max(0, sum(sign * row.quantity for row in positions if row.symbol == self.symbol))
            quantity = min(held, quantity or held)
        if not quantity:
            return None
        buys = self.action in (FrontAction.BUY_LONG, FrontAction.CLOSE_SHORT)
        return OrderTicket(
            key=self.key or key, symbol=self.symbol, side=HandSide.BUY if buys else HandSide.SELL, quantity=quantity,
            reason=self.reason, reduce_only=closes,
        )  # fmt: skip


class TradeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it at risk; what the venue makes of it is in `/orders`."""

    status: Outcome
    order_id: str
    """"" where no order was made."""
    key: str
    """Asking again with it places no second order."""
    symbol: str
    quantity: int
    message: str
    """In words, for people."""
    ts: int

    @classmethod
    def of(cls, ticket: OrderTicket, answer: OrderAnswer) -> TradeAnswer:
        """What risk said, and how the order stood as it was answered."""
        return cls(
            status=Outcome.APPROVED if answer.approved else Outcome.DENIED, order_id=answer.order_id, key=answer.key,
            symbol=ticket.symbol, quantity=ticket.quantity, message=answer.words, ts=answer.ts,
        )  # fmt: skip

    @classmethod
    def nothing(cls, symbol: str, ts: int) -> TradeAnswer:
        """There was nothing to do."""
        return cls(
            status=Outcome.NOTHING, order_id="", key="", symbol=symbol, quantity=0, message="nothing to do", ts=ts
        )  # fmt: skip


class FrontPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position as front ends know it."""

    symbol: str
    side: str
    """LONG or SHORT."""
    quantity: int
    """Without a sign."""
    entry_price: Decimal
    """Average."""
    last_price: Decimal | None
    unrealised_pnl: Decimal | None
    realised_pnl: Decimal

    @classmethod
    def of(cls, row: PositionRow) -> FrontPosition:
        """The same, as they know it."""
        return cls(
            symbol=row.symbol, side="LONG" if row.quantity > 0 else "SHORT", quantity=abs(row.quantity),
            entry_price=row.average_price, last_price=row.last_price, unrealised_pnl=row.unrealised_pnl,
            realised_pnl=row.realised_pnl,
        )  # fmt: skip


class FrontDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as front ends know it."""

    ts: int
    symbol: str
    action: FrontAction
    quantity: int
    confidence: float
    reasoning_depth: int
    """Segments; 0 where no model reasoned."""
    market_complexity: float
    """0 to 1."""
    h_module_confidence: float
    l_module_confidence: float
    adaptive_time_used: float
    strategy: str
    reason: str

    @classmethod
    def of(cls, decision: Decision) -> FrontDecision:
        """The same, as they know it."""
        return cls(
            ts=decision.ts, symbol=decision.symbol, action=FrontAction(decision.action.name),
            quantity=decision.quantity, confidence=decision.confidence, reasoning_depth=decision.segments,
            market_complexity=decision.complexity, h_module_confidence=decision.h_confidence,
            l_module_confidence=decision.l_confidence, adaptive_time_used=decision.latency_ns / NS_PER_MS,
            strategy=decision.strategy, reason=decision.reason,
        )  # fmt: skip
