"""Rupees without digits that nobody meant: those that binary fractions add to a price, and those that never end.

Invariant: an amount of up to four decimal places, finer than every exchange's grid, stays as it is.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

PLACES: Final = 4
_TEN_THOUSANDTH: Final = Decimal(1).scaleb(-PLACES)


def exact_price(value: float) -> Decimal:
    """The price that a float means, to a ten-thousandth of a rupee."""
    return Decimal(repr(round(float(value), PLACES)))


def rounded(amount: Decimal) -> Decimal:
    """An amount to a ten-thousandth of a rupee, where it has more digits."""
    return amount.quantize(_TEN_THOUSANDTH) if int(amount.as_tuple().exponent) < -PLACES else amount
