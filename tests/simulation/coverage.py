"""Which faults and deeds met the system in which state, and which pairs are still to be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

from tests.simulation.plan import Do

STATES = (
    "down", "starting", *(f"{trading}:{orders}:{feed}" for trading in ("active", "reducing", "halted")
                          for orders in ("none", "working", "unknown") for feed in ("fresh", "stale")),
)  # fmt: skip
"""Every way in which a system can stand (`World.standing`)."""
NOTHING: Mapping[str, int] = MappingProxyType({})
PAIRS = tuple(f"{do}@{state}" for do in Do for state in STATES)


class Coverage:
    """Counts pairs, and says what to aim at next."""

    def __init__(self, seen: Mapping[str, int] = NOTHING, sought: Mapping[str, int] = NOTHING) -> None:
        self.seen: Counter[str] = Counter(seen)
        self.sought: Counter[str] = Counter(sought)

    def add(self, pairs: Iterable[str]) -> None:
        """A session's."""
        self.seen.update(pairs)

    def next_aim(self) -> str:
        """A pair not seen yet, of those the one that was sought least; "" where all were seen."""
        unseen = [pair for pair in PAIRS if not self.seen[pair]]
        if not unseen:
            return ""
        aim = min(unseen, key=lambda pair: (self.sought[pair], _spread(pair)))
        self.sought[aim] += 1
        return aim

    def text(self) -> str:
        """In a few lines: pairs seen, faults by kind, states that little met."""
        kinds, states = Counter[str](), Counter[str]()
        for pair, count in self.seen.items():
            kind, _, state = pair.partition("@")
            kinds[kind] += count
            states[state] += count
        lines = [f"{sum(1 for pair in PAIRS if self.seen[pair])} of {len(PAIRS)} pairs of fault and state were seen"]
        lines.append("faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
        lines.append("states: " + ", ".join(f"{state} {count}" for state, count in sorted(states.items())))
        return "\n".join(lines)


@cache
def _spread(pair: str) -> int:
    """An order that jumps between kinds and states, the same in every run."""
    return sum(ord(letter) * (place * 7919 + 104729) for place, letter in enumerate(pair)) % 10_007
