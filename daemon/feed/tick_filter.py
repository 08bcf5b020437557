"""Ticks as they came turned into ticks that can be believed, and the quantity that each of them says was traded.

Invariant: every tick is either accepted or counted under exactly one reason, and the outcome is the same however the
ticks were cut into batches.
"""

from __future__ import annotations

from copy import copy
from enum import StrEnum
from itertools import pairwise
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.core.clock import DAY_NS, IST_OFFSET_NS, MAX_SKEW_NS
from daemon.core.columns import running_max
from daemon.core.events import BAND_COLUMNS, TICK_COLUMNS, TickBatch
from daemon.feed.belief import BELIEVED_AFTER, BELIEVED_AFTER_NS, BELIEVED_AFTER_SILENCE, SILENCE_NS
from daemon.feed.cumulative_volume import CumulativeVolume, set_volumes
from daemon.market.instruments import FEW_TICKS, Instrument, jumps_by_kind
from daemon.tape.file import FIRST_VALID_NS, LAST_VALID_NS

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]

MIN_PRICE = 0.0001
MAX_PRICE = 10_000_000.0
"""Rupees: below the smallest tick, and far above the dearest share; beyond is a fault, whatever came before."""
MAX_QUANTITY = 10**12
"""Units in a day: more than any exchange trades, and few enough that no sum overflows."""

NO_LIMIT_PERCENT = 1e15
"""No move is so large: of ticks that are made of bars, which were judged as bars."""
_SMALL_GROUP = 128  # below so many ticks of a symbol the plain walk is quicker than numpy's calls
_ROUNDS = 6  # of the vectorised solution before the plain walk takes over
_COMPARED = ("volume", "last_qty", "bid", "ask", "bid_qty", "ask_qty", "oi", "ts_event", "ltp")  # all the exchange's


class Rejection(StrEnum):
    """Why a tick was not accepted, in the order in which the reasons are looked at."""

    UNKNOWN_SYMBOL = "unknown_symbol"
    BAD_TIME = "bad_time"
    OUTSIDE_SESSION = "outside_session"
    BAD_PRICE = "bad_price"
    BAD_QUANTITY = "bad_quantity"
    BACKWARD_TIME = "backward_time"
    DUPLICATE = "duplicate"


class Repair(StrEnum):
    """What was wrong with a tick that was accepted all the same."""

    VOLUME_FELL = "volume_fell"
    FALSE_VOLUME = "false_volume"


class Instruments(Protocol):
    """Which symbols are known."""

    def resolve(self, symbol: str) -> Instrument | None:
        """Find the instrument of a symbol; None where it is unknown."""


class Sessions(Protocol):
    """When the market is open."""

    def in_session(self, ts: Ints) -> Mask:
        """Tell which times (UTC ns) lie in a session, [open, close)."""


class _Stream:
    """What is remembered of one symbol: its last accepted tick, and the day's largest cumulative volume."""

    __slots__ = (
        "agreeing", "day", "few_ticks", "kept", "level", "max_jump", "price", "row", "since", "ts", "volume",
    )  # fmt: skip

    def __init__(self, max_jump: float, few_ticks: float) -> None:
        self.max_jump = max_jump  # a share of the price
        self.few_ticks = few_ticks  # rupees
        self.ts = 0
        self.day = -1
        self.price = 0.0
        self.level = 0.0  # of the newest tick that jumped
        self.agreeing = 0  # how many of those in a row, up to the newest tick, were at that level
        self.since = 0  # when the first of them was
        self.kept = 0  # ticks of `day` accepted at the present level
        self.row: tuple[int, ...] = ()
        self.volume = CumulativeVolume()

    def twin(self) -> _Stream:
        """Return another that remembers the same."""
        other = copy(self)
        other.volume = copy(self.volume)
        return other


Mark = tuple[int, dict[str, int], dict[str, int], Any]
"""What a filter has counted, by `TickFilter`'s names, and what it remembers."""


