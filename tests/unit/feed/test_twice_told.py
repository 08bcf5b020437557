"""Several tapes of one symbol: those that follow each other are nothing, those that tell of the same time are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.feed.replay import Tapes
from tests.unit.feed.test_replay import make_batch, write


def told(folder: Path, *times: Sequence[float], symbols: Sequence[str] = ("AAA", "AAA")) -> str:
    """What is said of tapes with ticks at so many seconds from the open."""
    paths = [
        write(folder / str(number), make_batch((symbol,), ts_event=list(seconds), ltp=[100.0] * len(seconds)))
        for number, (seconds, symbol) in enumerate(zip(times, symbols, strict=True))
    ]
    return Tapes(paths, [], 7).twice_told


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (range(60), range(60, 120)),
        (range(60), range(55, 120)),  # the end of one and the beginning of the next
        (range(0, 120, 2), [121]),
    ],
)
def test_tapes_that_follow_each_other(tmp_path: Path, one: Sequence[float], other: Sequence[float]) -> None:
    """A few seconds in which both tell are how recordings are cut."""
    assert told(tmp_path, one, other) == ""


@pytest.mark.parametrize("other", [range(1, 120, 2), range(0, 120, 2), range(30, 90)])
def test_a_symbol_on_two_tapes_of_one_time(tmp_path: Path, other: Sequence[float]) -> None:
    """Between each other's ticks, at the same times, or within a part of it."""
    said = told(tmp_path, range(0, 120, 2), other)
    assert said.startswith("AAA: two tapes have ticks of the same time")


def test_other_symbols_of_one_time(tmp_path: Path) -> None:
    """That is what several tapes are for."""
    assert told(tmp_path, range(120), range(120), symbols=("AAA", "BBB")) == ""
