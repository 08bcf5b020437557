"""`TickFilter` against a plain-Python account of its rules, on random tapes cut at random places."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.core.clock import MAX_SKEW_NS
from daemon.core.events import TICK_COLUMNS, TickBatch
from daemon.feed import cumulative_volume
from daemon.feed.tick_filter import (
    BELIEVED_AFTER,
    BELIEVED_AFTER_NS,
    BELIEVED_AFTER_SILENCE,
    SILENCE_NS,
    TickFilter,
)
from daemon.market.instruments import FEW_TICKS, Instrument, Kind
from tests.depth import examples

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
MIDNIGHT_IST = 1_616_697_000 * SECOND  # 2021-03-26 00:00 IST
OPEN, CLOSE = 9 * 3600 + 15 * 60, 15 * 3600 + 30 * 60
MAX_JUMP_PERCENT = 10.0
SYMBOLS = ("AAA", "BBB", "???", "")
INSTRUMENTS = {
    symbol: Instrument(symbol, kind, "NSE", 1, Decimal("0.05"), True)
    for symbol, kind in (("AAA", Kind.EQUITY), ("BBB", Kind.OPTION))
}
LIMITS = {"AAA": 0.1, "BBB": 1.0}
FEW = FEW_TICKS * 0.05


class ListedInstruments:
    """Knows the share AAA and the option BBB."""

    def resolve(self, symbol: str) -> Instrument | None:
        """Return what is known."""
        return INSTRUMENTS.get(symbol)


class DailySession:
    """Open 09:15-15:30 IST on every day."""

    def in_session(self, ts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the time of day lies in the session."""
        second = (ts - MIDNIGHT_IST) // SECOND % 86_400
        inside: NDArray[np.bool_] = (second >= OPEN) & (second < CLOSE)
        return inside

    def stretch(self, ts_ns: int) -> tuple[int, int]:
        """The session around a time, (0, 0) where there is none."""
        midnight = ts_ns - (ts_ns - MIDNIGHT_IST) % DAY
        found = midnight + OPEN * SECOND, midnight + CLOSE * SECOND
        return found if found[0] <= ts_ns < found[1] else (0, 0)


def random_tape(seed: int, n: int, fault_rate: float) -> TickBatch:
    """Make a tape of two known and two unknown symbols with every kind of fault, dense or rare."""
    rng = np.random.default_rng(seed)
    pause = rng.choice([2, 5, 20, 100, 301])  # some markets are quicker than others
    steps = rng.choice([0, 0, SECOND, pause * SECOND, DAY], n, p=[0.3, 0.2, 0.3, 0.19, 0.01])
    ts = MIDNIGHT_IST + (OPEN + 60) * SECOND + np.cumsum(steps)
    code = rng.choice(4, n, p=[0.6, 0.4 - fault_rate / 2, fault_rate / 4, fault_rate / 4])
    if rng.random() < 0.3:
        code[:] = 0
    ltp = rng.choice([100.0, 100.05, 100.1], n)
    volume = np.cumsum(rng.integers(0, 3, n))
    last_qty = rng.integers(-1, 4, n)
    bid = rng.choice([99.95, math.nan], n)
    ts_recv = np.maximum.accumulate(ts)

    def somewhere() -> NDArray[np.bool_]:
        return rng.random(n) < fault_rate

    ts = np.where(somewhere(), ts - rng.integers(1, 4, n) * SECOND, ts)
    ts = np.where(somewhere(), ts + rng.choice([SECOND, 5 * SECOND, DAY], n), ts)
    ts = np.where(somewhere(), rng.choice([0, -5, 10**15, ts[0] - 8 * 3600 * SECOND], n), ts)
    ltp = np.where(
        somewhere(),
        rng.choice([math.nan, math.inf, 0.0, -1.0, 110.0, 110.06, 150.0, 90.0, 60.0, 1e300, 1e-300], n),
        ltp,
    )
    ltp = np.where((rng.random() < 0.3) & (np.arange(n) >= rng.integers(n)), ltp * 1.5, ltp)  # a false level
    volume = np.where(somewhere(), rng.integers(-1, 5, n), volume)
    volume = np.where(somewhere(), rng.choice([2**32 - 1, 5_000, 2**31], n), volume)  # a false total
    volume = np.where(somewhere(), 2**62, volume)
    bid = np.where(somewhere(), 1e300, bid)
    if rng.random() < 0.2:  # a list of trades
        volume[:] = -1
    repeats = np.flatnonzero(somewhere()[1:]) + 1
    columns = {"code": code.astype(np.int32), "ts_event": ts, "ltp": ltp, "volume": volume, "last_qty": last_qty}
    columns["bid"] = bid
    for row in repeats.tolist():
        for column in columns.values():
            column[row] = column[row - 1]
    nothing = np.broadcast_to(np.int64(-1), (n,))
    return TickBatch(
        symbols=SYMBOLS,
        ts_recv=ts_recv,
        ask=np.broadcast_to(np.float64(math.nan), (n,)),
        bid_qty=nothing,
        ask_qty=nothing,
        oi=nothing,
        traded=nothing,
        **columns,
    )


