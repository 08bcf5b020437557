"""What every peer's run shares: the tape's columns, minute bars of them, and the one line that is printed."""

import json
import sys
import time

import numpy as np
import pyarrow.parquet as pq

FAST, SLOW, QUANTITY = 8, 34, 1
MINUTE = 60_000_000_000


class Stopwatch:
    """Wall and processor time since it was made."""

    def __init__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self):
        """Seconds, (wall, processor)."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def columns(*names):
    """Columns of the tape that the command line names, as arrays."""
    table = pq.read_table(sys.argv[1], columns=list(names))
    return [table[name].to_numpy() for name in names]


def minute_bars(ts, price):
    """(close times, open, high, low, close) of the minutes that have a tick."""
    bucket = ts // MINUTE
    starts = np.concatenate(([0], np.flatnonzero(np.diff(bucket)) + 1))
    ends = np.concatenate((starts[1:], [len(ts)])) - 1
    high, low = np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
    return (bucket[starts] + 1) * MINUTE, price[starts], high, low, price[ends]


def ema(closes, span):
    """The exponential average at each close."""
    alpha, value, found = 2.0 / (span + 1.0), closes[0], np.empty(len(closes))
    for place, close in enumerate(closes.tolist()):
        value += alpha * (close - value)
        found[place] = value
    return found


def say(ticks, trades, watch, *, run=None):
    """Print what it took: all of it, and `run`, the part after loading (a reading), where it can be told apart."""
    wall, cpu = watch.read()
    found = {"ticks": ticks, "fills": trades, "wall_s": wall, "cpu_s": cpu}
    if run is not None:
        found |= {"run_wall_s": wall - run[0], "run_cpu_s": cpu - run[1]}
    print(json.dumps(found))
