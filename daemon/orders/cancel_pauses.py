"""Cancellations that were asked for, and the time → which of them may be asked for again.

A venue may refuse every cancellation while the order works, or say yes and do nothing. Who asks again as fast as it
answers uses up the calls of the minute, and with them those kept for exits. So the second question comes after
`FIRST_NS`, and each later one after twice as long, up to `LONGEST_NS` where the venue says no and `UNHEARD_NS` where
nobody hears; a person who asks is served at once, by one question more: the pauses stay what they had become, or who
asks over and over would use up those calls. What is to be off is off so soon after the venue takes cancellations
again; where many are refused each waits `EACH_NS` for every one of them, so all together ask once in that. Pure.
Invariant: what is to be off the market is asked for again for as long as it works, however rarely.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from daemon.core.clock import NS_PER_MS, NS_PER_S

FIRST_NS: Final = 250 * NS_PER_MS
LONGEST_NS: Final = 5 * NS_PER_S
EACH_NS: Final = NS_PER_S
UNHEARD_NS: Final = 3 * NS_PER_S
"""The longest pause after a question that got no answer of the order's own: the next one may get through."""


class _Asked(msgspec.Struct):
    at: int
    pause_ns: int = FIRST_NS


class CancelPauses:
    """Of each order, by its id; times are monotonic, ns."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def due(self, order_id: str, now: int) -> bool:
        """Whether it may be asked for now."""
        asked = self._asked.get(order_id)
        return asked is None or now - asked.at >= asked.pause_ns

    def ask(self, order_id: str, now: int) -> None:
        """It is asked for now."""
        before = self._asked.get(order_id)
        pause_ns = FIRST_NS if before is None else min(2 * before.pause_ns, max(LONGEST_NS, len(self._asked) * EACH_NS))
        self._asked[order_id] = _Asked(now, pause_ns)

    def unheard(self, order_id: str) -> None:
        """The question didn't get through, or the token wasn't taken: that says nothing of the order."""
        asked = self._asked.get(order_id)
        if asked is not None:
            asked.pause_ns = min(asked.pause_ns, UNHEARD_NS)

    def hasten(self, order_id: str | None = None) -> None:
        """A person wants it (None: all of them) gone: at once."""
        for asked in self._asked.values() if order_id is None else [self._asked.get(order_id)]:
            if asked is not None:
                asked.at -= asked.pause_ns

    def keep(self, order_ids: Collection[str]) -> None:
        """What isn't among these is off the market."""
        self._asked = {order_id: asked for order_id, asked in self._asked.items() if order_id in order_ids}

    def left_ns(self, order_ids: Collection[str], now: int) -> int:
        """How long until the first of these may be asked for; 0 where one may be now, or there is none."""
        waits = [asked.at + asked.pause_ns - now for it in order_ids if (asked := self._asked.get(it)) is not None]
        return max(0, min(waits)) if len(waits) == len(order_ids) and waits else 0
