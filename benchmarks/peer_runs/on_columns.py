"""The limit that columns set: the tape read by Arrow, minute bars by numpy, and nothing else."""

from timed import Stopwatch, columns, minute_bars, say

minute_bars(*columns("ts_event", "ltp"))  # what is imported on first use

watch = Stopwatch()
ts, price = columns("ts_event", "ltp")
minute_bars(ts, price)
say(len(ts), 0, watch)
