"""What a replay makes of columns a plain loop makes of one tick after the other: bars, fills, profit and loss."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.app import App
from daemon.core.clock import NS_PER_MS, NS_PER_S, ReplayClock
from daemon.core.events import Bar, Event, Fill, OrderAccepted, OrderCancelled, OrderIntent, Side
from daemon.core.latency import FixedLatency
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.native.kernel import column_kernel
from daemon.plan import RunPlan
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.tape.format import TapeReader, TapeWriter
from daemon.tape.simulator import SimulatedSymbol, simulate
from tests.depth import examples
from tests.samples import LIVELY, RELIANCE, SBIN, settings_of

CALENDAR = MarketCalendar()
CHUNK = 1500
HEARD: tuple[type[Event], ...] = (Bar, Fill, OrderAccepted, OrderCancelled, OrderIntent)


class Tick(NamedTuple):
    """What the plain loops look at."""

    symbol: str
    ts: int
    received: int
    ltp: float
    traded: int
    bid: float
    ask: float
    bid_qty: int
    ask_qty: int


def write(path: Path, seed: int, fault_rate: float) -> None:
    """Two symbols, a day, every kind of faulty tick, and one in a hundred received late: all after it wait for it."""
    session = CALENDAR.session(dt.date(2026, 1, 5))
    assert session is not None
    symbols = [SimulatedSymbol(SBIN, 900.0, 0.05), SimulatedSymbol(RELIANCE, 1200.0, 0.1)]
    chance = np.random.default_rng(seed)
    with TapeWriter(path) as writer:
        for batch in simulate(symbols, [session], 800, seed, fault_rate, 3.0):
            delays = np.where(chance.random(len(batch)) < 0.01, 4 * NS_PER_S, 0)
            writer.write(msgspec.structs.replace(batch, ts_recv=np.maximum.accumulate(batch.ts_recv + delays)))


def replayed(tape: Path, chosen: Settings, delay_ms: int) -> tuple[App, list[Event]]:
    """The daemon's way, and what it said on the way."""
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(), latency=FixedLatency(delay_ms), journal=None, durable=False,
        restarts=False, order_prefix="T", pumped=True, kernel=column_kernel(None),
    )  # fmt: skip
    app, heard = App(chosen, plan), []
    app.bus.tap(HEARD, heard.append)
    asyncio.run(app.run())
    return app, heard


def accepted(tape: Path, app: App) -> Iterator[Tick]:
    """Ticks that a filter of its own accepts one at a time, with the newest time of receipt so far."""
    sieve = app.tapes.tick_filter(app.settings.feed, InstrumentBook(app.settings.market), CALENDAR)
    received = 0
    for raw in TapeReader([tape]).batches(CHUNK):
        for row in range(len(raw)):
            batch, traded = sieve.apply(raw.slice(row, row + 1))
            if len(batch):
                received = max(received, int(batch.ts_recv[0]))
                yield Tick(
                    batch.symbols[int(batch.code[0])], int(batch.ts_event[0]), received, float(batch.ltp[0]),
                    int(traded[0]), float(batch.bid[0]), float(batch.ask[0]), int(batch.bid_qty[0]),
                    int(batch.ask_qty[0]),
                )  # fmt: skip


def bars_of(ticks: list[Tick], chosen: Settings) -> set[tuple[object, ...]]:
    """A loop that adds each tick to its bar of every interval, unless it came after its minute was over."""
    grace, found = chosen.bars.grace_ms * NS_PER_MS, {}
    for tick in ticks:
        session = CALENDAR.session_at(tick.ts)
        assert session is not None
        for name in chosen.bars.intervals:
            length = INTERVALS[name] * NS_PER_S
            minute_end = tick.ts - (tick.ts - session.open_ns) % (60 * NS_PER_S) + 60 * NS_PER_S
            if tick.received > minute_end + grace:
                continue
            start = tick.ts - (tick.ts - session.open_ns) % length
            bar = found.setdefault((tick.symbol, name, start), [tick.ltp, tick.ltp, tick.ltp, tick.ltp, -1, 0])
            bar[1], bar[2], bar[3] = max(bar[1], tick.ltp), min(bar[2], tick.ltp), tick.ltp
            bar[4] = bar[4] if tick.traded < 0 else max(bar[4], 0) + tick.traded
            bar[5] += 1
    return {(*key, *bar) for key, bar in found.items()}


