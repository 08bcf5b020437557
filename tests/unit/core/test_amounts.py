"""Rupees without digits that nobody meant."""

from decimal import Decimal

import pytest

from daemon.core.amounts import exact_price, rounded


@pytest.mark.parametrize(
    ("value", "meant"),
    [(469.20000000000005, "469.2"), (25999.099609375, "25999.0996"), (82.3125, "82.3125"), (1e30, "1e30")],
)  # fmt: skip
def test_a_float_is_the_price_that_it_means(value: float, meant: str) -> None:
    """What a binary fraction adds to it is no money."""
    assert exact_price(value) == Decimal(meant)


@pytest.mark.parametrize(
    ("amount", "left"),
    [(Decimal(400) / 3, "133.3333"), (Decimal("0.00005"), "0.0000"), (Decimal("12.50"), "12.50"), (Decimal(7), "7")],
)
def test_an_amount_has_an_end(amount: Decimal, left: str) -> None:
    """One that has is left as it is written."""
    assert str(rounded(amount)) == left
