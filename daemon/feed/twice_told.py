"""Several tapes that tell of the same symbol at the same time, such as a day from two vendors → a note that says so.

Their ticks are played as one stream: volume may count twice, and where prices differ they jump to and fro.
Invariant: tapes that follow each other are no matter for a note, and are not read for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.core.events import TickBatch
from daemon.tape.format import TapeReader

TURNS: Final = 20
"""How often the ticks of a symbol may come from the other tape: one ends late, the next begins early."""
SHOWN: Final = 3
_CHUNK_ROWS: Final = 1 << 16

Ints = NDArray[np.int64]


def twice_told(readers: Sequence[TapeReader], symbols: Collection[str]) -> str:
    """What has to be said of them; "" where no two tell of one of `symbols` at the same time."""
    found = sorted({symbol for pair in combinations(readers, 2) for symbol in _both(*pair, symbols)})
    if not found:
        return ""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"{', '.join(found[:SHOWN])}{more}: two tapes have ticks of the same time, which are taken for one stream: "
        "where they differ the price jumps to and fro, and volume may count twice"
    )


def _both(one: TapeReader, other: TapeReader, symbols: Collection[str]) -> list[str]:
    """The symbols of which ticks of both come in turn."""
    first, last, begins, ends = one.first_ts, one.last_ts, other.first_ts, other.last_ts
    if first is None or last is None or begins is None or ends is None or last < begins or ends < first:
        return []
    shared = [symbol for symbol in one.symbols if symbol in other.symbols and symbol in symbols]
    told = [[*reader.batches(_CHUNK_ROWS, shared)] for reader in (one, other)]
    return [symbol for symbol in shared if _turns(*(_stamps(batches, symbol) for batches in told)) > TURNS]


def _turns(one: Ints, other: Ints) -> int:
    """How often the next tick in time is of the other."""
    source = np.repeat((0, 1), (len(one), len(other)))
    return int(np.count_nonzero(np.diff(source[np.argsort(np.concatenate((one, other)), kind="stable")])))


def _stamps(batches: Sequence[TickBatch], symbol: str) -> Ints:
    """When the ticks of a symbol came, UTC ns."""
    return np.concatenate([batch.ts_recv[batch.code == batch.symbols.index(symbol)] for batch in batches])
