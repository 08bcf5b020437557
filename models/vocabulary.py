"""Turns names of instruments and timeframes into rows of an embedding table.

Invariant: row 0 is "unknown" and a name keeps its row for ever; growing only adds rows at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

UNKNOWN: Final = "<unknown>"


@dataclass(frozen=True)
class Vocabulary:
    """Names in row order, row 0 (`<unknown>`) not among them."""

    names: tuple[str, ...] = ()
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the names; raises ValueError for a name that comes twice or is `<unknown>`."""
        rows = {name: row for row, name in enumerate(self.names, start=1)}
        if len(rows) != len(self.names) or UNKNOWN in rows:
            raise ValueError(f"a vocabulary holds each name once and never {UNKNOWN}: {self.names}")
        object.__setattr__(self, "_rows", rows)

    def __len__(self) -> int:
        """Rows of the embedding table, the unknown row included."""
        return len(self.names) + 1

    def row(self, name: str) -> int:
        """Row of `name`; 0 where it was never seen."""
        return self._rows.get(name, 0)

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
