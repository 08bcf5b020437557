"""Risk's own picture: prices, positions, working orders, the day's profit.

Built from ticks, fills, positions and order events alone. Invariant: `position` plus `working_buys` and minus
`working_sells` bound every position that the orders approved so far can lead to.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import NS_PER_S, india_day
from daemon.core.events import (
    CANDIDATE,
    PROTECTION,
    Fill,
    OrderAmended,
    OrderIntent,
    OrderType,
    PositionChanged,
    PositionRestated,
    PriceAdjusted,
    Side,
    TickBatch,
    TradingState,
)
from daemon.core.pairs import Groups
from daemon.market.overnight import Instruments, counted_anew
from daemon.risk.brackets import Brackets, Leg, legs_of, wants_bracket
from daemon.risk.lease import Lease
from daemon.settings.risk import LONGEST_DUPLICATE_WINDOW_S

PAISA = Decimal("0.01")
MINUTE_NS = 60 * NS_PER_S
KEPT_FILLED = 10_000
"""Filled orders that are remembered: one may turn out to have been made larger at the venue."""


Band = tuple[Decimal | None, Decimal | None]
"""The lowest and the highest price of a day."""
NO_BAND: Band = (None, None)


class SymbolRisk(msgspec.Struct, gc=False):
    """What risk knows of one symbol; working quantities are approved and not yet done.

    `position` (signed) moves with each fill at once; `marked_position`, `average_price` and `net_realised` follow with
    the portfolio's answer and belong together.
    """

    last_price: float = 0.0
    last_ts: int = 0
    earlier_price: float = 0.0
    """At which an earlier process last valued what is held; 0 where none did."""
    position: int = 0
    marked_position: int = 0
    average_price: Decimal = Decimal(0)
    net_realised: Decimal = Decimal(0)
    working_buys: int = 0
    working_sells: int = 0
    band: Band = NO_BAND
    band_day: int = -1
    strike: float = 0.0
    """Of an option: what a sold one may cost is its strike's to say, not the premium's; 0 of anything else."""
    is_put: bool = False
    """Whether it gains where its underlying falls."""

    def gains_with(self, side: Side) -> Side:
        """BUY where who trades on `side` gains by a rise, SELL where by a fall."""
        return side if not self.is_put else Side.SELL if side is Side.BUY else Side.BUY

    @property
    def price(self) -> float:
        """The last one; before the first tick, as after a restart, the last one before, or what was paid."""
        return self.last_price or self.earlier_price or float(self.average_price)

    @property
    def largest_side(self) -> Side:
        """On which its largest position lies, held or to come."""
        return Side.BUY if self.position + self.working_buys >= self.working_sells - self.position else Side.SELL

    def band_on(self, ts: int) -> Band:
        """The lowest and highest price of the day at `ts` (UTC ns); None where the feed tells none."""
        return self.band if self.band_day == india_day(ts) else NO_BAND


class RiskBook:
    """Prices, positions and working orders by symbol, and the day's profit."""

    def __init__(self, instruments: Instruments | None = None) -> None:
        """`instruments` tell the strikes of options; None where none are traded."""
        self._instruments = instruments
        self.symbols: dict[str, SymbolRisk] = {}
        self.state = TradingState.ACTIVE
        self.day = 0
        """The day of India's calendar whose profit is counted, 0 before the first."""
        self.unknown: dict[str, str] = {}
        """Orders that may or may not be live: client id → symbol."""
        self.halted: dict[str, str] = {}
        """Symbols that take no new risk, and why."""
        self.at_broker: dict[str, int] = {}
        """Of those what the broker holds, signed; moved by our fills since it said so."""
        self.unsettled: dict[str, str] = {}
        """Symbols held over what may be a corporate action, and why; only a person closes them."""
        self.over: set[str] = set()
        """Contracts that are held and over: never traded, and no exposure any more."""
        self._valued_at: dict[str, float] = {}
        self.stale: dict[str | None, str] = {}
        """Symbols whose ticks can't be relied on (None: all), and why."""
        self.unread = ""
        """Why nobody knows what the broker's book says, "" where it is read."""
        self.available: Decimal | None = None
        """Rupees that the broker last said are free; None where it said nothing."""
        self.cash: Decimal | None = None
        """Rupees by the journal, moved by each fill at once; None where nobody said what it began with."""
        self.day_high = Decimal(0)
        self.day_start_net = Decimal(0)
        self.largest: dict[str, int] = {}
        """Units of one order at most, where the venue refused a larger one."""
        self.protects = False
        """Whether orders at market stand at the venue with a limit that protects them, and so may rest."""
        self.rested: dict[str, int] = {}
        """So often in a row exits of a symbol have rested like that: each time the next one may go further."""
        self.candidate = ("", 0.0)
        """The strategy that decides on a share while a canary runs, and the share of the limits on size that it has."""
        self.lease: Lease | None = None
        """Of a budget that several daemons share; None where there is no such budget."""
        self.brackets = Brackets()
        """Stop and target of what is held."""
        self._bracketed: dict[str, OrderIntent] = {}
        """Orders that carry a stop or a target or are one, those that are over too: a fill may come late."""
        self._groups = Groups()
        self._open_orders: dict[str, tuple[OrderIntent, int]] = {}
        self._blocked: dict[str, Decimal] = {}
        self._acknowledged: set[str] = set()
        self._approved: deque[int] = deque()
        self._recent: dict[str, OrderIntent] = {}
        self._filled: dict[str, OrderIntent] = {}
        self._approved_today = (0, 0)

    def of(self, symbol: str) -> SymbolRisk:
        """The entry of `symbol`, made on first sight."""
        entry = self.symbols.get(symbol)
        if entry is None:
            entry = self.symbols[symbol] = self._unseen(symbol)
        return entry

    def _unseen(self, symbol: str) -> SymbolRisk:
        instrument = self._instruments.resolve(symbol) if self._instruments is not None else None
        if instrument is None or instrument.strike is None:
            return SymbolRisk()
        return SymbolRisk(strike=float(instrument.strike), is_put=instrument.right == "PE")

    def size_of(self, strategy: str) -> float:
        """The share of the limits on size that entries of `strategy` have; none for a candidate that has ended."""
        name, size = self.candidate
        return (size if strategy == name else 0.0) if strategy.startswith(CANDIDATE) else 1.0

    def on_ticks(self, batch: TickBatch) -> None:
        """Newest price, time and price band of each symbol in the batch."""
        if batch.lower_band is not None or batch.upper_band is not None:
            self._note_bands(batch)
        if len(batch.symbols) == 1:
            entry = self.of(batch.symbols[0])
            entry.last_price, entry.last_ts = float(batch.ltp[-1]), int(batch.ts_recv[-1])
            return
        rows = np.arange(len(batch))
        first, newest = np.full(len(batch.symbols), len(batch)), np.full(len(batch.symbols), -1)
        first[batch.code[::-1]] = rows[::-1]
        newest[batch.code] = rows
        codes = np.argsort(first, kind="stable")[: np.count_nonzero(newest >= 0)]  # as they came: so they are closed
        for code, row in zip(codes.tolist(), newest[codes].tolist(), strict=True):
            entry = self.of(batch.symbols[code])
            entry.last_price, entry.last_ts = float(batch.ltp[row]), int(batch.ts_recv[row])

    def _note_bands(self, batch: TickBatch) -> None:
        for code in np.unique(batch.code).tolist():
            rows = np.flatnonzero(batch.code == code)
            entry, day = self.of(batch.symbols[code]), india_day(int(batch.ts_recv[rows[-1]]))
            old = entry.band if entry.band_day == day else NO_BAND
            lower, upper = _newest(batch.lower_band, rows), _newest(batch.upper_band, rows)
            entry.band = (old[0] if lower is None else lower, old[1] if upper is None else upper)
            entry.band_day = day

    def on_position(self, event: PositionChanged) -> None:
        """The money side of a position after a fill."""
        entry = self.of(event.symbol)
        entry.marked_position = event.quantity
        entry.average_price = event.average_price
        entry.net_realised = event.realised_pnl - event.costs

    def restore(
        self,
        positions: Iterable[PositionChanged],
        working: Iterable[tuple[OrderIntent, int]],
        unknown: Iterable[OrderIntent],
        day: int,
        day_start_net: Decimal,
        day_high: Decimal = Decimal(0),
        approved: Iterable[OrderIntent] = (),
        now: int | None = None,
        prices: Mapping[str, float] | None = None,
    ) -> None:
        """Stand where an earlier process stood: positions, orders with what remains of them, and the day's profit.

        What was `approved` lately, oldest first, counts against the limits on how many; what is dated minutes after
        `now` (UTC ns) was by a clock that was wrong, and counts for its day alone. `prices` are the last ones at which
        positions were valued.
        """
        for intent in approved:
            self._count_approval(intent, lately=now is None or intent.ts <= now + MINUTE_NS)
            self._remember_filled(intent)
            self._remember_bracket(intent)
        for position in positions:
            entry = self.of(position.symbol)
            entry.position, entry.earlier_price = position.quantity, (prices or {}).get(position.symbol, 0.0)
            self.on_position(position)
        for intent, remaining in working:
            self._open_orders[intent.order_id] = (intent, remaining)
            self._add_working(intent, remaining)
            self._remember_bracket(intent)
        self.unknown.update({intent.order_id: intent.symbol for intent in unknown})
        self.day, self.day_start_net, self.day_high = day, day_start_net, day_high

    def unsettle(self, symbol: str, reason: str, price: float) -> None:
        """Nobody knows how many shares are held: no profit or loss is made of it, the position stays at `price`."""
        self.unsettled[symbol] = reason
        if price > 0.0:
            self._valued_at.setdefault(symbol, price)

    def settle(self, symbol: str, *, as_it_stands: bool = False) -> bool:
        """What is held is known again; False where it was.

        `as_it_stands`: for a person said so, and what that makes of the value is no profit or loss of this day.
        """
        price = self._valued_at.pop(symbol, None)
        if price is not None and as_it_stands:
            entry = self.of(symbol)
            self.day_start_net += entry.marked_position * (Decimal(str(entry.last_price)) - Decimal(str(price)))
        return self.unsettled.pop(symbol, None) is not None

    def adjust(self, event: PriceAdjusted) -> None:
        """The last price counts at a ratio."""
        entry = self.of(event.symbol)
        entry.last_price *= event.ratio
        entry.earlier_price *= event.ratio

    def restate(self, event: PositionRestated) -> None:
        """What is held counts in new shares."""
        entry, numerator, denominator = self.of(event.symbol), event.numerator, event.denominator
        entry.position, _ = counted_anew(entry.position, event.carried, numerator, denominator)
        entry.marked_position, _ = counted_anew(entry.marked_position, event.carried, numerator, denominator)
        entry.average_price = entry.average_price * numerator / denominator
        self.brackets.restate(event)

    def order_opened(self, intent: OrderIntent, margin: Decimal = Decimal(0)) -> None:
        """An approved intent counts against the limits until it is done; `margin` rupees are spoken for by it."""
        self._count_approval(intent)
        if margin and self.available is not None:
            self._blocked[intent.order_id] = margin
        self._open_orders[intent.order_id] = (intent, intent.quantity)
        self._add_working(intent, intent.quantity)
        self._remember_bracket(intent)

    def _count_approval(self, intent: OrderIntent, *, lately: bool = True) -> None:
        if lately:
            self._approved.append(intent.ts)
            self._recent[intent.order_id] = intent
            while self._approved[0] <= intent.ts - MINUTE_NS:
                self._approved.popleft()
            while (oldest := next(iter(self._recent.values()))).ts <= intent.ts - LONGEST_DUPLICATE_WINDOW_S * NS_PER_S:
                del self._recent[oldest.order_id]
        day, count = self._approved_today
        today = india_day(intent.ts)
        self._approved_today = (today, count + 1 if day == today else 1)

    def on_fill(self, fill: Fill) -> None:
        """Part of an order became a position."""
        self.unknown.pop(fill.order_id, None)
        self.acknowledged(fill.order_id)
        self.day = self.day or india_day(fill.ts)
        held = self._open_orders.get(fill.order_id)
        entry, wanted = self.of(fill.symbol), held[0] if held is not None else self._bracketed.get(fill.order_id)
        before, entry.position = entry.position, entry.position + fill.side.sign * fill.quantity
        if fill.symbol in self.at_broker:
            self.at_broker[fill.symbol] += fill.side.sign * fill.quantity
        self.brackets.on_fill(fill.symbol, wanted, before, entry.position)
        if self.cash is not None:
            self.cash -= fill.side.sign * fill.quantity * fill.price + fill.costs
        if held is None:
            return
        intent, open_quantity = held
        done = min(open_quantity, fill.quantity)
        self._add_working(intent, -done)
        if open_quantity == done:
            del self._open_orders[fill.order_id]
            self._remember_filled(intent)
        else:
            self._open_orders[fill.order_id] = (intent, open_quantity - done)

    def halt(self, symbol: str, reason: str, held: int | None) -> None:
        """Broker and journal differ about a symbol; `held` (signed) by the broker, None where it didn't say."""
        self.halted[symbol] = reason
        self.at_broker.pop(symbol, None)
        if held is not None:
            self.at_broker[symbol] = held

    def resume(self, symbol: str) -> None:
        """They agree again."""
        self.halted.pop(symbol, None)
        self.at_broker.pop(symbol, None)

    def closable(self, symbol: str) -> int:
        """What exits may close of a position (signed): no more than the broker holds of it, where it holds less.

        To sell what isn't there would open the opposite position.
        """
        position = self.of(symbol).position
        theirs = self.at_broker.get(symbol, position)
        return 0 if theirs * position <= 0 else min(position, theirs, key=abs)

    def order_amended(self, event: OrderAmended) -> None:
        """Somebody changed an order at the venue; one that was filled works on if it is larger now."""
        filled = self._filled.pop(event.order_id, None)
        held = self._open_orders.get(event.order_id, None if filled is None else (filled, 0))
        if held is None:
            return
        intent, open_quantity = held
        left = max(0, open_quantity + event.change)
        self._add_working(intent, -open_quantity)
        self._add_working(event.of(intent), left)
        self._open_orders[event.order_id] = (event.of(intent), left)
        self.brackets.on_amended(intent, event)

    def _remember_filled(self, intent: OrderIntent) -> None:
        self._filled[intent.order_id] = intent
        if len(self._filled) > KEPT_FILLED:
            del self._filled[next(iter(self._filled))]

    def open_intent(self, order_id: str) -> OrderIntent | None:
        """What an open order was for."""
        held = self._open_orders.get(order_id)
        return None if held is None else held[0]

    def order_gone(self, order_id: str) -> str | None:
        """An order left the market unfilled or partly filled; its symbol, None where it wasn't open."""
        self.unknown.pop(order_id, None)
        self._recent.pop(order_id, None)
        self._blocked.pop(order_id, None)
        self._acknowledged.discard(order_id)
        held = self._open_orders.pop(order_id, None)
        if held is None:
            return None
        intent, quantity = held
        self._add_working(intent, -quantity)
        return intent.symbol

    def acknowledged(self, order_id: str) -> None:
        """The venue has the order: what it next says is free is less its margin."""
        if order_id in self._blocked:
            self._acknowledged.add(order_id)

    def on_funds(self, available: Decimal) -> None:
        """The venue says what is free; it counted every order that it had acknowledged."""
        self.available = available
        for order_id in self._acknowledged:
            del self._blocked[order_id]
        self._acknowledged.clear()

    @property
    def free(self) -> Decimal | None:
        """Rupees for new margin: what the venue said, less what was approved since; None where it said nothing."""
        return None if self.available is None else self.available - sum(self._blocked.values(), Decimal(0))

    def resting(self) -> list[str]:
        """Open orders that may stay open: all but market orders that only close."""
        return [
            order_id
            for order_id, (intent, _) in self._open_orders.items()
            if not intent.reduces or intent.type is not OrderType.MARKET
        ]

    def exits_at_market(self) -> list[OrderIntent]:
        """Open orders that only close and were to trade at once."""
        intents = (intent for intent, _ in self._open_orders.values())
        return [intent for intent in intents if intent.reduces and intent.type is OrderType.MARKET]

    def order_unknown(self, order_id: str) -> None:
        """Nobody knows whether the order is live: its symbol takes no new risk."""
        held = self._open_orders.get(order_id)
        if held is not None:
            self.unknown[order_id] = held[0].symbol

    def _add_working(self, intent: OrderIntent, quantity: int) -> None:
        entry, more = self.of(intent.symbol), self._groups.add(intent, quantity)
        if intent.side is Side.BUY:
            entry.working_buys += more
        else:
            entry.working_sells += more

    def adds(self, intent: OrderIntent) -> int:
        """How much more could be traded with the order than without it: nothing by a target beside its stop."""
        return self._groups.after(intent, intent.quantity)

    def _remember_bracket(self, intent: OrderIntent) -> None:
        if wants_bracket(intent) or intent.strategy == PROTECTION:
            self._bracketed[intent.order_id] = intent
            if len(self._bracketed) > KEPT_FILLED:
                del self._bracketed[next(iter(self._bracketed))]

    def working_of(self, symbol: str) -> list[tuple[OrderIntent, int]]:
        """Open orders of a symbol with what remains of each, oldest first."""
        return [(intent, left) for intent, left in self._open_orders.values() if intent.symbol == symbol]

    def legs(self, symbol: str) -> list[Leg]:
        """Its stops and targets that work, or may."""
        return legs_of(self.working_of(symbol))

    def protected(self) -> list[str]:
        """Symbols that have a stop or a target, or an order that was one."""
        working = (it.symbol for it, _ in self._open_orders.values() if it.strategy == PROTECTION)
        return list(dict.fromkeys((*self.brackets.of, *working)))

    def is_against_bracket(self, intent: OrderIntent) -> bool:
        """Whether an order would take from a position that has a stop or a target."""
        return intent.symbol in self.brackets.of and self.of(intent.symbol).position * intent.side.sign < 0

    def gross_notional(self, without: str) -> Decimal:
        """Rupees held or about to be, over all symbols but one, at last prices."""
        total = 0.0
        for symbol, entry in self.symbols.items():
            if symbol != without and symbol not in self.over:
                total += worst_position(entry) * self.price_of(symbol)
                sold = max(0, entry.working_sells - entry.position)
                total += sold * max(0.0, entry.strike - entry.price)
        return Decimal(total).quantize(PAISA)

    def price_of(self, symbol: str) -> float:
        """At which a unit counts, rupees: the last price, or what its working orders were wanted at."""
        return self.of(symbol).price or self._reference(symbol)

    @property
    def equity(self) -> Decimal | None:
        """Cash and what is held, rupees; None where nobody said what it began with."""
        held = ((symbol, entry) for symbol, entry in self.symbols.items() if entry.position)
        worth = sum(
            (it.position * Decimal(str(self._valued_at.get(symbol, it.price))) for symbol, it in held), Decimal(0)
        )
        return None if self.cash is None else self.cash + worth

    def _reference(self, symbol: str) -> float:
        """What its working orders were wanted at, where there is no other price."""
        return max((float(intent.reference_price) for intent, _ in self.working_of(symbol)), default=0.0)

    @property
    def priced(self) -> bool:
        """Whether everything that is held has been seen to trade."""
        return all(entry.last_price for entry in self.symbols.values() if entry.position or entry.marked_position)

    def net(self) -> Decimal:
        """Realised and open profit less costs since the book began, rupees."""
        total = Decimal(0)
        for symbol, entry in self.symbols.items():
            total += entry.net_realised
            if entry.marked_position:
                price = self._valued_at.get(symbol, entry.price)
                total += entry.marked_position * (Decimal(str(price)) - entry.average_price)
        return total

    def approved_since(self, ts: int, enough: int) -> int:
        """Orders approved after `ts` (UTC ns), of the last minute; not counted beyond `enough`."""
        count = 0
        for approved_ts in reversed(self._approved):
            if approved_ts <= ts or count == enough:
                break
            count += 1
        return count

    def approved_on(self, day: int) -> int:
        """Orders approved on a day of India's calendar, the latest one."""
        return self._approved_today[1] if self._approved_today[0] == day else 0

    def same_since(self, intent: OrderIntent, ts: int) -> OrderIntent | None:
        """An order just like `intent` that was approved after `ts` (UTC ns), not refused since."""
        for other in reversed(self._recent.values()):
            if other.ts <= ts:
                return None
            if _sort(other) == _sort(intent):
                return other
        return None

    def net_notional(self, without: str, towards: Side) -> Decimal:
        """Rupees of longs less shorts, over all symbols but one, at last prices, with what works that way.

        `towards` BUY: what gains by a rise of its underlying, as a put that is sold does; SELL: by a fall. A hedge that
        is being closed is none any more, one that has a stop still is. What sold options count is their strike's, but
        beside what goes the other way.
        """
        working = Counter[str]()
        for intent, left in self._open_orders.values():
            if self.of(intent.symbol).gains_with(intent.side) is towards and intent.strategy != PROTECTION:
                working[intent.symbol] += intent.side.sign * left
        total = 0.0
        for symbol, entry in self.symbols.items():
            held = entry.position + working[symbol]
            if symbol != without and symbol not in self.over and held:
                price = entry.price or self._reference(symbol)
                way = entry.gains_with(Side.BUY if held > 0 else Side.SELL)
                counts = max(price, entry.strike) if held < 0 and way is towards else price
                total += way.sign * abs(held) * counts
        return Decimal(total).quantize(PAISA)

    def start_day(self, day: int = 0) -> None:
        """The day's profit counts from here."""
        self.day, self.day_high = day, Decimal(0)
        self.day_start_net = self.net()

    def note_high(self) -> None:
        """Remember the day's highest profit."""
        self.day_high = max(self.day_high, self.day_pnl())

    def day_pnl(self) -> Decimal:
        """Profit since `start_day`, rupees."""
        return self.net() - self.day_start_net


def _newest(column: NDArray[np.float64] | None, rows: NDArray[np.intp]) -> Decimal | None:
    """The last price of a column among some rows, None where it tells none."""
    told = column[rows] if column is not None else np.zeros(0)
    told = told[told > 0]
    return Decimal(repr(float(told[-1]))) if len(told) else None


def _sort(intent: OrderIntent) -> tuple[object, ...]:
    return intent.symbol, intent.side, intent.quantity, intent.type, intent.limit_price, intent.stop_price


def worst_position(entry: SymbolRisk) -> int:
    """The largest absolute position that the held one and the working orders can lead to."""
    return max(abs(entry.position + entry.working_buys), abs(entry.position - entry.working_sells), abs(entry.position))