class TickFilter:
    """Accepts or rejects ticks and measures traded quantity; one instance sees a feed from its start, in order."""

    def __init__(
        self,
        instruments: Instruments,
        calendar: Sessions,
        max_jump_percent: float,
        max_option_jump_percent: float = 100.0,
    ) -> None:
        """An option's price is its own measure of how far it may move: hence a limit of its own."""
        self.accepted = 0
        self.rejected: dict[str, int] = {reason.value: 0 for reason in Rejection}
        self.repaired: dict[str, int] = {repair.value: 0 for repair in Repair}
        self.resolve = instruments.resolve
        """Which instrument a symbol is, as its ticks are judged by."""
        self.rows: Rows | None = None
        """Which rows of the newest batch were accepted; None for all."""
        self._calendar = calendar
        self._max_jump = jumps_by_kind(max_jump_percent, max_option_jump_percent)
        self._streams: dict[str, _Stream] = {}
        self._tables: dict[tuple[str, ...], tuple[Mask, list[_Stream]]] = {}

    def apply(self, batch: TickBatch) -> tuple[TickBatch, Ints]:
        """Return the accepted ticks, `traded` filled in, and that column once more.

        Traded is the growth of the running maximum of the day's cumulative volume; on the first tick of a day, whose
        past is unknown, its `last_qty` (0 where null); `last_qty` while the day has shown no cumulative volume; −1
        where the tick has neither (an index).
        """
        n = len(batch)
        if n == 0:
            return batch, np.zeros(0, dtype=np.int64)
        known, streams = self._table(batch.symbols)
        rows = self._plausible(batch, known)
        day = (batch.ts_event + IST_OFFSET_NS) // DAY_NS
        bits = [getattr(batch, name).view(np.int64) for name in _COMPARED]
        accept = np.zeros(n, dtype=np.bool_)
        traded = np.zeros(n, dtype=np.int64)
        for code, group in _groups(batch.code, rows):
            stream = streams[code]
            kept = self._sift(stream, _Ticks(batch, bits, day, group))
            accept[kept] = True
            traded[kept] = self._measure(stream, batch, day, kept)
        count = int(np.count_nonzero(accept))
        self.accepted += count
        self.rows = None
        if count < n:
            chosen = self.rows = np.flatnonzero(accept)
            batch, traded = picked(batch, chosen), traded[chosen]
        return msgspec.structs.replace(batch, traded=traded), traded

    def forget_counts(self) -> None:
        """What was seen stays known; it isn't counted."""
        self.accepted = 0
        for counts in (self.rejected, self.repaired):
            counts.update(dict.fromkeys(counts, 0))

    def mark(self) -> Mark:
        """Where it stands, for `back_to`."""
        return self.accepted, dict(self.rejected), dict(self.repaired), self._remembered()

    def back_to(self, mark: Mark) -> None:
        """Stand where it stood, as if nothing had come since; once for each mark."""
        self.accepted, rejected, repaired, remembered = mark
        self.rejected.update(rejected)
        self.repaired.update(repaired)
        self._remember(remembered)

    def _remembered(self) -> Any:
        return {symbol: stream.twin() for symbol, stream in self._streams.items()}

    def _remember(self, remembered: Any) -> None:
        self._streams = remembered
        self._tables.clear()

    def _table(self, symbols: tuple[str, ...]) -> tuple[Mask, list[_Stream]]:
        """Look up (which codes are known symbols, the stream of each code) of a batch's table of symbols."""
        table = self._tables.get(symbols)
        if table is None:
            streams = [self._stream(symbol) for symbol in symbols]
            known = np.array([stream is not None for stream in streams], dtype=np.bool_)
            table = self._tables[symbols] = known, [stream or _NOBODY for stream in streams]
        return table

    def _stream(self, symbol: str) -> _Stream | None:
        """Find what is remembered of a symbol; None where it is unknown."""
        instrument = self.resolve(symbol) if symbol else None
        if instrument is not None and symbol not in self._streams:
            few = FEW_TICKS * float(instrument.tick_size)
            self._streams[symbol] = _Stream(self._max_jump[instrument.kind], few)
        return self._streams.get(symbol)

    def _plausible(self, batch: TickBatch, known: Mask) -> Rows | None:
        """Find the rows that pass what can be said of a tick by itself; None for all of them."""
        checks: tuple[tuple[Rejection, Mask | None], ...] = (
            (Rejection.UNKNOWN_SYMBOL, None if known.all() else known[batch.code]),
            (Rejection.BAD_TIME, _good_times(batch)),
        )
        passed: Mask | None = None
        for reason, good in checks:
            passed = self._narrow(passed, good, reason)
        if passed is None:
            in_session = self._calendar.in_session(batch.ts_event)
        else:
            in_session = np.zeros(len(batch), dtype=np.bool_)
            in_session[passed] = self._calendar.in_session(batch.ts_event[passed])
        passed = self._narrow(passed, in_session, Rejection.OUTSIDE_SESSION)
        passed = self._narrow(passed, _good_prices(batch), Rejection.BAD_PRICE)
        passed = self._narrow(passed, _good_quantities(batch), Rejection.BAD_QUANTITY)
        return None if passed is None else np.flatnonzero(passed)

    def _narrow(self, passed: Mask | None, good: Mask | None, reason: Rejection) -> Mask | None:
        """Keep of `passed` what is `good` and count the rest; None stands for all rows."""
        if good is None or good.all():
            return passed
        before = len(good) if passed is None else int(np.count_nonzero(passed))
        both = good if passed is None else passed & good
        self.rejected[reason] += before - int(np.count_nonzero(both))
        return both

    def _sift(self, stream: _Stream, ticks: _Ticks) -> Rows | slice:
        """Keep the rows that are accepted, count the others, remember the last one kept."""
        solved = None if ticks.n < _SMALL_GROUP else ticks.solve(stream)
        verdict = ticks.walk(stream) if solved is None else solved
        tally = np.bincount(verdict, minlength=len(_VERDICTS))
        for number, reason in enumerate(_VERDICTS):
            if reason is not None:
                self.rejected[reason] += int(tally[number])
        if tally[_KEEP] == 0:
            return np.zeros(0, dtype=np.intp)
        kept = np.flatnonzero(verdict == _KEEP)
        last = int(kept[-1])
        if solved is not None:
            stream.kept = int(np.count_nonzero(ticks.day[kept] == ticks.day[last])) + (
                stream.kept if ticks.day[last] == stream.day else 0
            )
        stream.ts, stream.day, stream.price = int(ticks.ts[last]), int(ticks.day[last]), float(ticks.price[last])
        stream.row = ticks.row(last)
        return ticks.group if len(kept) == ticks.n else ticks.at(kept)

    def _measure(self, stream: _Stream, batch: TickBatch, day: Ints, kept: Rows | slice) -> Ints:
        """Traded quantity of the accepted rows of one symbol."""
        days, volume, last_qty = day[kept], batch.volume[kept], batch.last_qty[kept]
        volume, unset = set_volumes(volume)
        last_qty, unset_too = set_volumes(last_qty)
        self.repaired[Repair.FALSE_VOLUME] += unset + unset_too
        traded = np.empty(len(days), dtype=np.int64)
        edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            if days[start] != stream.volume.day:
                stream.volume = CumulativeVolume(int(days[start]))
            part = slice(start, stop)
            times = batch.ts_event[kept][part] if stream.volume.doubtful(volume[part]) else None
            traded[part], fell, disbelieved = stream.volume.measure(volume[part], last_qty[part], times)
            self.repaired[Repair.VOLUME_FELL] += fell
            self.repaired[Repair.FALSE_VOLUME] += disbelieved
        return traded


