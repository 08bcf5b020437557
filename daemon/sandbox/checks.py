"""An order that was asked for → why it isn't taken: a request that can't be meant, or a rule of broker or exchange.

The first is refused at once, the second stands in the book as rejected. Pure. Invariant: nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from daemon.core.events import OrderType, Side
from daemon.market.instruments import Instrument, InstrumentBook
from daemon.sandbox.hours import REFUSALS, Phase
from daemon.sandbox.ledger import ZERO, Ledger
from daemon.sandbox.orders import BAD_PARAMETERS, BAD_SYMBOL, LIMITS, STOPS, Quote, Refusal, Wanted


class Checks:
    """What an order must comply with; `margin_rate` of its notional must be free."""

    def __init__(
        self, instruments: InstrumentBook, quotes: Mapping[str, Quote], ledger: Ledger, margin_rate: Decimal
    ) -> None:
        self._instruments = instruments
        self._quotes = quotes
        self._ledger = ledger
        self._margin_rate = margin_rate

    def problem(self, wanted: Wanted) -> Refusal | None:
        """Why the request can't be meant; None where it can."""
        instrument = self._instruments.resolve(wanted.symbol)
        known = instrument is not None and instrument.tradeable and not instrument.missing_lot
        if instrument is None or not known or wanted.symbol not in self._quotes:
            return Refusal(BAD_SYMBOL, "Invalid symbol provided")
        if wanted.quantity <= 0 or wanted.quantity % instrument.lot_size:
            return Refusal(BAD_PARAMETERS, f"qty: expected a positive multiple of {instrument.lot_size}")
        for name, price, needed in (
            ("limitPrice", wanted.limit_price, wanted.type in LIMITS),
            ("stopPrice", wanted.stop_price, wanted.type in STOPS),
        ):
            if needed and not instrument.on_grid(price):
                return Refusal(BAD_PARAMETERS, f"{name}: expected a positive multiple of {instrument.tick_size}")
        return None

    def objection(self, wanted: Wanted, phase: Phase) -> str:
        """Why an order that is in the book is thrown out at once, "" where it isn't."""
        if not phase.takes_orders:
            return REFUSALS[phase]
        if phase.collects and (wanted.type in STOPS or wanted.validity == "IOC"):
            return "Stop loss and IOC orders are not allowed in an auction session"
        ruled_out = self.ruled_out(wanted)
        if ruled_out:
            return ruled_out
        if (
            wanted.product == "CNC"
            and wanted.side is Side.SELL
            and wanted.quantity > self._ledger.delivered(wanted.symbol)
        ):
            return "RMS: no holdings to sell"
        shortfall = self._shortfall(wanted)
        return f"RMS: Margin Exceeds, Required: {shortfall:.2f} more" if shortfall > 0 else ""

    def ruled_out(self, wanted: Wanted) -> str:
        """The exchange's rule that the order breaks, however it came to be as it is; "" where it breaks none."""
        instrument = self.instrument(wanted.symbol)
        if wanted.type is OrderType.SL_MARKET and not instrument.takes_stops_at_market:
            return f"SL-M orders are not allowed in this segment of {instrument.exchange}"
        return self.frozen(wanted) or self.outside_band(wanted)

    def outside_band(self, wanted: Wanted) -> str:
        """Whether a price of the order is one that the day doesn't allow."""
        quote = self._quotes[wanted.symbol]
        prices = (
            wanted.limit_price if wanted.type in LIMITS else None,
            wanted.stop_price if wanted.type in STOPS else None,
        )
        for price in prices:
            low = quote.lower_band is not None and price is not None and price < quote.lower_band
            high = quote.upper_band is not None and price is not None and price > quote.upper_band
            if low or high:
                return f"Order price {price} is outside the circuit limits of {quote.lower_band} to {quote.upper_band}"
        return ""

    def frozen(self, wanted: Wanted) -> str:
        """Whether the order is for more units than the exchange takes in one."""
        most = self.instrument(wanted.symbol).freeze_quantity
        if most is None or wanted.quantity <= most:
            return ""
        return f"Order quantity {wanted.quantity} exceeds the freeze quantity of {most}"

    def only_closes(self, wanted: Wanted) -> bool:
        """Whether the order, all filled, would only make a position smaller."""
        held = self._ledger.net(wanted.symbol)
        return held * wanted.side.sign < 0 and wanted.quantity <= abs(held)

    def instrument(self, symbol: str) -> Instrument:
        """Of a symbol that has a quote and took an order."""
        instrument = self._instruments.resolve(symbol)
        assert instrument is not None  # no order is taken for a symbol that isn't known
        return instrument

    @property
    def utilised(self) -> Decimal:
        """Margin held by open positions, rupees."""
        held = (
            self._blocked(item.symbol, item.net, self._quotes[item.symbol].last)
            for item in self._ledger.positions.values()
        )
        return sum(held, ZERO)

    def margin(self, wanted: Wanted) -> Decimal:
        """Rupees that an order would block by itself."""
        price = wanted.limit_price if wanted.type in LIMITS else self._quotes[wanted.symbol].last
        return self._blocked(wanted.symbol, wanted.side.sign * wanted.quantity, price)

    def _blocked(self, symbol: str, quantity: int, price: Decimal) -> Decimal:
        """Of a signed quantity: a bought option costs its premium, a sold one a share of its strike's worth."""
        instrument = self._instruments.resolve(symbol)
        if instrument is not None and instrument.strike is not None:
            if quantity >= 0:
                return quantity * price
            return -quantity * max(instrument.strike, price) * self._margin_rate
        return abs(quantity) * price * self._margin_rate

    def _shortfall(self, wanted: Wanted) -> Decimal:
        """Rupees of margin that are missing for an order; what only reduces a position needs none."""
        if self.only_closes(wanted):
            return ZERO
        return self.margin(wanted) + self.utilised - self._ledger.balance
