"""A frame of ticks and what is to befall it → the bytes that are sent in its place.

Invariant: what isn't named by the fault is sent as it was meant to be.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from daemon.sandbox import hsm
from daemon.sandbox.faults import FaultKind

_STRANGE = b"X\x01\x00" + bytes(8)
_COUNT = slice(7, 9)


def spoil(kind: FaultKind | None, number: int, records: Sequence[bytes]) -> bytes:
    """The frame, with the harm that `kind` does to its bytes; kinds that concern its delivery do none."""
    frame = hsm.ticks(number, records)
    middle = len(records) // 2
    match kind:
        case FaultKind.TRUNCATE:
            return frame[: len(frame) * 2 // 3]
        case FaultKind.WRONG_LENGTH:
            return struct.pack(">H", (len(frame) + 1000) % 65_536) + frame[2:]
        case FaultKind.WRONG_COUNT:
            return frame[: _COUNT.start] + struct.pack(">H", len(records) + 1) + frame[_COUNT.stop :]
        case FaultKind.STRANGE_RECORD:
            return _fitting(number, [*records[:middle], _STRANGE, *records[middle:]])
        case FaultKind.WRONG_FIELDS:
            return hsm.ticks(number, [*records[:middle], _overcounted(records[middle]), *records[middle + 1 :]])
    return frame


def _overcounted(record: bytes) -> bytes:
    """A record that says it has one field more than it has; a lite one has no count, and loses its end instead."""
    if record[:1] == b"L":
        return record[:-1]
    place = 3 + (1 + record[3] if record[:1] == b"S" else 0)
    return record[:place] + bytes([record[place] + 1]) + record[place + 1 :]


def _fitting(number: int, records: list[bytes]) -> bytes:
    """A frame of these, without the last ones where they are too many for one."""
    while sum(map(len, records)) > hsm.MAX_RECORD_BYTES:
        records.pop()
    return hsm.ticks(number, records)
