"""When a link counts as dead, and how long the pauses between links are."""

from __future__ import annotations

import random

import pytest

from daemon.core.clock import NS_PER_S
from daemon.feed.live.link import Backoff, LinkState, LinkWatch
from daemon.settings.feed import LiveSettings

OPEN = 1_767_584_700 * NS_PER_S
TOMORROW = OPEN + 86_400 * NS_PER_S


def at(seconds: float) -> int:
    """So long after the open."""
    return OPEN + round(seconds * NS_PER_S)


def fault(link: LinkState, now_s: float, open_s: float | None = 0.0, next_open: int = OPEN) -> str:
    """The watch's word, by the default settings."""
    return LinkWatch(LiveSettings()).fault(link, at(now_s), None if open_s is None else at(open_s), next_open)


def test_a_link_that_never_subscribes_is_ended_at_any_hour() -> None:
    """The SDK's calls over HTTP have no time-out; twenty seconds are enough."""
    link = LinkState(started=at(0))
    assert fault(link, 20) == ""
    assert fault(link, 20.1) == "not subscribed after 20 s"
    assert fault(link, 20.1, open_s=None) == "not subscribed after 20 s"


def test_silence_counts_from_the_last_tick_while_the_market_is_open() -> None:
    """From the subscription where there was none yet."""
    link = LinkState(started=at(0), subscribed=at(1))
    assert fault(link, 10.9) == ""
    assert fault(link, 11.1) == "no ticks for 10.1 s"
    link.last_ticks = at(8)
    assert fault(link, 17.9) == ""
    assert fault(link, 18.1) == "no ticks for 10.1 s"


def test_silence_before_the_open_and_at_night_is_no_fault() -> None:
    """After the open it counts from there; while closed never."""
    link = LinkState(started=at(-900), subscribed=at(-899), last_ticks=at(-800))
    assert fault(link, -10, open_s=None) == ""
    assert fault(link, 9.9) == ""
    assert fault(link, 10.1) == "no ticks for 10.1 s"
    assert fault(link, 40_000, open_s=None, next_open=TOMORROW) == ""


def test_growth_ends_a_link() -> None:
    """By the most memory it ever held."""
    link = LinkState(started=at(0), subscribed=at(1), last_ticks=at(5), peak_mb=513)
    assert fault(link, 6) == "the gateway holds 513 MB, limit 512 MB"


def test_a_link_of_yesterday_is_renewed_before_the_open() -> None:
    """The token rolls over in the early morning, and nobody may close the link; one made since is left alone."""
    old = LinkState(started=at(-40_000), subscribed=at(-39_999))
    assert fault(old, -1201, open_s=None) == ""
    assert fault(old, -1200, open_s=None) == "a new link for the new day"
    assert fault(LinkState(started=at(-1199), subscribed=at(-1198)), -600, open_s=None) == ""
    assert fault(LinkState(started=at(-40_000), subscribed=at(-39_999), last_ticks=at(1)), 2) == ""


def test_pauses_double_to_the_longest_and_begin_again() -> None:
    """Jitter takes at most half; a refused token waits longest from the start."""
    backoff = Backoff(LiveSettings(), random.Random(1))
    for whole in (0.5, 1, 2, 4, 8, 16, 30, 30):
        assert whole / 2 <= backoff.pause_s(worked=False) <= whole
    assert backoff.pause_s(worked=True) <= 0.5
    assert backoff.pause_s(worked=False) <= 0.5
    assert 15 <= backoff.pause_s(worked=False, hopeless=True) <= 30


def test_two_daemons_don_t_return_together() -> None:
    """Different draws, different pauses."""
    pauses = {round(Backoff(LiveSettings(), random.Random(n)).pause_s(worked=False), 6) for n in range(5)}
    assert len(pauses) == 5


def test_a_thousand_failures_still_give_a_pause() -> None:
    """No overflow on a long night."""
    backoff = Backoff(LiveSettings(), random.Random(1))
    for _ in range(1000):
        last = backoff.pause_s(worked=False)
    assert last == pytest.approx(22.5, abs=7.5)


def test_patience_grows_where_it_is_the_market_that_is_quiet() -> None:
    """Ten seconds, twenty, forty, then a minute, at which every symbol is stale by itself; an hour later ten again."""
    watch, now = LinkWatch(LiveSettings()), 100.0
    for longest in (10, 20, 40, 60, 60):
        link = LinkState(started=at(now), subscribed=at(now))
        assert watch.fault(link, at(now + longest), OPEN, OPEN) == ""
        assert watch.fault(link, at(now + longest + 0.1), OPEN, OPEN) == f"no ticks for {longest + 0.1:.1f} s"
        now += longest + 1
    assert watch.doubtful(LinkState(started=at(now), subscribed=at(now)), at(now + 90), OPEN) is False
    later = LinkState(started=at(now), subscribed=at(now), last_ticks=at(now + 3600))
    assert watch.fault(later, at(now + 3610.1), OPEN, OPEN) == "no ticks for 10.1 s"


def test_three_seconds_leave_a_closing_bar_in_doubt() -> None:
    """Counted from the open where no tick came since."""
    watch, link = LinkWatch(LiveSettings()), LinkState(started=at(-60), subscribed=at(-59), last_ticks=at(-30))
    assert not watch.doubtful(link, at(3), OPEN)
    assert watch.doubtful(link, at(3.1), OPEN)


def test_a_lost_symbol_is_worth_one_new_link() -> None:
    """Only on a damaged link, after the time in which every symbol should have told something."""
    watch = LinkWatch(LiveSettings())

    def look(now_s: float, damage: int, *silent: str) -> str:
        link = LinkState(at(0), at(1), at(now_s), damage=damage, silent=frozenset(silent))
        return watch.fault(link, at(now_s), OPEN, OPEN)

    assert look(60, 1, "AAA") == ""
    assert look(62, 0, "AAA") == ""
    assert look(62, 1, "BBB", "AAA") == "the SDK lost its hold of AAA, BBB"
    assert look(62, 1, "BBB", "AAA") == ""
    assert look(62, 1, "BBB", "CCC") == "the SDK lost its hold of CCC"
    assert look(62, 1) == ""
    assert look(62, 1, "AAA") == "the SDK lost its hold of AAA"
