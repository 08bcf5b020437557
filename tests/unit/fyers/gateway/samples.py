"""Messages as the SDK hands them to its callback; made up."""

from __future__ import annotations

from typing import Any

SBIN = "NSE:SBIN-EQ"
NIFTY = "NSE:NIFTY50-INDEX"
SYMBOLS = (SBIN, NIFTY)
FED_S = 1_767_585_000
"""2026-01-05 09:20 IST."""


def update(**changes: Any) -> dict[str, Any]:
    """A `SymbolUpdate` of a share."""
    message = {
        "ltp": 812.35, "vol_traded_today": 40_125, "last_traded_time": FED_S - 2, "exch_feed_time": FED_S,
        "bid_size": 17, "ask_size": 250, "bid_price": 812.3, "ask_price": 812.4, "last_traded_qty": 5,
        "tot_buy_qty": 90_000, "tot_sell_qty": 70_000, "avg_trade_price": 810.02, "low_price": 805.0,
        "high_price": 815.9, "lower_ckt": 0, "upper_ckt": 0, "open_price": 806.0, "prev_close_price": 804.5,
        "type": "sf", "symbol": SBIN, "ch": 7.85, "chp": 0.9758,
    }  # fmt: skip
    return message | changes


def index(**changes: Any) -> dict[str, Any]:
    """An index value."""
    message = {
        "ltp": 26_010.55, "prev_close_price": 25_900.0, "exch_feed_time": FED_S, "high_price": 26_050.0,
        "low_price": 25_880.1, "open_price": 25_905.0, "type": "if", "symbol": NIFTY, "ch": 110.55, "chp": 0.43,
    }  # fmt: skip
    return message | changes


def without(message: dict[str, Any], *names: str) -> dict[str, Any]:
    """The message less some of its fields."""
    return {name: value for name, value in message.items() if name not in names}
