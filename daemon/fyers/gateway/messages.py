"""What the SDK hands to its callback → rows of a tick batch.

A `SymbolUpdate` (`sf`) or index value (`if`) becomes one row, null where the message says nothing; whatever can't be
one is counted by its reason. Names and units are those of fyers-apiv3 3.2.0: prices in rupees, times in whole seconds.
Invariant: a message gives exactly one row or exactly one count in `refused`, and none raises.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from daemon.core.events import MISSING_INT
from daemon.feed.live.frames import FIRST_VALID_S, LARGEST, LAST_VALID_S, Refusal, Row

NS_PER_S: Final = 1_000_000_000

_FULL: Final = itemgetter(
    "type", "symbol", "ltp", "vol_traded_today", "last_traded_time", "exch_feed_time", "bid_size", "ask_size",
    "bid_price", "ask_price", "last_traded_qty",
)  # fmt: skip
_FULL_TYPES: Final = (str, str, float, int, int, int, int, int, float, float, int)
_QUANTITIES: Final = ("last_traded_qty", "vol_traded_today", "bid_size", "ask_size", "OI")


class TickReader:
    """Reads messages of one subscription; remembers of each symbol what it needs to tell trades from quotes."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.refused: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        """Fields of accepted messages that were there but made no sense, by name; they became null."""
        self._codes = {symbol: code for code, symbol in enumerate(symbols)}
        self._traded: dict[int, tuple[float, int, int]] = {}

    def read(self, message: Any) -> tuple[Row, bool] | None:
        """The tick, and whether it tells a trade: price, volume or time of the last trade moved. None: refused."""
        try:
            fields = _FULL(message)
            usual = tuple(map(type, fields)) == _FULL_TYPES
        except (KeyError, TypeError, IndexError):
            usual = False
        if usual:
            kind, symbol, ltp, volume, traded_s, fed_s, bid_qty, ask_qty, bid, ask, last_qty = fields
            code = self._codes.get(symbol, -1)
            good = kind == "sf" and code >= 0 and 0 < ltp < math.inf and FIRST_VALID_S <= fed_s < LAST_VALID_S
            quantities = (volume, bid_qty, ask_qty, last_qty)
            if good and "OI" not in message and min(quantities) >= 0 and max(quantities) < LARGEST:
                bid, ask = bid if 0 <= bid < math.inf else math.nan, ask if 0 <= ask < math.inf else math.nan
                row = Row(
                    code, fed_s * NS_PER_S, ltp, last_qty, volume, bid, ask, bid_qty, ask_qty, MISSING_INT,
                    _band(message, "lower_ckt"), _band(message, "upper_ckt"),
                )  # fmt: skip
                return row, self._moved(code, (ltp, volume, traded_s))
        return self._read_unusual(message)

    def _moved(self, code: int, traded: tuple[float, int, int]) -> bool:
        if self._traded.get(code) == traded:
            return False
        self._traded[code] = traded
        return True

    def _read_unusual(self, message: Any) -> tuple[Row, bool] | None:
        """An index value, a message without some field, or one that is no tick."""
        if not isinstance(message, dict):
            return self._refused(Refusal.NOT_A_MESSAGE)
        if message.get("type") not in ("sf", "if"):
            return self._refused(Refusal.UNKNOWN_TYPE)
        symbol = message.get("symbol")
        code = self._codes.get(symbol, -1) if isinstance(symbol, str) else -1
        if code < 0:
            return self._refused(Refusal.UNKNOWN_SYMBOL)
        ltp = _number(message.get("ltp"))
        if ltp is None or not ltp > 0:
            return self._refused(Refusal.BAD_PRICE)
        fed_s = _whole(message.get("exch_feed_time"))
        if fed_s is None or not FIRST_VALID_S <= fed_s < LAST_VALID_S:
            return self._refused(Refusal.BAD_TIME)
        last_qty, volume, bid_qty, ask_qty, oi = (self._quantity(message, name) for name in _QUANTITIES)
        bid, ask = self._quote(message, "bid_price"), self._quote(message, "ask_price")
        traded_s = _whole(message.get("last_traded_time"))
        moved = self._moved(code, (ltp, volume, MISSING_INT if traded_s is None else traded_s))
        bands = (_band(message, "lower_ckt"), _band(message, "upper_ckt"))
        return Row(code, fed_s * NS_PER_S, ltp, last_qty, volume, bid, ask, bid_qty, ask_qty, oi, *bands), moved

    def _refused(self, reason: Refusal) -> tuple[Row, bool] | None:
        self.refused[reason.value] += 1
        return None

    def _quantity(self, message: dict[Any, Any], name: str) -> int:
        value = message.get(name)
        whole = _whole(value)
        if whole is not None and whole >= 0:
            return whole
        if value is not None:
            self.unreadable[name] += 1
        return MISSING_INT

    def _quote(self, message: dict[Any, Any], name: str) -> float:
        """A price at which somebody quotes; 0 means that nobody does, NaN that the message says nothing of it."""
        value = message.get(name)
        price = _number(value)
        if price is not None and price >= 0:
            return price
        if value is not None:
            self.unreadable[name] += 1
        return math.nan


def _band(message: dict[Any, Any], name: str) -> float:
    """An end of the day's price band; Fyers sends 0 where it has none."""
    price = _number(message.get(name))
    return price if price is not None and price > 0 else math.nan


def _number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if type(value) is not int and type(value) is not float:  # True is no number
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    """A whole number that a column can hold; None for anything else."""
    number = _number(value)
    if number is None or not -LARGEST < number < LARGEST or number != math.floor(number):
        return None
    return value if type(value) is int else int(number)
