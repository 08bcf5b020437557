"""Settings, machine and broker before the market opens → one finding a subject, each with what to do about it.

The broker is only read: profile, funds, market status. Invariant: no call here can change an order, and no finding
holds a secret or the name of a person.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import ipaddress
import shutil
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
from yarl import URL

from daemon.core.clock import MAX_SKEW_NS, NS_PER_S, Clock
from daemon.core.errors import HrmdError, SettingsError
from daemon.fyers.access import endpoints, rate_budget
from daemon.fyers.credentials import Credentials, Secret, read_token, token_path
from daemon.fyers.market_wire import MarketState
from daemon.fyers.outcome import Done, Outcome, Rejected
from daemon.fyers.rest import CallTimes, FyersRest
from daemon.fyers.token_watch import TokenState, TokenWatch
from daemon.fyers.wire import Funds
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.instruments import InstrumentBook
from daemon.market.symbol_files import cached, needs_master, newest_day
from daemon.report.text import rupees
from daemon.settings.orders import FyersSettings
from daemon.settings.tree import Settings

SDK: Final = "fyers-apiv3"
GIB: Final = 1 << 30
DISK_NEEDED: Final = 1 * GIB
DISK_WANTED: Final = 5 * GIB
SKEW_NOTED_S: Final = 1.0
SKEW_TOO_MUCH_S: Final = MAX_SKEW_NS / NS_PER_S - 0.5  # what the tick filter takes, less what is uncertain here
CONNECT_S: Final = 3.0
CALENDAR_WARN_DAYS: Final = 60
LOGIN: Final = "hrmd login"


class State(StrEnum):
    """WARN is worth a look and no reason to stay out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One subject: what was found and, where it isn't as it should be, what to do."""

    name: str
    ok: bool
    text: str
    state: State = State.OK
    do: str = ""


def good(name: str, text: str) -> Finding:
    """As it should be."""
    return Finding(name, True, text)


def doubtful(name: str, text: str, do: str) -> Finding:
    """Worth a look."""
    return Finding(name, True, text, State.WARN, do)


def bad(name: str, text: str, do: str = "") -> Finding:
    """To be mended first."""
    return Finding(name, False, text, State.FAIL, do)


