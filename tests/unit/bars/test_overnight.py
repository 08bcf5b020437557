"""When a corporate action is said: before the first tick of its day, once, and to whom it concerns."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.bars.overnight import Overnight
from daemon.core.bus import Bus
from daemon.core.clock import day_number
from daemon.core.events import Bar, Event, PositionRestated, PriceAdjusted, PriceJumped, TickBatch
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.market.overnight import OvernightLimit, action_key
from daemon.settings.market import AdjustmentSettings, MarketSettings
from tests.samples import DAY, MINUTE, OPEN, SBIN, tick

LIMIT = OvernightLimit(InstrumentBook(MarketSettings()), 20.0)
DATE = dt.date(2026, 1, 6)
DONE = f"{SBIN} 2026-01-06 split"


def ten(symbol: str, day: int) -> int:
    """What a portfolio tells that held ten of SBIN as its day began."""
    return 10 if (symbol, day) == (SBIN, day_number("2026-01-06")) else 0


def none(symbol: str, day: int) -> int:
    """One that held nothing."""
    return 0


def split(date: dt.date = DATE, kind: Any = "split", ratio: str = "1/5") -> AdjustmentSettings:
    """One action of SBIN."""
    return AdjustmentSettings(date=date, symbol=SBIN, ratio=ratio, kind=kind)


class Heard:
    """A bus with the station on it, and what an inbox got."""

    def __init__(self, *actions: AdjustmentSettings, **changes: Any) -> None:
        self.bus = Bus()
        self.inbox = self.bus.subscribe("somebody", (TickBatch, PriceAdjusted, PositionRestated, PriceJumped))
        self.station = Overnight(self.bus, LIMIT, {SBIN: list(actions)}, **changes)

    def tick(self, day: int, price: float = 100.0, minute: int = 1) -> list[type[Event]]:
        """A tick comes; the kinds of what arrived, in order."""
        self.bus.publish(tick(OPEN + day * DAY + minute * MINUTE, price))
        got = []
        while (event := self.inbox.take()) is not None:
            got.append(type(event))
            self.inbox.done()
        return got


def bar(day: int, opened: float, close: float, minute: int = 0, interval: str = "5m") -> Bar:
    """A bar of SBIN."""
    start = OPEN + day * DAY + minute * MINUTE
    return Bar(symbol=SBIN, interval=interval, ts_open=start, ts_close=start + 5 * MINUTE, open=opened,
               high=max(opened, close), low=min(opened, close), close=close, volume=1, ticks=2)  # fmt: skip


def test_an_action_comes_before_the_first_tick_of_its_day_once() -> None:
    """And changes what is held, on paper; the day before and the rest of the day hear nothing."""
    heard = Heard(split())
    assert [heard.tick(0), heard.tick(1), heard.tick(1, minute=2), heard.tick(2)] == [
        [TickBatch], [PriceAdjusted, PositionRestated, TickBatch], [TickBatch], [TickBatch],
    ]  # fmt: skip


@pytest.mark.parametrize("by_broker", [False, True])
def test_a_process_that_ended_before_the_holding_was_counted_leaves_it_to_the_next(by_broker: bool) -> None:
    """On paper it is counted before the first tick, once; a broker is waited for. The prices are counted already."""
    said = PriceAdjusted(ts=OPEN + DAY, symbol=SBIN, date="2026-01-06", kind="split", numerator=1, denominator=5,
                         shares=True, by_broker=by_broker)  # fmt: skip
    heard = Heard(split(), by_broker=by_broker, held_at=ten)
    heard.station.remember([bar(0, 500.0, 500.0), said])
    assert heard.station.awaited == [msgspec.structs.replace(said, carried=10)]
    counted: list[type[Event]] = [] if by_broker else [PositionRestated]
    assert [heard.tick(1), heard.tick(1, minute=2)] == [[*counted, TickBatch], [TickBatch]]
    for others in ({"held_at": none}, {"held_at": ten, "done": [DONE]}, {}):
        heard = Heard(split(), by_broker=by_broker, **others)
        heard.station.remember([bar(0, 500.0, 500.0), said])
        assert heard.station.awaited == []


def test_a_dividend_changes_no_holding_and_the_broker_changes_his_own() -> None:
    """Only prices are counted anew."""
    for heard in (Heard(split(kind="dividend", ratio="0.97")), Heard(split(), by_broker=True)):
        heard.tick(0)
        assert heard.tick(1) == [PriceAdjusted, TickBatch]


def test_what_lies_before_the_first_tick_is_due_only_where_something_was_held() -> None:
    """A position of the day before is counted anew at the next start, unless it was; one of the day itself isn't."""
    assert Heard(split()).tick(1) == [TickBatch]
    assert Heard(split(), held_at=ten).tick(1) == [PriceAdjusted, PositionRestated, TickBatch]
    assert Heard(split(), held_at=ten).tick(3) == [PriceAdjusted, PositionRestated, TickBatch]
    assert Heard(split(), held_at=none).tick(1) == [TickBatch]
    done = [action_key(SBIN, "2026-01-06", "split")]
    assert Heard(split(), held_at=ten, done=done).tick(1) == [TickBatch]


