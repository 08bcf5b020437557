"""The stations of an `App` → the gauges of its metrics, as of now.

Invariant: nothing here changes the daemon or waits.
"""

from __future__ import annotations

import platform
from collections import Counter
from decimal import Decimal

from daemon import __version__
from daemon.alerting.desk import AlertDesk
from daemon.app import App
from daemon.control.gauges import Gauges
from daemon.run.canary_row import canary_words
from daemon.run.worth import price_of

NOTHING = Decimal(0)


def build_of(app: App) -> dict[str, str]:
    """Of this process; it never changes."""
    return {"version": __version__, "python": platform.python_version(), "settings": app.settings.digest()[:12]}


def gauges_of(app: App, alerts: AlertDesk, build: dict[str, str]) -> Gauges:
    """As of now."""
    journal, positions = app.journal, app.portfolio.portfolio.positions()
    worth = [item.quantity * price_of(app, item) for item in positions]
    paid = [item.quantity * item.average_price for item in positions]
    standing = Counter((it.kind.value, it.severity.value) for it in alerts.book.standing.values())
    return Gauges(
        build=build,
        gross=sum(map(abs, worth), NOTHING),
        net=sum(worth, NOTHING),
        realised=sum((item.realised_pnl for item in positions), NOTHING),
        unrealised=sum(worth, NOTHING) - sum(paid, NOTHING),
        day_pnl=app.risk.book.day_pnl(),
        waiting={actor.name: len(actor.inbox) for actor in app.actors},
        journal_waiting=max(0, journal.appended - journal.committed) if journal is not None else None,
        journal_committed=journal.committed if journal is not None else 0,
        most_segments=app.depth,
        canary=bool(canary_words(app)),
        standing=standing,
        alerts=alerts.sender.reading(),
    )
