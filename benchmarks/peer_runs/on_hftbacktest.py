"""The cross in hftbacktest: its compiled strategy looks at the last trade once a minute; compiled before it is timed.

A tick is one trade event; the book is told once a minute, which is the least it needs to fill a market order (its
quotes at every tick would be three events a tick).
"""

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_BBO_EVENT,
    EXCH_EVENT,
    GTC,
    LOCAL_EVENT,
    MARKET,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    ROIVectorMarketDepthBacktest,
)
from hftbacktest.binding import event_dtype
from numba import njit
from timed import FAST, MINUTE, QUANTITY, SLOW, Stopwatch, columns, say

TICK = 0.05


def events_of(ts, price, bid, ask):
    """Its array of events, in order of time."""
    first = np.concatenate(([0], np.flatnonzero(np.diff(ts // MINUTE)) + 1))
    both = EXCH_EVENT | LOCAL_EVENT
    place = np.concatenate((first, first, np.arange(len(ts))))
    kinds = [DEPTH_BBO_EVENT | BUY_EVENT, DEPTH_BBO_EVENT | SELL_EVENT, TRADE_EVENT | BUY_EVENT]
    kind = np.repeat(np.array([kind | both for kind in kinds], np.uint64), [len(first), len(first), len(ts)])
    order = np.argsort(place, kind="stable")
    events = np.zeros(len(place), event_dtype)
    events["ev"] = kind[order]
    events["exch_ts"] = events["local_ts"] = ts[place][order]
    events["px"] = np.concatenate((bid[first], ask[first], price))[order]
    events["qty"] = 1000.0
    return events


@njit
def cross(hbt, fast, slow, quantity):
    """Always on the side of the faster average; the number of orders."""
    last, quick, calm, sent = np.nan, np.nan, np.nan, 0
    while hbt.elapse(60_000_000_000) == 0:
        hbt.clear_inactive_orders(0)
        trades = hbt.last_trades(0)
        if len(trades) == 0:
            continue
        last = trades[len(trades) - 1].px
        hbt.clear_last_trades(0)
        if np.isnan(quick):
            quick = calm = last
        quick += 2.0 / (fast + 1.0) * (last - quick)
        calm += 2.0 / (slow + 1.0) * (last - calm)
        wanted = quantity if quick > calm else -quantity
        missing = wanted - hbt.position(0)
        if missing > 0.5:
            sent += 1
            hbt.submit_buy_order(0, sent, hbt.depth(0).best_ask, missing, GTC, MARKET, False)
        elif missing < -0.5:
            sent += 1
            hbt.submit_sell_order(0, sent, hbt.depth(0).best_bid, -missing, GTC, MARKET, False)
    return sent


def backtest(events, dearest):
    """The engine over its events, which it reads where they lie: they must outlive it."""
    asset = (
        BacktestAsset()
        .data([events])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0003)
        .tick_size(TICK)
        .lot_size(1.0)
        .roi_lb(0.0)
        .roi_ub(dearest * 1.1)
        .last_trades_capacity(100_000)
    )
    return ROIVectorMarketDepthBacktest([asset])


few = events_of(*[column[:1000].copy() for column in columns("ts_event", "ltp", "bid", "ask")])
cross(backtest(few, float(few["px"].max())), FAST, SLOW, QUANTITY)

watch = Stopwatch()
ts, price, bid, ask = columns("ts_event", "ltp", "bid", "ask")
events = events_of(ts, price, bid, ask)
engine = backtest(events, float(price.max()))
loaded = watch.read()
say(len(ts), int(cross(engine, FAST, SLOW, QUANTITY)), watch, run=loaded)
