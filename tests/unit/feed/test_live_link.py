"""When a link counts as dead, and how long the pauses between links are."""

from __future__ import annotations

import random

import pytest

from daemon.clock import NS_PER_S
from daemon.feed.live_link import Backoff, LinkState, LinkWatch
from daemon.settings import LiveSettings

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