def fills_of(ticks: list[Tick], heard: list[Event], app: App) -> list[tuple[object, ...]]:
    """A loop that walks each market order over the ticks after it, taking what the other side shows."""
    intents = {event.order_id: event for event in heard if isinstance(event, OrderIntent)}
    ended = {event.order_id: event.ts for event in heard if isinstance(event, OrderCancelled)}
    book, slip = InstrumentBook(app.settings.market), Decimal(str(app.settings.broker.paper.slippage_bp)) / 10_000
    found: list[tuple[object, ...]] = []
    taken: Counter[tuple[int, Side]] = Counter()
    for answer in (event for event in heard if isinstance(event, OrderAccepted)):
        intent, sign = intents[answer.order_id], intents[answer.order_id].side.sign
        instrument, left, after = book.resolve(intent.symbol), intent.quantity, answer.ts
        assert instrument is not None
        quickest = 2**63
        for row, tick in enumerate(ticks):
            quickest = min(quickest, tick.received - tick.ts - tick.received // 60)
            if not left or tick.received >= ended.get(answer.order_id, 2**63):
                break
            buys = intent.side is Side.BUY
            price, own, shown = (tick.ask, tick.bid, tick.ask_qty) if buys else (tick.bid, tick.ask, tick.bid_qty)
            shown -= taken[row, intent.side]
            if tick.symbol != intent.symbol or tick.received <= after or not price > 0 or shown < 1:
                continue
            if tick.ts + quickest + tick.received // 60 <= answer.ts - NS_PER_S:  # it was so before the order was there
                continue
            price = own if own > 0 and sign * (own - price) > 0 else price
            steps = Decimal(repr(price)) * (1 + sign * slip) / instrument.tick_size
            steps = steps.to_integral_value(ROUND_CEILING if buys else ROUND_FLOOR)
            quantity = min(left, shown)
            take(taken, ticks, row, intent.side, quantity)
            found.append((answer.order_id, intent.side, quantity, steps * instrument.tick_size, tick.received))
            left, after = left - quantity, tick.received
    return sorted(found, key=lambda fill: (fill[4], fill[0]))  # type: ignore[return-value]


def take(taken: Counter[tuple[int, Side]], ticks: list[Tick], row: int, side: Side, quantity: int) -> None:
    """What is taken of a tick's quote is taken of the next ones, too, while they tell the same price."""
    left = taken[row, side] + quantity
    for place in range(row, len(ticks)):
        tick, first = ticks[place], ticks[row]
        price, shown = (tick.ask, tick.ask_qty) if side is Side.BUY else (tick.bid, tick.bid_qty)
        if tick.symbol != first.symbol or np.isnan(price):
            continue
        if price != (first.ask if side is Side.BUY else first.bid):
            break
        left = taken[place, side] = min(left, shown) if shown >= 0 else left


@given(st.integers(0, 2**16), st.sampled_from([0.0, 0.04]), st.sampled_from([0, 800]))
@settings(max_examples=examples(3), deadline=None)
def test_columns_give_what_a_plain_loop_gives(seed: int, fault_rate: float, delay_ms: int) -> None:
    """Whatever the tape, with faults and without, with a delay and without."""
    chosen = settings_of(*LIVELY, f"feed.chunk_rows={CHUNK}")
    with tempfile.TemporaryDirectory() as directory:
        tape = Path(directory) / "t.parquet"
        write(tape, seed, fault_rate)
        app, heard = replayed(tape, chosen, delay_ms)
        ticks = list(accepted(tape, app))
    bars = {
        (bar.symbol, bar.interval, bar.ts_open, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.ticks)
        for bar in heard
        if isinstance(bar, Bar)
    }
    assert bars == bars_of(ticks, chosen)
    fills = [event for event in heard if isinstance(event, Fill)]
    told = [(fill.order_id, fill.side, fill.quantity, fill.price, fill.ts) for fill in fills]
    assert sorted(told, key=lambda fill: (fill[4], fill[0])) == fills_of(ticks, heard, app)
    assert fills
    spent = sum((fill.side.sign * fill.quantity * fill.price + fill.costs for fill in fills), Decimal(0))
    portfolio = app.account.portfolio
    held = {symbol: sum(fill.side.sign * fill.quantity for fill in fills if fill.symbol == symbol)
            for symbol in (SBIN, RELIANCE)}  # fmt: skip
    last = {bar.symbol: Decimal(repr(bar.close)) for bar in heard if isinstance(bar, Bar) and bar.interval == "1m"}
    worth = sum((quantity * last[symbol] for symbol, quantity in held.items()), Decimal(0))
    assert portfolio.cash == portfolio.starting_cash - spent
    assert portfolio.equity == portfolio.starting_cash - spent + worth
