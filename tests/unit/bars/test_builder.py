"""Bars: where they begin and end, what they hold, and what never happens to them."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from daemon.bars.builder import BarBuilder, BarsActor
from daemon.core.bus import Bus
from daemon.core.events import Bar, FeedState, FeedStatus, TickBatch, TimeAdvanced
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.settings.values import INTERVALS
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

CALENDAR = MarketCalendar()
MINUTE = 60
CLOSE_S = 375 * MINUTE
GRACE_S = 1


def builder(*intervals: str, grace_s: float = GRACE_S) -> BarBuilder:
    """Make a builder of the named intervals."""
    return BarBuilder(CALENDAR, {name: INTERVALS[name] for name in intervals}, round(grace_s * SECOND))


def at(second: float) -> int:
    """UTC nanoseconds so many seconds after the open."""
    return OPEN_NS + round(second * SECOND)


def second(ts: int) -> float:
    """Seconds after the open."""
    return (ts - OPEN_NS) / SECOND


def ticks(*rows: tuple[float, float, int]) -> TickBatch:
    """Make ticks of (second of event and receipt, price, quantity traded)."""
    seconds, prices, traded = zip(*rows, strict=True)
    return make_batch(ts_event=seconds, ltp=prices, traded=traded)


def test_open_high_low_close_volume_ticks() -> None:
    """A bar is the first, highest, lowest and last price, the quantity traded and the number of ticks."""
    bars = builder("1m")
    bars.on_ticks(ticks((1, 100.0, 5), (2, 103.0, 0), (30, 98.0, 7), (59.999, 101.0, 1)))
    assert bars.on_time(at(61)) == [
        Bar(symbol="AAA", interval="1m", ts_open=at(0), ts_close=at(60), open=100.0, high=103.0, low=98.0,
            close=101.0, volume=13, ticks=4)
    ]  # fmt: skip
    assert bars.built == 1


def test_a_boundary_belongs_to_the_later_bar() -> None:
    """A tick at the very end of an interval opens the next bar."""
    bars = builder("1m")
    bars.on_ticks(ticks((59, 1.0, 1), (60, 2.0, 1)))
    first, second_bar = bars.on_time(at(121))
    assert (first.close, second_bar.open) == (1.0, 2.0)
    assert second(second_bar.ts_open) == 60


@pytest.mark.parametrize(
    ("interval", "starts"),
    [
        ("1m", [0, 60, 120]),
        ("3m", [0, 180, 360]),
        ("5m", [0, 300, 600]),
        ("15m", [0, 900, 1800]),
        ("30m", [0, 1800, 3600]),
        ("60m", [0, 3600, 7200]),
    ],
)
@pytest.mark.parametrize("companions", [(), tuple(INTERVALS)])
def test_intervals_are_anchored_at_the_open(interval: str, starts: list[int], companions: tuple[str, ...]) -> None:
    """Bars start at 09:15 and every whole interval after it, alone and among all the others."""
    bars = builder(*dict.fromkeys((interval, *companions)))
    length = INTERVALS[interval]
    assert starts == [0, length, 2 * length]
    bars.on_ticks(ticks(*((start + 1, 100.0, 1) for start in starts)))
    closed = [bar for bar in bars.on_time(at(3 * length + GRACE_S)) if bar.interval == interval]
    assert [second(bar.ts_open) for bar in closed] == starts
    assert [second(bar.ts_close) for bar in closed] == [start + length for start in starts]


@pytest.mark.parametrize(
    ("interval", "start"), [("30m", 360 * MINUTE), ("60m", 360 * MINUTE), ("1d", 0), ("15m", 360 * MINUTE)]
)
def test_the_last_bar_is_cut_at_the_close(interval: str, start: int) -> None:
    """What the session does not fill ends with it at 15:30, alone and beside others."""
    for bars in (builder(interval), builder(*INTERVALS)):
        bars.on_ticks(ticks((CLOSE_S - 1, 100.0, 1)))
        assert [bar for bar in bars.on_time(at(CLOSE_S + GRACE_S) - 1) if bar.interval == interval] == []
        (bar,) = [bar for bar in bars.on_time(at(CLOSE_S + GRACE_S)) if bar.interval == interval]
        assert (second(bar.ts_open), second(bar.ts_close)) == (start, CLOSE_S)


def test_a_short_session_anchors_at_its_own_open() -> None:
    """On a muhurat evening bars begin at its open and the day ends at its close."""
    session = CALENDAR.session(dt.date(2021, 11, 4))
    assert session is not None
    bars = builder("5m", "1d")
    opened = (session.open_ns - OPEN_NS) / SECOND
    closes = (session.close_ns - OPEN_NS) / SECOND
    bars.on_ticks(ticks((opened + 1, 100.0, 1), (closes - 1, 101.0, 1)))
    closed = bars.on_time(session.close_ns + GRACE_S * SECOND)
    assert [(bar.interval, bar.ts_open, bar.ts_close) for bar in closed] == [
        ("5m", session.open_ns, session.open_ns + 300 * SECOND),
        ("5m", session.close_ns - 300 * SECOND, session.close_ns),
        ("1d", session.open_ns, session.close_ns),
    ]


def test_a_day_of_two_stretches_needs_no_calendar_to_close() -> None:
    """A bar that begins in the pause of a disaster-recovery Saturday closes, even after the next session began."""
    day = dt.date(2024, 3, 2)
    session = CALENDAR.session(day)
    assert session is not None
    resumed = ist_ns(day, "11:30")
    assert session.open_ns < resumed < session.close_ns
    bars = builder("60m", "1d")
    bars.on_ticks(ticks(((resumed - OPEN_NS) / SECOND, 100.0, 1)))
    following = CALENDAR.next_session(session.close_ns)
    bars.on_ticks(ticks(((following.open_ns - OPEN_NS) / SECOND, 101.0, 1)))
    closed = bars.on_time(following.open_ns + SECOND)
    assert [(bar.interval, bar.ts_close) for bar in closed] == [
        ("60m", min(session.open_ns + 3 * 3600 * SECOND, session.close_ns)),
        ("1d", session.close_ns),
    ]


def test_no_bar_without_ticks() -> None:
    """An interval in which nothing came has no bar, short or long."""
    bars = builder("1m", "5m")
    bars.on_ticks(ticks((1, 100.0, 1), (601, 101.0, 1)))
    closed = bars.on_time(at(CLOSE_S))
    assert [(bar.interval, second(bar.ts_open)) for bar in closed] == [("1m", 0), ("5m", 0), ("1m", 600), ("5m", 600)]
    assert bars.on_time(at(CLOSE_S + 1)) == []


def test_a_bar_waits_for_the_grace_and_not_a_nanosecond_less() -> None:
    """It closes at its end plus the grace; a tick of it that comes within the grace counts."""
    bars = builder("1m", grace_s=2)
    bars.on_ticks(ticks((59, 100.0, 1)))
    assert bars.on_time(at(62) - 1) == []
    bars.on_ticks(make_batch(ts_event=[59.5], ts_recv=[62], ltp=[105.0], traded=[2]))
    (bar,) = bars.on_time(at(62))
    assert (bar.close, bar.volume, bars.late) == (105.0, 3, 0)


def test_a_tick_received_too_late_is_counted_whoever_looked_at_the_clock() -> None:
    """One nanosecond after the grace it is late, whether or not time was announced before it came."""
    for announced in (True, False):
        bars = builder("1m")
        bars.on_ticks(ticks((59, 100.0, 1)))
        if announced:
            bars.on_time(at(61))
        late = make_batch(ts_event=[59.5], ts_recv=[61 + 1e-9], ltp=[105.0], traded=[2])
        bars.on_ticks(late)
        bars.on_time(at(61))
        assert bars.late == 1
        assert bars.built == 1


def test_late_and_timely_ticks_in_one_batch() -> None:
    """Late ticks are taken out from between the others."""
    bars = builder("1m")
    bars.on_ticks(
        make_batch(ts_event=[10, 50, 70, 110, 130], ts_recv=[10, 65, 71, 122, 131], ltp=[1, 2, 3, 4, 5], traded=[1] * 5)
    )
    assert bars.late == 2
    assert [(bar.close, bar.volume) for bar in bars.on_time(at(181))] == [(1.0, 1), (3.0, 1), (5.0, 1)]


def test_a_published_bar_stays_as_it_was() -> None:
    """A tick that came in time but was handled after its bar had closed is late as well."""
    bars = builder("1m")
    bars.on_ticks(ticks((1, 100.0, 1)))
    assert len(bars.on_time(at(61))) == 1
    bars.on_ticks(make_batch(ts_event=[59], ts_recv=[60], ltp=[105.0], traded=[1]))
    assert bars.late == 1
    assert bars.on_time(at(121)) == []


def test_time_never_goes_back() -> None:
    """An earlier moment after a later one closes nothing and reopens nothing."""
    bars = builder("1m")
    bars.on_time(at(61))
    bars.on_time(at(0))
    bars.on_ticks(ticks((59, 100.0, 1)))
    assert bars.late == 1


def test_ticks_after_the_session_was_closed_are_late() -> None:
    """After the close and its grace nothing of that session is accepted any more."""
    bars = builder("60m", "1d")
    bars.on_ticks(ticks((CLOSE_S - 2, 100.0, 1)))
    assert len(bars.on_time(at(CLOSE_S + GRACE_S))) == 2
    bars.on_ticks(make_batch(ts_event=[CLOSE_S - 1], ts_recv=[CLOSE_S + 2], traded=[1]))
    assert bars.late == 1
    assert bars.on_time(at(CLOSE_S + 600)) == []


def test_no_longer_bar_is_lost_when_time_jumps() -> None:
    """One look at the clock after many intervals gives every bar that one look per interval gives, in order of end."""
    rows = [(float(minute * MINUTE + 1), 100.0 + minute, 1) for minute in range(31)]
    jumping, stepping = builder("1m", "3m", "5m", "30m"), builder("1m", "3m", "5m", "30m")
    jumping.on_ticks(ticks(*rows))
    stepping.on_ticks(ticks(*rows))
    stepped = [bar for minute in range(1, 32) for bar in stepping.on_time(at(minute * MINUTE + GRACE_S))]
    jumped = jumping.on_time(at(31 * MINUTE + GRACE_S))
    assert jumped == stepped
    assert [sum(bar.interval == name for bar in jumped) for name in ("1m", "3m", "5m", "30m")] == [31, 10, 6, 1]


def test_bars_come_in_order_of_end_then_interval_then_symbol() -> None:
    """At a common boundary the shorter interval comes first, then symbols by name, however the ticks were cut."""
    bars = builder("5m", "1m")
    batch = make_batch(("BBB", "AAA"), code=[0, 1, 0, 1], ts_event=[10, 20, 250, 260], ltp=[1, 2, 3, 4], traded=[1] * 4)
    bars.on_ticks(batch)
    closed = bars.on_time(at(301))
    assert [(bar.symbol, bar.interval, second(bar.ts_close)) for bar in closed] == [
        ("AAA", "1m", 60), ("BBB", "1m", 60), ("AAA", "1m", 300), ("BBB", "1m", 300), ("AAA", "5m", 300),
        ("BBB", "5m", 300),
    ]  # fmt: skip


def test_symbols_do_not_mix() -> None:
    """Interleaved ticks of several symbols go each into their own bars."""
    bars = builder("1m")
    bars.on_ticks(
        make_batch(
            ("AAA", "BBB", "CCC"), code=[2, 0, 2, 0], ts_event=[1, 2, 3, 4], ltp=[9, 1, 8, 2], traded=[1, 2, 3, 4]
        )
    )
    closed = {bar.symbol: (bar.open, bar.close, bar.volume) for bar in bars.on_time(at(61))}
    assert closed == {"AAA": (1.0, 2.0, 6), "CCC": (9.0, 8.0, 4)}


def test_one_batch_over_several_sessions() -> None:
    """A batch may span a night: each day gets its own bars, and the daily ones end with their sessions."""
    following = CALENDAR.next_session(OPEN_NS)
    overnight = (following.open_ns - OPEN_NS) / SECOND
    rows = ((10, 1.0, 1), (overnight + 10, 2.0, 1), (overnight + 70, 3.0, 1))
    expected = [("1m", 1.0), ("1d", 1.0), ("1m", 2.0), ("1m", 3.0), ("1d", 3.0)]
    one = builder("1m", "1d")
    one.on_ticks(ticks(*rows))
    assert [(bar.interval, bar.close) for bar in one.on_time(following.close_ns + SECOND)] == expected
    mixed = builder("1m", "1d")
    batch = make_batch(
        ("AAA", "BBB"), code=[0, 1, 0, 1], ts_event=[10, overnight + 5, overnight + 10, overnight + 70],
        ltp=[1, 2, 2, 3], traded=[1] * 4,
    )  # fmt: skip
    mixed.on_ticks(batch)
    assert len(mixed.on_time(following.close_ns + SECOND)) == 7


def test_an_index_has_no_volume() -> None:
    """Volume is -1 in every interval where no tick tells a quantity."""
    bars = builder("1m", "5m")
    bars.on_ticks(ticks((1, 100.0, -1), (61, 101.0, -1), (62, 102.0, -1)))
    assert {bar.volume for bar in bars.on_time(at(301))} == {-1}


@pytest.mark.parametrize("traded", [(-1, 4, 3), (4, -1, 3), (4, 3, -1)])
def test_unknown_quantities_add_nothing(traded: tuple[int, int, int]) -> None:
    """Ticks without a quantity beside ticks with one take nothing away, wherever they stand and however they came."""
    rows = [(float(i + 1), 100.0, quantity) for i, quantity in enumerate(traded)]
    whole, single = builder("1m"), builder("1m")
    whole.on_ticks(ticks(*rows))
    for row in rows:
        single.on_ticks(ticks(row))
    assert [bar.volume for bar in whole.on_time(at(61))] == [7]
    assert [bar.volume for bar in single.on_time(at(61))] == [7]


def test_volume_of_a_longer_bar_with_a_silent_stretch() -> None:
    """A base bar without volume leaves the volume of the longer bar to the others."""
    bars = builder("1m", "5m")
    bars.on_ticks(ticks((1, 100.0, -1), (61, 101.0, 5), (121, 101.0, -1)))
    assert [bar.volume for bar in bars.on_time(at(301)) if bar.interval == "5m"] == [5]


def test_a_gap_marks_the_open_bars_and_the_next() -> None:
    """A silent feed marks the bar it fell silent in, the first one after it, and the longer bars around them."""
    bars = builder("1m", "5m")
    bars.on_ticks(ticks((1, 100.0, 1), (61, 100.0, 1)))
    bars.on_time(at(61))
    bars.mark_gap("AAA", OPEN_NS)
    bars.on_ticks(ticks((181, 101.0, 1), (241, 102.0, 1), (301, 103.0, 1)))
    closed = bars.on_time(at(601))
    assert [(second(bar.ts_open), bar.gap) for bar in closed if bar.interval == "1m"] == [
        (60, True), (180, True), (240, False), (300, False),
    ]  # fmt: skip
    assert [bar.gap for bar in closed if bar.interval == "5m"] == [True, False]


def test_a_gap_of_one_symbol_leaves_the_others() -> None:
    """Only the silent symbol is marked; None means all."""
    for silent, expected in (("AAA", {"AAA": True, "BBB": False}), (None, {"AAA": True, "BBB": True})):
        bars = builder("1m")
        bars.on_ticks(make_batch(("AAA", "BBB"), code=[0, 1], traded=[1, 1]))
        bars.mark_gap(silent, OPEN_NS)
        bars.on_ticks(make_batch(("AAA", "BBB"), code=[0, 1], ts_event=[10, 11], traded=[1, 1]))
        assert {bar.symbol: bar.gap for bar in bars.on_time(at(61))} == expected


def test_a_gap_before_the_first_tick_marks_the_first_bar() -> None:
    """A feed that begins inside a session missed something of every symbol; one lost before the open missed nothing."""
    for lost_s, expected in ((5, True), (-5, False)):
        bars = builder("1m")
        bars.mark_gap(None, OPEN_NS + lost_s * SECOND)
        bars.on_ticks(ticks((11, 100.0, 1), (61, 100.0, 1)))
        assert [bar.gap for bar in bars.on_time(at(122))] == [expected, False]


def test_base_interval_need_not_be_asked_for() -> None:
    """3m and 5m roll up from minutes that nobody sees."""
    bars = builder("3m", "5m")
    bars.on_ticks(ticks(*((float(minute * MINUTE), float(minute), 1) for minute in range(15))))
    closed = bars.on_time(at(15 * MINUTE + GRACE_S))
    assert [bar.close for bar in closed if bar.interval == "3m"] == [2.0, 5.0, 8.0, 11.0, 14.0]
    assert [bar.close for bar in closed if bar.interval == "5m"] == [4.0, 9.0, 14.0]
    assert {bar.interval for bar in closed} == {"3m", "5m"}


def test_an_empty_batch_changes_nothing() -> None:
    """No ticks, no bars, no complaint."""
    bars = builder("1m")
    bars.on_ticks(ticks((1, 100.0, 1)).slice(0, 0))
    assert bars.on_time(at(CLOSE_S)) == []


def test_a_tick_outside_every_session_is_a_fault() -> None:
    """The filter should have rejected it: the builder does not invent a session."""
    with pytest.raises(ValueError, match="outside every session"):
        builder("1m").on_ticks(ticks((-1, 100.0, 1)))


async def test_the_actor_publishes_at_moments_and_marks_gaps() -> None:
    """Ticks go in, bars come out at `TimeAdvanced`; only a STALE feed is a gap."""
    bus, heard = Bus(), list[Bar]()
    bus.tap((Bar,), heard.append)
    actor = BarsActor(bus, builder("1m"))
    task = asyncio.create_task(actor.run())
    bus.publish(FeedStatus(ts=0, state=FeedState.CONNECTED, symbol=None, reason=""))
    bus.publish(ticks((1, 100.0, 1)))
    bus.publish(TimeAdvanced(ts=at(60)))
    async with asyncio.timeout(5):
        await bus.idle()
    assert heard == []
    bus.publish(TimeAdvanced(ts=at(61)))
    bus.publish(FeedStatus(ts=at(61), state=FeedState.STALE, symbol="AAA", reason=""))
    bus.publish(ticks((62, 101.0, 1)))
    bus.publish(TimeAdvanced(ts=at(121)))
    async with asyncio.timeout(5):
        await bus.idle()
    assert [bar.gap for bar in heard] == [False, True]
    task.cancel()
