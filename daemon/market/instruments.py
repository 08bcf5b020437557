"""Turns a symbol as the tape or the venue spells it into an `Instrument`: kind, lot, tick, and whether it may trade.

Listed instruments (settings `market.instruments`, by symbol or alias) come first; one that is not listed is read by
Fyers' grammar when `market.unlisted` is `infer`. Lots and ticks of index futures are dated: a book speaks for one date,
so that everyone in a run rounds the same way. Shares are given the tick of 0.05, though NSE's depends on the price
since 2024-06: list the share with its `tick_size` where that matters, or use a symbol master.
With a symbol master of the day lots and ticks are the master's, what isn't in it is unknown, and `traded_as` says under
which symbol orders go out: an index as its front future, `NSE:NIFTY-FUT1` as the front contract, `-FUT2` as the next.
Invariant: the instrument carries the very symbol that was asked for, and with a master only a symbol that the exchange
knows is tradeable.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from daemon.core.errors import SettingsError
from daemon.core.events import Side
from daemon.market.calendar import MarketCalendar
from daemon.market.contracts import CURRENCIES, FUTURE, OPTION, on_index, read_contract
from daemon.market.freeze import FreezeTable
from daemon.market.symbol_master import Listing, SymbolMaster
from daemon.market.tables import shipped_table
from daemon.settings.market import InstrumentSettings, MarketSettings

INDEX_SUFFIX: Final = "-INDEX"
DEFAULT_TICK: Final = Decimal("0.05")
FEW_TICKS: Final = 4
"""A move of so many ticks of the price grid is never a jump, however large a share of a small price it is."""
_TABLE: Final = "index_futures.yaml"
_PRICED_EXCHANGES: Final = ("NSE", "BSE")
_INDEX: Final = re.compile(r"(?P<name>[A-Z0-9_ &-]+)-INDEX")
_ALIAS: Final = re.compile(r"(?P<name>\d*[A-Z][A-Z0-9&-]*)-FUT(?P<month>[1-9])")
_NSE: Final = "EQ|BE|BZ|E1|SM|ST|SZ|RR|IV"
_BSE: Final = "A|B|E|IF|M|MS|MT|P|T|TS|X|XT|Z|ZP"
_SERIES: Final = re.compile(rf"(?P<name>[A-Z0-9][A-Z0-9&-]*)-(?:{_NSE}|{_BSE})")
"""Of shares; RR, IV and IF of units of real estate and infrastructure trusts, traded and taxed as they are."""
_BARE: Final = re.compile(r"(?!.*-I{1,3}$)[A-Z0-9][A-Z0-9&-]{0,19}")
"""But for a vendor's nearest, next and far future: NIFTY-I, NIFTY-II, NIFTY-III."""


@lru_cache(maxsize=4096)
def names_contract(symbol: str) -> bool:
    """Whether a symbol reads as one future or option; asked at every moment of what is held."""
    return read_contract(symbol) is not None


class Kind(StrEnum):
    """What is traded; decides the costs."""

    EQUITY = "equity"
    INDEX = "index"
    FUTURE = "future"
    OPTION = "option"


