"""The token's file and its end → a fresh token in use, a warning ahead, and HALTED when it holds no more.

The token's end is wall time, so the machine's clock decides, not the run's. Invariant: entries stop at the moment from
which no order could be sent, with the reason in the trading state, and go on by themselves only where nothing but the
token had stopped them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import structlog

from daemon.calls.secret import Secret
from daemon.core.aside import Aside
from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.errors import SettingsError
from daemon.core.events import TradingState
from daemon.core.own_halt import OwnHalt
from daemon.core.threads import ThreadWorker, Worker
from daemon.orders.token_watch import TokenState, TokenWatch

log = structlog.get_logger("token")

READ_S: Final = 2.0
"""How long the file's disk may take before the present token is looked at without it."""
_Stamp: TypeAlias = tuple[int, int, int] | None


class Access(msgspec.Struct, frozen=True):
    """What an account is entered with: a day's token, or a key."""

    what: str
    """Such as "Fyers token"; halts begin with it."""
    path: Path
    read: Callable[[], Secret]
    """Raises `SettingsError` where it can't be read, or others can read it, too, who must not."""
    renew: str
    """What gets another one, such as "hrmd login gets another one"."""
    do: str = "hrmd login"
    """The same in as few words as can be."""


class TokenKeeper:
    """Looks at the token's file every `poll_s` and tells `listeners` of another token.

    `refusal` says why the venue refused the present token, "" where it didn't.
    """

    def __init__(
        self, bus: Bus, access: Access, clock: Clock, wall: Clock, warn_s: float, poll_s: float,
        refusal: Callable[[], str], thread: Callable[[str], Worker] = ThreadWorker, read_s: float = READ_S,
    ) -> None:  # fmt: skip
        """Read the token; raises what `access.read` raises. `thread` reads it again, for `read_s` at most."""
        self._disk, self._read_s = Aside("token", thread), read_s
        self.listeners: list[Callable[[Secret], None]] = []
        self.path = access.path
        self._access = access
        self._clock = clock
        self._wall = wall
        self._poll_s = poll_s
        self._refusal = refusal
        self._seen = self._unreadable = _stamp(access.path)
        self._token = access.read()
        self._watch = TokenWatch(self._token, warn_s)
        self._said: TokenState | None = None
        self._halt = OwnHalt(bus, f"the {access.what} ")  # what every halt for the token's sake begins with

    @property
    def state(self) -> TokenState:
        """What the token is now, also before `run`, while a start waits for the broker."""
        self._watch.refused(self._refusal())
        return self._watch.state(self._wall.now_ns())

    @property
    def do(self) -> str:
        """What gets another one."""
        return self._access.do

    @property
    def expires_ts(self) -> int | None:
        """When it ends, UTC ns; None where it doesn't say."""
        return self._watch.expires_ts

    @property
    def left_s(self) -> float | None:
        """Seconds that it still holds."""
        return self._watch.left_s(self._wall.now_ns())

    @property
    def text(self) -> str:
        """One line for people, without the token."""
        return self._watch.text(self._wall.now_ns())

    async def run(self) -> None:
        """Look until cancelled; the file is read beside the loop, for its disk may hang."""
        while True:
            with suppress(TimeoutError):  # the present token goes on, and it ends when it ends
                self._take(await self._disk.ask(self._find, self._read_s))
            self._act()
            await asyncio.sleep(self._poll_s)

    def look(self) -> None:
        """Take a fresh token up, and act on what the present one is."""
        self._take(self._find())
        self._act()

    def _act(self) -> None:
        state = self.state
        if state is not self._said:
            self._said = state
            self._say(state)
        if not state.holds and self._halt.trading is not TradingState.HALTED:
            self._halt.halt(self._clock.now_ns(), f"{self.text}; {self._access.renew}")
        elif state.holds:
            self._halt.go_on(self._clock.now_ns(), "a token that holds is there again")

    def _say(self, state: TokenState) -> None:
        level = log.error if not state.holds else log.warning if state is TokenState.EXPIRING else log.info
        level(f"the {self._access.what}", state=state.value, text=self.text)

    def _find(self) -> tuple[_Stamp, Secret | SettingsError | None]:
        """Look into the file where it has changed, on whichever thread; None where it hasn't."""
        stamp = _stamp(self.path)
        if stamp == self._seen:
            return stamp, None
        try:
            return stamp, self._access.read()
        except SettingsError as error:
            return stamp, error

    def _take(self, found: tuple[_Stamp, Secret | SettingsError | None]) -> None:
        """What the file holds; one that is just being replaced is looked at again."""
        stamp, token = found
        if token is None:
            return
        if isinstance(token, SettingsError):
            if stamp != self._unreadable:
                self._unreadable = stamp
                log.warning("the token file can't be read", error=str(token))
            return
        self._seen = stamp
        if token == self._token or not token.reveal():
            return
        self._token = token
        self._watch.renew(token)
        self._said = None
        for listener in self.listeners:
            listener(token)


def _stamp(path: Path) -> _Stamp:
    """What changes when the file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
