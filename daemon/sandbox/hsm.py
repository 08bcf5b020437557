"""The frames of Fyers' market data socket (HSM) ↔ what they say: a server's frames are written, a client's are read.

Everything is big-endian but the topic id of a record. An envelope is `u16 length | u8 kind | u8 n | n × (u8 id, u16
length, bytes)`, a frame of ticks `u16 length | u8 6 | u32 number | u16 count | records`; a price is the field divided
by 10^precision · multiplier. Source: the parser in fyers-apiv3 3.2.0, `FyersWebsocket/data_ws.py` and `map.json`.
Invariant: the length that a client declares is never believed (the SDK's is often wrong); reading ends with the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias

import msgspec

UNCHANGED: Final = -(2**31)
LARGEST: Final = 2**31 - 1
MAX_RECORD_BYTES: Final = 65_535 - 7  # of all records of a frame: its length is a u16
GRANTED: Final = b"K"
REFUSED: Final = b"E"

SYMBOL_FIELDS: Final = (
    "ltp", "vol_traded_today", "last_traded_time", "exch_feed_time", "bid_size", "ask_size", "bid_price", "ask_price",
    "last_traded_qty", "tot_buy_qty", "tot_sell_qty", "avg_trade_price", "OI", "low_price", "high_price", "Yhigh",
    "Ylow", "lower_ckt", "upper_ckt", "open_price", "prev_close_price",
)  # fmt: skip
INDEX_FIELDS: Final = ("ltp", "prev_close_price", "exch_feed_time", "high_price", "low_price", "open_price")
DEPTH_FIELDS: Final = tuple(
    f"{name}{level}"
    for name in ("bid_price", "ask_price", "bid_size", "ask_size", "bid_order", "ask_order")
    for level in range(1, 6)
)

Fields: TypeAlias = tuple[int, ...]


class Kind(IntEnum):
    """The kind of a frame; a server answers a request with the request's own."""

    AUTH = 1
    ACK = 3
    SUBSCRIBE = 4
    UNSUBSCRIBE = 5
    TICKS = 6
    PAUSE = 7
    RESUME = 8
    PING = 11
    MODE = 12
    ERROR = 51


class Topic(StrEnum):
    """What a topic's name begins with: ticks of a share or derivative, of an index, or five levels of depth."""

    SYMBOL = "sf"
    INDEX = "if"
    DEPTH = "dp"


class Auth(msgspec.Struct, frozen=True):
    """The client shows its key."""

    hsm_key: str
    source: str = ""


class Mode(msgspec.Struct, frozen=True):
    """These channels shall carry prices only, or all fields."""

    channels: tuple[int, ...]
    lite: bool


class Subscribe(msgspec.Struct, frozen=True):
    """Send these topics on a channel."""

    topics: tuple[str, ...]
    channel: int


class Unsubscribe(msgspec.Struct, frozen=True):
    """Don't send these topics on a channel any more."""

    topics: tuple[str, ...]
    channel: int


class Pause(msgspec.Struct, frozen=True):
    """Be silent on these channels."""

    channels: tuple[int, ...]


class Resume(msgspec.Struct, frozen=True):
    """Go on on these channels."""

    channels: tuple[int, ...]


class Ack(msgspec.Struct, frozen=True):
    """Frames up to this number were received."""

    number: int


class Ping(msgspec.Struct, frozen=True):
    """The client is there."""


Request: TypeAlias = Auth | Mode | Subscribe | Unsubscribe | Pause | Resume | Ack | Ping


class UnreadableError(ValueError):
    """A client's frame that can't be read; the text says why."""


# -- a client's frames ------------------------------------------------------------------------------------------------


def read(frame: bytes) -> Request:
    """Read a client's frame; raises `UnreadableError`."""
    if len(frame) < 3:
        raise UnreadableError(f"a frame of {len(frame)} bytes; the shortest has 3")
    kind = frame[2]
    if kind == Kind.PING:
        return Ping()
    fields = _fields(frame)
    match kind:
        case Kind.AUTH:
            return Auth(_ascii(fields, 1), _ascii(fields, 4) if 4 in fields else "")
        case Kind.MODE:
            return Mode(_channels(fields), lite=_exactly(fields, 2, 1) == b"L")
        case Kind.SUBSCRIBE:
            return Subscribe(_topics(_field(fields, 1)), _exactly(fields, 2, 1)[0])
        case Kind.UNSUBSCRIBE:
            return Unsubscribe(_topics(_field(fields, 1)), _exactly(fields, 2, 1)[0])
        case Kind.PAUSE:
            return Pause(_channels(fields))
        case Kind.RESUME:
            return Resume(_channels(fields))
        case Kind.ACK:
            return Ack(int.from_bytes(_exactly(fields, 1, 4)))
    raise UnreadableError(f"a frame of kind {kind}, which no client sends")