class Instrument(msgspec.Struct, frozen=True):
    """One tradeable or merely quoted thing. `tick_size` in rupees; quantities are in units, multiples of `lot_size`.

    The exchange refuses an order for more than `freeze_quantity` units; None where it isn't known.
    """

    symbol: str
    kind: Kind
    exchange: str
    lot_size: int
    tick_size: Decimal
    tradeable: bool
    freeze_quantity: int | None = None
    missing_lot: bool = False
    """Nobody said what its lot is: no order is for a right quantity then, whatever `lot_size` (1) says."""
    underlying: str = ""
    """What a contract, or an index, stands for, such as NIFTY; "" for a share."""
    expiry: dt.date | None = None
    """The last day of a contract; None for what has none, or one that nobody told."""
    strike: Decimal | None = None
    right: str = ""
    """CE (a call) or PE (a put); "" for what is no option."""
    on_index: bool = False
    """Whether a contract is settled in cash; one on a share is settled by delivery."""

    @property
    def is_contract(self) -> bool:
        """Whether it is one future or option, which ends; an index or an alias that stands for one doesn't."""
        return self.expiry is not None or names_contract(self.symbol)

    @property
    def delivered(self) -> bool:
        """Whether who holds it at its expiry gets shares, or owes them."""
        return self.is_contract and not self.on_index

    @property
    def takes_stops_at_market(self) -> bool:
        """Whether its exchange takes SL-M orders: NSE none in options since 2021-09-27, BSE none since 2023-10-09."""
        return self.exchange != "BSE" and self.kind is not Kind.OPTION

    def stands_for(self, other: Instrument) -> bool:
        """Whether it is a contract on `other`, an index or a share of its exchange."""
        if not self.is_contract or other.exchange != self.exchange:
            return False
        if other.kind is Kind.INDEX:
            return other.underlying == self.underlying
        body = other.symbol.rpartition(":")[2].removesuffix("-EQ")
        return other.kind is Kind.EQUITY and body == self.underlying

    def family(self) -> str:
        """All contracts of a kind on one underlying, as `risk.limits` names them: NSE:NIFTY-FUT, NSE:NIFTY-OPT."""
        if not self.underlying:
            return self.symbol
        return f"{self.exchange}:{self.underlying}-{'OPT' if self.kind is Kind.OPTION else 'FUT'}"

    @property
    def largest_order(self) -> int | None:
        """The most units of one order, in whole lots; None where the exchange's limit isn't known."""
        if self.freeze_quantity is None:
            return None
        return max(self.lot_size, self.freeze_quantity // self.lot_size * self.lot_size)

    def round_price(self, price: Decimal | float, side: Side | None = None) -> Decimal:
        """`price` on the tick grid: against a BUY upwards, against a SELL downwards, to the nearest without a side.

        At least one tick; a float is taken at its shortest decimal writing.
        """
        exact = price if isinstance(price, Decimal) else Decimal(repr(float(price)))
        rounding = ROUND_HALF_UP if side is None else ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        ticks = (exact / self.tick_size).to_integral_value(rounding=rounding)
        return max(ticks, Decimal(1)) * self.tick_size

    def within(self, price: Decimal, lower: Decimal | None, upper: Decimal | None) -> Decimal:
        """`price`, or the end of the band that it lies beyond, on the tick grid inside it; None is no end."""
        if upper is not None and price > upper:
            return self.round_price(upper, Side.SELL)
        if lower is not None and price < lower:
            return self.round_price(lower, Side.BUY)
        return price

    def on_grid(self, price: Decimal) -> bool:
        """Whether `price` is a positive multiple of the tick."""
        return price > 0 and price % self.tick_size == 0

    def round_quantity(self, quantity: float | Decimal) -> int:
        """`quantity` rounded down to whole lots, in units; 0 where it does not reach one lot."""
        lots = (Decimal(quantity) / self.lot_size).to_integral_value(rounding=ROUND_DOWN)
        return max(0, int(lots)) * self.lot_size


def jumps_by_kind(percent: float, of_option_percent: float) -> dict[Kind, float]:
    """The share of its price that an instrument of each kind may move at once."""
    return dict.fromkeys(Kind, percent / 100.0) | {Kind.OPTION: of_option_percent / 100.0}


class InstrumentBook:
    """All instruments of a run, with the lots of the date `as_of` (default: the newest that the table knows).

    With a `master`, of its day unless told. `on_paper`: there is no exchange that must know a symbol, so that indices
    and aliases are traded under their own names and prices, at the lot and tick of the contract that stands for them.
    Raises `SettingsError` where settings and master contradict each other.
    """

    def __init__(
        self,
        settings: MarketSettings,
        as_of: dt.date | None = None,
        master: SymbolMaster | None = None,
        *,
        on_paper: bool = False,
        calendar: MarketCalendar | None = None,
    ) -> None:
        """`calendar`: whose holidays move an expiry; None: the one that ships."""
        self._calendar = calendar
        self._settings = settings
        self._master = master
        self._on_paper = on_paper
        self._as_of = as_of or (master.day if master is not None else dt.date.max)
        self._futures, self._names = _index_futures(as_of or dt.date.max)
        self._freeze = FreezeTable(self._as_of, settings.freeze_quantities)
        self._listed: dict[str, InstrumentSettings] = {}
        for item in settings.instruments:
            for symbol in (item.symbol, *item.aliases):
                if symbol in self._listed:
                    raise SettingsError(
                        f"market.instruments: {symbol!r} stands for both {self._listed[symbol].symbol!r} and "
                        f"{item.symbol!r}; expected each symbol and alias once"
                    )
                self._listed[symbol] = item
            self._check_listed(item)
        self._resolved: dict[str, Instrument | None] = {}
        self._traded_as: dict[str, str] = {}

    def resolve(self, symbol: str) -> Instrument | None:
        """The instrument behind `symbol`, None where it is neither listed nor can be read."""
        if symbol not in self._resolved:
            item = self._listed.get(symbol)
            if self._master is not None:
                self._resolved[symbol] = self._from_master(self._master, symbol)
            elif item is not None:
                self._resolved[symbol] = self._from_settings(symbol, item)
            elif self._settings.unlisted == "infer":
                self._resolved[symbol] = self._infer(symbol)
            else:
                self._resolved[symbol] = None
            self._resolved[symbol] = self._contracted(self._limited(self._resolved[symbol]))
        return self._resolved[symbol]

    def check_lots(self, symbols: Sequence[str]) -> None:
        """Raise `SettingsError` for the first of the configured symbols whose lot nobody said."""
        for symbol in symbols:
            found = self.resolve(symbol)
            if found is not None and found.missing_lot:
                raise SettingsError(f"feed.symbols: {symbol}: its lot is not known; {lot_advice(found)}")

    def unlisted(self, symbols: Iterable[str]) -> str:
        """Which of the configured symbols the symbol master doesn't have, in words; "" where it has all, or none is."""
        unknown = [symbol for symbol in symbols if self.resolve(symbol) is None] if self._master is not None else []
        return f"feed.symbols: {', '.join(unknown)}: not in the symbol master of {self._as_of}" if unknown else ""

    def check_freeze_quantities(self, symbols: Iterable[str]) -> None:
        """Raise `SettingsError` for the first of the symbols of which one order may be for less than a lot."""
        for symbol in symbols:
            found = self.resolve(symbol)
            if found is not None and found.freeze_quantity is not None and found.freeze_quantity < found.lot_size:
                raise SettingsError(
                    f"market.freeze_quantities: {symbol}: {found.freeze_quantity} is less than its lot of "
                    f"{found.lot_size}, so that no order would be taken; expected that or more"
                )

    def check_named(self, limits: Iterable[str]) -> None:
        """Raise `SettingsError` where a limit, a freeze quantity or a corporate action would hold for nothing."""
        self.check_known("risk.limits", limits)
        self.check_known("market.freeze_quantities", self._settings.freeze_quantities)
        self.check_known("market.adjustments", [item.symbol for item in self._settings.adjustments])

    def check_known(self, key: str, symbols: Iterable[str]) -> None:
        """Raise `SettingsError` for the first of the symbols under `key` that no instrument and no family can have."""
        for symbol in symbols:
            body = _split(symbol)[1]
            family = body.endswith(("-FUT", "-OPT")) and body == body.upper()
            if not family and self.resolve(symbol) is None and self._kind_of(body, bare=":" not in symbol) is None:
                raise SettingsError(
                    f"{key}: {symbol}: no such symbol, so that it would hold for nothing; expected one such as "
                    "NSE:SBIN-EQ"
                )

    def idle(self, limits: Iterable[str], symbols: Iterable[str]) -> list[str]:
        """A line for each of `limits` that holds for none of `symbols`, nor for what they are traded as.

        So for the settings' corporate actions and freeze quantities, of which one of a bare name is for the contracts
        on it.
        """
        used: set[str] = set()
        frozen: set[str] = set()
        for symbol in symbols:
            for name in {symbol, self.traded_as(symbol)}:
                found = self.resolve(name)
                used |= {name} if found is None else {name, found.family()}
                frozen |= set() if found is None else set(self._frozen_as(found))
        idle = [("risk.limits", name) for name in limits if name not in used]
        idle += [("market.freeze_quantities", name) for name in self._settings.freeze_quantities if name not in frozen]
        played = {self._settings.canonical(symbol) for symbol in symbols}
        acting = dict.fromkeys(item.symbol for item in self._settings.adjustments)
        idle += [("market.adjustments", name) for name in acting if self._settings.canonical(name) not in played]
        return [f"{key}: {name}: not among the symbols, so it holds for nothing" for key, name in idle]

    def _frozen_as(self, found: Instrument) -> tuple[str, ...]:
        """The names under which it may have a freeze quantity: its own, those it is traded for, what it stands for."""
        listed = self._listed.get(found.symbol)
        traded_for = [name for name in self._settings.freeze_quantities if self.traded_as(name) == found.symbol]
        underlying = self._underlying(_split(listed.symbol if listed is not None else found.symbol)[1])
        return found.symbol, *traded_for, underlying

    def _limited(self, found: Instrument | None) -> Instrument | None:
        """With the freeze quantity of the contract, or of what an index is traded as."""
        if found is None:
            return None
        quantity = self._freeze.of(*self._frozen_as(found), derivative=found.kind is not Kind.EQUITY)
        return found if quantity is None else msgspec.structs.replace(found, freeze_quantity=quantity)

    def _contracted(self, found: Instrument | None) -> Instrument | None:
        """With what it stands for and when it ends.

        The symbol master's word on the expiry goes before that of `market.instruments`, this before the name's.
        """
        if found is None or found.kind is Kind.EQUITY:
            return found
        listed = self._listed.get(found.symbol)
        name = listed.symbol if listed is not None else found.symbol
        exchange, body = _split(name)
        underlying = self._underlying(body)
        found = msgspec.structs.replace(found, underlying=underlying, on_index=on_index(exchange, underlying))
        said = None if found.kind is Kind.INDEX else read_contract(f"{exchange}:{body}", self._calendar)
        if said is None:
            return found
        row = self._listing(self._master, name, None) if self._master is not None else None
        return msgspec.structs.replace(
            found, strike=said.strike, right=said.right,
            expiry=row.expiry if row is not None else (listed.expiry if listed is not None else None) or said.expiry,
            on_index=row.is_on_index if row is not None else said.on_index,
            tradeable=found.tradeable and underlying not in CURRENCIES,
        )  # fmt: skip

    def check_expiries(self, symbols: Sequence[str]) -> None:
        """Raise `SettingsError` for the first of the configured symbols whose contract ended before `as_of`."""
        known = self._as_of != dt.date.max
        for symbol in symbols:
            found = self.resolve(symbol)
            if known and found is not None and found.expiry is not None and found.expiry < self._as_of:
                raise SettingsError(
                    f"feed.symbols: {symbol}: expired on {found.expiry}; name a contract that still trades, or "
                    f"{found.exchange}:{found.underlying}-FUT1, which a symbol master rolls"
                )

    def traded_as(self, symbol: str) -> str:
        """The symbol under which an order on `symbol` goes out: itself, unless a symbol master knows better.

        Where there is no contract it is `symbol` itself, which is not tradeable then.
        """
        if self._master is None or self._on_paper:
            return symbol
        if symbol not in self._traded_as:
            self._traded_as[symbol] = self._contract_of(self._master, symbol)
        return self._traded_as[symbol]

    def _contract_of(self, master: SymbolMaster, symbol: str) -> str:
        """What the exchange knows `symbol` as; itself where it knows nothing of the kind."""
        listed = self._listed.get(symbol)
        exchange, body = _split(listed.symbol if listed is not None else symbol)
        alias = _ALIAS.fullmatch(body)
        if alias is not None:
            return self._contract(master, exchange, alias["name"], int(alias["month"])) or symbol
        if self._is_index(symbol, listed, body):
            if not self._settings.index_as_future:
                return symbol
            listing = master.listing(f"{exchange}:{body}")
            name = listing.name if listing is not None else self._index_name(body)
            return self._contract(master, exchange, name, 1) or symbol
        listing = self._listing(master, symbol, listed)
        return listing.symbol if listing is not None else symbol

    def needed_for(self, symbols: Sequence[str]) -> list[str]:
        """What a feed must deliver so that `symbols` can be decided on and traded.

        Contracts in place of aliases, and the futures of indices beside them.
        """
        wanted: list[str] = []
        for symbol in symbols:
            found = self.resolve(symbol)
            traded = self.traded_as(symbol)
            wanted += [symbol, traded] if found is not None and found.kind is Kind.INDEX else [traded]
        return list(dict.fromkeys(wanted))

    def _contract(self, master: SymbolMaster, exchange: str, name: str, month: int) -> str | None:
        return master.future(exchange, self._names.get(name, name), month, self._as_of, self._settings.roll_days)

    def _is_index(self, symbol: str, listed: InstrumentSettings | None, body: str) -> bool:
        if listed is not None:
            return Kind(listed.kind) is Kind.INDEX
        return self._kind_of(body, bare=":" not in symbol) is Kind.INDEX

    def _listing(self, master: SymbolMaster, symbol: str, listed: InstrumentSettings | None) -> Listing | None:
        """The row of what is no index and no alias; a bare name is an NSE share."""
        name = listed.symbol if listed is not None else symbol
        return master.listing(name if ":" in name else f"NSE:{name}-EQ") or master.listing(name)

    def _from_master(self, master: SymbolMaster, symbol: str) -> Instrument | None:
        """As the master has it; `index` and aliases take the lot and tick of the contract that stands for them."""
        listed = self._listed.get(symbol)
        if listed is None and self._settings.unlisted == "reject" and symbol not in self._contracts_of_listed(master):
            return None
        exchange, body = _split(listed.symbol if listed is not None else symbol)
        contract = self._contract_of(master, symbol)
        listing = master.listing(contract)
        if self._is_index(symbol, listed, body):
            if listing is None or listing.is_index:
                known = listing is not None or ":" not in symbol
                return Instrument(symbol, Kind.INDEX, exchange, 1, DEFAULT_TICK, False) if known else None
            tradeable = self._on_paper and exchange in _PRICED_EXCHANGES
            return Instrument(symbol, Kind.INDEX, exchange, listing.lot_size, listing.tick_size, tradeable)
        if listing is None or listing.is_index:
            return None
        kind = Kind.FUTURE if listing.is_future else Kind.OPTION if listing.is_option else Kind.EQUITY
        tradeable = exchange in _PRICED_EXCHANGES and (self._on_paper or symbol == contract)
        return Instrument(symbol, kind, exchange, listing.lot_size, listing.tick_size, tradeable)

    def _contracts_of_listed(self, master: SymbolMaster) -> set[str]:
        """What listed indices and aliases are traded as: nobody lists a contract that changes every month."""
        return {self._contract_of(master, symbol) for symbol in self._listed}

    def _check_listed(self, item: InstrumentSettings) -> None:
        """A lot or tick in the settings that isn't the exchange's would have every order refused, or far too large."""
        listing = self._master.listing(item.symbol) if self._master is not None else None
        if listing is None or listing.is_index:
            return
        for name, said, true in (
            ("lot_size", item.lot_size, listing.lot_size), ("tick_size", item.tick_size, listing.tick_size),
        ):  # fmt: skip
            if name in item.model_fields_set and said != true:
                raise SettingsError(
                    f"market.instruments: {item.symbol}: {name} is {said}, but {true} in the symbol master of "
                    f"{self._master.day if self._master else ''}; leave it out"
                )

    def _from_settings(self, symbol: str, item: InstrumentSettings) -> Instrument:
        kind = Kind(item.kind)
        exchange, body = _split(item.symbol)
        lot_size, tick_size = self._lot_and_tick(kind, body)
        if "lot_size" in item.model_fields_set:
            lot_size = item.lot_size
        if "tick_size" in item.model_fields_set:
            tick_size = item.tick_size
        has_lot = "lot_size" in item.model_fields_set
        tradeable = self._tradeable(kind, exchange, body, has_lot=has_lot)
        missing = tradeable and not has_lot and self._lacks_lot(kind, body)
        return Instrument(symbol, kind, exchange, lot_size, tick_size, tradeable, missing_lot=missing)

    def _infer(self, symbol: str) -> Instrument | None:
        exchange, body = _split(symbol)
        kind = self._kind_of(body, bare=":" not in symbol)
        if kind is None:
            return None
        lot_size, tick_size = self._lot_and_tick(kind, body)
        tradeable = self._tradeable(kind, exchange, body, has_lot=False)
        missing = tradeable and self._lacks_lot(kind, body)
        return Instrument(symbol, kind, exchange, lot_size, tick_size, tradeable, missing_lot=missing)

    def _lacks_lot(self, kind: Kind, body: str) -> bool:
        """Whether it is a derivative of something whose lot the dated table doesn't know."""
        return kind in (Kind.FUTURE, Kind.OPTION) and self._underlying(body) not in self._futures

    def _tradeable(self, kind: Kind, exchange: str, body: str, *, has_lot: bool) -> bool:
        """Whether its costs are known and an index has a future: one in the table, or one whose lot is listed."""
        if exchange not in _PRICED_EXCHANGES:
            return False
        if kind is not Kind.INDEX:
            return True
        return self._settings.index_as_future and (has_lot or self._index_name(body) in self._futures)

    def _kind_of(self, body: str, *, bare: bool) -> Kind | None:
        if _INDEX.fullmatch(body) or (bare and body in self._names):
            return Kind.INDEX
        if FUTURE.fullmatch(body) or _ALIAS.fullmatch(body):
            return Kind.FUTURE
        if OPTION.fullmatch(body):
            return Kind.OPTION
        if _SERIES.fullmatch(body) or (bare and _BARE.fullmatch(body) and body not in CURRENCIES):
            return Kind.EQUITY
        return None

    def _lot_and_tick(self, kind: Kind, body: str) -> tuple[int, Decimal]:
        """From the dated table for an index and what is derived from one; 1 and 0.05 for what it doesn't know."""
        name = self._underlying(body)
        if kind is Kind.EQUITY or name not in self._futures:
            return 1, DEFAULT_TICK
        lot_size, tick_size = self._futures[name]
        return lot_size, DEFAULT_TICK if kind is Kind.OPTION else tick_size

    def _underlying(self, body: str) -> str:
        """The name of what a contract, or an index, stands for."""
        match = FUTURE.fullmatch(body) or OPTION.fullmatch(body) or _ALIAS.fullmatch(body)
        return match["name"] if match else self._index_name(body)

    def _index_name(self, body: str) -> str:
        name = body.removesuffix(INDEX_SUFFIX)
        return self._names.get(name, name)


def lot_advice(instrument: Instrument) -> str:
    """What to do about a lot that nobody said."""
    item = f'{{symbol: "{instrument.symbol}", kind: {instrument.kind.value}, lot_size: UNITS}}'
    return f"add {item} to market.instruments, or use a symbol master (market.symbol_master.use: always)"


def _split(symbol: str) -> tuple[str, str]:
    exchange, separator, body = symbol.partition(":")
    return (exchange, body) if separator else ("NSE", symbol)


def _index_futures(as_of: dt.date) -> tuple[dict[str, tuple[int, Decimal]], dict[str, str]]:
    """Lot and tick on `as_of` by name of the index, where it has a future; and the index's name by alias."""
    table = shipped_table(_TABLE)
    futures: dict[str, tuple[int, Decimal]] = {}
    names: dict[str, str] = {}
    for name, entry in table.items():
        if entry["lots"]:
            futures[name] = (_due(entry["lots"], as_of)["lot"], Decimal(_due(entry["ticks"], as_of)["tick"]))
        names |= dict.fromkeys((name, *entry["names"]), name)
    return futures, names


def _due(rows: list[dict[str, Any]], as_of: dt.date) -> dict[str, Any]:
    """The last row that holds on `as_of`; before the first row, the first."""
    held = [row for row in rows if row["from"] <= as_of]
    return held[-1] if held else rows[0]
