"""Which symbols are stale."""

from __future__ import annotations

from daemon.feed.live.freshness import Change, Freshness
from tests.unit.feed.ticks import OPEN_NS, SECOND, make_batch

NAMES = ("AAA", "BBB")


def at(seconds: float) -> int:
    """So long after the open."""
    return OPEN_NS + round(seconds * SECOND)


def test_a_symbol_goes_stale_once_and_comes_back_once() -> None:
    """The other one is not told of."""
    fresh = Freshness(NAMES, stale_after_s=60)
    fresh.start(at(0))
    fresh.on_ticks(make_batch(NAMES, code=[0, 1], ts_event=[1, 1]))
    fresh.on_ticks(make_batch(NAMES, code=[1], ts_event=[40]))
    assert fresh.check(at(61)) == []
    assert fresh.check(at(62)) == [Change("AAA", False, "no recent tick for 61 s, limit 60 s")]
    assert fresh.check(at(63)) == []
    assert fresh.stale == {"AAA": "no recent tick for 61 s, limit 60 s"}
    fresh.on_ticks(make_batch(NAMES, code=[0], ts_event=[64]))
    assert fresh.check(at(65)) == [Change("AAA", True, "ticks again")]
    assert fresh.stale == {}


def test_after_a_night_everybody_starts_afresh() -> None:
    """Silence counts from the opening; a symbol that never ticks is stale a minute later, and named as such."""
    fresh = Freshness(NAMES, stale_after_s=60)
    fresh.on_ticks(make_batch(NAMES, code=[0], ts_event=[-40_000]))
    fresh.start(at(0))
    assert fresh.check(at(60)) == []
    assert [change.reason for change in fresh.check(at(60.5))] == [
        "no recent tick for 40060 s, limit 60 s", "no recent tick yet, limit 60 s",
    ]  # fmt: skip


def test_a_new_link_gives_a_stale_symbol_no_credit() -> None:
    """It stays stale until a tick comes, however often links are made."""
    fresh = Freshness(("AAA",), stale_after_s=60)
    fresh.start(at(0))
    assert len(fresh.check(at(61))) == 1
    fresh.start(at(62))
    assert fresh.check(at(63)) == []
    assert "AAA" in fresh.stale
    fresh.on_ticks(make_batch(ts_event=[64]))
    assert [change.fresh for change in fresh.check(at(65))] == [True]


def test_old_news_is_no_life() -> None:
    """A snapshot, or a feed minutes behind: received now, stamped long ago."""
    fresh = Freshness(("AAA",), stale_after_s=60)
    fresh.start(at(0))
    fresh.on_ticks(make_batch(ts_event=[10, 20], ts_recv=[81, 81]))
    assert [change.fresh for change in fresh.check(at(82))] == [False]
    fresh.on_ticks(make_batch(ts_event=[20, 82], ts_recv=[83, 83]))
    assert [change.fresh for change in fresh.check(at(84))] == [True]
