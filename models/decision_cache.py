"""What the network reads → the decision that it gave, for the newest of them.

The key is everything that the decision follows from: the encoded observation to the last bit, the model's hash and the
depth budget. Invariant: what is answered is what thinking would have come to; decisions that a clock cut short are
never kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import fields
from typing import Generic, TypeVar

from models.features import Features

T = TypeVar("T")


class DecisionCache(Generic[T]):
    """The `size` decisions that were asked for last; with a size of 0 nothing is kept or counted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[bytes, T] = OrderedDict()

    @staticmethod
    def key(features: Features, *parts: str | int) -> bytes:
        """Return the key of an encoded observation and whatever else the decision depends on."""
        digest = hashlib.blake2b(repr(parts).encode(), digest_size=16)
        for column in fields(features):
            digest.update(getattr(features, column.name).tobytes())
        return digest.digest()

    def get(self, key: bytes) -> T | None:
        """Return the decision where it is kept, and count."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, decision: T) -> None:
        """Keep a decision; the one that was not asked for longest makes room."""
        self._kept[key] = decision
        self._kept.move_to_end(key)
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)