async def live_findings(settings: Settings, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Everything about trading on Fyers; the broker is asked only with a token that may hold."""
    fyers = settings.broker.fyers
    found = [broker_finding(settings), sdk_finding()]
    try:
        calendar = MarketCalendar.load(settings.market.calendar_file)
    except SettingsError:  # `calendar_finding` says so
        calendar = MarketCalendar()
    path = token_path(fyers.token_file, environment)
    try:
        token = read_token(path)
        credentials = Credentials(fyers.app_id, token.reveal())
    except HrmdError as error:
        found.append(bad("token", str(error), LOGIN))
    else:
        credential = path != fyers.token_file
        found.append(token_finding(token, path, fyers.token_warn_s, clock.now_ns(), credential=credential))
        try:
            found += await _ask(fyers, credentials, clock, calendar)
        except SettingsError as error:
            found.append(bad("account", str(error), "mend the setting"))
    found += [address_finding(fyers.api_url), master_finding(settings, ist_date(clock.now_ns()))]
    found.append(disk_finding(settings.journal.path))
    return found


async def _ask(fyers: FyersSettings, credentials: Credentials, clock: Clock, calendar: MarketCalendar) -> list[Finding]:
    """What the broker says, and how far the clocks are apart."""
    times = CallTimes(read_s=fyers.answer_s, total_s=fyers.answer_s + CONNECT_S)
    async with FyersRest(credentials, rate_budget(fyers), clock, endpoints(fyers), times) as rest:
        profile, funds, market = await rest.profile(), await rest.funds(), await rest.market_status()
        account = _refused("account", profile) or good("account", "the broker takes the token")
        return [
            account,
            skew_finding(rest.skew_s),
            _refused("funds", funds) or funds_finding(funds),
            _refused("market", market) or market_finding(market, clock.now_ns(), calendar),
        ]


def _refused(name: str, outcome: Outcome[Any]) -> Finding | None:
    """The finding of a call that brought no answer."""
    if isinstance(outcome, Done):
        return None
    if isinstance(outcome, Rejected):
        do = LOGIN if outcome.token_refused else "look at the app's permissions in the API dashboard"
        return bad(name, f"the broker said no ({outcome.code}: {outcome.message})", do)
    return bad(
        name, f"no answer ({outcome.reason})", "look at broker.fyers.api_url, broker.fyers.data_url, the network"
    )


def broker_finding(settings: Settings) -> Finding:
    """Whether orders go to Fyers at all."""
    host = URL(settings.broker.fyers.api_url).host
    if settings.broker.name != "fyers":
        return doubtful("broker", f"broker.name is {settings.broker.name}", "set broker.name: fyers to trade live")
    return good("broker", f"orders go to {host}")


def sdk_finding() -> Finding:
    """The SDK gives live ticks; nothing else needs it."""
    try:
        return good("sdk", f"{SDK} {importlib.metadata.version(SDK)}")
    except importlib.metadata.PackageNotFoundError:
        return doubtful("sdk", f"{SDK} is not installed", f"for live ticks: pip install --no-deps {SDK}")


def token_finding(token: Secret, path: Path, warn_s: float, now_ns: int, *, credential: bool) -> Finding:
    """How long it holds, and whether others can read it."""
    watch = TokenWatch(token, warn_s)
    state, text = watch.state(now_ns), f"{path}: it {watch.text(now_ns)}"
    if not state.holds:
        return bad("token", text, LOGIN)
    if not credential and path.stat().st_mode & 0o077:
        return bad("token", f"{path}: others may read it (mode {path.stat().st_mode & 0o777:04o})", f"chmod 600 {path}")
    if state is TokenState.EXPIRING:
        return doubtful("token", text, LOGIN)
    return good("token", text)


def skew_finding(skew_s: float | None) -> Finding:
    """The broker's `Date` has whole seconds, so that less than one says nothing; the tick filter takes what passes."""
    do = "let the machine keep time (timedatectl set-ntp true)"
    if skew_s is None:
        return doubtful("clock", "the broker's answers carry no time", do)
    text = f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the broker's (± 0.5 s)"
    if abs(skew_s) > SKEW_TOO_MUCH_S:
        return bad("clock", text, do)
    return doubtful("clock", text, do) if abs(skew_s) > SKEW_NOTED_S else good("clock", text)


def funds_finding(funds: Outcome[Funds]) -> Finding:
    """Whether an entry could be paid for."""
    assert isinstance(funds, Done)
    free = funds.value.available
    text = f"{rupees(free)} available of {rupees(funds.value.total)}"
    return good("funds", text) if free > 0 else doubtful("funds", text, "nothing can be opened before funds are added")


def market_finding(market: Outcome[list[MarketState]], now_ns: int, calendar: MarketCalendar) -> Finding:
    """What the broker says of NSE, against our calendar."""
    assert isinstance(market, Done)
    states = {f"{item.exchange} {item.segment}": item.status for item in market.value if item.exchange == "NSE"}
    text = ", ".join(f"{name} {status}" for name, status in states.items()) or "nothing of NSE"
    session = calendar.session_at(now_ns) is not None
    is_open = states.get("NSE CM") == "OPEN"
    if session and not is_open:
        return bad(
            "market", f"{text}, but the calendar has a session now", "a holiday? Put it into market.calendar_file"
        )
    if is_open and not session:
        return doubtful(
            "market", f"{text}, but the calendar has no session now", "a special session? market.calendar_file"
        )
    return good("market", text)


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


def address_finding(api_url: str) -> Finding:
    """From which address orders leave. Fyers has no call that tells which one it sees, and checks it on orders only."""
    url = URL(api_url)
    do = "compare the public address of this machine with the static IP of the app in Fyers' API dashboard"
    try:
        with socket.create_connection((url.host or "", url.port or 443), CONNECT_S) as link:
            here = str(link.getsockname()[0])
    except OSError as error:
        return bad(
            "static ip", f"{url.host} can't be reached ({error.strerror or type(error).__name__})", "the network"
        )
    if ipaddress.ip_address(here).is_loopback:
        return good("static ip", "not needed on this machine")
    behind = "" if ipaddress.ip_address(here).is_global else ", behind a router or NAT"
    return doubtful("static ip", f"unknown: calls leave from {here}{behind}; only an order shows what Fyers sees", do)


def master_finding(settings: Settings, today: dt.date) -> Finding:
    """The copy that a start today would use."""
    master, name = settings.market.symbol_master, "symbols"
    if not needs_master(settings):
        try:
            InstrumentBook(settings.market, today).check_lots(settings.feed.symbols)
        except SettingsError as error:
            return bad(name, str(error), "mend the setting")
        return good(name, f"no symbol master is used (market.symbol_master.use is {master.use})")
    newest = newest_day(master.directory)
    if newest != today:
        age = "there is none" if newest is None else f"the newest is of {newest}"
        return doubtful(name, f"{age}; a start gets today's", "hrmd instruments update")
    try:
        return good(name, f"{cached(master, today).rows} symbols of {today}")
    except HrmdError as error:
        return bad(name, str(error), "hrmd instruments update")


def disk_finding(journal: Path) -> Finding:
    """Room for the journal."""
    directory = journal.resolve().parent
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / GIB:.1f} GiB free under {existing}"
    if free < DISK_NEEDED:
        return bad("disk", text, f"make room: at least {DISK_NEEDED // GIB} GiB")
    return good("disk", text) if free >= DISK_WANTED else doubtful("disk", text, "make room soon")
