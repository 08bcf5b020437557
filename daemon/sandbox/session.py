"""One client of the data socket: its requests → answers, and what changed on the boards → records for it.

A topic begins with a snapshot and goes on with updates in which the fields that the client knows are marked unchanged;
on a lite channel with the price alone. Nothing of a topic is sent while all of its channels are paused; afterwards the
next change brings everything that changed meanwhile.
Invariant: the client that applies every record knows what the board showed at the last of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from daemon.sandbox import hsm
from daemon.sandbox.boards import Boards
from daemon.sandbox.directory import Listing, SymbolDirectory
from daemon.sandbox.faults import FaultKind, FaultPlan, Route
from daemon.sandbox.gate import TokenGate
from daemon.sandbox.hsm import UNCHANGED, Fields, Kind, Topic

MAX_TOPICS: Final = 5000
MAX_TOPIC_ID: Final = 65_535
MULTIPLIER: Final = 1
LIMIT_EXCEEDED: Final = 51001
TOKEN_EXPIRED: Final = -99


class _Line:
    """A topic that the client asked for, and the fields it knows of it."""

    __slots__ = ("channels", "kind", "known", "listing", "name", "topic_id")

    def __init__(self, topic_id: int, name: str, kind: Topic, listing: Listing) -> None:
        self.topic_id = topic_id
        self.name = name
        self.kind = kind
        self.listing = listing
        self.channels: set[int] = set()
        self.known: Fields | None = None


class Session:
    """What one connection asked for, and how many records it was given of each symbol and kind of topic (`sent`)."""

    def __init__(
        self, directory: SymbolDirectory, boards: Boards, gate: TokenGate, plan: FaultPlan, ack_count: int
    ) -> None:
        self.admitted = False
        self.sent: Counter[tuple[str, Topic]] = Counter()
        self.unknown: list[str] = []
        self.acked = 0
        self.pings = 0
        self._directory = directory
        self._boards = boards
        self._gate = gate
        self._plan = plan
        self._ack_count = ack_count
        self._lines: dict[str, _Line] = {}
        self._of_symbol: dict[str, list[_Line]] = {}
        self._lite: set[int] = set()
        self._paused: set[int] = set()
        self._ids: set[int] = set()
        self._last_id = 0

    @property
    def topics(self) -> Mapping[str, int]:
        """Topic ids by topic."""
        return {name: line.topic_id for name, line in self._lines.items()}

    def answer(self, request: hsm.Request) -> tuple[list[bytes], list[bytes]]:
        """The frames that answer a request, and the records that follow them."""
        match request:
            case hsm.Auth():
                self.admitted = self._gate.admits_key(request.hsm_key)
                return [hsm.answer_auth(granted=self.admitted, ack_count=self._ack_count)], []
            case hsm.Ping():
                self.pings += 1
                return [], []
            case hsm.Ack():
                self.acked = max(self.acked, request.number)
                return [], []
            case hsm.Subscribe():
                return self._subscribe(request)
            case hsm.Unsubscribe():
                return [hsm.answer(Kind.UNSUBSCRIBE, granted=self._unsubscribe(request))], []
            case hsm.Mode():
                change = self._lite.update if request.lite else self._lite.difference_update
                return self._channels(Kind.MODE, change, request.channels)
            case hsm.Pause():
                return self._channels(Kind.PAUSE, self._paused.update, request.channels)
            case hsm.Resume():
                return self._channels(Kind.RESUME, self._paused.difference_update, request.channels)

    def follows(self, symbol: str) -> bool:
        """Whether any topic of the symbol was asked for."""
        return bool(self._of_symbol.get(symbol))

    def records(self, symbol: str) -> list[bytes]:
        """What is to be sent of a symbol whose board may have changed."""
        return [record for line in self._of_symbol.get(symbol, ()) if (record := self._record(line)) is not None]

    def expire(self) -> bytes:
        """The token ended: the frame that says so; nothing is sent any more before a new key is shown."""
        self.admitted = False
        return hsm.error(TOKEN_EXPIRED, "Token is expired", Kind.AUTH)

    def _channels(
        self, kind: Kind, change: Callable[[tuple[int, ...]], None], channels: tuple[int, ...]
    ) -> tuple[list[bytes], list[bytes]]:
        if self.admitted:
            change(channels)
        return [hsm.answer(kind, granted=self.admitted)], []

    def _subscribe(self, request: hsm.Subscribe) -> tuple[list[bytes], list[bytes]]:
        if not self.admitted:
            return [hsm.answer(Kind.SUBSCRIBE, granted=False)], []
        if len(self._lines.keys() | set(request.topics)) > MAX_TOPICS:
            refusal = hsm.error(LIMIT_EXCEEDED, f"Symbol limit of {MAX_TOPICS} exceeded", Kind.SUBSCRIBE)
            return [refusal], []
        records = []
        for name in request.topics:
            line = self._line(name)
            if line is None:
                self.unknown.append(name)
                continue
            line.channels.add(request.channel)
            line.known = None
            record = self._record(line)
            if record is not None:
                records.append(record)
        return [hsm.answer(Kind.SUBSCRIBE)], records

    def _line(self, name: str) -> _Line | None:
        if name in self._lines:
            return self._lines[name]
        found = self._directory.of_topic(name)
        if found is None:
            return None
        listing, kind = found
        line = self._lines[name] = _Line(self._new_id(), name, kind, listing)
        self._of_symbol.setdefault(listing.symbol, []).append(line)
        return line

    def _new_id(self) -> int:
        """The next one that is free; one that was given up is used last, for records of it may still be on the way."""
        while True:
            self._last_id = self._last_id % MAX_TOPIC_ID + 1
            if self._last_id not in self._ids:
                self._ids.add(self._last_id)
                return self._last_id

    def _unsubscribe(self, request: hsm.Unsubscribe) -> bool:
        for name in request.topics:
            line = self._lines.get(name)
            if line is None:
                continue
            line.channels.discard(request.channel)
            if not line.channels:
                del self._lines[name]
                self._ids.discard(line.topic_id)
                self._of_symbol[line.listing.symbol].remove(line)
        return self.admitted

    def _record(self, line: _Line) -> bytes | None:
        """What the client doesn't know of a topic yet; None where that is nothing, or may not be sent."""
        open_channels = line.channels - self._paused
        if not (self.admitted and open_channels):
            return None
        fields = self._boards.fields(line.listing.symbol, line.kind)
        if fields is None or fields == line.known:
            return None
        known, line.known = line.known, fields
        if known is None:
            record = self._snapshot(line, fields)
        elif open_channels <= self._lite and line.kind is not Topic.DEPTH:
            line.known = (fields[0], *known[1:])
            if fields[0] == known[0]:
                return None
            record = hsm.lite(line.topic_id, fields[0])
        else:
            changed = [UNCHANGED if new == old else new for new, old in zip(fields, known, strict=True)]
            record = hsm.update(line.topic_id, changed)
        self.sent[line.listing.symbol, line.kind] += 1
        return record

    def _snapshot(self, line: _Line, fields: Fields) -> bytes:
        listing, topic, token, multiplier = line.listing, line.name, line.listing.token, MULTIPLIER
        fault = self._plan.next(Route.SNAPSHOT, (listing.symbol,))
        match fault.kind if fault is not None else None:
            case FaultKind.ZERO_MULTIPLIER:
                multiplier = 0
            case FaultKind.EMPTY_TOKEN:
                topic, token = topic.rpartition("|")[0] + "|", ""
        names = (listing.segment, token, listing.symbol)
        return hsm.snapshot(line.topic_id, topic, fields, multiplier, listing.precision, names)
