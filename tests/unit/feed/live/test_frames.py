"""Frames between gateway and daemon."""

from __future__ import annotations

import math

import pytest

from daemon.core.events import TICK_COLUMNS
from daemon.feed.live.frames import (
    HEADER,
    NEWS,
    TICKS,
    AnyNews,
    Authenticated,
    Counts,
    FrameError,
    Refused,
    Row,
    Subscribed,
    Trouble,
    pack_news,
    pack_ticks,
    read_length,
    read_news,
    read_ticks,
)

ROWS = [
    Row(1, 5, 100.5, 1, 2, 100.0, math.nan, 3, 4, -1),
    Row(0, 6, 7.25, -1, 2**62 - 1, math.nan, 8.0, -1, 0, 9),
]


def test_ticks_become_a_batch() -> None:
    """All columns there, stamped with one time of receipt, `traded` still unknown."""
    frame = pack_ticks(ROWS, heard_ns=77)
    size, kind = read_length(frame[: HEADER.size])
    assert (size, kind) == (len(frame) - HEADER.size, TICKS)
    batch, heard = read_ticks(frame[HEADER.size :], ("AAA", "BBB"), 1000)
    assert heard == 77
    assert batch.symbols == ("AAA", "BBB")
    assert batch.code.tolist() == [1, 0]
    assert batch.ts_recv.tolist() == [1000, 1000]
    assert batch.traded.tolist() == [-1, -1]
    assert batch.volume.tolist() == [2, 2**62 - 1]
    assert math.isnan(batch.ask[0])
    assert all(len(getattr(batch, name)) == 2 for name in TICK_COLUMNS)


@pytest.mark.parametrize(
    "news",
    [
        Authenticated(), Subscribed(50), Trouble(-300, "no such symbol"), Refused("expired", token=True),
        Counts(1, 2, 3, 4, 5, {"bad_price": 1}, {}, {"KeyError": 2}),
    ],
)  # fmt: skip
def test_news_comes_back_as_it_was(news: AnyNews) -> None:
    """Each kind."""
    frame = pack_news(news)
    assert read_length(frame[: HEADER.size]) == (len(frame) - HEADER.size, NEWS)
    assert read_news(frame[HEADER.size :]) == news


@pytest.mark.parametrize("header", [(0, TICKS), (5, 9), (1 << 31, TICKS)])
def test_a_foreign_header_is_refused(header: tuple[int, int]) -> None:
    """An impossible length or an unknown kind."""
    with pytest.raises(FrameError):
        read_length(HEADER.pack(*header))


def test_foreign_bodies_are_refused() -> None:
    """Half a row, no row, a symbol nobody asked for, and what is no msgpack."""
    body = pack_ticks(ROWS, 1)[HEADER.size :]
    for broken in (body[:-1], body[:8], b""):
        with pytest.raises(FrameError, match="bytes are no ticks"):
            read_ticks(broken, ("AAA", "BBB"), 1)
    with pytest.raises(FrameError, match="not asked for"):
        read_ticks(body, ("AAA",), 1)
    with pytest.raises(FrameError, match="unreadable news"):
        read_news(b"\xff\xff")