_NOBODY = _Stream(0.0, 0.0)  # of symbols that are unknown: none of their ticks comes that far
_VERDICTS = (None, Rejection.BAD_PRICE, Rejection.BACKWARD_TIME, Rejection.DUPLICATE)
_KEEP, _JUMPED, _BACKWARD, _REPEATED = range(4)


class _Ticks:
    """The plausible ticks of one symbol in one batch, judged against what came before them.

    Each verdict depends on which earlier ticks were accepted. `solve` finds it for all ticks at once, `walk` one by
    one; they agree wherever `solve` has an answer.
    """

    def __init__(self, batch: TickBatch, bits: list[Ints], day: Ints, group: Rows | slice) -> None:
        """`bits` are the compared columns as bit patterns (so that null equals null), `group` rows of the batch."""
        self.group = group
        self.ts = batch.ts_event[group]
        self.price = batch.ltp[group]
        self.day = day[group]
        self.n = len(self.ts)
        self._bits = bits

    def at(self, rows: Rows) -> Rows:
        """Where in the batch the given ticks are."""
        return rows if isinstance(self.group, slice) else self.group[rows]

    def row(self, i: int) -> tuple[int, ...]:
        """All that the exchange sent in the i-th tick."""
        place = i if isinstance(self.group, slice) else self.group[i]
        return tuple(int(bits[place]) for bits in self._bits)

    def _repeats(self, i: int, row: tuple[int, ...]) -> bool:
        place = i if isinstance(self.group, slice) else self.group[i]
        if _are_trades(self._bits[0][place], self._bits[1][place]):
            return False
        return bool(row) and all(bits[place] == value for bits, value in zip(self._bits, row, strict=True))

    def walk(self, stream: _Stream) -> NDArray[np.int8]:
        """Verdicts, one tick after the other."""
        max_jump, few_ticks = stream.max_jump, stream.few_ticks
        verdict = np.zeros(self.n, dtype=np.int8)
        last_ts, last_day, last_price, last_row = stream.ts, stream.day, stream.price, stream.row
        level, agreeing, kept, since = stream.level, stream.agreeing, stream.kept, stream.since
        last = -1
        for i, (ts, day, price) in enumerate(
            zip(self.ts.tolist(), self.day.tolist(), self.price.tolist(), strict=True)
        ):
            if day == last_day and abs(price - last_price) > max(last_price * max_jump, few_ticks):
                if agreeing and abs(price - level) <= max(level * max_jump, few_ticks):
                    agreeing += 1
                else:
                    agreeing, since = 1, ts
                level = price
            else:
                agreeing = 0
            if agreeing and not _believed(agreeing, kept, ts - since, ts - last_ts):
                verdict[i] = _JUMPED
            elif ts < last_ts:
                verdict[i] = _BACKWARD
            elif ts == last_ts and price == last_price and self._repeats(i, last_row := last_row or self.row(last)):
                verdict[i] = _REPEATED
            else:
                kept = kept + 1 if day == last_day and not agreeing else 1
                last_ts, last_day, last_price, last_row, last = ts, day, price, (), i
                agreeing = 0
        stream.level, stream.agreeing, stream.kept, stream.since = level, agreeing, kept, since
        return verdict

    def solve(self, stream: _Stream) -> NDArray[np.int8] | None:
        """Verdicts by iteration to a fixed point; None where that would take many rounds.

        Assume which ticks jump; that settles which go backward and what each tick's predecessor is, hence which
        ticks jump. An assumption that reproduces itself is the walk's answer, by induction over the ticks; each
        round gets at least one more tick right, and isolated faults take three rounds however many they are.
        """
        jumped = np.zeros(self.n, dtype=np.bool_)
        for _ in range(_ROUNDS):
            backward = self._backward(stream.ts, jumped)
            previous = _last_before(~(jumped | backward))
            reference = _at(self.price, previous, stream.price)
            found = np.abs(self.price - reference) > np.maximum(reference * stream.max_jump, stream.few_ticks)
            if found.any():
                found &= self.day == _at(self.day, previous, stream.day)
            if np.array_equal(found, jumped):
                verdict = np.zeros(self.n, dtype=np.int8)
                verdict[jumped] = _JUMPED
                verdict[backward] = _BACKWARD
                verdict[self._repeated(stream, ~(jumped | backward), previous, reference)] = _REPEATED
                return verdict if self._levels_hold(stream, verdict) else None
            jumped = found
        return None

    def _levels_hold(self, stream: _Stream, verdict: NDArray[np.int8]) -> bool:
        """Whether no run of jumps comes near being believed, so that nothing of it need be remembered."""
        rows = np.flatnonzero(verdict == _JUMPED)
        if stream.agreeing or (len(rows) and rows[-1] == self.n - 1):
            return False
        ends = np.flatnonzero(np.diff(rows) > 1)
        starts = np.concatenate((rows[:1], rows[ends + 1]))
        longest = int(np.diff(np.concatenate(([-1], ends, [len(rows) - 1]))).max()) if len(rows) else 0
        if longest >= BELIEVED_AFTER_SILENCE:
            return False
        return longest < 2 or all(self._kept_before(int(row), stream, verdict) >= longest for row in starts)

    def _kept_before(self, row: int, stream: _Stream, verdict: NDArray[np.int8]) -> int:
        """How many ticks of the same day were accepted before that row."""
        kept = int(np.count_nonzero((verdict[:row] == _KEEP) & (self.day[:row] == self.day[row])))
        return kept + (stream.kept if self.day[row] == stream.day else 0)

    def _backward(self, last_ts: int, jumped: Mask) -> Mask:
        ts = np.where(jumped, 0, self.ts) if jumped.any() else self.ts
        running = running_max(ts, last_ts)
        if running is ts:
            return np.zeros(self.n, dtype=np.bool_)
        backward: Mask = self.ts < np.concatenate(([last_ts], running[:-1]))
        return backward & ~jumped

    def _repeated(self, stream: _Stream, good: Mask, previous: Rows, reference: NDArray[np.float64]) -> Rows:
        """Rows whose every column equals the previous good row's (which, if itself a repetition, equals its own)."""
        same = good & (self.price == reference) & (self.ts == _at(self.ts, previous, stream.ts))
        rows = np.flatnonzero(same)
        places = self.at(rows)
        rows = rows[~_are_trades(self._bits[0][places], self._bits[1][places])]
        opening = rows[:1][previous[rows[:1]] < 0]  # its predecessor came in an earlier batch
        rows = rows[len(opening) :]
        before = previous[rows]
        for bits in self._bits:
            if len(rows) and bits.strides[0]:
                equal = bits[self.at(rows)] == bits[self.at(before)]
                rows, before = rows[equal], before[equal]
        return np.concatenate([opening[[self._repeats(int(i), stream.row) for i in opening]], rows])