@dataclass
class Memory:
    """What the plain account remembers of a symbol."""

    ts: int = 0
    price: float = 0.0
    row: list[float] = field(default_factory=list)
    jumped: list[tuple[int, float]] = field(default_factory=list)
    kept: int = 0
    top: dict[int, int] = field(default_factory=dict)
    below: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def verdict_of(tick: dict[str, float], memory: Memory, in_session: bool) -> str:
    """Name the first rule that a tick breaks, "" where it breaks none."""
    ts, price = int(tick["ts_event"]), tick["ltp"]
    same_day = (ts - MIDNIGHT_IST) // DAY == (memory.ts - MIDNIGHT_IST) // DAY
    if SYMBOLS[int(tick["code"])] not in ("AAA", "BBB"):
        return "unknown_symbol"
    if ts < 946_684_800 * SECOND or ts > tick["ts_recv"] + MAX_SKEW_NS:
        return "bad_time"
    if not in_session:
        return "outside_session"
    if not 0.0001 <= price < 1e7 or tick["bid"] >= 1e7:
        return "bad_price"
    if tick["volume"] > 10**12:
        return "bad_quantity"
    limit = LIMITS[SYMBOLS[int(tick["code"])]]
    if memory.row and same_day and abs(price - memory.price) > max(memory.price * limit, FEW):
        level = memory.jumped[-1][1] if memory.jumped else 0.0
        agree = bool(memory.jumped) and abs(price - level) <= max(level * limit, FEW)
        memory.jumped = [*memory.jumped, (ts, price)] if agree else [(ts, price)]
        if not believed(ts, memory):
            return "bad_price"
    else:
        memory.jumped = []
    if ts < memory.ts:
        return "backward_time"
    if exchange_row(tick) == memory.row and not (tick["volume"] < 0 < tick["last_qty"]):
        return "duplicate"
    return ""


def believed(ts: int, memory: Memory) -> bool:
    """Whether the ticks that jumped are the new level."""
    if memory.kept < BELIEVED_AFTER:
        return len(memory.jumped) > memory.kept
    if ts - memory.ts >= SILENCE_NS and len(memory.jumped) >= BELIEVED_AFTER_SILENCE:
        return True
    return len(memory.jumped) >= BELIEVED_AFTER and ts - memory.jumped[0][0] >= BELIEVED_AFTER_NS


def measured(ts: int, volume: int, quantity: int, day: int, memory: Memory) -> tuple[int, bool, bool]:
    """(traded, whether the volume fell, whether a top is no longer believed) of one accepted tick."""
    top = memory.top.get(day)
    if top is None:
        if volume >= 0:
            memory.top[day] = volume
        return (max(quantity, 0) if volume >= 0 else quantity), False, False
    if volume < 0:
        return 0, False, False
    below = memory.below.setdefault(day, [])
    if volume >= top:
        memory.top[day] = volume
        below.clear()
        return volume - top, False, False
    if volume == 0:
        return 0, True, False
    if below and volume < below[-1][1]:
        below.clear()
    below.append((ts, volume))
    silent = ts - below[0][0] >= cumulative_volume.SILENCE_NS
    if len(below) >= cumulative_volume.BELIEVED_AFTER or (
        silent and len(below) >= cumulative_volume.BELIEVED_AFTER_SILENCE
    ):
        traded = volume - below[0][1]
        memory.top[day] = volume
        below.clear()
        return traded, True, True
    return 0, True, False


def exchange_row(tick: dict[str, float]) -> list[float]:
    """List what the exchange sent, with a null that equals itself."""
    names = [name for name in TICK_COLUMNS if name not in ("code", "ts_recv", "traded")]
    return [-1.0 if math.isnan(tick[name]) else tick[name] for name in names]


