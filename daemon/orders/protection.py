"""The last price → the worst one at which a protected market order may trade.

A stop that trades at market when it is reached is protected like one: from its own price on. Where an exchange takes no
such stop it always goes out with a limit. Whoever must get out isn't kept in by his protection: each time that an exit
rested at its price the next one may go twice as far.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from daemon.core.events import OrderType, Side
from daemon.market.instruments import Instrument

AS_LIMITS: Final = {OrderType.MARKET: OrderType.LIMIT, OrderType.SL_MARKET: OrderType.SL_LIMIT}
"""What an order that trades at market stands as in the venue's book when it is protected."""


WIDEST: Final = Decimal(20)
"""Per cent beyond the last price to which exits that rest are widened at most."""


class Bounds(msgspec.Struct, frozen=True):
    """What bounds a protected order of a symbol beside its percentage.

    `lower` and `upper` are the day's band, None where it isn't known; `rested`: so often in a row its exits have rested
    at the price that protected them.
    """

    lower: Decimal | None = None
    upper: Decimal | None = None
    rested: int = 0


UNBOUNDED: Final = Bounds()


def limit_type(kind: OrderType, instrument: Instrument, *, protects: bool) -> OrderType | None:
    """The type with a limit as which an order goes out, None where as it is; `protects`: market orders have one."""
    if protects or (kind is OrderType.SL_MARKET and not instrument.takes_stops_at_market):
        return AS_LIMITS.get(kind)
    return None


def worst_price(side: Side, last: Decimal, percent: Decimal, instrument: Instrument, bounds: Bounds) -> Decimal:
    """`percent` worse than `last`, twice as far for each time that an exit `rested`, on the tick grid.

    Rounded towards `last`, so that the protection is never wider than that, but a tick for each time; and at least one
    tick. It stays within the day's band, beyond which the exchange would refuse it.
    """
    away = last * min(percent * 2**bounds.rested, max(percent, WIDEST)) / 100
    worst = last + side.sign * max(away, bounds.rested * instrument.tick_size)
    towards_last = Side.SELL if side is Side.BUY else Side.BUY
    return instrument.within(instrument.round_price(worst, towards_last), bounds.lower, bounds.upper)
