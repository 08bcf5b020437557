"""A decision → what we want at the venue.

An exit for more than the exchange takes in one order becomes several of one reason, each in whole lots; what of a
position is no whole lot goes by itself. Invariant: an entry is only ever cut (to whole lots and to what the limits and
the exchange leave), never raised; an exit never asks for more than is held and not already being closed, and its parts
add up to it; where broker and journal differ about what is held, it asks for no more than both of them hold.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Protocol

import msgspec

from daemon.core.events import MANUAL, PROTECTION, Action, Bracket, Decision, ManualOrder, OrderIntent, OrderType, Side
from daemon.core.ids import decision_id
from daemon.core.pairs import STOP, TARGET
from daemon.market.instruments import Instrument
from daemon.risk.book import NO_BAND, PAISA, Band, RiskBook
from daemon.risk.brackets import Missing
from daemon.risk.refusals import RISK
from daemon.settings.orders import ExecutionSettings
from daemon.settings.risk import RiskSettings

LEAST = 0.01
"""Rupees: a price that would be none isn't left out for that, it is one that the gate denies."""


class Instruments(Protocol):
    """What risk needs of the instrument book."""

    def resolve(self, symbol: str) -> Instrument | None:
        """The instrument, or None when unknown."""

    def traded_as(self, symbol: str) -> str:
        """The symbol under which an order on `symbol` goes out."""


def limits_of(limits: RiskSettings, instruments: Instruments, symbol: str) -> RiskSettings:
    """The limits as they hold for a symbol.

    Its own go before those of the index or alias that it is traded for, these before those of all contracts like it,
    and these before the general ones.
    """
    if not limits.limits:
        return limits
    instrument = instruments.resolve(symbol)
    traded_for = [name for name in limits.limits if instruments.traded_as(name) == symbol]
    return limits.of(symbol if instrument is None else instrument.family(), *traded_for, symbol)


