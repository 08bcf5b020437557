"""Events of the bus → frames for everybody who listens, each written once.

`Stream.put` stands on the trading loop and keeps references; everything else happens on the loop of the readers.
Invariant: the trading loop waits for no reader: one that falls behind gets the newest of what has a newer value
(conflation), and one that is still `MOST_BEHIND` frames behind is let go and told so.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np

from daemon.control.rows import BarRow
from daemon.control.view import DecisionRow, OrderRow
from daemon.core.events import (
    Bar,
    CanaryChanged,
    Complexity,
    Decision,
    Event,
    Fill,
    HealthReport,
    MitigationTaken,
    ModelLoaded,
    ModelRefused,
    OrderAccepted,
    OrderAmended,
    OrderCancelFailed,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderExpired,
    OrderIntent,
    OrderRejected,
    OrderSent,
    OrderUnknown,
    PositionChanged,
    SettingChanged,
    StrategySwapped,
    TickBatch,
    TradingStateChanged,
)
from daemon.core.json_form import plain

MOST_BEHIND = 1000
"""Frames that wait for one reader."""
MOST_WAITING = 65_536
"""Events that wait for the loop of the readers."""
MOST_READERS = 224
"""Of the 256 connections that there may be: the rest is for those who ask and command."""


class Kind(StrEnum):
    """Of a frame: its `type`."""

    QUOTE = "quote"
    BAR = "bar"
    COMPLEXITY = "complexity"
    DECISION = "decision"
    ORDER = "order"
    FILL = "fill"
    POSITION = "position"
    STATE = "state"
    STRATEGY = "strategy"
    MODEL = "model"
    SETTING = "setting"
    HEALTH = "health"
    HRM_METRICS = "hrm_metrics"


class Lost(StrEnum):
    """Why a reader was let go that did not keep up."""

    BEHIND = "behind"
    """Too many frames waited for it."""
    UNREAD = "unread"
    """It did not take what was written to it."""
    SILENT = "silent"
    """It did not answer a ping."""
    OVERRUN = "overrun"
    """The daemon itself could not write as fast as things happened."""


class StreamCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start, but for `readers`, which is now."""

    readers: int
    published: int
    """Frames that were written, each once, for however many."""
    conflated: int
    """Frames that a newer one of their key took the place of, before they were sent to a reader."""
    lost: dict[Lost, int]
    """Readers that were let go, by why."""


class Code:
    """Why a web socket was closed (RFC 6455, 7.4; above 4000 our own); a reason has at most 123 bytes."""

    GOING_AWAY = 1001
    MISSPOKE = 1008
    TOO_SLOW = 1013
    NO_LONGER = 4401


ORDER_EVENTS = (
    OrderIntent, OrderDenied, OrderSent, OrderAccepted, OrderRejected, OrderUnknown, OrderCancelRequested,
    OrderCancelFailed, OrderCancelled, OrderExpired, OrderAmended,
)  # fmt: skip
_KINDS: dict[type[Event], Kind] = {
    TickBatch: Kind.QUOTE, Bar: Kind.BAR, Complexity: Kind.COMPLEXITY, Decision: Kind.DECISION, Fill: Kind.FILL,
    PositionChanged: Kind.POSITION, TradingStateChanged: Kind.STATE, StrategySwapped: Kind.STRATEGY,
    MitigationTaken: Kind.STRATEGY, ModelLoaded: Kind.MODEL, ModelRefused: Kind.MODEL, CanaryChanged: Kind.MODEL,
    SettingChanged: Kind.SETTING, HealthReport: Kind.HEALTH, **dict.fromkeys(ORDER_EVENTS, Kind.ORDER),
}  # fmt: skip
STREAMED: tuple[type[Event], ...] = tuple(_KINDS)


class Reader:
    """Frames that wait for one who listens; of a key only the newest."""

    def __init__(self, kinds: Iterable[Kind], most: int = MOST_BEHIND) -> None:
        self.kinds = set(kinds)
        self.conflated = 0
        self.code = 0
        """Why it was let go, 0 while it wasn't."""
        self.reason = ""
        self.most = most
        self._waiting: dict[Hashable, bytes] = {}
        self.gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, key: Hashable, frame: bytes) -> bool:
        """One more frame, in the place of an earlier one with its key; False where there are too many now."""
        if self._waiting.pop(key, None) is not None:
            self.conflated += 1
        self._waiting[key] = frame
        return len(self._waiting) <= self.most

    def let_go(self, code: int, reason: str) -> None:
        """No more frames; what waits is dropped."""
        if not self.code:
            self.code, self.reason = code, reason
            self._waiting.clear()
            self.gone.set()

    def take(self) -> list[bytes]:
        """What waits, oldest first; nothing once the reader was let go."""
        frames, self._waiting = list(self._waiting.values()), {}
        return frames