def _are_trades(volume: Any, last_qty: Any) -> Any:
    """Whether ticks tell of single trades, with no day's total by which one that is told twice would be known."""
    return (volume < 0) & (last_qty > 0)


def _last_before(good: Mask) -> Rows:
    """For each row the nearest earlier row that is good, −1 where there is none."""
    rows = np.arange(-1, len(good) - 1)
    if good[:-1].all():
        return rows
    rows[1:][~good[:-1]] = -1
    return np.maximum.accumulate(rows)


def _at(values: NDArray[Any], rows: Rows, otherwise: float) -> NDArray[Any]:
    """`values[rows]` for rows of `_last_before`, and `otherwise` where there is no row."""
    picked = values[rows]
    picked[: np.searchsorted(rows, 0)] = otherwise
    return picked


def _believed(agreeing: int, kept: int, lasting: int, silent: int) -> bool:
    """Whether `agreeing` ticks in a row, over `lasting` ns, `silent` ns after the last good one, are the new level.

    `kept` ticks of the day were at the present one.
    """
    if kept < BELIEVED_AFTER:
        return agreeing > kept
    if silent >= SILENCE_NS and agreeing >= BELIEVED_AFTER_SILENCE:
        return True
    return agreeing >= BELIEVED_AFTER and lasting >= BELIEVED_AFTER_NS