def _fields(frame: bytes) -> dict[int, bytes]:
    """The fields by id, as many as the frame says that it has."""
    if len(frame) < 4:
        raise UnreadableError("the frame ends before its fields are counted")
    fields, place = {}, 4
    for _ in range(frame[3]):
        start = place + 3
        if start > len(frame):
            raise UnreadableError("the frame ends within the head of a field")
        end = start + int.from_bytes(frame[place + 1 : start])
        if end > len(frame):
            raise UnreadableError(f"the frame ends within field {frame[place]}")
        fields[frame[place]] = frame[start:end]
        place = end
    return fields


def _field(fields: dict[int, bytes], number: int) -> bytes:
    if number not in fields:
        raise UnreadableError(f"field {number} is missing")
    return fields[number]


def _exactly(fields: dict[int, bytes], number: int, size: int) -> bytes:
    value = _field(fields, number)
    if len(value) != size:
        raise UnreadableError(f"field {number} has {len(value)} bytes; expected {size}")
    return value


def _ascii(fields: dict[int, bytes], number: int) -> str:
    try:
        return _field(fields, number).decode("ascii")
    except UnicodeDecodeError:
        raise UnreadableError(f"field {number} is no ASCII text") from None


def _channels(fields: dict[int, bytes]) -> tuple[int, ...]:
    bits = int.from_bytes(_exactly(fields, 1, 8))
    return tuple(channel for channel in range(64) if bits >> channel & 1)


def _topics(value: bytes) -> tuple[str, ...]:
    """The names in `u16 n, n × (u8 length, ascii)`."""
    if len(value) < 2:
        raise UnreadableError("the topics are not counted")
    topics: list[str] = []
    place = 2
    for _ in range(int.from_bytes(value[:2])):
        end = place + 1 + value[place] if place < len(value) else len(value) + 1
        if end > len(value):
            raise UnreadableError(f"the topics end after {len(topics)} of {int.from_bytes(value[:2])}")
        try:
            topics.append(value[place + 1 : end].decode("ascii"))
        except UnicodeDecodeError:
            raise UnreadableError(f"topic {len(topics) + 1} is no ASCII text") from None
        place = end
    return tuple(topics)


# -- a server's frames ------------------------------------------------------------------------------------------------


def envelope(kind: int, fields: Sequence[tuple[int, bytes]]) -> bytes:
    """A frame of numbered fields."""
    body = b"".join(struct.pack(">BH", number, len(value)) + value for number, value in fields)
    return struct.pack(">HBB", len(body) + 2, kind, len(fields)) + body


def answer(kind: Kind, *, granted: bool = True) -> bytes:
    """Yes or no to a request of this kind."""
    return envelope(kind, [(1, GRANTED if granted else REFUSED)])


def answer_auth(*, granted: bool, ack_count: int = 0) -> bytes:
    """Yes or no to a key; with a yes, after how many frames of ticks an ack is wanted (0: never)."""
    return envelope(Kind.AUTH, [(1, GRANTED if granted else REFUSED), (2, struct.pack(">I", ack_count))])


def error(code: int, text: str, about: Kind | None = None) -> bytes:
    """An error that is said unasked, or about requests of one kind."""
    reference = [] if about is None else [(3, bytes([about]))]
    return envelope(Kind.ERROR, [(1, struct.pack(">i", code)), (2, text.encode()), *reference])


def ticks(number: int, records: Sequence[bytes]) -> bytes:
    """A frame of records, which may have `MAX_RECORD_BYTES` together."""
    body = b"".join(records)
    return struct.pack(">HBIH", len(body) + 7, Kind.TICKS, number, len(records)) + body


def snapshot(
    topic_id: int, topic: str, fields: Sequence[int], multiplier: int, precision: int, names: tuple[str, str, str]
) -> bytes:
    """The record that begins a topic; `names` are the exchange, its token and the symbol."""
    head = struct.pack("<cHB", b"S", topic_id, len(topic)) + topic.encode("ascii")
    values = struct.pack(f">B{len(fields)}i", len(fields), *fields)
    texts = b"".join(bytes([len(name.encode())]) + name.encode() for name in names)
    return head + values + struct.pack(">2xHB", multiplier, precision) + texts


def update(topic_id: int, fields: Sequence[int]) -> bytes:
    """The record of what changed; `UNCHANGED` stands for the rest."""
    return struct.pack("<cH", b"U", topic_id) + struct.pack(f">B{len(fields)}i", len(fields), *fields)


def lite(topic_id: int, ltp: int) -> bytes:
    """The record of a new price on a lite channel."""
    return struct.pack("<cH", b"L", topic_id) + struct.pack(">i", ltp)
