"""All that a strategy of your own needs: what it sees, what it answers, and how it is tried out.

A strategy is a class with one method, `decide(self, seen: Observation) -> Answer`; it is asked at the close of every
bar. If the class has `Parameters` (a pydantic model), `self.parameters` holds their values, from `strategy.parameters`
of the settings. Invariant: what is seen can't be changed, and an answer says all that it wants; nothing else is asked.
docs/own-strategies.md tells it from the beginning.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from daemon.core.clock import IST_OFFSET_NS, NS_PER_S
from daemon.core.texts import one_line
from strategies.base import CLOSE, HIGH, LOW, OPEN, VOLUME, Moment

IST: Final = dt.timezone(dt.timedelta(seconds=IST_OFFSET_NS // NS_PER_S))
MOST_UNITS: Final = 10_000_000
MOST_RUPEES: Final = 1e9
LONGEST_REASON: Final = 200

T = TypeVar("T")
Floats = NDArray[np.float64]


class Parameters(BaseModel):
    """What may be set of a strategy: derive from it, one line a parameter; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bars(msgspec.Struct, frozen=True, gc=False):
    """Bars that have closed, oldest first; each field is an array (n,) of float64 that can't be written to."""

    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats
    volumes: Floats
    """Units; NaN where the instrument has none (an index)."""

    def __len__(self) -> int:
        return len(self.closes)

    def last(self, count: int) -> Bars:
        """The newest `count` of them, fewer where there are fewer."""
        start = max(0, len(self) - count)
        return Bars(*(getattr(self, name)[start:] for name in self.__struct_fields__))


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The market of one instrument at the close of a bar, and what is held of it."""

    symbol: str
    """Such as NSE:SBIN-EQ."""
    interval: str
    """Of `bars`, as `strategy.interval` says: 5m."""
    time: dt.datetime
    """When the newest bar closed, India Standard Time."""
    bars: Bars
    """The newest of them, earlier sessions too (docs/own-strategies.md: how many); the last one has just closed."""
    coarse: Bars
    """The same at the coarser interval (30m); bars that have closed only."""
    session_bars: int
    """How many of the newest `bars` are of the present session."""
    position: int = 0
    """Units held; negative: short."""
    bars_held: int = 0
    """Bars since the position was opened, 0 where none is."""
    unrealised_atr: float = 0.0
    """Open profit of one unit, in average bar ranges (14 bars); 0 where nothing is held."""
    minute_of_session: float
    """Minutes since the session opened."""
    minutes_to_close: float
    """Minutes until it closes."""
    may_enter: bool = True
    """Whether anything may still be opened today (`strategy.no_entries_minutes`)."""
    regime: str = "ranging"
    """trending, ranging or volatile; unknown before there are enough bars to tell."""
    complexity: float = 0.0
    """Of the market, from 0 (quiet) to 1."""
    cost_bp: float = 3.0
    """What trading one unit once costs here and now, basis points of the price."""

    @property
    def price(self) -> float:
        """The close of the newest bar, rupees."""
        return float(self.bars.closes[-1])

    @property
    def today(self) -> Bars:
        """Bars of the present session."""
        return self.bars.last(self.session_bars)

    @property
    def closes(self) -> Floats:
        """Closes of `bars`."""
        return self.bars.closes


class Act(StrEnum):
    """What an answer wants."""

    BUY = "buy"
    SELL = "sell"
    CLOSE = "close"
    HOLD = "hold"


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a strategy wants; made by `buy`, `sell`, `close` and `hold`."""

    act: Act
    quantity: int
    reason: str
    confidence: float
    limit: float | None = None
    stop: float | None = None
    target: float | None = None


def buy(
    quantity: int, reason: str, *, limit: float | None = None, stop: float | None = None, target: float | None = None,
    confidence: float = 0.5,
) -> Answer:  # fmt: skip
    """Open a long position of so many units, or add to it. Limits of risk may make it smaller.

    `limit`: rupees that are paid at most; the order waits for them, `execution.working_timeout_s` at most. `stop` and
    `target`: rupees at which it is closed, below and above; both stand at the venue as soon as anything fills.
    """
    return _answer(Act.BUY, quantity, reason, confidence, limit, stop, target)


def sell(
    quantity: int, reason: str, *, limit: float | None = None, stop: float | None = None, target: float | None = None,
    confidence: float = 0.5,
) -> Answer:  # fmt: skip
    """Open a short position of so many units, or add to it. To get out of a long one: `close`.

    `limit`: rupees that are taken at least; the order waits for them, `execution.working_timeout_s` at most. `stop` and
    `target`: rupees at which it is closed, above and below; both stand at the venue as soon as anything fills.
    """
    return _answer(Act.SELL, quantity, reason, confidence, limit, stop, target)


def close(reason: str, *, confidence: float = 0.5) -> Answer:
    """Close all that is held; nothing where nothing is."""
    return _answer(Act.CLOSE, 1, reason, confidence)


def hold(reason: str, *, confidence: float = 0.0) -> Answer:
    """Leave everything as it is."""
    return _answer(Act.HOLD, 1, reason, confidence)


