"""Settings and a plan → what the market of a run is: its tapes, days, instruments and events.

Nothing here moves. Invariant: what can't be traded as the settings say is refused before anything else is built.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import structlog

from daemon.feed.replay import Tapes
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import INDEX_SUFFIX, Kind
from daemon.market.legs import Legs
from daemon.market.overnight import OvernightLimit
from daemon.market.scheduled_events import ScheduledEvents
from daemon.market.symbol_files import open_instruments
from daemon.plan import RunPlan
from daemon.settings.tree import Settings

log = structlog.get_logger("app")


class MarketOfRun:
    """See the module."""

    def __init__(self, settings: Settings, plan: RunPlan, today: dt.date) -> None:
        """Raises `UsageError` for tapes, a calendar or symbols that can't be used."""
        self._wanted = settings.feed.symbols
        self._clock = plan.clock
        self.tapes = Tapes(plan.tapes, plan.symbols, settings.feed.chunk_rows)
        self.calendar = MarketCalendar.load(settings.market.calendar_file)
        self.instruments, self.master_day = open_instruments(settings, self._first_date(), today, self.calendar)
        self.instruments.check_named(settings.risk.limits)
        self.instruments.check_freeze_quantities(self.symbols)
        if not plan.tapes:  # on a tape risk denies what has no lot
            self.instruments.check_lots(settings.feed.symbols)
            self.instruments.check_expiries(settings.feed.symbols)
            if unlisted := self.instruments.unlisted(settings.feed.symbols):  # held ones are looked after all the same
                log.warning(f"{unlisted}: no tick of it comes, and nothing is opened in it; correct the name "
                            "(hrmd instruments show NAME), or take it out")  # fmt: skip
        self.idle = self.instruments.idle(settings.risk.limits, self.symbols)
        """A line for each limit, freeze quantity and corporate action that holds for nothing here."""
        self.legs = Legs(self.indices)
        self.scheduled = ScheduledEvents.load(settings.complexity_detection.events_file)
        self.limit = OvernightLimit(self.instruments, settings.market.max_overnight_percent)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What the feed gives ticks of."""
        return self.tapes.symbols or tuple(self.instruments.needed_for(self._wanted))

    @property
    def indices(self) -> dict[str, str]:
        """Indices that are decided on, by the future that is traded for them."""
        book, symbols = self.instruments, self.symbols
        traded = {book.traded_as(symbol): symbol for symbol in symbols if symbol.endswith(INDEX_SUFFIX)}
        return {future: index for future, index in traded.items() if future != index}

    @property
    def begins_at(self) -> int:
        """When the ticks of this run begin, UTC ns; 0 where only the first of them will say."""
        return (self.tapes.beginning(self.calendar) if self.tapes.paths else self._clock.now_ns()) or 0

    def kinds(self, held: Iterable[str]) -> dict[str, tuple[Kind, bool]]:
        """Of every symbol, and of what is held, its kind and whether it is traded."""
        found = {symbol: self.instruments.resolve(symbol) for symbol in (*self.symbols, *held)}
        return {symbol: (item.kind, item.tradeable) for symbol, item in found.items() if item is not None}

    def _first_date(self) -> dt.date | None:
        """The date of the first tick, for dated lots. Raises `UsageError` for one before the calendar."""
        first = self.tapes.opening_ts if self.tapes.paths else self._clock.now_ns() or None
        if first is None:
            return None
        date = ist_date(first)
        self.calendar.session(date)
        return date
