"""What is held → what it is worth to the control API, its metrics and its pages: one figure everywhere.

Invariant: what is held is never worth nothing for want of a price. Before the first tick of a process it counts at its
last price before, and where nobody knows how many are held at the last price at which somebody did.
"""

from __future__ import annotations

from decimal import Decimal

from daemon.app import App
from daemon.portfolio.book import Position


def price_of(app: App, position: Position) -> Decimal:
    """At which a unit of it counts, rupees."""
    last = app.risk.book.of(position.symbol).last_price
    return Decimal(str(last)) if last and position.symbol not in app.risk.book.unsettled else position.mark


def equity_of(app: App) -> Decimal:
    """Cash and what is held, rupees."""
    portfolio = app.portfolio.portfolio
    return sum((item.quantity * price_of(app, item) for item in portfolio.positions()), portfolio.cash)
