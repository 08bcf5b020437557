"""Settings → the live feed of a Fyers account: token, gateway, clock, quotes for comparison.

Invariant: ticks pass for real only where every address of its feed is beyond this machine, so that a sandbox, or a
part of one, never moves a real order.
"""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from daemon.calls.addresses import check_encrypted, is_local
from daemon.calls.budget import RateBudget
from daemon.calls.http import OnDate
from daemon.calls.outcome import NotSent, Outcome
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import LiveClock, PacedClock
from daemon.core.errors import SettingsError, UsageError
from daemon.feed.live.clock_watch import ClockWatch
from daemon.feed.live.feed import TOKEN_S, LiveFeed, Record
from daemon.feed.live.frames import Link
from daemon.feed.live.time import live_schedule
from daemon.feed.tick_filter import TickFilter
from daemon.fyers.access import endpoints, token_of
from daemon.fyers.credentials import Credentials
from daemon.fyers.gateway.assignment import SDK_MISSING, SDK_MODULE, Assignment
from daemon.fyers.gateway.process import running
from daemon.fyers.rest import FyersRest
from daemon.market.calendar import MarketCalendar
from daemon.market.records import Quote
from daemon.settings.orders import FyersSettings
from daemon.settings.tree import Settings

_FEED_URLS: Final = ("socket_url", "symbol_token_url", "index_map_url")


def check_live(settings: Settings) -> None:
    """Raise `SettingsError` for what `feed.source fyers` lacks or must not be combined with."""
    if not settings.feed.symbols:
        raise SettingsError('feed.symbols: expected at least one for feed.source fyers, such as ["NSE:SBIN-EQ"]')
    if importlib.util.find_spec(SDK_MODULE) is None:
        raise SettingsError(SDK_MISSING)
    for name in _FEED_URLS:
        check_encrypted(f"broker.fyers.{name}", getattr(settings.broker.fyers, name))
    endpoints(settings.broker.fyers)
    foreign = _foreign(settings)
    read_token(settings.broker.fyers, leaves=bool(foreign))
    if settings.feed.rehearse and foreign:
        raise SettingsError(
            f"broker.fyers.{foreign[0]}: expected an address on this machine, such as that of hrmd sandbox, got "
            f"{getattr(settings.broker.fyers, foreign[0])!r}: with feed.rehearse the ticks say what time it is"
        )


def ticks_are_real(settings: Settings) -> bool:
    """Whether the live feed is the market itself, and not in part something on this machine."""
    return not settings.feed.rehearse and len(_foreign(settings)) == len(_FEED_URLS)


def _foreign(settings: Settings) -> list[str]:
    """Keys of the addresses that lie beyond this machine."""
    return [name for name in _FEED_URLS if not is_local(getattr(settings.broker.fyers, name))]


def read_token(settings: FyersSettings, *, leaves: bool = False) -> str:
    """The day's token, which the feed shows to others (`leaves`); raises `SettingsError` that says how to get one."""
    return token_of(settings, os.environ, leaves=leaves).reveal()


class Venue:
    """Quotes by REST, with whatever token the day has."""

    def __init__(
        self,
        settings: FyersSettings,
        clock: LiveClock | PacedClock,
        budget: RateBudget,
        on_date: OnDate | None = None,
        *,
        leaves: bool = False,
    ) -> None:
        """`leaves`: whether the feed beside it shows the token to others."""
        self._settings = settings
        self._leaves = leaves
        self.disk = Aside("quotes token")
        """Of the token's file, which may hang."""
        self._credentials = Credentials(settings.app_id, read_token(settings, leaves=leaves))
        self._rest = FyersRest(self._credentials, budget, clock, endpoints(settings), on_date=on_date)

    async def quotes(self, symbols: list[str]) -> Outcome[list[Quote]]:
        """Last prices of 1 to 50 symbols; nothing is asked while there is no token."""
        try:
            token = await self.disk.ask(partial(read_token, self._settings, leaves=self._leaves), TOKEN_S)
        except UsageError as error:
            return NotSent(str(error))
        except TimeoutError as error:
            return NotSent(f"the token's file can't be read ({error.strerror})")
        self._rest.authorize(Credentials(self._settings.app_id, token))
        return await self._rest.quotes(symbols)

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()


def fyers_feed(
    settings: Settings,
    bus: Bus,
    tick_filter: TickFilter,
    calendar: MarketCalendar,
    clock: LiveClock | PacedClock,
    budget: RateBudget,
    record: Record | None = None,
    symbols: tuple[str, ...] = (),
    gateway: Callable[[Assignment], AbstractAsyncContextManager[Link]] | None = None,
    rng: random.Random | None = None,
) -> LiveFeed:
    """The feed of `symbols` (default: `feed.symbols`) over a `gateway` (default: a process), with pauses by `rng`.

    Raises `SettingsError` as `check_live` does.
    """
    check_live(settings)
    live, symbols = settings.feed.live, symbols or tuple(settings.feed.symbols)
    leaves, account = bool(_foreign(settings)), settings.broker.fyers
    start = gateway or partial(running, disk=Aside("gateway"))
    calls_file = str(account.calls_file.resolve())  # now: at a later link its disk may hang

    def connect(token: str) -> AbstractAsyncContextManager[Link]:
        return start(
            Assignment(
                token=token,
                symbols=symbols,
                socket_url=account.socket_url,
                symbol_token_url=account.symbol_token_url,
                index_map_url=account.index_map_url,
                conflate_above=live.conflate_above,
                calls_file=calls_file,
                calls=(account.calls_per_second, account.calls_per_minute, account.calls_per_day),
            )
        )

    watch = ClockWatch(clock, len(symbols), live.clock_limit_s) if isinstance(clock, LiveClock) else None
    venue = Venue(account, clock, budget, watch.on_date if watch is not None else None, leaves=leaves)
    return LiveFeed(
        bus, symbols, tick_filter, calendar, live_schedule(settings), clock, live, connect,
        lambda: read_token(account, leaves=leaves), venue, record, rng, watch,
    )  # fmt: skip
