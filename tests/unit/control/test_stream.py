"""Frames for everybody who listens: written once, the newest of a key, and nobody waited for."""

from __future__ import annotations

import json
from typing import Any

from daemon.control.stream import MOST_BEHIND, MOST_READERS, Code, Kind, Reader, Stream
from daemon.core.events import (
    Bar,
    CanaryChanged,
    CanaryState,
    Event,
    OrderAccepted,
    PositionChanged,
    TradingState,
    TradingStateChanged,
)
from tests.samples import NS_PER_S, OPEN, SBIN, ticks
from tests.unit.control.fakes import BARS, DECISIONS, ORDERS


def bar(number: int, symbol: str = SBIN, interval: str = "1m") -> Bar:
    """One of many."""
    return Bar(
        symbol=symbol, interval=interval, ts_open=OPEN + number, ts_close=OPEN + number + 60, open=1.0, high=2.0,
        low=1.0, close=1.5, volume=number, ticks=1,
    )  # fmt: skip


def stream(*readers: Reader, most_waiting: int = 65_536) -> Stream:
    """With everybody who listens."""
    made = Stream({row.order_id: row for row in ORDERS}.get, most_waiting)
    for reader in readers:
        assert made.add(reader)
    return made


def heard(hub: Stream, reader: Reader) -> list[dict[str, Any]]:
    """What waits for a reader, read."""
    hub.hand_out()
    return [json.loads(frame) for frame in reader.take()]


def test_a_reader_hears_what_it_wants_in_order() -> None:
    """Of its kinds, with type, number, and the words of the API."""
    reader = Reader([Kind.DECISION, Kind.ORDER, Kind.STATE, Kind.POSITION])
    hub = stream(reader)
    events: list[Event] = [
        DECISIONS[0], bar(1), OrderAccepted(ts=1, order_id="H0", venue_id="v"),
        OrderAccepted(ts=1, order_id="nobody's", venue_id="v"),
        TradingStateChanged(ts=2, state=TradingState.HALTED, reason="lunch"),
    ]  # fmt: skip
    for event in events:
        hub.put(event)
    decision, order, state = heard(hub, reader)
    assert [frame["type"] for frame in (decision, order, state)] == ["decision", "order", "state"]
    assert (decision["action"], decision["h_module_confidence"]) == ("BUY_LONG", 0.0)
    assert (order["order_id"], order["state"], order["order_type"]) == ("H0", "ACCEPTED", "LIMIT")
    assert (state["event"], state["reason"], state["ts"]) == ("TradingStateChanged", "lunch", "2")
    assert decision["n"] < order["n"] < state["n"]


def test_the_newest_of_a_key_is_enough() -> None:
    """Bars by symbol and interval; a slower reader misses what has a newer value, and nothing else."""
    reader = Reader([Kind.BAR, Kind.DECISION])
    hub = stream(reader)
    for number in range(50):
        hub.put(bar(number))
        hub.put(bar(number, "NSE:TCS-EQ"))
        hub.put(DECISIONS[number % 5])
    frames = heard(hub, reader)
    assert [frame["volume"] for frame in frames if frame["type"] == "bar"] == [49, 49]
    assert sum(frame["type"] == "decision" for frame in frames) == 50
    assert reader.conflated == 98
    assert [frame["n"] for frame in frames] == sorted(frame["n"] for frame in frames)


def test_one_who_falls_behind_is_let_go_and_told() -> None:
    """A code, a reason, and nothing that waits any more."""
    reader = Reader([Kind.DECISION])
    hub = stream(reader)
    for number in range(MOST_BEHIND + 1):
        hub.put(DECISIONS[number % 5])
    hub.hand_out()
    assert (reader.code, len(reader), hub.dropped) == (Code.TOO_SLOW, 0, 1)
    assert str(MOST_BEHIND) in reader.reason
    assert reader.take() == []


