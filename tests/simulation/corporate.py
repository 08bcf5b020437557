"""A corporate action over the night of a session: the venue makes it, and the settings name it, in time or too late.

It is a split of one share into two or five, or one new share for two: of an odd number a half is left over, which the
venue pays for and the daemon doesn't book. Invariant: one a session, however often it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.settings.market import AdjustmentSettings
from tests.simulation.plan import Action, Do, Plan
from tests.simulation.scenes import EX_DATE, OPENS_AGAIN_S

if TYPE_CHECKING:
    from tests.simulation.world import World


class Split:
    """What becomes of one symbol."""

    def __init__(self, action: Action, symbol: str) -> None:
        self.symbol = symbol
        bonus = action.number // 12 % 5 == 1
        self.ratio = (2, 3) if bonus else (1, (2, 5)[action.number // 2 % 2])
        """New price by old price."""
        self.in_time = action.number // 4 % 3 > 0
        """Whether somebody names it before the night."""
        self.seen_after_s = min(1.0 + action.seconds, 12.0)
        """Else: how long after the open."""

    @property
    def settings(self) -> AdjustmentSettings:
        """As the settings name it."""
        return AdjustmentSettings(date=EX_DATE, symbol=self.symbol, ratio="/".join(map(str, self.ratio)))

    def name(self, world: World) -> None:
        """Write it into the settings file."""
        market = world.file.market
        if not market.adjustments:
            market = market.model_copy(update={"adjustments": [self.settings]})
            world.file = world.file.model_copy(update={"market": market})


def split_of(plan: Plan) -> Split | None:
    """The first that is asked for."""
    return next((Split(action, plan.symbol_of(action)) for action in plan.actions if action.do is Do.SPLIT), None)


def name_it_late(world: World, split: Split) -> None:
    """Somebody sees after the open what it did, names it, and starts the daemon again."""

    def late() -> None:
        split.name(world)
        if world.process is not None:
            world.loop.terminate(world.process)

    if not split.in_time:
        world.loop.call_at(OPENS_AGAIN_S + split.seen_after_s, late)
