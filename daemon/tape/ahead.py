"""A stream that is costly to make → the same stream, of which the next item is made while the present one is used.

Invariant: the items, their order and what is raised instead of one are the stream's own; one item is ahead at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Make items of `items` (none of them None) on a thread of its own, which ends with the stream or with its use."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
