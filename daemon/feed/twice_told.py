"""Several tapes that tell of the same symbol at the same time, such as a day from two vendors → a note that says so.

Their ticks are played as one stream: volume may count twice, and where prices differ they jump to and fro.
Invariant: tapes that follow each other are no matter for a note, and are not read for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from typing import Final

import numpy as np

from daemon.tape.format import TapeReader
from daemon.tape.ordering import in_turn, said_of

_CHUNK_ROWS: Final = 1 << 16


def twice_told(readers: Sequence[TapeReader], symbols: Collection[str]) -> str:
    """What has to be said of them; "" where no two tell of one of `symbols` at the same time."""
    if not _shared(readers, symbols):  # when each of them begins and ends may have to be read
        return ""
    spans = {reader: (reader.first_ts, reader.last_ts) for reader in readers}
    near = {
        reader for pair in combinations(readers, 2) if _meet(*(spans[reader] for reader in pair)) for reader in pair
    }
    shared = _shared(near, symbols)
    if not shared:
        return ""
    ts, source, code = [], [], []
    for number, reader in enumerate(readers):
        wanted = set(shared).intersection(reader.symbols) if reader in near else ()
        for batch in reader.batches(_CHUNK_ROWS, wanted) if wanted else ():
            ts.append(batch.ts_recv)
            source.append(np.full(len(batch), number))
            code.append(np.array([shared.index(it) if it in wanted else -1 for it in batch.symbols])[batch.code])
    return said_of([shared[found] for found in in_turn(*map(np.concatenate, (ts, source, code)))], "tapes")


def _shared(readers: Iterable[TapeReader], symbols: Collection[str]) -> list[str]:
    """Those of `symbols` that several tapes have."""
    on = Counter(symbol for reader in readers for symbol in reader.symbols if symbol in symbols)
    return sorted(symbol for symbol, tapes in on.items() if tapes > 1)


def _meet(one: tuple[int | None, int | None], other: tuple[int | None, int | None]) -> bool:
    (first, last), (begins, ends) = one, other
    if first is None or last is None or begins is None or ends is None:
        return False
    return first <= ends and begins <= last
