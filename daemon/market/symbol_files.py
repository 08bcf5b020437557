"""Fyers' public symbol files → checked copies on disk, a folder a day, and the instruments of a run from them.

Invariant: a copy is on disk only when all files of its day were read whole and believed, and a run that trades on a
real exchange has no instruments without the master of its own day: a lot or a contract of yesterday's is an order of
another size.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from daemon.core.bus import Bus
from daemon.core.clock import DAY_NS, IST_OFFSET_NS, NS_PER_S, Clock
from daemon.core.errors import StartAgain, Unavailable, UsageError
from daemon.core.files import sync_directory, write_whole
from daemon.core.own_halt import OwnHalt
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.market.symbol_master import SymbolMaster, folder_of
from daemon.settings.market import SymbolMasterSettings
from daemon.settings.tree import Settings

if TYPE_CHECKING:
    from daemon.market.symbol_download import Progress

log = structlog.get_logger("symbols")

DAY_NAP_S: Final = 1.0
"""A clock that is set forward has reached another day at once, and with it a day of other lots."""
MUCH_NS: Final = 60 * NS_PER_S
"""By so much time is set forward in one go; less is a clock that is kept."""
LEAST_SHARE: Final = 0.5
"""Of the rows of the last copy: a file that has shrunk more than this was cut off."""

REASON: Final = "the symbol master is of "


def on_real_exchange(settings: Settings) -> bool:
    """Whether orders may reach an exchange."""
    return settings.broker.real


def needs_master(settings: Settings) -> bool:
    """Whether a run by these settings takes its instruments from a symbol master."""
    use = settings.market.symbol_master.use
    return use == "always" or (use == "live" and on_real_exchange(settings))


def open_instruments(
    settings: Settings, tape_day: dt.date | None, today: dt.date, calendar: MarketCalendar | None = None
) -> tuple[InstrumentBook, dt.date | None]:
    """The instruments of a run, and the day of their symbol master (None: none is used).

    The day is that of the tape's first tick, else today. Raises `UsageError` where the master isn't there or isn't
    believed. On a real exchange without a master an index is not tradeable: nobody knows its contract.
    """
    market = settings.market
    if not needs_master(settings):
        if on_real_exchange(settings):
            market = market.model_copy(update={"index_as_future": False})
        return InstrumentBook(market, tape_day, calendar=calendar), None
    master = cached(market.symbol_master, tape_day or today)
    on_paper = settings.broker.name == "paper"
    return InstrumentBook(market, master.day, master, on_paper=on_paper, calendar=calendar), master.day


def cached(settings: SymbolMasterSettings, day: dt.date) -> SymbolMaster:
    """The copy of a day; raises `UsageError`."""
    return SymbolMaster.cached(settings.directory, day, settings.min_rows, settings.max_age_days)


def newest_day(directory: Path) -> dt.date | None:
    """The day of the newest copy, None where there is none."""
    days = []
    for folder in directory.glob("????-??-??") if directory.is_dir() else ():
        try:
            days.append(dt.date.fromisoformat(folder.name))
        except ValueError:
            continue
    return max(days, default=None)


async def update(settings: SymbolMasterSettings, day: dt.date, progress: Progress | None = None) -> SymbolMaster:
    """Download the files as those of `day`, check them and keep them. Raises `UsageError`; then nothing was kept.

    Whatever the server answers is `Unavailable`: a refusal, a cut-off copy, a portal's page may be over in a minute.
    """
    from daemon.market.symbol_download import download  # with it an HTTP client, which who has the files doesn't need

    texts = await download(settings.url, progress)
    try:
        master = SymbolMaster(texts, day, settings.min_rows, settings.max_age_days)
        _check_shrinking(settings, day, master)
    except UsageError as error:
        raise Unavailable(str(error)) from None
    _keep(settings.directory, day, texts)
    return master


async def ensure(settings: Settings, today: dt.date) -> None:
    """Get today's files where a live run needs them and they aren't there, or aren't whole; raises `UsageError`."""
    if not needs_master(settings) or settings.feed.tape:
        return
    master = settings.market.symbol_master
    if folder_of(master.directory, today).exists():
        try:
            cached(master, today)
            return
        except UsageError as error:
            log.warning("today's symbol master is fetched again", reason=str(error))
    rows = (await update(master, today)).rows
    log.info("symbol master", day=str(today), rows=rows)


