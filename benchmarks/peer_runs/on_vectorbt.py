"""The cross in vectorbt, on minute bars that numpy made of the ticks; compiled before it is timed."""

import warnings

import pandas as pd
import vectorbt as vbt
from timed import FAST, QUANTITY, SLOW, Stopwatch, columns, ema, minute_bars, say

warnings.simplefilter("ignore")


def run(closes):
    """All of it at once; the number of orders."""
    quick, calm = ema(closes.to_numpy(), FAST), ema(closes.to_numpy(), SLOW)
    portfolio = vbt.Portfolio.from_signals(
        closes, entries=quick > calm, short_entries=quick < calm, size=QUANTITY, fees=0.0003, init_cash=1_000_000,
        freq="1min",
    )  # fmt: skip
    return int(portfolio.orders.count()) + 0 * float(portfolio.total_return())


ts, price = columns("ts_event", "ltp")
close_ts, *prices = minute_bars(ts, price)
run(pd.Series(prices[3][:200], index=pd.to_datetime(close_ts[:200])))

watch = Stopwatch()
ts, price = columns("ts_event", "ltp")
close_ts, *prices = minute_bars(ts, price)
closes = pd.Series(prices[3], index=pd.to_datetime(close_ts))
loaded = watch.read()
say(len(ts), int(run(closes)), watch, run=loaded)
