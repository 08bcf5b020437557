"""Settings, machine and broker before the market opens → one finding a subject, each with what to do about it.

The broker is only read. Invariant: no call here can change an order, and no finding holds a secret or the name of a
person.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from yarl import URL

from daemon.brokers.choice import ADAPTERS, adapter_of, broker_or_first
from daemon.core.clock import Clock
from daemon.core.errors import HrmdError, SettingsError
from daemon.core.files import resolved
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.market.symbol_files import cached, needs_master, newest_day
from daemon.preflight import Finding, bad, doubtful, good
from daemon.settings.tree import Settings

GIB: Final = 1 << 30
DISK_NEEDED: Final = 1 * GIB
DISK_WANTED: Final = 5 * GIB
CALENDAR_WARN_DAYS: Final = 60


async def live_findings(settings: Settings, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Everything about trading live; the broker is asked only with a token that may hold."""
    adapter = broker_or_first(settings.broker)
    found = [broker_finding(settings), *await adapter.findings(settings, environment, clock)]
    return [*found, master_finding(settings, ist_date(clock.now_ns())), disk_finding(settings.journal.path)]


def broker_finding(settings: Settings) -> Finding:
    """Whether orders go to a broker at all."""
    adapter = adapter_of(settings.broker)
    if adapter is None:
        names = " or ".join(ADAPTERS)
        return doubtful("broker", f"broker.name is {settings.broker.name}", f"set broker.name: {names} to trade live")
    return good("broker", f"orders go to {URL(adapter.account(settings.broker)[1]).host}")


def calendar_finding(calendar: MarketCalendar, today: dt.date) -> Finding:
    """How far NSE's holidays are known; it is time for the next year's before they end."""
    left = (calendar.confirmed_to - today).days
    text = f"holidays are confirmed to {calendar.confirmed_to}"
    if left >= CALENDAR_WARN_DAYS:
        return good("calendar", text)
    do = "hrmd calendar update --from FILE, with NSE's list of trading holidays (it comes in December)"
    if left >= 0:
        return doubtful("calendar", f"{text}, {left} days from now; weekdays after it are taken as sessions", do)
    return doubtful("calendar", f"{text}, {-left} days ago; weekdays are taken as sessions", do)


def master_finding(settings: Settings, today: dt.date) -> Finding:
    """The copy that a start today would use, and whether it has the symbols of the settings."""
    master, name = settings.market.symbol_master, "symbols"
    if not needs_master(settings):
        try:
            plain = InstrumentBook(settings.market, today)
            plain.check_lots(settings.feed.symbols)
            plain.check_freeze_quantities(settings.feed.symbols)
        except SettingsError as error:
            return bad(name, str(error), "mend the setting")
        return good(name, f"no symbol master is used (market.symbol_master.use is {master.use})")
    newest = newest_day(master.directory)
    if newest != today:
        age = "there is none" if newest is None else f"the newest is of {newest}"
        return doubtful(name, f"{age}; a start gets today's", "hrmd instruments update")
    try:
        listed = cached(master, today)
    except HrmdError as error:
        return bad(name, str(error), "hrmd instruments update")
    try:
        book = InstrumentBook(settings.market, today, listed)
        book.check_expiries(settings.feed.symbols)
        book.check_freeze_quantities(settings.feed.symbols)
    except SettingsError as error:
        return bad(name, str(error), "mend the setting")
    unlisted = book.unlisted(settings.feed.symbols)
    if unlisted:
        return bad(name, unlisted, "correct the name (hrmd instruments show NAME), or take it out")
    return good(name, f"{listed.rows} symbols of {today}")


def disk_finding(journal: Path) -> Finding:
    """Room for the journal."""
    directory = resolved(journal).parent
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / GIB:.1f} GiB free under {existing}"
    if free < DISK_NEEDED:
        return bad("disk", text, f"make room: at least {DISK_NEEDED // GIB} GiB")
    return good("disk", text) if free >= DISK_WANTED else doubtful("disk", text, "make room soon")
