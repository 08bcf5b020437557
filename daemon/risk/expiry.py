"""Contracts that end → from when nothing is opened in them, when they are closed, and which are over.

A contract is closed some time before the close of its last day. One on a share ends in delivery: in its last sessions
nothing is opened, and whatever is held is closed at once. One that is over is never traded: the exchange has settled
it. Pure, by the calendar and the time alone, so that a restart comes to the same. Invariant: what isn't a contract
passes untouched.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Protocol

from daemon.core.clock import NS_PER_S
from daemon.market.calendar import Session, ist_date
from daemon.market.instruments import Instrument
from daemon.settings.derivatives import DerivativeSettings

MINUTE_NS: Final = 60 * NS_PER_S
Denial = tuple[str, str, str]


class Days(Protocol):
    """What is asked of a calendar."""

    def session(self, day: dt.date) -> Session | None:
        """The session of a day; None on a holiday."""


class Instruments(Protocol):
    """Which contracts there are."""

    def resolve(self, symbol: str) -> Instrument | None:
        """The instrument, or None when unknown."""


class ExpiryGuard:
    """See the module."""

    def __init__(self, settings: DerivativeSettings, instruments: Instruments, days: Days) -> None:
        self.settings = settings
        self._instruments = instruments
        self._days = days
        self._last_sessions: dict[tuple[str, dt.date], bool] = {}

    def denial(self, symbol: str, now: int) -> Denial | None:
        """Why nothing may be opened in `symbol` at `now` (UTC ns), as a check with its limit and value."""
        contract = self._contract(symbol)
        if contract is None:
            return None
        if contract.expiry is None:
            how = f"{{symbol: {symbol}, kind: {contract.kind.value}, lot_size: UNITS, expiry: DATE}}"
            return "expiry", f"a known expiry: a symbol master, or {how} in market.instruments", "unknown"
        reason = self.over(symbol, now) or self.due(symbol, now)
        return ("expiry", "a contract that isn't about to end", reason) if reason else None

    def over(self, symbol: str, now: int) -> str:
        """That the contract has ended, "" where it hasn't."""
        contract = self._contract(symbol)
        if contract is None or contract.expiry is None or ist_date(now) <= contract.expiry:
            return ""
        return f"expired on {contract.expiry}"

    def due(self, symbol: str, now: int) -> str:
        """Why what is held of `symbol` is to be closed now; "" where it isn't, or it is over."""
        contract = self._contract(symbol)
        if contract is None or contract.expiry is None or (today := ist_date(now)) > contract.expiry:
            return ""
        if contract.delivered and self._in_last_sessions(contract, today):
            return f"it ends in delivery on {contract.expiry}"
        if today < contract.expiry:
            return ""
        session = self._days.session(today)
        if session is not None and session.close_ns - now > self.settings.expiry_square_off_minutes * MINUTE_NS:
            return ""
        return "it expires today"

    def _contract(self, symbol: str) -> Instrument | None:
        found = self._instruments.resolve(symbol)
        return found if found is not None and found.is_contract else None

    def _in_last_sessions(self, contract: Instrument, today: dt.date) -> bool:
        """Whether from `today` on there are no more sessions until the expiry than the last that are guarded."""
        key = (contract.symbol, today)
        if key not in self._last_sessions:
            assert contract.expiry is not None
            left, day = 0, today
            while day <= contract.expiry and left <= self.settings.delivery_days:
                left += self._days.session(day) is not None
                day += dt.timedelta(days=1)
            self._last_sessions[key] = left <= self.settings.delivery_days
        return self._last_sessions[key]
