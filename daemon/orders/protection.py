"""The last price → the worst one at which a protected market order may trade.

A stop that trades at market when it is reached is protected like one: from its own price on. Where an exchange takes no
such stop it always goes out with a limit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from daemon.core.events import OrderType, Side
from daemon.market.instruments import Instrument

AS_LIMITS: Final = {OrderType.MARKET: OrderType.LIMIT, OrderType.SL_MARKET: OrderType.SL_LIMIT}
"""What an order that trades at market stands as in the venue's book when it is protected."""


def limit_type(kind: OrderType, instrument: Instrument, *, protects: bool) -> OrderType | None:
    """The type with a limit as which an order goes out, None where as it is; `protects`: market orders have one."""
    if protects or (kind is OrderType.SL_MARKET and not instrument.takes_stops_at_market):
        return AS_LIMITS.get(kind)
    return None


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
