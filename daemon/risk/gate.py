"""Intents → yes, or the check that says no, with its limit and the value.

Pure: it reads the intent, the `RiskBook` and the time. Invariant: after any sequence of approvals no limit of the
settings can be broken by their fills, and an order that only reduces a position is never denied for a limit on new
risk.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec

from daemon.core.clock import NS_PER_S, india_day
from daemon.core.events import MANUAL, PROTECTION, OrderIntent, SettingChanged, Side, TradingState
from daemon.market.calendar import Session, ist_clock, ist_date
from daemon.market.contracts import CURRENCIES
from daemon.market.costs import CostRangeError, CostSchedule
from daemon.market.instruments import FEW_TICKS, Instrument, Kind, lot_advice
from daemon.risk.book import PAISA, RiskBook, SymbolRisk, worst_position
from daemon.risk.expiry import ExpiryGuard
from daemon.risk.intents import Instruments, limits_of
from daemon.risk.lease import deny
from daemon.settings.derivatives import DerivativeSettings
from daemon.settings.risk import RiskSettings

MINUTE_NS = 60 * NS_PER_S
SAME = 1e-9
"""Rupees: prices so near to each other are one."""
FROZEN = "freeze_quantity"
"""The check that an exit passes in parts."""
SETTLED = "a position of which it is known what a corporate action made of it"


class Sessions(Protocol):
    """What risk needs of a calendar."""

    def session_at(self, ts_ns: int) -> Session | None:
        """The session that contains `ts_ns`."""


class RiskGate:
    """The checks, in order; the first that fails names itself, its limit and the value."""

    def __init__(
        self, settings: RiskSettings, instruments: Instruments, sessions: Sessions, no_entries_minutes: float,
        guard: ExpiryGuard | None = None, *, on_paper: bool = False, delivers: bool = False,
    ) -> None:  # fmt: skip
        """`guard`: of contracts that end, and the rules of options with it; None where there are none.

        `on_paper`: no broker says what is free, so that the book itself does. `delivers`: under the product CNC, by
        which what isn't held can't be sold: the broker would refuse it, or sell what lies in the depository.
        """
        self._delivers = delivers
        self._on_paper = on_paper
        self._settings = settings
        self.guard = guard
        self._derivatives = guard.settings if guard is not None else DerivativeSettings()
        self.instruments = self._instruments = instruments
        self._sessions = sessions
        self._costs = CostSchedule()
        self._no_entries_ns = int(no_entries_minutes * 60 * NS_PER_S)
        self.least_left: Decimal | None = None
        """What entries left of the free margin, at the least: rupees, below 0 where one was denied; None before one."""

    @property
    def limits(self) -> RiskSettings:
        """Those that hold now."""
        return self._settings

    def retune(self, change: SettingChanged) -> RiskSettings:
        """Check by other limits from here on; the limits. Raises `ValidationError` for one that can't be."""
        name = change.key.removeprefix("risk.")
        limits = self._settings.model_dump() | {name: msgspec.json.decode(change.after)}
        self._settings = RiskSettings.model_validate(limits)
        return self._settings

    def check(
        self, intent: OrderIntent, book: RiskBook, now: int, heard: int | None = None
    ) -> tuple[str, str, str] | None:
        """None when the intent may go; else (check, limit, value).

        `heard`: up to when the feed was listened to, where that is before `now`, as with an injected latency.
        """
        if now <= 0:
            return "session", "a time of day, which the first tick tells", "none yet"
        instrument = self._instruments.resolve(intent.symbol)
        if instrument is None:
            return "instrument", "a known symbol", intent.symbol
        if instrument.missing_lot and not intent.reduces:  # what is held can be closed, whatever its lot is
            return "missing_lot", f"a known lot: {lot_advice(instrument)}", intent.symbol
        if not instrument.tradeable:
            return "instrument", "a tradeable instrument", f"{intent.symbol} is {untradeable(instrument)}"
        over = self.guard.over(intent.symbol, now) if self.guard is not None else ""
        if over:
            return "expiry", "a contract that still trades", over
        lot, held = instrument.lot_size, book.of(intent.symbol).position
        if intent.quantity <= 0 or (intent.quantity % lot and not (intent.reduces and held % lot)):
            return "lot_size", f"a multiple of {lot}", str(intent.quantity)
        for price in (intent.limit_price, intent.stop_price, intent.stop_loss, intent.take_profit):
            if price is not None and not instrument.on_grid(price):
                return "tick_size", f"a positive multiple of {instrument.tick_size}", str(price)
        entry, largest, frozen = book.of(intent.symbol), instrument.largest_order, None
        if largest is not None and intent.quantity > largest:
            frozen = FROZEN, f"at most {largest} in one order", str(intent.quantity)
        if intent.reduces:  # one that may go but for that goes in parts
            return self._check_exit(intent, entry, book, now) or frozen
        return frozen or self._check_entry(intent, entry, book, now, now if heard is None else min(now, heard))

    def _check_exit(
        self, intent: OrderIntent, entry: SymbolRisk, book: RiskBook, now: int
    ) -> tuple[str, str, str] | None:
        if book.state is TradingState.HALTED and not self._settings.exits_when_halted:
            return "trading_state", "ACTIVE or REDUCING", book.state.value
        if intent.symbol in book.unsettled and intent.strategy != MANUAL:
            return "symbol_halted", f"{SETTLED}, or an order by hand", book.unsettled[intent.symbol]
        closable = entry.position - entry.working_sells
        if intent.side is Side.BUY:
            closable = -entry.position - entry.working_buys
        if book.adds(intent) > max(0, closable):  # a stop beside its target adds nothing
            return "reduces", f"at most the {max(0, closable)} that are open", str(intent.quantity)
        return self._check_prices(intent, entry, now)

    def _check_entry(
        self, intent: OrderIntent, entry: SymbolRisk, book: RiskBook, now: int, heard: int
    ) -> tuple[str, str, str] | None:
        limits = self._settings
        if book.state is not TradingState.ACTIVE:
            return "trading_state", TradingState.ACTIVE.value, book.state.value
        trouble = (
            self._check_bracket(intent, entry, book)
            or self._check_contract(intent, entry, book, now)
            or self._check_charges(intent, now)
        )
        if trouble is not None:
            return trouble
        session = self._sessions.session_at(now)
        if session is None:
            return "session", "inside a trading session", f"{ist_date(now)} {ist_clock(now)} IST"
        if session.close_ns - now <= self._no_entries_ns:
            left = f"{(session.close_ns - now) / MINUTE_NS:.1f} minutes before the close"
            return "session", f"more than {self._no_entries_ns / MINUTE_NS:g} minutes before the close", left
        trouble = self._check_trouble(intent, book, now)
        if trouble is not None:
            return trouble
        stale = book.stale.get(None) or book.stale.get(intent.symbol)
        if stale:
            return "stale_feed", "a feed that can be relied on", stale
        if not entry.last_ts:
            return "stale_feed", f"a tick within {limits.stale_after_s:g} s", f"no tick of {intent.symbol} so far"
        age_s = (heard - entry.last_ts) / NS_PER_S
        if age_s > limits.stale_after_s:
            return "stale_feed", f"a tick within {limits.stale_after_s:g} s", f"{age_s:.1f} s"
        day_pnl = book.day_pnl()
        if day_pnl <= -limits.max_daily_loss:
            return "daily_loss", f"above -{limits.max_daily_loss}", str(day_pnl.quantize(PAISA))
        if limits.max_day_drawdown is not None and day_pnl <= book.day_high - limits.max_day_drawdown:
            fallen = (book.day_high - day_pnl).quantize(PAISA)
            return "day_drawdown", f"less than {limits.max_day_drawdown} below the day's high", str(fallen)
        return self._check_size(intent, entry, book, now)

    def _check_bracket(self, intent: OrderIntent, entry: SymbolRisk, book: RiskBook) -> tuple[str, str, str] | None:
        """A stop on the losing side of the price, a target on the winning; and no turning round of what has them."""
        if book.is_against_bracket(intent):
            return "bracket", "a position that is closed before the other side is opened", f"{entry.position} held"
        price, sign = intent.limit_price or Decimal(str(entry.last_price)), intent.side.sign
        for name, wanted, where in (("stop", intent.stop_loss, sign), ("target", intent.take_profit, -sign)):
            if wanted is not None and (price - wanted) * where <= 0:
                side = "below" if where > 0 else "above"
                return "bracket", f"a {name} {side} the price {price} of a {intent.side}", str(wanted)
        return None

    def _check_contract(
        self, intent: OrderIntent, entry: SymbolRisk, book: RiskBook, now: int
    ) -> tuple[str, str, str] | None:
        """Contracts that end, and what is sold without being held: options, and anything under CNC."""
        sells = intent.side is Side.SELL and entry.position - entry.working_sells - intent.quantity < 0
        if sells and self._delivers:
            return "short_selling", "what is held (broker.live.product is CNC)", str(intent.quantity)
        if self.guard is None:
            return None
        instrument = self._instruments.resolve(intent.symbol)
        if sells and instrument is not None and instrument.kind is Kind.OPTION:
            if not self._derivatives.sell_options:
                return "option_selling", "options that are held (derivatives.sell_options)", str(intent.quantity)
            if instrument.strike is None:
                return "option_selling", "an option whose strike its name tells", intent.symbol
        return self.guard.denial(intent.symbol, now)

    def _check_charges(self, intent: OrderIntent, now: int) -> tuple[str, str, str] | None:
        """What nobody knows the charges of isn't traded: no fill of it could be booked."""
        instrument = self._instruments.resolve(intent.symbol)
        try:
            if instrument is not None:
                self._costs.charges(instrument, intent.side, intent.quantity, intent.reference_price, now)
        except CostRangeError as error:
            return "charges", "a trade whose charges are known", str(error)
        return None

    def _check_trouble(self, intent: OrderIntent, book: RiskBook, now: int) -> tuple[str, str, str] | None:
        """Symbols whose state nobody knows for sure, and orders that come too fast or twice."""
        limits = self._settings
        if book.unread:
            return "broker_unread", "a broker whose book and positions can be read", book.unread
        halted = book.halted.get(intent.symbol)
        if halted is not None:
            return "symbol_halted", "a symbol on which broker and journal agree", halted
        if intent.symbol in book.unsettled:
            return "symbol_halted", SETTLED, book.unsettled[intent.symbol]
        if intent.symbol in book.unknown.values():
            order_id = next(key for key, symbol in book.unknown.items() if symbol == intent.symbol)
            return "unknown_order", "no order of the symbol whose fate is unknown", order_id
        a_second, a_minute = limits.max_orders_per_second, limits.max_orders_per_minute
        for check, limit, count in (
            ("orders_per_second", a_second, book.approved_since(now - NS_PER_S, a_second)),
            ("orders_per_minute", a_minute, book.approved_since(now - MINUTE_NS, a_minute)),
            ("orders_per_day", limits.max_orders_per_day, book.approved_on(india_day(now))),
        ):
            if count >= limit:
                return check, str(limit), str(count)
        twin = book.same_since(intent, now - int(limits.duplicate_window_s * NS_PER_S))
        if twin is not None:
            return "duplicate", f"none like it within {limits.duplicate_window_s:g} s", twin.order_id
        return None

    def _check_prices(self, intent: OrderIntent, entry: SymbolRisk, now: int) -> tuple[str, str, str] | None:
        """Limit and stop prices must lie within the day's band, where the feed tells it, and near the last price."""
        lower, upper = entry.band_on(now)
        for price in (intent.limit_price, intent.stop_price, intent.stop_loss, intent.take_profit):
            low, high = lower is not None and price is not None, upper is not None and price is not None
            if (low and price < lower) or (high and price > upper):  # type: ignore[operator]
                return "day_band", f"within the day's price band of {lower} to {upper}", str(price)
        band, instrument = self._settings.price_band_percent, self._instruments.resolve(intent.symbol)
        few = FEW_TICKS * float(instrument.tick_size) if instrument is not None else 0.0
        last = 0.0 if intent.strategy == PROTECTION else entry.last_price  # where it is to be is known by the entry
        for price in (intent.limit_price, intent.stop_price):
            if price is None or last <= 0:
                continue
            away = abs(float(price) - last)
            if away > max(last * band / 100, few + SAME):
                off = f"{price} ({away / last * 100:.2f} %)"
                return "price_band", f"within {band:g} % of the last price {last:g}", off
        return None

    def _check_exposure(
        self, intent: OrderIntent, after: int, price: Decimal, book: RiskBook
    ) -> tuple[str, str, str] | None:
        """Longs less shorts, and the margin that the broker has free."""
        limits = self._settings
        if limits.max_net_notional is not None:
            towards = book.of(intent.symbol).gains_with(intent.side)
            net = book.net_notional(intent.symbol, towards) + towards.sign * after * price
            if towards.sign * net > limits.max_net_notional:
                return "net_notional", str(limits.max_net_notional), str(net.quantize(PAISA))
        free = self.free(book)
        if free is not None:
            margin = self.margin(intent, price)
            self.least_left = free - margin if self.least_left is None else min(self.least_left, free - margin)
            if margin > free:
                return "funds", f"{free.quantize(PAISA)} available", str(margin.quantize(PAISA))
        return None

    def free(self, book: RiskBook) -> Decimal | None:
        """Rupees for new margin: what the broker said; on paper what the account is worth less what it has lent.

        None where nobody says.
        """
        equity = book.equity if self._on_paper else None
        if equity is None:
            return book.free
        entries = ((symbol, entry, worst_position(entry)) for symbol, entry in book.symbols.items())
        lent = (
            self._margin_of(symbol, entry.largest_side, quantity, Decimal(str(book.price_of(symbol))))
            for symbol, entry, quantity in entries
            if quantity and symbol not in book.over
        )
        return equity - sum(lent, Decimal(0))

    def margin(self, intent: OrderIntent, price: Decimal | None = None) -> Decimal:
        """Rupees that the broker will want for an entry at `price` (its own where None); an exit frees some."""
        if intent.reduces:
            return Decimal(0)
        price = price or intent.limit_price or intent.reference_price
        return self._margin_of(intent.symbol, intent.side, intent.quantity, price)

    def _margin_of(self, symbol: str, side: Side, quantity: int, price: Decimal) -> Decimal:
        """Rupees for so many units at `price`."""
        paid = quantity * price
        instrument, rules = self._instruments.resolve(symbol), self._derivatives
        if instrument is None or instrument.kind is Kind.EQUITY:
            return paid * Decimal(str(self._settings.margin_rate))
        if instrument.kind is not Kind.OPTION:
            return paid * Decimal(str(rules.future_margin_rate or self._settings.margin_rate))
        if side is Side.BUY:
            return paid
        value = max(paid, quantity * (instrument.strike or Decimal(0)))
        return value * Decimal(str(rules.sold_option_margin_rate))

    @property
    def peak_step(self) -> Decimal | None:
        """How much the day's highest profit must grow to be told again; None where no limit depends on it."""
        limit = self._settings.max_day_drawdown
        return None if limit is None else limit / 50

    def _check_size(
        self, intent: OrderIntent, entry: SymbolRisk, book: RiskBook, now: int
    ) -> tuple[str, str, str] | None:
        limits = limits_of(self._settings, self._instruments, intent.symbol)
        if intent.quantity > limits.max_order_quantity:
            return "order_quantity", str(limits.max_order_quantity), str(intent.quantity)
        outside = self._check_prices(intent, entry, now)
        if outside is not None:
            return outside
        price = max(intent.reference_price, intent.limit_price or Decimal(0), Decimal(str(entry.last_price)))
        if intent.side is Side.SELL:  # what a sold option may cost is its underlying's to say, not the premium
            price = max(price, Decimal(str(entry.strike)))
        notional = intent.quantity * price
        if notional > limits.max_order_notional:
            return "order_notional", str(limits.max_order_notional), str(notional.quantize(PAISA))
        after = entry.position + entry.working_buys + intent.quantity
        if intent.side is Side.SELL:
            after = -(entry.position - entry.working_sells - intent.quantity)
        if after > limits.max_position_quantity:
            return "position", str(limits.max_position_quantity), str(after)
        gross = book.gross_notional(without=intent.symbol) + max(after, worst_position(entry)) * price
        if gross > limits.max_gross_notional:
            return "gross_notional", str(limits.max_gross_notional), str(gross.quantize(PAISA))
        return (
            (deny(book.lease.leased, book.lease.trouble, gross) if book.lease is not None else None)
            or self._check_share(intent, after, notional, book)
            or self._check_exposure(intent, after, price, book)
        )

    def _check_share(
        self, intent: OrderIntent, after: int, notional: Decimal, book: RiskBook
    ) -> tuple[str, str, str] | None:
        """Of the limits on size a candidate has a share."""
        limits = limits_of(self._settings, self._instruments, intent.symbol)
        size = book.size_of(intent.strategy)
        if size >= 1:
            return None
        for name, limit, value in (
            ("order_quantity", Decimal(limits.max_order_quantity), Decimal(intent.quantity)),
            ("position_quantity", Decimal(limits.max_position_quantity), Decimal(after)),
            ("order_notional", limits.max_order_notional, notional),
        ):
            if value > limit * Decimal(str(size)):
                return "canary_size", f"{size:g} of max_{name} {limit}", str(value)
        return None


def untradeable(instrument: Instrument) -> str:
    """What an instrument is that can't be traded, and why where that isn't plain."""
    what = f"an {instrument.kind}"
    if instrument.exchange not in ("NSE", "BSE"):
        return f"{what} of {instrument.exchange}: what one unit of its quantity is there isn't known here"
    return f"{what} on a currency: what one unit of its quantity is isn't known here" if (
        instrument.is_contract and instrument.underlying in CURRENCIES
    ) else what  # fmt: skip
