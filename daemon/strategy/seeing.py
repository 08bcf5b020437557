"""What of the market reaches a strategy's view: live and when a journal's decisions are made again, in one place.

Invariant: the stage and `hrmd verify` see the same of the same events.
"""

from __future__ import annotations

from typing import Final

from daemon.core.events import Bar, Decision, Event, MarketRemembered, PositionChanged, PriceAdjusted, PriceJumped
from daemon.market.legs import Legs
from strategies.base import MarketView

SEEN: Final[tuple[type[Event], ...]] = (Bar, PositionChanged, PriceAdjusted, PriceJumped, MarketRemembered)


def see(event: Event, view: MarketView, legs: Legs) -> bool:
    """Let `view` and `legs` know of `event`; whether it is one of `SEEN`.

    A decision is seen, too, where it says what was wanted, and isn't one of `SEEN`: who makes it again looks at it.
    """
    match event:
        case Decision():
            view.on_decision(event)
            return False
        case Bar():
            legs.on_bar(event)
            view.on_bar(event)
        case PositionChanged():
            view.on_position(legs.seen(event))
        case PriceAdjusted():
            view.on_adjusted(event)
        case PriceJumped():
            view.on_jumped(event)
        case MarketRemembered():
            legs.on_remembered(event)
            view.on_remembered(event)
        case _:
            return False
    return True
