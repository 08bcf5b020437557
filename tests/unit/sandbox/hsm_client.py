"""The client's side of the data socket, written from the protocol alone: frames to send, and what came, applied."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

UNCHANGED = -(2**31)


def framed(kind: int, *fields: tuple[int, bytes], declared: int = 0) -> bytes:
    """A frame, which declares any length, as the SDK's do."""
    body = b"".join(bytes([number]) + len(value).to_bytes(2) + value for number, value in fields)
    return declared.to_bytes(2) + bytes([kind, len(fields)]) + body


def auth(key: str, source: str = "test") -> bytes:
    """Show a key."""
    return framed(1, (1, key.encode()), (2, b"P"), (3, b"\x01"), (4, source.encode()))


def mode(channels: Sequence[int], lite: bool) -> bytes:
    """Lite or full on these channels."""
    return framed(12, bits(channels), (2, b"L" if lite else b"F"))


def topics(kind: int, names: Sequence[str], channel: int = 11, declared: int = 0) -> bytes:
    """Subscribe (4) or unsubscribe (5)."""
    listed = len(names).to_bytes(2) + b"".join(bytes([len(name)]) + name.encode() for name in names)
    return framed(kind, (1, listed), (2, bytes([channel])), declared=declared)


def pause(channels: Sequence[int]) -> bytes:
    """Be silent on these channels."""
    return framed(7, bits(channels))


def resume(channels: Sequence[int]) -> bytes:
    """Go on on these channels."""
    return framed(8, bits(channels))


def ack(number: int) -> bytes:
    """Up to this frame everything came."""
    return framed(3, (1, number.to_bytes(4)))


PING = b"\x00\x01\x0b"


def bits(channels: Sequence[int]) -> tuple[int, bytes]:
    """The field that names channels."""
    return 1, sum(1 << channel for channel in channels).to_bytes(8)


class Reader:
    """Applies frames as they come: answers in `answers`, what topics show in `shown`, each tick in `ticks`."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[int, bytes]]] = []
        self.numbers: list[int] = []
        self.names: dict[int, str] = {}
        self.shown: dict[str, list[int]] = {}
        self.scales: dict[str, tuple[int, int]] = {}
        self.texts: dict[str, tuple[str, ...]] = {}
        self.ticks: list[tuple[str, str, tuple[int, ...]]] = []

    def take(self, frame: bytes) -> None:
        """One frame, whose declared length must be true."""
        assert int.from_bytes(frame[:2]) == len(frame) - 2
        if frame[2] != 6:
            self.answers.append((frame[2], self._fields(frame)))
            return
        number, count = struct.unpack(">IH", frame[3:9])
        self.numbers.append(number)
        place = 9
        for _ in range(count):
            place = self._record(frame, place)
        assert place == len(frame)

    def take_records(self, records: Sequence[bytes]) -> None:
        """Records without a frame."""
        for record in records:
            assert self._record(record, 0) == len(record)

    def _fields(self, frame: bytes) -> dict[int, bytes]:
        fields, place = {}, 4
        for _ in range(frame[3]):
            size = int.from_bytes(frame[place + 1 : place + 3])
            fields[frame[place]] = frame[place + 3 : place + 3 + size]
            place += 3 + size
        assert place == len(frame)
        return fields

    def _record(self, frame: bytes, place: int) -> int:
        kind, topic_id = struct.unpack_from("<cH", frame, place)
        place += 3
        if kind == b"L":
            self._apply("L", topic_id, [struct.unpack_from(">i", frame, place)[0]])
            return place + 4
        if kind == b"S":
            size = frame[place]
            self.names[topic_id] = frame[place + 1 : place + 1 + size].decode()
            place += 1 + size
        count = frame[place]
        fields = list(struct.unpack_from(f">{count}i", frame, place + 1))
        place += 1 + 4 * count
        if kind == b"S":
            place = self._scale(frame, place, self.names[topic_id])
            self.shown[self.names[topic_id]] = [UNCHANGED] * count
        self._apply(kind.decode(), topic_id, fields)
        return place

    def _scale(self, frame: bytes, place: int, name: str) -> int:
        self.scales[name] = struct.unpack_from(">2xHB", frame, place)
        place += 5
        texts = []
        for _ in range(3):
            texts.append(frame[place + 1 : place + 1 + frame[place]].decode())
            place += 1 + frame[place]
        self.texts[name] = tuple(texts)
        return place

    def _apply(self, kind: str, topic_id: int, fields: list[int]) -> None:
        name = self.names[topic_id]
        shown = self.shown[name]
        for place, value in enumerate(fields):
            if value != UNCHANGED:
                shown[place] = value
        self.ticks.append((kind, name, tuple(fields)))

    def named(self, name: str, fields: Sequence[str]) -> dict[str, Any]:
        """What a topic shows, by field, without what isn't known."""
        return {field: value for field, value in zip(fields, self.shown[name], strict=True) if value != UNCHANGED}
