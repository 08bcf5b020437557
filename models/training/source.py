"""Markets and stored sessions → the sessions of a training step.

Invariant: what step n of rank r sees is a function of (seed, n, r) alone, so the data position of a run is its step
number and a resumed run reads on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from models.training.errors import DataError
from models.training.sessions import Ints, Sessions


class Source(Protocol):
    """Where training sessions come from."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments that may come."""

    @property
    def intervals(self) -> tuple[str, ...]:
        """Intervals of the bars, as in ``5m``."""

    @property
    def span_ns(self) -> tuple[int, int]:
        """UTC start of the first and last session."""

    @property
    def content(self) -> str:
        """A hash of the sessions that are stored, "" where they are drawn."""

    @property
    def stored(self) -> bool:
        """Whether sessions come again, the same ones that `sample` returns."""

    def take(self, seed: int, step: int, rank: int, world: int, count: int) -> tuple[Sessions, Ints]:
        """``count`` sessions for one step of one rank: a set and the rows in it."""

    def samples(self, seed: int, count: int) -> list[Sessions]:
        """Sessions to fit regressions on, one set an interval: all that are stored, or ``count`` fresh ones."""


class FreshSource:
    """Unlimited simulated sessions: every step draws new ones by ``make(sessions, seed)``."""

    content = ""
    stored = False

    def __init__(self, make: Callable[[int, int], Sessions]) -> None:
        self._make = make
        sample = make(1, 0)
        self.symbols, self.intervals = sample.symbols, (sample.interval,)
        self.span_ns = (int(sample.start_ns()[0]), int(sample.start_ns()[-1]))

    def take(self, seed: int, step: int, rank: int, world: int, count: int) -> tuple[Sessions, Ints]:
        """Simulate ``count`` sessions from a seed of their own, and one before them for their windows to reach into."""
        drawn = int(np.random.SeedSequence([seed, step, rank, 11]).generate_state(1, np.uint32)[0])
        return self._make(count + 1, drawn), np.arange(1, count + 1)

    def samples(self, seed: int, count: int) -> list[Sessions]:
        """Simulate ``count`` sessions from a seed that no step uses."""
        return [self._make(count, int(np.random.SeedSequence([seed, 23]).generate_state(1, np.uint32)[0]))]


class StoredSource:
    """A finite set of sessions, gone through in a new random order each time.

    Raises DataError where it holds fewer than ``min_sessions``.
    """

    stored = True

    def __init__(self, sessions: Sessions, min_sessions: int) -> None:
        if len(sessions) < min_sessions:
            raise DataError(
                f"{len(sessions)} sessions to train on, training_params.min_sessions asks for {min_sessions}"
            )
        self._sessions = sessions
        self.symbols, self.intervals = tuple(dict.fromkeys(sessions.symbols)), (sessions.interval,)
        start = sessions.start_ns()
        self.span_ns = (int(start.min()), int(start.max()))

    @property
    def content(self) -> str:
        """A hash of them."""
        return self._sessions.sha256()

    def take(self, seed: int, step: int, rank: int, world: int, count: int) -> tuple[Sessions, Ints]:
        """Return the next ``count`` sessions of this rank's share; an epoch ends where the next one begins."""
        total = len(self._sessions)
        position = (step * world + rank) * count + np.arange(count)
        rows = np.empty(count, np.int64)
        for epoch in np.unique(position // total):
            order = np.random.default_rng([seed, int(epoch), 13]).permutation(total)
            mine = position // total == epoch
            rows[mine] = order[position[mine] % total]
        return self._sessions, rows

    def samples(self, seed: int, count: int) -> list[Sessions]:
        """Return all of them."""
        return [self._sessions]


class TakingTurns:
    """Several stored sources, one an interval: a batch holds bars of one interval, the next batch of the next."""

    stored = True

    def __init__(self, sources: Sequence[StoredSource]) -> None:
        self._sources = tuple(sources)
        self.symbols = tuple(dict.fromkeys(name for source in sources for name in source.symbols))
        self.intervals = tuple(name for source in sources for name in source.intervals)
        first, last = zip(*(source.span_ns for source in sources), strict=True)
        self.span_ns = (min(first), max(last))

    @property
    def content(self) -> str:
        """A hash of each source's sessions."""
        return " ".join(source.content for source in self._sources)

    def take(self, seed: int, step: int, rank: int, world: int, count: int) -> tuple[Sessions, Ints]:
        """Return the next sessions of the source whose turn it is."""
        turns = len(self._sources)
        return self._sources[step % turns].take(seed, step // turns, rank, world, count)

    def samples(self, seed: int, count: int) -> list[Sessions]:
        """Return all of them, by interval."""
        return [sessions for source in self._sources for sessions in source.samples(seed, count)]
