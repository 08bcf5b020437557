"""`python -m daemon.fyers.gateway FD`: one link to Fyers' data socket, ticks and news to the daemon over socket FD.

It lives for one link: whatever ends the link ends the process, and the daemon starts another. Invariant: it never
outlives the daemon, whose end closes its standard input.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any, Final, Protocol

from daemon.calls.hiding import NOTHING, Hiding
from daemon.core.errors import SettingsError
from daemon.feed.live.frames import AnyNews, Authenticated, Refused, Subscribed, Trouble
from daemon.fyers.credentials import hiding_of
from daemon.fyers.gateway import assignment as assignments
from daemon.fyers.gateway.calls import CountedCalls
from daemon.fyers.gateway.messages import TickReader
from daemon.fyers.gateway.outbox import Outbox

_TICK_TYPES: Final = ("sf", "if")
_ABOUT_THE_TOKEN: Final = ("token", "authenticat", "authoris", "authoriz")


class Listener(Protocol):
    """Who hears of it: the outbox."""

    def put_message(self, message: object) -> None:
        """What looks like a tick, or like nothing known."""

    def put_news(self, news: AnyNews) -> None:
        """Everything else."""


class Gateway:
    """What the SDK says, sorted: ticks, the steps of the handshake, complaints, the end. No text holds a secret."""

    def __init__(self, outbox: Listener, symbols: int, hiding: Hiding = NOTHING) -> None:
        self.authenticated = threading.Event()
        self._outbox = outbox
        self._symbols = symbols
        self._hiding = hiding
        self._subscribed = False
        self._complaint = ""

    def on_message(self, message: Any) -> None:
        """A tick, or the venue's yes to a step."""
        kind = message.get("type") if isinstance(message, dict) else None
        if kind in _TICK_TYPES or kind is None or "symbol" in message:
            self._outbox.put_message(message)
        elif kind == "cn":
            self._outbox.put_news(Authenticated())
            self.authenticated.set()
        elif kind == "sub":
            self._subscribed = True
            self._outbox.put_news(Subscribed(self._symbols))

    def on_error(self, error: Any) -> None:
        """The venue's no, or an exception of the connection."""
        if not isinstance(error, dict):
            self._complaint = self._hiding.line(f"{type(error).__name__}: {error}")
            self._outbox.put_news(Trouble(0, self._complaint))
            return
        kind, code, text = error.get("type"), error.get("code"), self._hiding.line(error.get("message", ""))
        unknown = error.get("invalid_symbols")
        if kind == "cn":
            self._outbox.put_news(Refused(text, token=True))
        elif kind == "sub" and not unknown and not self._subscribed:
            self._outbox.put_news(Refused(f"the subscription failed: {text}", token=_about_the_token(text)))
        else:
            listed = self._hiding.line(", ".join(map(str, unknown))) if isinstance(unknown, list) else ""
            named = f"{text}: {listed}" if listed else text
            self._outbox.put_news(Trouble(code if isinstance(code, int) else 0, named))

    def on_close(self, _message: Any) -> None:
        """The link is over, for this process for good."""
        self._outbox.put_news(Refused(f"the connection was closed ({self._complaint or 'by the venue'})", token=False))


def _about_the_token(text: str) -> bool:
    return any(word in text.lower() for word in _ABOUT_THE_TOKEN)


def _until_the_daemon_ends() -> None:
    """Nothing more is ever written to our standard input: its end is the daemon's."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Run one link to its end."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    task = assignments.decode(sys.stdin.buffer.readline())
    threading.Thread(target=_until_the_daemon_ends, daemon=True).start()
    outbox = Outbox(channel, TickReader(task.symbols), task.conflate_above)
    writing = threading.Thread(target=outbox.run)
    writing.start()
    try:
        from daemon.fyers.gateway.sdk import SdkLink  # the daemon's own environment may lack the SDK
    except ImportError as error:
        outbox.put_news(Refused(f"the Fyers SDK can't be imported ({error})", token=False))
        return
    try:
        counted = CountedCalls(task)
    except SettingsError as error:
        outbox.put_news(Refused(str(error), token=False))
        return
    gateway = Gateway(outbox, len(task.symbols), hiding_of(task.token))
    link = SdkLink(task, counted, gateway.on_message, gateway.on_error, gateway.on_close)
    outbox.swallowed = link.swallowed
    link.connect()
    gateway.authenticated.wait()
    link.subscribe()
    writing.join()


if __name__ == "__main__":
    main()
