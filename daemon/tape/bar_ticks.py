"""Bars → the ticks that stand for them on a tape, such that the same bars are built of them again.

A bar says where the price was, not when, nor what came first. So each of its extremes stands on the tape twice: at once
behind the open, where it can only hurt (a stop is triggered by it), and at the end of the bar, where it can only help
(a limit order that was on the market all the while is filled by it). As quotes all ticks but the first have the bar's
low and high: what trades inside the bar, such as a stop on the tick after the one that triggered it, pays the worst.

    from the bar's start                             to its end
    5 s     + 1 ns   + 2 ns   + 3 ns                 −3 ns   −2 ns   −1 ns
    open    high     low      open                   high    low     close

Invariant: open, high, low, close and volume of the bars that are built of the ticks are those of the bars.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import NS_PER_S
from daemon.core.events import MISSING_INT, TickBatch
from daemon.settings.values import INTERVALS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BARS_NOTE: Final = "bars"
"""The note of a tape that is made of bars: their interval."""
DAILY: Final = "1d"
BAR_INTERVALS: Final = tuple(name for name in INTERVALS if name != DAILY)
OPEN_AFTER_NS: Final = 5 * NS_PER_S
"""The open is so long after the bar's start that who decided at the close before it can trade at it."""
_PLACES: Final = (OPEN_AFTER_NS, OPEN_AFTER_NS + 1, OPEN_AFTER_NS + 2, OPEN_AFTER_NS + 3, -3, -2, -1)
_SHARES: Final = (0, None, None, None, 2, 3, 1)
"""Who gets the volume's remainder first; None: none of the volume."""
TICKS_OF_A_BAR: Final = len(_PLACES)
_EARLY: Final = (1, 2, 3)
_LATE: Final = (NS_PER_S - 3, NS_PER_S - 2, NS_PER_S - 1)
"""Of whole seconds, in which sessions begin and end: by them the kinds of ticks are told apart."""


class Bars(msgspec.Struct, frozen=True):
    """Columns of bars: the code of the symbol, [start, end) in UTC ns, prices, and volume (−1: unknown)."""

    code: NDArray[np.int32]
    start: Ints
    end: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Ints

    def take(self, rows: Any) -> Bars:
        """The bars of some rows."""
        return Bars(**{name: getattr(self, name)[rows] for name in self.__struct_fields__})


def ticks_of(bars: Bars, symbols: tuple[str, ...]) -> TickBatch:
    """The ticks of bars, seven for each, in order of time; ticks of one time in the order of the bars."""
    n = len(bars.start)
    ts = np.concatenate([(bars.start if place > 0 else bars.end) + place for place in _PLACES])
    order = np.argsort(ts, kind="stable")
    known = bars.volume >= 0
    last_qty = [
        np.where(known, 0 if share is None else (bars.volume + 3 - share) // 4, MISSING_INT) for share in _SHARES
    ]
    none, nobody = np.full(TICKS_OF_A_BAR * n, MISSING_INT, dtype=np.int64), np.full(n, np.nan)
    columns: dict[str, Any] = {
        "code": np.tile(bars.code, TICKS_OF_A_BAR),
        "ts_event": ts,
        "ltp": np.concatenate([bars.open, bars.high, bars.low, bars.open, bars.high, bars.low, bars.close]),
        "last_qty": np.concatenate(last_qty),
        "bid": np.concatenate([nobody, *[bars.low] * 6]),
        "ask": np.concatenate([nobody, *[bars.high] * 6]),
    }
    columns |= dict.fromkeys(("ts_recv", "volume", "bid_qty", "ask_qty", "oi", "traded"), none)
    return TickBatch(symbols=symbols, **{name: values[order] for name, values in columns.items()})


def certain_since(ts: Ints, opened: int, length_ns: int) -> Ints:
    """(n,): from when on an order must have been on the market for a trade at each tick to have reached it, UTC ns.

    What stands at the end of its bar, the close too, may have been anywhere in it: since the open. What stands right
    behind the open helps nobody: 0. `opened` is when the session, and so the first bar, began.
    """
    place = ts % NS_PER_S
    start = opened + (ts - opened) // length_ns * length_ns
    since = np.where(np.isin(place, _LATE), start + OPEN_AFTER_NS, ts)
    return np.where(np.isin(place, _EARLY), 0, since)


def stands_at_the_end(ts: int) -> bool:
    """Whether a tick at `ts` is one of those at the end of a bar, whose prices may have been anywhere in it."""
    return ts % NS_PER_S in _LATE