def units_of(limits: RiskSettings, instruments: Instruments, symbol: str, price: float, share: float) -> int:
    """Units of an entry for `share` of what the limits on size allow, as it is built: whole lots, at least one."""
    own = limits_of(limits, instruments, symbol)
    by_notional = int(own.max_order_notional / Decimal(repr(price)))
    instrument = instruments.resolve(symbol)
    lot = instrument.lot_size if instrument else 1
    wanted = int(share * min(own.max_order_quantity, own.max_position_quantity, by_notional))
    return max(lot, wanted // lot * lot)


class IntentBuilder:
    """Turns an action into side, quantity and price at the venue."""

    def __init__(self, risk: RiskSettings, execution: ExecutionSettings, instruments: Instruments, prefix: str) -> None:
        self._risk = risk
        self._execution = execution
        self._instruments = instruments
        self._prefix = prefix
        self._count = 0

    def retune(self, risk: RiskSettings) -> None:
        """Cut by other limits from here on."""
        self._risk = risk

    def build(self, decision: Decision, book: RiskBook) -> OrderIntent | None:
        """The intent of a decision, or None when there is nothing to do at the venue.

        An entry is cut to what the limits allow and to whole lots (never raised, but that one with a share of what is
        allowed is for a lot at least); an exit closes what is held and not
        already being closed. Where not one lot fits, the intent is for the least that could be wanted, so that the gate
        denies it and names the limit. None: HOLD, nothing to close, or an entry at a price of its own while another of
        that side works. A decision on an index is an intent on the
        future that is traded for it, at the future's own price.
        """
        asked = decision_id(decision.symbol, decision.ts_bar)
        traded = self._instruments.traded_as(decision.symbol)
        if traded != decision.symbol:
            decision = _moved(decision, traded, book.of(traded).price or decision.price)
        entry = book.of(decision.symbol)
        if decision.action is Action.HOLD:
            return None
        if decision.action is Action.CLOSE_LONG:
            quantity = book.closable(decision.symbol) - entry.working_sells
            side, reduces = Side.SELL, True
        elif decision.action is Action.CLOSE_SHORT:
            quantity = -book.closable(decision.symbol) - entry.working_buys
            side, reduces = Side.BUY, True
        else:
            side, reduces = (Side.BUY if decision.action is Action.BUY_LONG else Side.SELL), False
            quantity = self._room(decision, book, side)
            if decision.limit_price and (entry.working_buys if side is Side.BUY else entry.working_sells):
                return None
        if quantity <= 0:
            return None
        intent = self.intent(
            decision.ts, decision.symbol, side, quantity, decision.price, reduces, decision.strategy, decision.reason,
            entry.band_on(decision.ts), asked, 0.0 if reduces else decision.limit_price,
        )  # fmt: skip
        return intent if reduces else self._with_bracket(intent, decision)

    def _with_bracket(self, intent: OrderIntent, decision: Decision) -> OrderIntent:
        """An entry with the stop and the target of its decision, each on the grid where it is no worse for us."""
        if not decision.stop_price and not decision.target_price:
            return intent
        tick = self._tick(intent.symbol)
        exit_side = Side.SELL if intent.side is Side.BUY else Side.BUY
        stop, target = (
            _on_grid(price, exit_side, tick) if price else None
            for price in (decision.stop_price, decision.target_price)
        )
        return msgspec.structs.replace(intent, stop_loss=stop, take_profit=target)

    def _tick(self, symbol: str) -> Decimal:
        instrument = self._instruments.resolve(symbol)
        return instrument.tick_size if instrument else PAISA

    def protecting(self, symbol: str, wanted: Missing, ts: int, decision: str) -> OrderIntent:
        """The stop or the target of what is held; `decision` is the id of who wanted it."""
        return OrderIntent(
            ts=ts,
            order_id=self._next_id(),
            symbol=symbol,
            side=wanted.side,
            quantity=wanted.quantity,
            type=OrderType.SL_MARKET if wanted.is_stop else OrderType.LIMIT,
            limit_price=None if wanted.is_stop else wanted.price,
            stop_price=wanted.price if wanted.is_stop else None,
            reduces=True,
            strategy=PROTECTION,
            reason=STOP if wanted.is_stop else TARGET,
            reference_price=wanted.price,
            decision=decision,
        )

    def on_grid(self, symbol: str, bracket: Bracket, side: Side) -> Bracket:
        """A bracket's prices on the grid, as orders of `side`: a corporate action may have put them beside it."""
        tick = self._tick(symbol)
        stop, target = (
            None if price is None else _on_grid(price, side, tick) for price in (bracket.stop, bracket.target)
        )
        return msgspec.structs.replace(bracket, stop=stop, target=target)

    def closing(self, symbol: str, book: RiskBook, ts: int, reason: str) -> OrderIntent | None:
        """The intent that closes all of `symbol` that the broker has, too, whatever a strategy thinks."""
        entry = book.of(symbol)
        side = Side.SELL if entry.position > 0 else Side.BUY
        working = entry.working_sells if entry.position > 0 else entry.working_buys
        quantity = abs(book.closable(symbol)) - working
        if quantity <= 0:
            return None
        return self.intent(ts, symbol, side, quantity, entry.price, True, RISK, reason)

    def manual(self, order: ManualOrder, book: RiskBook, ts: int) -> OrderIntent:
        """The intent of an order by hand, as it was asked for; one that only closes what is held is an exit."""
        entry = book.of(order.symbol)
        closable = entry.position - entry.working_sells
        if order.side is Side.BUY:
            closable = -entry.position - entry.working_buys
        return OrderIntent(
            ts=ts,
            order_id=self._next_id(),
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            type=order.type,
            limit_price=order.limit_price,
            stop_price=None,
            reduces=order.reduce_only or 0 < order.quantity <= closable,  # the gate looks at what is open
            strategy=MANUAL,
            reason=order.reason,
            reference_price=Decimal(str(entry.price)),
        )

    def parts(self, intent: OrderIntent, book: RiskBook) -> list[OrderIntent]:
        """An intent as the orders that the exchange takes: an exit may be several, the first under its own id.

        What of a position is no whole lot, its lot being another by now, goes by itself, so that the lots can go.
        """
        if not intent.reduces or intent.quantity <= 0:
            return [intent]
        instrument = self._instruments.resolve(intent.symbol)
        lot = instrument.lot_size if instrument else 1
        apart = book.closable(intent.symbol) % lot and intent.strategy != PROTECTION
        odd = intent.quantity % lot if apart else 0
        largest = self._largest(intent.symbol, book) or intent.quantity
        full, rest = divmod(intent.quantity - odd, largest)
        sizes = [largest] * full + [size for size in (rest, odd) if size > 0]
        first = msgspec.structs.replace(intent, quantity=sizes[0])
        others = [msgspec.structs.replace(intent, quantity=size, order_id=self._next_id()) for size in sizes[1:]]
        return [first, *others]

    def halved(self, intent: OrderIntent) -> int:
        """Half of an order that was too large, in whole lots, at least one."""
        instrument = self._instruments.resolve(intent.symbol)
        lot = instrument.lot_size if instrument else 1
        return max(lot, intent.quantity // 2 // lot * lot)

    def _largest(self, symbol: str, book: RiskBook) -> int | None:
        """Units of one order at most, by the exchange's table or by what it refused; None where neither tells."""
        instrument = self._instruments.resolve(symbol)
        known = (instrument.largest_order if instrument else None, book.largest.get(symbol))
        return min((limit for limit in known if limit is not None), default=None)

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:07d}"

    def intent(
        self, ts: int, symbol: str, side: Side, quantity: int, price: float, reduces: bool, strategy: str, reason: str,
        band: Band = NO_BAND, decision: str = "", waits_at: float = 0.0,
    ) -> OrderIntent:  # fmt: skip
        """An intent with a fresh client order id; `price` is what the market last traded at, `band` bounds a limit.

        An entry of a decision that `waits_at` a price goes out at that price or a better one, on the grid.
        """
        instrument, tick = self._instruments.resolve(symbol), self._tick(symbol)
        reference = Decimal(str(price))
        limit = None
        kind = OrderType.MARKET
        if waits_at:
            kind, limit = OrderType.LIMIT, _on_grid(waits_at, side, tick)
        elif self._execution.order_type == "LIMIT" and not reduces:  # an exit must not rest while the market runs away
            kind = OrderType.LIMIT
            limit = self._limit_price(reference, side, tick)
            limit = instrument.within(limit, *band) if instrument else limit
        return OrderIntent(
            ts=ts,
            order_id=self._next_id(),
            symbol=symbol,
            side=side,
            quantity=quantity,
            type=kind,
            limit_price=limit,
            stop_price=None,
            reduces=reduces,
            strategy=strategy,
            reason=reason,
            reference_price=reference,
            decision=decision,
        )

    def _room(self, decision: Decision, book: RiskBook, side: Side) -> int:
        """Units that the limits on size leave for an entry, in whole lots."""
        limits = limits_of(self._risk, self._instruments, decision.symbol)
        entry, size = book.of(decision.symbol), book.size_of(decision.strategy)
        held = entry.position + entry.working_buys if side is Side.BUY else entry.working_sells - entry.position
        instrument = self._instruments.resolve(decision.symbol)
        lot, tick = (instrument.lot_size, instrument.tick_size) if instrument else (1, PAISA)
        price = Decimal(str(max(decision.price, entry.last_price, decision.limit_price)))
        if self._execution.order_type == "LIMIT":
            price = max(price, self._limit_price(Decimal(str(decision.price)), side, tick))
        if side is Side.SELL and instrument is not None and instrument.strike is not None:
            price = max(price, instrument.strike)  # as the gate values what a sold option may cost
        if price <= 0:
            return 0
        gross_left = most_gross(limits, book) - book.gross_notional(without=decision.symbol)
        by_quantity = int(limits.max_order_quantity * size)
        by_position = int(limits.max_position_quantity * size)
        by_notional = int(limits.max_order_notional * Decimal(str(size)) / price)
        wanted = decision.quantity
        if decision.share > 0:  # of what is allowed, so that how sure a model is shows in its fills
            wanted = max(lot, int(decision.share * min(by_quantity, by_position, by_notional)))
        room = min(
            wanted,
            by_quantity,
            by_position - max(0, held),
            by_notional,
            int(gross_left / price) - max(0, held),
        )
        largest = self._largest(decision.symbol, book)
        if largest is not None:
            room = min(room, largest)
        return max(0, room // lot * lot) or min(lot, decision.quantity)

    def _limit_price(self, reference: Decimal, side: Side, tick: Decimal) -> Decimal:
        """A marketable limit: `limit_offset_bp` beyond the last price, on the grid, at least one tick."""
        raw = reference * (1 + side.sign * Decimal(str(self._execution.limit_offset_bp)) / 10_000)
        rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        return max((raw / tick).to_integral_value(rounding=rounding), Decimal(1)) * tick


def most_gross(limits: RiskSettings, book: RiskBook) -> Decimal:
    """Rupees that may be held in all: by the limits, and by what is leased of a budget for several daemons."""
    leased = book.lease.leased if book.lease is not None else None
    return limits.max_gross_notional if leased is None else min(limits.max_gross_notional, leased)


def _moved(decision: Decision, symbol: str, price: float) -> Decision:
    """The same decision for what is traded in its symbol's place: its prices move by the difference of the two."""
    moved = {
        name: value and max(LEAST, value + price - decision.price)
        for name in ("limit_price", "stop_price", "target_price")
        for value in (getattr(decision, name),)
    }
    return msgspec.structs.replace(decision, symbol=symbol, price=price, **moved)


def _on_grid(price: float | Decimal, side: Side, tick: Decimal) -> Decimal:
    """The nearest price on the grid that is no worse for us; a positive one, so that the gate can name it."""
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    return max((Decimal(str(price)) / tick).to_integral_value(rounding=rounding), Decimal(1)) * tick
