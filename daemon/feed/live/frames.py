"""Frames between gateway and daemon: `u32 length | u8 kind | body`, little-endian; `length` counts kind and body.

TICKS holds rows of fixed width after the monotonic time at which the oldest of them was heard; NEWS holds one struct as
msgpack. Both sides are of one version, so a frame that can't be read is a fault.
Invariant: what `read_ticks` gives is, row by row, what was packed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np

from daemon.core.errors import Fault
from daemon.core.events import MISSING_INT, TickBatch

HEADER: Final = struct.Struct("<IB")
TICKS: Final = 1
NEWS: Final = 2
MAX_FRAME: Final = 64 << 20
ROWS_AT_ONCE: Final = 2048
"""Rows in one frame at most: what the daemon's loop takes in one turn."""

FIRST_VALID_S: Final = 946_684_800
"""2000-01-01, as in a tape."""
LAST_VALID_S: Final = 4_102_444_800
"""2100-01-01."""
LARGEST: Final = 2**62
"""Units from which no column holds them."""

_TICK_FIELDS: Final = (
    ("code", "i4"), ("ts_event", "i8"), ("ltp", "f8"), ("last_qty", "i8"), ("volume", "i8"), ("bid", "f8"),
    ("ask", "f8"), ("bid_qty", "i8"), ("ask_qty", "i8"), ("oi", "i8"), ("lower_band", "f8"), ("upper_band", "f8"),
)  # fmt: skip
_DTYPE: Final = np.dtype([(name, f"<{kind}") for name, kind in _TICK_FIELDS])
_PACK: Final = struct.Struct("<" + "".join({"i4": "i", "i8": "q", "f8": "d"}[kind] for _, kind in _TICK_FIELDS)).pack
_HEARD: Final = struct.Struct("<q")


class Refusal(StrEnum):
    """Why a message is no tick, in the order in which the reasons are looked at."""

    NOT_A_MESSAGE = "not_a_message"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_SYMBOL = "unknown_symbol"
    BAD_PRICE = "bad_price"
    BAD_TIME = "bad_time"


class Row(NamedTuple):
    """One tick, in the order of `frames.TICK`. `code` indexes the symbols; null is −1 and NaN, as in a `TickBatch`.

    A quote of 0 is a side of the book on which nobody is.
    """

    code: int
    ts_event: int
    ltp: float
    last_qty: int
    volume: int
    bid: float
    ask: float
    bid_qty: int
    ask_qty: int
    oi: int
    lower_band: float = math.nan
    upper_band: float = math.nan


class FrameError(Fault):
    """A frame that neither side of this version writes."""


class News(msgspec.Struct, frozen=True, tag=True):
    """Root of what the gateway tells besides ticks."""


class Authenticated(News, frozen=True, tag=True):
    """The venue took the token."""


class Subscribed(News, frozen=True, tag=True):
    """The venue acknowledged a subscription of `symbols`; those it doesn't know are in `unknown`."""

    symbols: int


class Trouble(News, frozen=True, tag=True):
    """The SDK or the venue complains; the link lives on."""

    code: int
    text: str


class Refused(News, frozen=True, tag=True):
    """The link ended; `token` where only a new login will change that."""

    reason: str
    token: bool


class Counts(News, frozen=True, tag=True):
    """What the gateway has done so far; told once a second. `peak_kb` is the most memory it ever held."""

    messages: int
    ticks: int
    conflated: int
    waiting: int
    peak_kb: int
    refused: dict[str, int]
    unreadable: dict[str, int]
    swallowed: dict[str, int]
    """Exceptions that the SDK caught and only logged, by type: each lost a message or the rest of a frame."""

    @property
    def damage(self) -> int:
        """What may have left the SDK with a wrong picture of a symbol for as long as the link lives."""
        return sum(self.swallowed.values()) + sum(self.refused.get(reason, 0) for reason in _NOBODYS)

    def by_kind(self) -> dict[str, int]:
        """All that was counted, under one flat name each."""
        groups = (("refused", self.refused), ("unreadable", self.unreadable), ("swallowed", self.swallowed))
        named = {f"{group}_{name}": count for group, counts in groups for name, count in counts.items()}
        return {"messages": self.messages, "ticks": self.ticks, "conflated": self.conflated, **named}


_NOBODYS: Final = (Refusal.UNKNOWN_SYMBOL.value, Refusal.UNKNOWN_TYPE.value)
AnyNews = Authenticated | Subscribed | Trouble | Refused | Counts

Frame = AnyNews | bytes
"""News, or the body of a frame of ticks (see `read_ticks`)."""


class Link(Protocol):
    """A running link to the ticks of a venue: a gateway process, or a connection of our own."""

    def frames(self) -> AsyncGenerator[Frame, None]:
        """What it says, until its end."""

    def kill(self) -> None:
        """End it; `frames` ends then."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(AnyNews)


def pack_ticks(rows: Sequence[Row], heard_ns: int) -> bytes:
    """A whole frame of ticks; `heard_ns` is the machine's monotonic time at which the oldest was heard."""
    body = b"".join([_PACK(*row) for row in rows])
    return HEADER.pack(1 + _HEARD.size + len(body), TICKS) + _HEARD.pack(heard_ns) + body


def pack_news(news: AnyNews) -> bytes:
    """A whole frame of news."""
    body = _ENCODER.encode(news)
    return HEADER.pack(1 + len(body), NEWS) + body


def read_length(header: bytes) -> tuple[int, int]:
    """(bytes of the body, kind) of a frame; raises `FrameError`."""
    length, kind = HEADER.unpack(header)
    if not 1 <= length <= MAX_FRAME or kind not in (TICKS, NEWS):
        raise FrameError(f"gateway: a frame of kind {kind} and {length} bytes")
    return length - 1, kind


def read_ticks(body: bytes, symbols: tuple[str, ...], ts_recv: int) -> tuple[TickBatch, int]:
    """(the ticks, all received by us at `ts_recv`; when the oldest was heard, monotonic ns); raises `FrameError`."""
    size = len(body) - _HEARD.size
    if size <= 0 or size % _DTYPE.itemsize:
        raise FrameError(f"gateway: {len(body)} bytes are no ticks")
    rows = np.frombuffer(body, dtype=_DTYPE, offset=_HEARD.size)
    columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name]) for name, _ in _TICK_FIELDS}
    if columns["code"].min() < 0 or columns["code"].max() >= len(symbols):
        raise FrameError("gateway: a tick of a symbol that was not asked for")
    columns["ts_recv"] = np.full(len(rows), ts_recv, dtype=np.int64)
    columns["traded"] = np.broadcast_to(np.int64(MISSING_INT), (len(rows),))
    return TickBatch(symbols=symbols, **columns), _HEARD.unpack_from(body)[0]


def read_news(body: bytes) -> AnyNews:
    """One piece of news; raises `FrameError`."""
    try:
        news: AnyNews = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"gateway: unreadable news ({error})") from None
    return news