class Stream:
    """Everybody who listens."""

    def __init__(self, order: Callable[[str], OrderRow | None], most_waiting: int = MOST_WAITING) -> None:
        """`order`: a row by its id, asked on the trading loop."""
        self._lost: Counter[Lost] = Counter()
        self._conflated = 0
        """Of readers that have left."""
        self.published = 0
        """Frames that were written; each once, for however many."""
        self._order = order
        self._readers: list[Reader] = []
        self._waiting: deque[tuple[Event, OrderRow | None]] = deque()
        self._most = most_waiting
        self._overrun = False
        self._count = 0

    def __len__(self) -> int:
        return len(self._readers)

    def put(self, event: Event) -> None:
        """On the trading loop: something happened. Costs nothing while nobody listens."""
        if not self._readers:
            return
        if len(self._waiting) >= self._most:
            self._overrun = True
            return
        row = self._order(event.order_id) if isinstance(event, ORDER_EVENTS) else None
        self._waiting.append((event, row))

    def add(self, reader: Reader) -> bool:
        """From now on somebody listens; False where there is no room."""
        if len(self._readers) >= MOST_READERS:
            return False
        self._readers = [*self._readers, reader]
        return True

    def remove(self, reader: Reader) -> None:
        """Somebody doesn't any more."""
        self._readers = [one for one in self._readers if one is not reader]
        self._conflated += reader.conflated

    @property
    def dropped(self) -> int:
        """Readers that did not keep up."""
        return self._lost.total()

    def counts(self) -> StreamCounts:
        """What came of it so far."""
        conflated = self._conflated + sum(reader.conflated for reader in self._readers)
        lost = {why: self._lost[why] for why in Lost}
        return StreamCounts(readers=len(self._readers), published=self.published, conflated=conflated, lost=lost)

    def lose(self, reader: Reader, why: Lost, reason: str) -> None:
        """Let go one that doesn't keep up; one that was let go already isn't counted again."""
        if not reader.code:
            reader.let_go(Code.TOO_SLOW, reason)
            self._lost[why] += 1

    def let_everybody_go(self) -> None:
        """The daemon ends."""
        for reader in self._readers:
            reader.let_go(Code.GOING_AWAY, "hrmd ends")

    def wants(self, kind: Kind) -> bool:
        """Whether anybody does."""
        return any(kind in reader.kinds for reader in self._readers)

    def say(self, kind: Kind, key: Hashable, row: Any) -> None:
        """A frame of a row, for everybody who wants its kind."""
        readers = [reader for reader in self._readers if kind in reader.kinds and not reader.code]
        if not readers:
            return
        self._count += 1
        fields = plain(row)
        if "type" in fields:  # of an order, which is no frame's
            fields[f"{kind.value}_type"] = fields.pop("type")
        frame = msgspec.json.encode({"type": kind.value, "n": self._count, **fields})
        self.published += 1
        for reader in readers:
            if not reader.offer(self._count if key is None else key, frame):
                self.lose(reader, Lost.BEHIND, f"too slow: {reader.most} frames behind")

    def hand_out(self) -> None:
        """On the readers' loop, every now and then: what happened, as frames for those who want them."""
        for _ in range(len(self._waiting)):
            event, row = self._waiting.popleft()
            self._tell(event, row)
        if self._overrun:
            self._overrun = False
            for reader in self._readers:
                self.lose(reader, Lost.OVERRUN, "frames were lost: hrmd was busy; connect again")

    def _tell(self, event: Event, row: OrderRow | None) -> None:
        kind = _KINDS[type(event)]
        match event:
            case TickBatch():
                self._tell_quotes(event)
            case Bar():
                self.say(kind, (kind, event.symbol, event.interval), BarRow.of(event))
            case Decision():
                self.say(kind, None, _decision(event))
            case Complexity():
                self.say(kind, (kind, event.symbol, event.interval), event)
            case PositionChanged():
                self.say(kind, (kind, event.symbol), event)
            case _ if kind is Kind.ORDER:
                if row is not None:
                    self.say(kind, None, row)
            case _:
                self.say(kind, None, {"event": type(event).__name__, **msgspec.structs.asdict(event)})

    def _tell_quotes(self, batch: TickBatch) -> None:
        """The newest price of each symbol."""
        if not len(batch) or not self.wants(Kind.QUOTE):
            return
        codes, newest = np.unique(batch.code[::-1], return_index=True)
        for code, back in zip(codes, newest, strict=True):
            at = len(batch) - 1 - int(back)
            symbol, bid, ask = batch.symbols[int(code)], float(batch.bid[at]), float(batch.ask[at])
            self.say(Kind.QUOTE, (Kind.QUOTE, symbol), {
                "symbol": symbol, "ts": int(batch.ts_event[at]), "price": repr(float(batch.ltp[at])),
                "bid": None if np.isnan(bid) else repr(bid), "ask": None if np.isnan(ask) else repr(ask),
                "volume": int(batch.volume[at]) if batch.volume[at] >= 0 else None,
            })  # fmt: skip


def _decision(event: Decision) -> dict[str, Any]:
    """The row, and what front ends call depth and complexity in it."""
    names = {"reasoning_depth": event.segments, "market_complexity": event.complexity}
    return {**msgspec.structs.asdict(DecisionRow.of(event)), **names}