def test_a_bar_that_closes_beyond_the_limit_is_a_jump() -> None:
    """Only the first of a day, from where it opened or yesterday's price told once more; a fall within it is none."""
    for first, after in ((bar(1, 20.0, 21.0), 20.0), (bar(1, 20.0, 99.0), None), (bar(1, 99.0, 20.0), 20.0),
                         (bar(1, 90.0, 79.0), None)):  # fmt: skip
        station = Heard().station
        assert station.before(bar(0, 100.0, 100.0)) is None
        said = station.before(first)
        assert (said and said.after) == after
        assert station.before(bar(1, 100.0, 100.0, 5)) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_bar_of_nothing_but_yesterdays_price_is_none_of_the_session(restarted: bool) -> None:
    """The share that nobody trades before 09:25 was split all the same; a fall after it has traded is none."""
    evening, told, split = bar(0, 100.0, 100.0), bar(1, 100.0, 100.0), bar(1, 20.0, 20.1, 5)
    station = Heard().station
    if restarted:
        station.remember([evening, told])
    else:
        assert [station.before(evening), station.before(told)] == [None, None]
    said = station.before(split)
    assert said is not None
    assert (said.before, said.after) == (100.0, 20.0)
    traded = Heard().station
    assert [traded.before(it) for it in (evening, bar(1, 100.0, 99.95), bar(1, 20.0, 20.0, 5))] == [None] * 3


def test_what_a_named_action_ended_may_be_told_once_more_too() -> None:
    """Those who hold windows saw it at the old price, so they begin anew there and at the new one."""
    heard = Heard(split())
    heard.tick(0)
    heard.station.before(bar(0, 100.0, 100.0))
    heard.tick(1)
    told = [
        heard.station.before(bar(1, price, price, minute)) for minute, price in ((0, 100.0), (5, 100.0), (10, 20.0))
    ]
    assert [it and (it.before, it.after) for it in told] == [(20.0, 100.0), None, (100.0, 20.0)]


def test_a_jump_is_measured_in_the_price_that_an_action_made() -> None:
    """With the right ratio there is none."""
    heard = Heard(split())
    heard.tick(0)
    heard.station.before(bar(0, 100.0, 100.0))
    heard.tick(1, 20.0)
    assert heard.station.before(bar(1, 20.0, 20.1)) is None


def test_a_jump_is_heard_before_its_bar() -> None:
    """Whoever holds windows drops them first."""
    bus, said = Bus(), list[Event]()
    station = Overnight(bus, LIMIT, {})
    bus.tap((Bar, PriceJumped), said.append)
    actor = BarsActor(bus, BarBuilder(MarketCalendar(), {"5m": 300}, 0), station)
    actor.publish([bar(0, 100.0, 100.0), bar(1, 20.0, 20.0), bar(1, 20.0, 20.0, 5)])
    assert [type(event) for event in said] == [Bar, PriceJumped, Bar, Bar]
    assert said[1].words == f"{SBIN}: 100 → 20 overnight (×0.2): earlier bars left out"  # type: ignore[attr-defined]
