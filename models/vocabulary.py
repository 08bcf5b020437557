"""Turns names of instruments and timeframes into rows of an embedding table.

Invariant: row 0 is "unknown" and a name keeps its row for ever; growing only adds rows at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

UNKNOWN: Final = "<unknown>"


_INDICES: Final = {"NIFTY50": "NIFTY", "NIFTYBANK": "BANKNIFTY"}
"""What exchanges call an index, by what its files and derivatives call it."""


def short(name: str) -> str:
    """The name without exchange and series: `NSE:SBIN-EQ` and `SBIN` are one, and so are an index's two names."""
    _, exchange, rest = name.rpartition(":")
    plain = rest.rpartition("-")[0] or rest if exchange else rest
    return _INDICES.get(plain, plain)


@dataclass(frozen=True)
class Vocabulary:
    """Names in row order, row 0 (`<unknown>`) not among them.

    An instrument is found by its short name, too: files of bars are called otherwise than what is traded.
    """

    names: tuple[str, ...] = ()
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)
    _short: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the names; raises ValueError for a name that comes twice or is `<unknown>`."""
        rows = {name: row for row, name in enumerate(self.names, start=1)}
        if len(rows) != len(self.names) or UNKNOWN in rows:
            raise ValueError(f"a vocabulary holds each name once and never {UNKNOWN}: {self.names}")
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_short", {short(name): row for name, row in reversed(rows.items())})

    def __len__(self) -> int:
        """Rows of the embedding table, the unknown row included."""
        return len(self.names) + 1

    def row(self, name: str) -> int:
        """Row of `name`; 0 where it was never seen."""
        return self._rows.get(name) or self._short.get(short(name), 0)

    def grow(self, names: Iterable[str]) -> Vocabulary:
        """Return a vocabulary with the names that are new added at the end, in the order given."""
        added = tuple(name for name in dict.fromkeys(names) if name not in self._rows)
        return Vocabulary(self.names + added)


@dataclass(frozen=True)
class Vocabularies:
    """The two growing tables of a model."""

    instruments: Vocabulary = Vocabulary()
    timeframes: Vocabulary = Vocabulary()

    def grow(self, instruments: Iterable[str] = (), timeframes: Iterable[str] = ()) -> Vocabularies:
        """Both vocabularies, grown."""
        return Vocabularies(self.instruments.grow(instruments), self.timeframes.grow(timeframes))
