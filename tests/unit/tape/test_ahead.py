"""A stream of which the next item is made while the present one is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from daemon.core.errors import TapeError
from daemon.tape.ahead import ahead


def test_items_come_in_order_made_elsewhere_and_one_ahead() -> None:
    """The next is begun before it is asked for; no thread is left behind."""
    makers: list[threading.Thread] = []
    began = [threading.Event() for _ in range(4)]

    def numbers() -> Iterator[int]:
        for number in range(4):
            began[number].set()
            makers.append(threading.current_thread())
            yield number

    seen = []
    for number in ahead(numbers()):
        seen.append(number)
        assert number == 3 or began[number + 1].wait(10)
    assert seen == [0, 1, 2, 3]
    assert threading.main_thread() not in makers
    assert not makers[0].is_alive()


def test_what_is_raised_instead_of_an_item_is_raised_in_its_place() -> None:
    """After the items before it."""

    def broken() -> Iterator[int]:
        yield 1
        raise TapeError("a page can't be read")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(TapeError, match="a page can't be read"):
        next(stream)


def test_whoever_leaves_early_leaves_no_thread() -> None:
    """A replay that is stopped closes its stream."""
    before = threading.active_count()
    stream = ahead(iter([1, 2, 3]))
    assert next(stream) == 1
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
