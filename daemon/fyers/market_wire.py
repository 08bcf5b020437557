"""Fyers' messages about the market and the account's shares → typed records with exact prices.

The counterpart of `daemon.fyers.wire`, for what no order needs: depth, history, market status, holdings, login. Names
are those of Fyers API v3. Invariant: a record that can't be read whole is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from daemon.calls.records import ZERO, Record, WireError, record_of, renamed, rows_of
from daemon.calls.secret import Secret
from daemon.market.records import Candle, MarketState

EXCHANGES: Final = {10: "NSE", 11: "MCX", 12: "BSE"}
SEGMENTS: Final = {10: "CM", 11: "FO", 12: "CD", 20: "COM"}
CANDLE_FIELDS: Final = 6


class Holding(Record, frozen=True, kw_only=True):
    """Shares in the demat account; `quantity` in units, amounts in rupees."""

    symbol: str
    quantity: int
    cost_price: Decimal = ZERO
    last: Decimal = ZERO


class Level(Record, frozen=True, kw_only=True):
    """One price of the order book: how many units in how many orders."""

    price: Decimal
    quantity: int
    orders: int = 0


class Depth(Record, frozen=True, kw_only=True):
    """The five best prices of each side, best first, and the day's price band (0 where none was told)."""

    symbol: str
    bids: list[Level]
    asks: list[Level]
    last: Decimal = ZERO
    lower_circuit: Decimal = ZERO
    upper_circuit: Decimal = ZERO


def holdings(document: Mapping[str, Any]) -> list[Holding]:
    """The `holdings` of `GET /holdings`."""
    return [record_of(renamed(row, _HOLDING), Holding, "holding") for row in rows_of(document, "holdings")]


def depth(document: Mapping[str, Any]) -> Depth:
    """The one symbol in `d` of `GET /data/depth`."""
    quoted = document.get("d")
    if not isinstance(quoted, dict) or len(quoted) != 1:
        raise WireError("d: expected one symbol")
    symbol, row = next(iter(quoted.items()))
    if not isinstance(row, dict):
        raise WireError("d: expected an object")
    sides = {ours: [renamed(level, _LEVEL) for level in rows_of(row, theirs)] for ours, theirs in _SIDES.items()}
    return record_of({"symbol": symbol, **renamed(row, _DEPTH), **sides}, Depth, "depth")


def candles(document: Mapping[str, Any]) -> list[Candle]:
    """The `candles` of `GET /data/history`, each `[start, open, high, low, close, volume]`; none is an empty list."""
    rows = document.get("candles", [])
    if not isinstance(rows, list):
        raise WireError("candles: expected a list")
    return [_candle(row) for row in rows]


def market_states(document: Mapping[str, Any]) -> list[MarketState]:
    """The `marketStatus` of `GET /data/marketStatus`."""
    found = []
    for row in rows_of(document, "marketStatus"):
        named = {
            "exchange": EXCHANGES.get(row.get("exchange", 0), str(row.get("exchange"))),
            "segment": SEGMENTS.get(row.get("segment", 0), str(row.get("segment"))),
            "market": row.get("market_type"),
            "status": row.get("status"),
        }
        found.append(record_of(named, MarketState, "marketStatus"))
    return found


def access_token(document: Mapping[str, Any]) -> Secret:
    """The token in the answer to `POST /validate-authcode`."""
    token = document.get("access_token")
    if not isinstance(token, str) or not token:
        raise WireError("access_token: expected a text")
    return Secret(token)


def _candle(row: object) -> Candle:
    if not isinstance(row, list) or len(row) < CANDLE_FIELDS:
        raise WireError(f"candles: expected at least {CANDLE_FIELDS} numbers in each")
    if not all(
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in row[:CANDLE_FIELDS]
    ):
        raise WireError("candles: expected numbers")
    first, last, highest, lowest = float(row[1]), float(row[4]), float(row[2]), float(row[3])
    return Candle(int(row[0]), first, highest, lowest, last, int(row[5]))


_HOLDING: Final = {"symbol": "symbol", "quantity": "quantity", "cost_price": "costPrice", "last": "ltp"}
_SIDES: Final = {"bids": "bids", "asks": "ask"}
_LEVEL: Final = {"price": "price", "quantity": "volume", "orders": "ord"}
_DEPTH: Final = {"last": "ltp", "lower_circuit": "lower_ckt", "upper_circuit": "upper_ckt"}
