"""The last price → the worst one at which a protected market order may trade."""

from __future__ import annotations

from decimal import Decimal

from daemon.core.events import Side
from daemon.market.instruments import Instrument


def worst_price(
    side: Side, last: Decimal, percent: Decimal, instrument: Instrument, lower: Decimal | None, upper: Decimal | None
) -> Decimal:
    """`percent` worse than `last`, on the tick grid.

    Rounded towards `last`, so that the protection is never wider than asked, and at least one tick. It stays within the
    day's band of `lower` to `upper`, beyond which the exchange would refuse it.
    """
    worst = last * (1 + side.sign * percent / 100)
    towards_last = Side.SELL if side is Side.BUY else Side.BUY
    return instrument.within(instrument.round_price(worst, towards_last), lower, upper)
