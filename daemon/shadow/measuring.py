"""The path of the one in charge → what it came to in each session, for a migration's baseline and probation.

Invariant: a session counts as whole only where one and the same decided from its open to its close.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, india_day
from daemon.core.events import Decider, Event, ModelLoaded, SessionMeasured, StrategySwapped, TimeAdvanced
from daemon.market.calendar import CalendarRangeError, MarketCalendar, Session
from daemon.portfolio.book import Portfolio
from daemon.shadow.tally import COUNTED, Tally

MINUTE_NS = 60 * NS_PER_S
"""More than the grace after which a bar closes."""
BP = 10_000


class Measuring:
    """Publishes a `SessionMeasured` at each close; `wanted` says whether anybody asks for it."""

    def __init__(
        self, bus: Bus, calendar: MarketCalendar, interval_ns: int, real: Portfolio, in_charge: Callable[[], Decider],
        wanted: Callable[[], bool],
    ) -> None:  # fmt: skip
        """`real`: the account, of which only profit is read."""
        self._bus = bus
        self._calendar = calendar
        self._interval_ns = interval_ns
        self._real = real
        self._in_charge = in_charge
        self._wanted = wanted
        self._tally = Tally()
        self._session: Session | None = None
        self._since_ts = 0
        self._whole = False
        self._closing = False
        self._decider = Decider("")
        self._start_equity = Decimal(0)
        bus.tap(COUNTED, self._tally.record)
        bus.tap((StrategySwapped, ModelLoaded), self._changed)
        bus.tap((TimeAdvanced,), self._look)

    def _changed(self, event: Event) -> None:
        """Another one decides from here on."""
        self._whole = False

    def _look(self, event: TimeAdvanced) -> None:
        ts = event.ts
        if self._session is not None and ts >= self._session.close_ns and not self._closing:
            self._closing = True
            self._bus.when_idle(lambda: self._over(ts))
        if self._session is None:
            try:
                session = self._calendar.session_at(ts)
            except CalendarRangeError:  # whoever said so is to hear nothing of it from here
                return
            if session is not None:
                self._begin(session, ts)

    def _begin(self, session: Session, ts: int) -> None:
        self._session, self._since_ts, self._closing = session, ts, False
        self._whole = ts <= session.open_ns + self._interval_ns + MINUTE_NS
        self._decider = self._in_charge()
        self._start_equity = self._real.equity
        self._tally.begin()

    def _over(self, ts: int) -> None:
        session, self._session = self._session, None
        if session is None or not self._wanted():
            return
        figures, net = self._tally.session, self._real.equity - self._start_equity
        self._bus.publish(
            SessionMeasured(
                ts=ts, strategy=self._decider.strategy, model_hash=self._decider.model_hash,
                day=india_day(session.open_ns), since_ts=self._since_ts,
                whole=self._whole and self._in_charge().same_as(self._decider), decisions=figures["decisions"],
                failed=figures["failed"], latency_p99_ms=self._tally.latency_p99_ms, trades=figures["trades"],
                net_pnl=net, net_bp=float(net / self._real.starting_cash) * BP,
            )
        )  # fmt: skip