def _answer(
    act: Act, quantity: Any, reason: Any, confidence: Any, limit: Any = None, stop: Any = None, target: Any = None
) -> Answer:
    """Raises `ValueError` or `TypeError` that says which part is wrong and what would be right."""
    if not isinstance(reason, str):
        raise TypeError(f"reason: expected a text, got {reason!r}")
    try:
        units = operator.index(quantity)
    except TypeError:
        raise TypeError(f"quantity: expected a whole number of units, got {quantity!r}") from None
    if isinstance(quantity, bool) or not 1 <= units <= MOST_UNITS:
        raise ValueError(f"quantity: expected 1 to {MOST_UNITS:,} units, got {quantity!r}")
    sure = figure("confidence", confidence)
    if not 0 <= sure <= 1:
        raise ValueError(f"confidence: expected 0 to 1, got {sure:g}")
    prices = {"limit": limit, "stop": stop, "target": target}
    for name, price in prices.items():
        prices[name] = rupees = None if price is None else figure(name, price)
        if rupees is not None and not 0 < rupees < MOST_RUPEES:
            raise ValueError(f"{name}: expected a price above 0, got {rupees:g}")
        if rupees is not None and act not in (Act.BUY, Act.SELL):
            raise ValueError(f"{name}: expected none: only buy and sell have prices of their own")
    said = one_line(reason, LONGEST_REASON)
    answer = Answer(act=act, quantity=units, reason=said, confidence=sure, **prices)
    if answer.limit is not None:
        _check_sides(answer, answer.limit)
    return answer


def _check_sides(answer: Answer, entry: float) -> None:
    """Raises `ValueError` for a stop or a target on the wrong side of the price that is paid or taken."""
    sign = 1 if answer.act is Act.BUY else -1
    for name, price, where in (("stop", answer.stop, sign), ("target", answer.target, -sign)):
        if price is not None and (entry - price) * where <= 0:
            side = "below" if where > 0 else "above"
            raise ValueError(
                f"{name}: expected one {side} the price of {entry:g} at which to {answer.act}, got {price:g}"
            )


def checked(answer: Any, price: float) -> Answer:
    """What a strategy answered at a price. Raises `TypeError` or `ValueError` for what is no answer."""
    if not isinstance(answer, Answer):
        what = "nothing (None)" if answer is None else repr(answer)[:80]
        raise TypeError(f"decide answered {what}: expected buy(…), sell(…), close(…) or hold(…)")
    if not isinstance(answer.act, Act):
        raise TypeError(f"decide answered {answer.act!r}: expected buy(…), sell(…), close(…) or hold(…)")
    found = _answer(
        answer.act, answer.quantity, answer.reason, answer.confidence, answer.limit, answer.stop, answer.target
    )
    _check_sides(found, found.limit or price)
    return found


def figure(name: str, value: Any) -> float:
    """A finite number. Raises `TypeError` or `ValueError`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    return number


def observed(moment: Moment) -> Observation:
    """What a strategy of a user sees of a moment: copies that can't be written to."""
    return Observation(
        symbol=moment.symbol, interval=moment.interval, time=dt.datetime.fromtimestamp(moment.ts / NS_PER_S, IST),
        bars=_bars(moment.bars), coarse=_bars(moment.coarse), session_bars=moment.session_bars,
        position=moment.position, bars_held=moment.bars_held, unrealised_atr=moment.unrealised_atr,
        minute_of_session=moment.minute_of_session, minutes_to_close=moment.minutes_to_close,
        may_enter=moment.may_enter, regime=moment.complexity.regime.value, complexity=moment.complexity.score,
        cost_bp=moment.cost_bp,
    )  # fmt: skip


def _bars(rows: Floats) -> Bars:
    columns = np.ascontiguousarray(rows.T)
    columns.flags.writeable = False
    return Bars(columns[OPEN], columns[HIGH], columns[LOW], columns[CLOSE], columns[VOLUME])


# -- trying a strategy out ------------------------------------------------------------------------------------------


def made(kind: type[T], **parameters: Any) -> T:
    """A strategy with these parameters, as the daemon makes it: for tests of your own."""
    model = getattr(kind, "Parameters", None)
    return assembled(kind, model(**parameters) if model is not None else None)


def assembled(kind: type[T], parameters: BaseModel | None) -> T:
    """An instance that has its parameters before its `__init__` begins."""
    strategy = kind.__new__(kind)
    if not isinstance(strategy, kind):
        raise TypeError(f"{kind.__name__}.__new__ made {strategy!r}, expected an instance of the class")
    if parameters is not None:
        object.__setattr__(strategy, "parameters", parameters)
    strategy.__init__()  # type: ignore[misc]
    return strategy


def seen(closes: Sequence[float], **fields: Any) -> Observation:
    """An observation whose bars have these closes (each opens at the close before): for tests of your own.

    `fields`: anything else of `Observation`, such as position=100.
    """
    ends = np.asarray(closes, np.float64)
    opens = np.concatenate((ends[:1], ends[:-1]))
    rows = np.column_stack((opens, np.maximum(opens, ends), np.minimum(opens, ends), ends, np.full(len(ends), 1000.0)))
    opened = dt.datetime(2026, 1, 5, 9, 15, tzinfo=IST)
    values: dict[str, Any] = {
        "symbol": "NSE:SBIN-EQ", "interval": "5m", "time": opened + dt.timedelta(minutes=5 * len(ends)),
        "bars": _bars(rows), "coarse": _bars(np.empty((0, 5))), "session_bars": len(ends),
        "minute_of_session": 5.0 * len(ends), "minutes_to_close": 375.0 - 5.0 * len(ends),
    }  # fmt: skip
    return Observation(**(values | fields))
