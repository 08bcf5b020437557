"""A Fyers account before the market opens → one finding a subject, each with what to do about it.

The broker is only read: profile, funds, market status. Invariant: no call here can change an order, and no finding
holds a secret or the name of a person.
"""

from __future__ import annotations

import importlib.metadata
import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from yarl import URL

from daemon.brokers.calls import rate_budget
from daemon.calls.http import CallTimes
from daemon.calls.outcome import Done, Outcome, Rejected
from daemon.calls.secret import Secret
from daemon.core.clock import Clock
from daemon.core.errors import HrmdError, SettingsError
from daemon.fyers.access import endpoints
from daemon.fyers.credentials import Credentials, read_token, token_path
from daemon.fyers.rest import FyersRest
from daemon.market.calendar import MarketCalendar
from daemon.market.records import MarketState
from daemon.orders.token_watch import TokenState, TokenWatch
from daemon.orders.venue import Funds
from daemon.preflight import Finding, bad, doubtful, good, skew_finding
from daemon.report.text import rupees
from daemon.settings.orders import BrokerSettings
from daemon.settings.tree import Settings

SDK: Final = "fyers-apiv3"
CONNECT_S: Final = 3.0
LOGIN: Final = "hrmd login"


async def fyers_findings(settings: Settings, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Everything about the account; the broker is asked only with a token that may hold."""
    fyers = settings.broker.fyers
    found = [sdk_finding()]
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
        found.append(
            token_finding(token, path, settings.broker.live.token_warn_s, clock.now_ns(), credential=credential)
        )
        try:
            found += await _ask(settings.broker, credentials, clock, calendar)
        except SettingsError as error:
            found.append(bad("account", str(error), "mend the setting"))
    return [*found, address_finding(fyers.api_url)]


async def _ask(
    broker: BrokerSettings, credentials: Credentials, clock: Clock, calendar: MarketCalendar
) -> list[Finding]:
    """What the broker says, and how far the clocks are apart."""
    fyers, answer_s = broker.fyers, broker.live.answer_s
    times = CallTimes(read_s=answer_s, total_s=answer_s + CONNECT_S)
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