def _check_shrinking(settings: SymbolMasterSettings, day: dt.date, master: SymbolMaster) -> None:
    last = newest_day(settings.directory)
    if last is None or last >= day:
        return
    try:
        before = SymbolMaster.cached(settings.directory, last, 1, 36_500).rows
    except UsageError:
        return  # an unreadable old copy says nothing about the new one
    if master.rows < LEAST_SHARE * before:
        raise UsageError(
            f"symbol master of {day}: holds {master.rows} rows, but {before} on {last}: it was cut off; try again"
        )


def _keep(directory: Path, day: dt.date, texts: dict[str, bytes]) -> None:
    """All files of the day at once, in place of what was there."""
    folder = folder_of(directory, day)
    fresh = directory / f".{day}.{secrets.token_hex(4)}"
    try:
        fresh.mkdir(parents=True)
        for name, text in texts.items():
            write_whole(fresh / f"{name}.csv", text)
        if folder.exists():
            for name in texts:
                os.replace(fresh / f"{name}.csv", folder / f"{name}.csv")
            sync_directory(folder)
        else:
            fresh.rename(folder)
            sync_directory(directory)
    except OSError as error:
        raise UsageError(f"market.symbol_master.directory: {folder} can't be written ({error.strerror})") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class MasterDay:
    """Halts a run that outlives the day of its symbol master: lots and contracts of another day are not to be traded.

    A start with the day's own master resumes what only this had stopped. Where the day didn't pass but time was set
    forward into another, the process began with a wrong day and ends, so that systemd's next start has the right one.
    """

    def __init__(self, bus: Bus, day: dt.date, clock: Clock, wall: Clock, passed_ns: Callable[[], int]) -> None:
        """`passed_ns`: how much time has passed since some moment, whatever it was set to."""
        self._passed_ns = passed_ns
        self._set_ns = wall.now_ns() - passed_ns()
        self._day = day
        self._clock = clock
        self._wall = wall
        self._halt = OwnHalt(bus, REASON)

    async def run(self) -> None:
        """Look at the start and on every new day in India, however the clock came to it. Raises `StartAgain`."""
        looked: dt.date | None = None
        while True:
            self.notice_step()
            today = ist_date(self._wall.now_ns())
            if today != looked:
                looked = today
                self.look()
            left_s = (DAY_NS - (self._wall.now_ns() + IST_OFFSET_NS) % DAY_NS) / NS_PER_S
            await asyncio.sleep(min(left_s, DAY_NAP_S))

    def notice_step(self) -> None:
        """Raise `StartAgain` where time was set forward from the master's day into another since the last call."""
        wall = self._wall.now_ns()
        set_ns = wall - self._passed_ns()
        by_ns, self._set_ns = set_ns - self._set_ns, set_ns
        today = ist_date(wall)
        if by_ns > MUCH_NS and today != self._day and ist_date(wall - by_ns) == self._day:
            raise StartAgain(
                f"the daemon began with a clock of {self._day}, which was set forward by {by_ns / NS_PER_S:.0f} s: it "
                f"is {today}, and a new start takes the day's own symbol master"
            )

    def look(self) -> None:
        """Halt on another day, resume on its own."""
        today, now = ist_date(self._wall.now_ns()), self._clock.now_ns()
        if today != self._day:
            log.error("the symbol master is of another day", day=str(self._day), today=str(today))
            self._halt.halt(now, f"{self._day}, and it is {today}: start the daemon again")
        else:
            self._halt.go_on(now, "the day's own symbol master is there")
