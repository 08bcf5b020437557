"""What luck may have done: the order of trades, and their mean."""

from __future__ import annotations

from decimal import Decimal

import pytest

from daemon.report.chance import FEWEST_TRADES, trade_order
from daemon.report.trades import Direction, Trade


def trades(*profits: int) -> list[Trade]:
    """Round trips that made so many rupees before costs of one rupee each."""
    return [
        Trade(
            symbol="A", direction=Direction.LONG, quantity=1, entry_ts=number, exit_ts=number + 1,
            entry_price=Decimal(100), exit_price=Decimal(100), gross_pnl=Decimal(profit + 1), costs=Decimal(1),
        )
        for number, profit in enumerate(profits)
    ]  # fmt: skip


def test_the_worst_order_is_as_deep_as_all_losses_together() -> None:
    """Losses that all came last could not have come worse, and seldom come so."""
    found = trade_order(trades(*[10] * 10, *[-8] * 10))
    assert found is not None
    assert found.drawdown == 80
    assert found.drawdown_median < found.drawdown_high <= 80
    assert found.deeper < 0.01
    assert found.mean_low < 1 < found.mean_high
    assert trade_order(trades(*[10] * 10, *[-8] * 10)) == found


def test_equal_trades_leave_nothing_to_luck() -> None:
    """Every order of them is the same, and so is every draw."""
    found = trade_order(trades(*[-5] * 30))
    assert found is not None
    assert (found.drawdown, found.drawdown_median, found.drawdown_high, found.deeper) == (150, 150, 150, 1.0)
    assert found.mean_low == found.mean_high == pytest.approx(-5)


def test_few_trades_say_nothing() -> None:
    """Below ten."""
    assert trade_order(trades(*[1] * (FEWEST_TRADES - 1))) is None