def test_twenty_who_stand_still_cost_fifty_who_read_nothing() -> None:
    """Every frame is written once for all; the publisher is never refused, and what is kept is bounded."""
    stalled = [Reader([Kind.DECISION, Kind.BAR]) for _ in range(20)]
    reading = [Reader([Kind.DECISION, Kind.BAR]) for _ in range(50)]
    hub = stream(*stalled, *reading)
    counted = [0] * len(reading)
    for number in range(3000):
        hub.put(DECISIONS[number % 5])  # returns at once, whoever reads: there is nothing in it to wait for
        if number % 100 == 99:
            for place, reader in enumerate(reading):
                counted[place] += len(heard(hub, reader))
    assert counted == [3000] * 50
    assert hub.published == 3000
    assert {reader.code for reader in stalled} == {Code.TOO_SLOW}
    assert {len(reader) for reader in stalled} == {0}
    assert {reader.code for reader in reading} == {0}
    assert hub.dropped == 20


def test_where_the_readers_loop_is_busy_the_publisher_goes_on() -> None:
    """What waits for that loop is bounded; whoever lost frames is told so, rather than never."""
    reader = Reader([Kind.DECISION])
    hub = stream(reader, most_waiting=10)
    for number in range(100):
        hub.put(DECISIONS[number % 5])
    hub.hand_out()
    assert (reader.code, hub.published) == (Code.TOO_SLOW, 10)


def test_quotes_are_the_newest_price_of_each_symbol() -> None:
    """Of a batch one frame a symbol; null where the tape has none."""
    reader = Reader([Kind.QUOTE])
    hub = stream(reader)
    times = [OPEN + n * NS_PER_S for n in range(3)]
    hub.put(ticks(times, [800.0, 10.5, 800.25], (SBIN, "NSE:TCS-EQ"), [0, 1, 0]))
    quotes = {frame["symbol"]: frame for frame in heard(hub, reader)}
    assert (quotes[SBIN]["price"], quotes[SBIN]["ts"]) == ("800.25", str(times[2]))
    assert (quotes["NSE:TCS-EQ"]["price"], quotes["NSE:TCS-EQ"]["bid"]) == ("10.5", None)


def test_nobody_listening_costs_nothing() -> None:
    """No event is kept; after the last one left, too."""
    hub = stream()
    hub.put(bar(1))
    reader = Reader([Kind.BAR])
    hub.add(reader)
    hub.remove(reader)
    hub.put(bar(2))
    hub.hand_out()
    assert (hub.published, len(hub)) == (0, 0)


def test_places_are_bounded_and_the_end_is_said() -> None:
    """One more than there is room for is refused; at the end everybody is let go."""
    readers = [Reader([Kind.BAR]) for _ in range(MOST_READERS)]
    hub = stream(*readers)
    assert not hub.add(Reader([Kind.BAR]))
    hub.let_everybody_go()
    assert {reader.code for reader in readers} == {Code.GOING_AWAY}


def test_other_events_are_told_whole() -> None:
    """With the name of the event, money and times in the API's form."""
    reader = Reader(Kind)
    hub = stream(reader)
    hub.put(BARS[0])
    hub.put(
        CanaryChanged(
            ts=5, agent="a", strategy="hrm", model_hash="", state=CanaryState.RUNNING, symbols=(SBIN,), size=0.1,
            sessions=0, mean_bp=0.0, better=1.0, worse=1.0, who="anna", reason="try",
        )
    )  # fmt: skip
    hub.put(
        PositionChanged(
            ts=6, symbol=SBIN, quantity=-5, average_price=ORDERS[0].average_price or 0, realised_pnl=1, costs=1, cash=1,
            opened_ts=4,
        )  # type: ignore[arg-type]
    )  # fmt: skip
    frames = heard(hub, reader)
    assert [frame["type"] for frame in frames] == ["bar", "model", "position"]
    assert (frames[1]["event"], frames[1]["who"], frames[2]["average_price"]) == ("CanaryChanged", "anna", "348.20")