def _groups(code: NDArray[np.int32], rows: Rows | None) -> list[tuple[int, Rows | slice]]:
    """(code, its rows in arrival order) of each code among `rows`; a slice where they are all of the batch."""
    codes = code if rows is None else code[rows]
    if not len(codes):
        return []
    first = int(codes[0])
    if (codes == first).all():
        return [(first, slice(0, len(code)) if rows is None else rows)]
    # numpy sorts 16-bit integers by radix, wider ones by comparison
    order = np.argsort(codes.astype(np.uint16) if codes.max() < 65_536 else codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    picked = order if rows is None else rows[order]
    return [(int(code[group[0]]), group) for group in np.split(picked, starts[1:])]


def _good_prices(batch: TickBatch) -> Mask:
    """A price that an instrument can have, and no quote beyond; of an empty side of the book it is 0."""
    good: Mask = (batch.ltp >= MIN_PRICE) & (batch.ltp < MAX_PRICE)
    for quotes in (batch.bid, batch.ask):
        if quotes.strides[0]:
            good &= ~(quotes >= MAX_PRICE)
    return good


def _good_quantities(batch: TickBatch) -> Mask | None:
    """Whether volumes are such as can be added up; None for all of them."""
    columns = [column for column in (batch.volume, batch.last_qty) if column.max() > MAX_QUANTITY]
    return np.logical_and.reduce([column <= MAX_QUANTITY for column in columns]) if columns else None


def _good_times(batch: TickBatch) -> Mask:
    ts = batch.ts_event
    good: Mask = (ts >= FIRST_VALID_NS) & (ts < LAST_VALID_NS) & (ts <= batch.ts_recv + MAX_SKEW_NS)
    return good


def picked(batch: TickBatch, rows: Rows) -> TickBatch:
    """`batch.take`, but a column that is one repeated value stays one."""
    columns = {name: getattr(batch, name) for name in TICK_COLUMNS}
    taken = {name: column[: len(rows)] if column.strides[0] == 0 else column[rows] for name, column in columns.items()}
    bands = {name: column[rows] for name in BAND_COLUMNS if (column := getattr(batch, name)) is not None}
    return TickBatch(symbols=batch.symbols, **taken, **bands)
