"""Tables on a terminal: whatever its width, no figure, symbol or id is cut or broken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from daemon.report.tables import facts, show, table


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_figures_and_names_stay_whole(width: int) -> None:
    """Words give way; where that isn't enough the table runs over the edge."""
    shown = table("=id", "=symbol", ">net P&L", "why")
    shown.add_row("H1a2b3c4d5L0007", "NSE:BANKNIFTY26JAN60000CE", "−₹1,23,456.50", "stopped because the price fell")
    out = io.StringIO()
    show(shown, Console(file=out, width=width))
    for whole in ("H1a2b3c4d5L0007", "NSE:BANKNIFTY26JAN60000CE", "−₹1,23,456.50"):
        assert whole in out.getvalue()
    assert "…" not in out.getvalue()
    assert all(word in out.getvalue() for word in ["stopped", "because", "the", "price", "fell"])


def test_facts_fold_their_words() -> None:
    """No wider than the terminal."""
    shown = facts()
    shown.add_row("model", "a long description " * 5)
    out = io.StringIO()
    show(shown, Console(file=out, width=40))
    assert max(map(len, out.getvalue().splitlines())) <= 40
    assert out.getvalue().count("description") == 5
