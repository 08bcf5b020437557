"""A scout finds the moments of a tape that a strategy will be asked about, in their order, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.bars.builder import BarBuilder
from daemon.bars.complexity import ComplexityDetector
from daemon.bars.overnight import Overnight
from daemon.core.clock import ReplayClock
from daemon.core.latency import FixedLatency
from daemon.feed.replay import Schedule, TapeFeed, Tapes
from daemon.market.calendar import MarketCalendar
from daemon.market.instruments import InstrumentBook
from daemon.market.legs import Legs
from daemon.market.overnight import OvernightLimit
from daemon.market.scheduled_events import ScheduledEvents
from daemon.run.latency import RecordedLatency
from daemon.scout import Parts, Scout, one_by_one
from strategies.base import MarketView, ViewSettings
from tests.samples import LIVELY, MINUTE, OPEN, RELIANCE, SBIN, play, settings_of, wave, write_tape

CALENDAR = MarketCalendar()


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Half an hour of two symbols, a tick every 20 seconds."""
    place = tmp_path_factory.mktemp("scout")
    return [write_tape(place / symbol[4:], *wave(30, every_s=20), symbol) for symbol in (SBIN, RELIANCE)]


def scout(tapes: list[Path], decides_from: int = 0, traded_for: dict[str, str] | None = None) -> Scout:
    """Over 5-minute bars."""
    settings = settings_of()
    book = InstrumentBook(settings.market)
    played = Tapes(tapes, [], 100)
    sieve = played.tick_filter(settings.feed, book, CALENDAR)
    view = ViewSettings(
        interval="5m", coarse_interval="30m", window=24, coarse_window=4, max_position=1, no_entries_minutes=30
    )
    parts = Parts(
        feed=lambda bus: TapeFeed(bus, played, sieve, CALENDAR, Schedule(300, 0, 20), ReplayClock()),
        builder=BarBuilder(CALENDAR, {"5m": 300, "30m": 1800}, 0),
        overnight=lambda bus: Overnight(bus, OvernightLimit(book, 20.0), {}, silent=True),
        detector=ComplexityDetector(settings.complexity_detection, ScheduledEvents.load(None)),
        view=MarketView(view, CALENDAR),
        legs=Legs(traded_for),
        interval="5m",
        seen=("5m", "30m"),
    )
    return Scout(parts, decides_from)


def found(one: Scout, count: int = 1, ts: int = 0) -> list[tuple[str, int, int]]:
    """Symbols, minutes since the open and bars of the next moments."""
    return [(it.symbol, (it.ts - OPEN) // MINUTE, len(it.bars)) for it in one.moments(count, ts)]


def test_moments_of_one_instant_come_together_until_there_are_none(tapes: list[Path]) -> None:
    """Flat ones, with the bars that had closed by then."""
    one = scout(tapes)
    for number in range(1, 7):
        assert found(one) == [(RELIANCE, 5 * number, number), (SBIN, 5 * number, number)]
    assert found(one, 100) == []
    assert found(one) == []


def test_a_batch_may_span_instants_and_begin_later(tapes: list[Path]) -> None:
    """What is before the time that is asked for is passed by, and so is what nobody decides on."""
    assert [minute for _, minute, _ in found(scout(tapes), 5)] == [5, 5, 10, 10, 15, 15]
    assert [minute for _, minute, _ in found(scout(tapes), 2, OPEN + 20 * MINUTE)] == [20, 20]
    assert found(scout(tapes, OPEN + 25 * MINUTE), 1) == [(RELIANCE, 25, 5), (SBIN, 25, 5)]
    assert found(scout(tapes, traded_for={RELIANCE: SBIN}), 2) == [(SBIN, 5, 1), (SBIN, 10, 2)]


def test_a_scout_that_is_closed_finds_nothing(tapes: list[Path]) -> None:
    """Whether it had begun or not; closing it again does nothing."""
    begun, fresh = scout(tapes), scout(tapes)
    assert found(begun) != []
    for one in (begun, begun, fresh):
        one.close()
        assert found(one) == []


def test_why_a_replay_is_thought_one_by_one(tapes: list[Path], tmp_path: Path) -> None:
    """What was recorded of another run bounds single decisions; what thinks beside keeps an order of its own."""
    assert one_by_one(FixedLatency(500), False, []) == ""
    assert "earlier" in one_by_one(FixedLatency(0), True, [])
    assert "quick" in one_by_one(FixedLatency(0), False, ["quick"])
    play(tapes[0], *LIVELY, journal=tmp_path / "j")
    assert "--latency" in one_by_one(RecordedLatency(tmp_path / "j"), False, [])