def expected(tape: TickBatch) -> tuple[list[int], list[int], Counter[str], dict[str, int]]:
    """Find (accepted rows, traded, rejections, repairs) by the rules, one tick after the other."""
    memories: dict[int, Memory] = {}
    rows, traded, rejected = [], [], Counter[str]()
    repaired = {"volume_fell": 0, "false_volume": 0}
    inside = DailySession().in_session(tape.ts_event)
    for i in range(len(tape)):
        tick = {name: getattr(tape, name)[i].item() for name in TICK_COLUMNS}
        memory = memories.setdefault(tick["code"], Memory())
        reason = verdict_of(tick, memory, bool(inside[i]))
        if reason:
            rejected[reason] += 1
            continue
        rows.append(i)
        ts, volume = tick["ts_event"], tick["volume"]
        day = (ts - MIDNIGHT_IST) // DAY
        unset = volume in (2**31, 2**32 - 1)
        quantity, fell, turned = measured(ts, -1 if unset else volume, tick["last_qty"], day, memory)
        traded.append(quantity)
        repaired["volume_fell"] += fell
        repaired["false_volume"] += turned + unset
        same_level = day == (memory.ts - MIDNIGHT_IST) // DAY and not memory.jumped
        memory.kept = memory.kept + 1 if same_level else 1
        memory.ts, memory.price, memory.row = tick["ts_event"], tick["ltp"], exchange_row(tick)
    return rows, traded, rejected, repaired


def filtered(batches: list[TickBatch]) -> tuple[TickFilter, list[tuple[float, ...]], list[int]]:
    """(filter, accepted ticks as tuples, traded) after all batches."""
    tick_filter = TickFilter(ListedInstruments(), DailySession(), MAX_JUMP_PERCENT)
    ticks: list[tuple[float, ...]] = []
    traded: list[int] = []
    for batch in batches:
        accepted, quantity = tick_filter.apply(batch)
        names = [name for name in TICK_COLUMNS if name not in ("bid", "ask", "traded")]
        ticks += zip(*(getattr(accepted, name).tolist() for name in names), strict=True)
        traded += quantity.tolist()
        assert accepted.traded.tolist() == quantity.tolist()
    return tick_filter, ticks, traded


@settings(max_examples=examples(300))
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 900),
    fault_rate=st.sampled_from([0.0, 0.003, 0.03, 0.3]),
    cuts=st.data(),
)
@example(seed=1, n=700, fault_rate=0.3, cuts=None)
def test_the_filter_is_the_plain_account_of_its_rules(
    seed: int, n: int, fault_rate: float, cuts: st.DataObject | None
) -> None:
    """However a tape is cut, the accepted ticks, traded quantities and counts are those of the rules."""
    tape = random_tape(seed, n, fault_rate)
    places = sorted(cuts.draw(st.lists(st.integers(0, n), max_size=5))) if cuts else []
    batches = [tape.slice(a, b) for a, b in zip([0, *places], [*places, n], strict=True)]

    tick_filter, ticks, traded = filtered(batches)

    rows, expected_traded, rejected, repaired = expected(tape)
    assert ticks == filtered_rows(tape, rows)
    assert traded == expected_traded
    assert {reason: count for reason, count in tick_filter.rejected.items() if count} == dict(rejected)
    assert tick_filter.repaired == repaired
    assert tick_filter.accepted + sum(tick_filter.rejected.values()) == n


def filtered_rows(tape: TickBatch, rows: list[int]) -> list[tuple[float, ...]]:
    """List the given rows of a tape as tuples, without the columns that may hold NaN."""
    names = [name for name in TICK_COLUMNS if name not in ("bid", "ask", "traded")]
    return list(zip(*(getattr(tape, name)[rows].tolist() for name in names), strict=True))


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 2**32), n=st.integers(1, 200))
def test_tick_by_tick_equals_all_at_once(seed: int, n: int) -> None:
    """A live feed, one tick a batch, accepts what a replay of the same ticks accepts."""
    tape = random_tape(seed, n, 0.05)

    whole, ticks, traded = filtered([tape])
    single, single_ticks, single_traded = filtered([tape.slice(i, i + 1) for i in range(n)])

    assert (ticks, traded, whole.rejected, whole.repaired) == (
        single_ticks,
        single_traded,
        single.rejected,
        single.repaired,
    )
