"""Contracts that are held at their expiry, on paper → what the exchange makes of them: a fill at the settlement price.

A future ends at the closing price of what it stands for, an option at what it is worth by that (its intrinsic value).
The exchange's closing price is the average of the last half hour of the last day, and since there is a closing auction
what that starts from is the average of the last quarter (`daemon/market/settlement.yaml`): here it is that of the ticks
seen by then, weighted by what traded with them where the underlying is a share. Without ticks of the underlying in that
time the contract ends at its own last price of the day; without that either nothing is made up: it stays held, and
flagged. Who holds an option that is worth something pays STT for its exercise. A contract on a share
would end in delivery, which paper doesn't know: it ends in money all the same, with an error. One that was held over a
corporate action of what it stands for is another contract since, which nobody told: it isn't settled either.
Invariant: how the ticks are cut into batches changes no price, and nothing is settled before its session's close.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import msgspec
import numpy as np
import structlog

from daemon.core.clock import NS_PER_S
from daemon.core.events import (
    SETTLEMENT,
    ContractClosing,
    Event,
    Fill,
    OrderAccepted,
    OrderIntent,
    OrderType,
    Side,
    SymbolHalted,
    SymbolResumed,
    TickBatch,
)
from daemon.market.calendar import MarketCalendar, Session, ist_date
from daemon.market.costs import PAISA, ZERO, CostSchedule
from daemon.market.instruments import Instrument, InstrumentBook, Kind
from daemon.market.tables import shipped_table

log = structlog.get_logger("execution")

_TABLE: Final = "settlement.yaml"
_FINE: Final = 10_000
"""Prices are summed as whole parts of a rupee, so that their order changes no sum."""


class _Average:
    """A mean of prices, each weighted by what traded with it where anything did."""

    def __init__(self) -> None:
        self.ticks = 0
        self._sum = self._weighted = self._weight = 0

    def add(self, prices: list[int], traded: list[int]) -> None:
        """Prices as whole parts of a rupee."""
        self.ticks += len(prices)
        self._sum += sum(prices)
        self._weighted += sum(price * quantity for price, quantity in zip(prices, traded, strict=True) if quantity > 0)
        self._weight += sum(quantity for quantity in traded if quantity > 0)

    @property
    def price(self) -> Decimal | None:
        """To the paisa; None where no tick came."""
        total, weight = (self._weighted, self._weight) if self._weight else (self._sum, self.ticks)
        return (Decimal(total) / weight / _FINE).quantize(PAISA, ROUND_HALF_UP) if weight else None


class _Ending:
    """A contract that is held on its last day."""

    def __init__(self, contract: Instrument, session: Session) -> None:
        self.contract = contract
        self.session = session
        self.minutes = averaged(session.date)
        self.underlying = _Average()
        self.last: Decimal | None = None
        """Its own last price of the day."""


class Settled(msgspec.Struct, frozen=True):
    """At what a contract ends, rupees, and how that is known."""

    price: Decimal
    words: str


class Settlement:
    """Watches what is held of contracts on their last day, and settles what is still held when it is over."""

    def __init__(
        self, instruments: InstrumentBook, costs: CostSchedule, calendar: MarketCalendar,
        closes: Mapping[str, tuple[int, float]] | None = None, doubted: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """`closes`: when (UTC ns) and at what an earlier process last saw what it held, for what ended since.

        `doubted`: of what was held then nobody knew what a corporate action had made of it.
        """
        self._doubted = set(doubted)
        self._closes = dict(closes or {})
        self._instruments = instruments
        self._costs = costs
        self._calendar = calendar
        self._ending: dict[str, _Ending] = {}

    def over_a_night(self, event: SymbolHalted | SymbolResumed) -> None:
        """A contract has become doubtful before it ended, or is so no more."""
        contract = self._instruments.resolve(event.symbol) if event.overnight else None
        if isinstance(event, SymbolResumed):
            self._doubted.discard(event.symbol)
        elif contract is not None and contract.expiry is not None and ist_date(event.ts) <= contract.expiry:
            self._doubted.add(event.symbol)

    def on_ticks(self, batch: TickBatch) -> None:
        """Take in the prices of what ends today and of what it stands for."""
        for symbol, ending in self._ending.items():
            for code, name in enumerate(batch.symbols):
                own = name == symbol
                found = None if own else self._instruments.resolve(name)
                if own or (found is not None and ending.contract.stands_for(found)):
                    self._note(ending, batch, code, own=own)

    def on_time(self, ts: int, held: Mapping[str, int]) -> list[Event]:
        """Watch what of `held` (signed units) ends today, and settle what was watched and whose session has closed."""
        self._watch(ts, held)
        done: list[Event] = []
        for symbol in [symbol for symbol, it in self._ending.items() if it.session.close_ns <= ts]:
            ending = self._ending.pop(symbol)
            quantity = held.get(symbol, 0)
            if quantity:
                done += self._settle(ending, quantity, ts)
        return done

    def _watch(self, ts: int, held: Mapping[str, int]) -> None:
        for symbol, quantity in held.items():
            if not quantity or symbol in self._ending:
                continue
            contract = self._instruments.resolve(symbol)
            if contract is None or contract.expiry is None or contract.expiry > ist_date(ts):
                continue
            session = self._calendar.session(contract.expiry) if contract.expiry == ist_date(ts) else None
            if session is not None and ts < session.close_ns:
                self._ending[symbol] = _Ending(contract, session)
            else:
                self._ended_before(symbol, contract)

    def _ended_before(self, symbol: str, contract: Instrument) -> None:
        """Ended while no process was there: at the last price that was seen on its last day, if any was."""
        seen_ts, price = self._closes.pop(symbol, (0, 0.0))
        assert contract.expiry is not None
        session = self._calendar.session(contract.expiry) if ist_date(seen_ts) == contract.expiry else None
        if session is not None:
            ending = self._ending[symbol] = _Ending(contract, session)
            ending.last = Decimal(repr(price))

    def _note(self, ending: _Ending, batch: TickBatch, code: int, *, own: bool) -> None:
        session = ending.session
        since = session.open_ns if own else session.close_ns - ending.minutes * 60 * NS_PER_S
        mine = (batch.code == code) & (batch.ts_recv >= since) & (batch.ts_recv < session.close_ns) & (batch.ltp > 0)
        rows = np.flatnonzero(mine)
        if not len(rows):
            return
        if own:
            ending.last = Decimal(repr(float(batch.ltp[rows[-1]])))
        else:
            prices = np.rint(batch.ltp[rows] * _FINE).astype(np.int64)
            ending.underlying.add(prices.tolist(), batch.traded[rows].tolist())

    def _settle(self, ending: _Ending, quantity: int, ts: int) -> list[Event]:
        contract, settled = ending.contract, worth(ending)
        if contract.symbol in self._doubted:
            log.error(
                "a contract ended of which nobody knows what a corporate action made: it stays held, and is not traded",
                symbol=contract.symbol, held=quantity,
            )  # fmt: skip
            return []
        if settled is None:
            log.error(
                "a contract ended of which no price is known: it stays held, and is not traded",
                symbol=contract.symbol, held=quantity,
            )  # fmt: skip
            return []
        delivery = "" if contract.on_index else "; in truth it would end in delivery, which paper does not know"
        reason = f"settled at expiry at {settled.price}: {settled.words}{delivery}"
        tell = log.error if delivery else log.warning
        tell("a contract ended while it was held: it is settled", symbol=contract.symbol, held=quantity, reason=reason)
        side = Side.SELL if quantity > 0 else Side.BUY
        order_id = f"E{ts}-{contract.symbol}"
        pays = contract.kind is Kind.OPTION and quantity > 0
        costs = self._costs.exercise(contract, quantity, settled.price, ts).total if pays and settled.price else ZERO
        return [
            ContractClosing(ts=ts, symbol=contract.symbol, quantity=quantity, reason=reason),
            OrderIntent(
                ts=ts, order_id=order_id, symbol=contract.symbol, side=side, quantity=abs(quantity),
                type=OrderType.MARKET, limit_price=None, stop_price=None, reduces=True, strategy=SETTLEMENT,
                reason=reason, reference_price=settled.price,
            ),
            OrderAccepted(ts=ts, order_id=order_id, venue_id=order_id),
            Fill(
                ts=ts, fill_id=f"{order_id}:1", order_id=order_id, symbol=contract.symbol, side=side,
                quantity=abs(quantity), price=settled.price, costs=costs,
            ),
        ]  # fmt: skip


def averaged(day: dt.date) -> int:
    """How many of the last minutes of a session make the closing price."""
    rows: list[dict[str, Any]] = shipped_table(_TABLE)["averaged"]
    return [int(row["minutes"]) for row in rows if row["from"] <= day][-1]


def worth(ending: _Ending) -> Settled | None:
    """What one unit of a contract is at its end, by the closing price of what it stands for, else by its own last."""
    contract, underlying, last = ending.contract, ending.underlying.price, ending.last
    if underlying is None:
        return None if last is None else Settled(last, "its own last price, for no tick of the underlying came")
    words = f"{contract.underlying} closed at {underlying}, by the ticks of the last {ending.minutes} minutes"
    if contract.kind is not Kind.OPTION or contract.strike is None:
        return Settled(underlying, words)
    above = underlying - contract.strike
    return Settled(max(ZERO, above if contract.right == "CE" else -above), words)
