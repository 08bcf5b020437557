"""What leaves the gateway, over a real pair of sockets and its own thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from daemon.feed.live.frames import HEADER, NEWS, Counts, Refused, Subscribed, read_length, read_news, read_ticks
from daemon.fyers.gateway.messages import TickReader
from daemon.fyers.gateway.outbox import Outbox
from tests.unit.fyers.gateway.samples import FED_S, SYMBOLS, index, update


class Channel:
    """The daemon's end, and the codes with which the gateway wanted to end."""

    def __init__(self, conflate_above: int = 10, max_waiting: int = 1000) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(10)
        self.ends: list[int] = []
        self.outbox = Outbox(theirs, TickReader(SYMBOLS), conflate_above, max_waiting, self.ends.append)
        self._theirs = theirs
        self.thread = threading.Thread(target=self.outbox.run)

    def next(self) -> object:
        """One frame: news, or the last prices of its ticks."""
        size, kind = read_length(self._exactly(HEADER.size))
        body = self._exactly(size)
        return read_news(body) if kind == NEWS else read_ticks(body, SYMBOLS, 1)[0].ltp.tolist()

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            part = self.ours.recv(count - len(got))
            assert part, "closed"
            got += part
        return got

    def close(self) -> None:
        """End the thread, if it runs."""
        self.outbox.put_news(Refused("over", token=False))
        if self.thread.is_alive():
            self.thread.join(10)
        self.ours.close()
        self._theirs.close()


@pytest.fixture
def channel() -> Iterator[Channel]:
    """A running outbox."""
    channel = Channel()
    channel.thread.start()
    yield channel
    channel.close()


def test_ticks_and_news_arrive(channel: Channel) -> None:
    """And the counts, once a second, from the first frame on."""
    channel.outbox.put_news(Subscribed(2))
    assert channel.next() == Subscribed(2)
    assert isinstance(channel.next(), Counts)
    channel.outbox.put_message(update())
    channel.outbox.put_message(index())
    prices: list[float] = []
    counts = None
    while len(prices) < 2 or counts is None:
        frame = channel.next()
        if isinstance(frame, Counts):
            counts = frame
        elif isinstance(frame, list):
            prices += frame
    assert prices == [812.35, 26_010.55]


def test_counts_say_what_became_of_every_message(channel: Channel) -> None:
    """Ticks, refusals, swallowed exceptions, memory."""
    channel.outbox.swallowed = {"KeyError": 3}
    channel.outbox.put_message(update())
    channel.outbox.put_message(update(ltp="dear"))
    while True:
        counts = channel.next()
        if isinstance(counts, Counts) and counts.messages == 2:
            break
    assert (counts.ticks, counts.refused, counts.swallowed) == (1, {"bad_price": 1}, {"KeyError": 3})
    assert 1000 < counts.peak_kb < 10_000_000
    assert counts.by_kind() == {
        "messages": 2, "ticks": 1, "conflated": 0, "refused_bad_price": 1, "swallowed_KeyError": 3,
    }  # fmt: skip


def test_a_refusal_is_the_last_word(channel: Channel) -> None:
    """What waited leaves before it; then the process ends."""
    channel.outbox.put_message(update())
    channel.outbox.put_news(Refused("expired", token=True))
    frames = []
    while not frames or not isinstance(frames[-1], Refused):
        frames.append(channel.next())
    channel.thread.join(10)
    assert [812.35] in frames
    assert channel.ends == [0]


def test_a_daemon_that_is_gone_ends_it(channel: Channel) -> None:
    """The socket breaks, and nobody is left to write for."""
    channel.ours.close()
    for number in range(5):
        channel.outbox.put_message(update(vol_traded_today=50_000 + number))
    channel.thread.join(10)
    assert channel.ends == [0]


def test_a_daemon_that_takes_nothing_is_waited_for_up_to_a_bound() -> None:
    """Quotes give way to newer ones; trades pile up, and too many of them end the gateway rather than vanish."""
    channel = Channel(conflate_above=2, max_waiting=5)
    for second in range(100):
        channel.outbox.put_message(update(exch_feed_time=FED_S + second, bid_size=second))
    assert channel.ends == []
    for number in range(4):
        channel.outbox.put_message(update(vol_traded_today=50_000 + number))
    assert channel.ends == [1]
    channel.close()
