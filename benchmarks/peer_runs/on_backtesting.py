"""The cross in backtesting.py, on minute bars that numpy made of the ticks."""

import warnings

import pandas as pd
from backtesting import Backtest, Strategy
from timed import FAST, QUANTITY, SLOW, Stopwatch, columns, ema, minute_bars, say

warnings.simplefilter("ignore")


class Cross(Strategy):
    """Always on the side of the faster average."""

    def init(self):
        """Both averages, at once."""
        self.quick = self.I(ema, self.data.Close, FAST)
        self.calm = self.I(ema, self.data.Close, SLOW)

    def next(self):
        """Change sides where they have crossed."""
        if self.quick[-1] > self.calm[-1] and not self.position.is_long:
            self.position.close()
            self.buy(size=QUANTITY)
        elif self.quick[-1] < self.calm[-1] and not self.position.is_short:
            self.position.close()
            self.sell(size=QUANTITY)


watch = Stopwatch()
ts, price = columns("ts_event", "ltp")
close_ts, *prices = minute_bars(ts, price)
names = ("Open", "High", "Low", "Close")
bars = pd.DataFrame(dict(zip(names, prices, strict=True)), index=pd.to_datetime(close_ts))
backtest = Backtest(bars, Cross, cash=1_000_000, commission=0.0003)
loaded = watch.read()
found = backtest.run()
say(len(ts), 2 * int(found["# Trades"]), watch, run=loaded)
