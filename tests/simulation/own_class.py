"""A strategy class as a user writes one, in charge of a simulated daemon, with what goes wrong in such classes.

It becomes a strategy as every class of a user does (`daemon.strategy.own`). Invariant: what it answers is drawn from
seed, symbol and bar; what it did wrong is in `Mood.spoilt`, for whoever looks at what became of it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from daemon.core.clock import NS_PER_S
from daemon.settings.own import OwnClass
from daemon.strategy.own import OwnStrategy
from strategies.own import MOST_UNITS, Act, Answer, Observation, buy, close, hold, sell
from tests.simulation.brains import Mood

OWN = "drawn:Drawn"
RAISED = (ArithmeticError, SystemExit, MemoryError, RecursionError, TypeError)
NO_ANSWERS: tuple[Any, ...] = (
    None, "buy", 7, float("nan"), (), {"act": "buy", "quantity": 1}, Act.BUY,
    Answer(act=Act.BUY, quantity=-3, reason="fewer than none", confidence=0.5),
    Answer(act=Act.SELL, quantity=2, reason="of no use", confidence=float("nan")),
    Answer(act=Act.BUY, quantity=10 * MOST_UNITS, reason="all there is", confidence=0.5),
    Answer(act=Act.CLOSE, quantity=1, reason="at a price", confidence=0.5, limit=800.0),
)  # fmt: skip


def own_strategy(seed: int, mood: Mood) -> OwnStrategy:
    """The class, made a strategy; `mood` says what is wrong with it at the moment."""

    class Drawn:
        """Opens and closes as it is drawn."""

        def decide(self, seen: Observation) -> Answer:
            """Once a bar."""
            rng = random.Random(f"{seed}:own:{seen.symbol}:{seen.time.isoformat()}")
            wrong = mood.own
            if wrong in ("raises", "answers"):
                mood.spoilt.add((seen.symbol, round(seen.time.timestamp()) * NS_PER_S))
            if wrong == "raises":
                raise rng.choice(RAISED)("of no use")
            if wrong == "answers":
                if rng.random() < 0.2:
                    self.remembered = seen.price
                answer: Answer = rng.choice(NO_ANSWERS)
                return answer
            act, side, units = rng.random(), rng.choice((buy, sell)), rng.randrange(1, 16)
            if wrong == "wild":
                price = rng.choice((None, 0.05, seen.price * 0.9, seen.price * 1.1, 900_000.0))
                return side(rng.choice((units, 100_000, MOST_UNITS)), "wild", limit=price)
            if seen.position and (act < 0.4 or mood.calm):
                return close("drawn")
            return hold("drawn") if mood.calm or act > 0.85 else side(units, "drawn")

    here = Path(__file__)
    return OwnStrategy(OwnClass(name=OWN, kind=Drawn, file=here, folder=here.parent, source="drawn"), None)
