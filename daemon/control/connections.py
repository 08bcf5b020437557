"""Connections to the control port, bounded in number and in time: whatever knocks, the right token finds a door.

Stands between the listening socket and aiohttp's protocol and hands everything through. Invariant: no more connections
are open than `Limits.connections`; where another one comes, the oldest that never sent an authorised request goes, and
only where there is none, the one of an authorised client that has been still for longest. So a flood of silent
connections costs neither the operator the way in nor the daemon its file descriptors.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from daemon.control.edge import EdgeRunner
from daemon.control.precedence import Precedence

BACKLOG = 64
"""Connections that the kernel keeps ready; fewer than the places, so that one batch of them doesn't push itself out."""


HANDSHAKE_S = 5.0
"""For TLS to be agreed on."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection may take, and how many there are."""

    connections: int = 256
    """Far more than a status page, a scraper and an operator need, far fewer than the usual 1,024 file descriptors."""
    idle_s: float = 15.0
    """For the whole head of a request, counted from the connection's start or from the answer before."""
    body_s: float = 5.0
    """For the body of a request."""
    unread_s: float = 5.0
    """For an answer that waits to be taken."""
    ping_s: float = 20.0
    """Between two pings of a web socket; half as long may its answer take."""
    linger_s: float = 1.0
    """For the rest of a body that nobody wanted."""


LIMITS = Limits()


def limits_within(open_files: int) -> Limits:
    """No more connections than a quarter of the files that the process may have open: the rest is the market's."""
    return Limits(connections=max(1, min(LIMITS.connections, open_files // 4)))


class Guarded(asyncio.Protocol):
    """One connection; everything goes on to `inner`, aiohttp's own protocol, a look while decisions are made later."""

    def __init__(self, guard: Connections, inner: asyncio.Protocol) -> None:
        self._guard = guard
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._held = b""
        """A look that waits; what comes behind it takes it along."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._guard.admit(self._transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on, or hold for a moment what only looks or listens."""
        first = self._guard.precedence
        if first.holds and not self._held and (self._guard.listens(self._transport) or _only_looks(data)):
            self._held = data
            first.afterwards(self._let_in)
            return
        self._let_in()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand on."""
        self._let_in()
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The answer isn't read: it won't be waited for long."""
        if self._transport is not None and self._unread is None:
            self._unread = asyncio.get_running_loop().call_later(
                self._guard.unread_s, self._guard.give_up, self._transport
            )
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It is read, after all."""
        self._no_longer_unread()
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._held = b""
        self._no_longer_unread()
        if self._transport is not None:
            self._guard.release(self._transport)
        self._inner.connection_lost(exc)

    def _let_in(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._inner.data_received(held)

    def _no_longer_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class Connections:
    """Who is connected, oldest first: `strangers` never sent the token, `known` did."""

    def __init__(
        self, turned_out: Callable[[], None], limits: Limits = LIMITS, unread: Callable[[], None] = lambda: None,
        precedence: Precedence | None = None,
    ) -> None:  # fmt: skip
        """`turned_out` is called for each connection that has to make room, `unread` for each that takes no answer."""
        self.precedence = precedence if precedence is not None else Precedence()
        self.unread_s = limits.unread_s
        self._unread = unread
        self._watched: dict[asyncio.BaseTransport, Callable[[], None]] = {}
        self._turned_out = turned_out
        self._limit = limits.connections
        self._strangers: dict[asyncio.BaseTransport, asyncio.Transport] = {}
        self._known: dict[asyncio.BaseTransport, asyncio.Transport] = {}

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def guard(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """The protocol factory that bounds what `make` makes protocols for."""
        return lambda: Guarded(self, make())

    def admit(self, transport: asyncio.Transport) -> None:
        """Another one came; one that is there goes where there is no room."""
        if len(self) >= self._limit:
            there = self._strangers or self._known
            oldest = there.pop(next(iter(there)))
            self._turned_out()
            oldest.abort()
        self._strangers[transport] = transport

    def trust(self, transport: asyncio.BaseTransport | None) -> None:
        """An authorised request came over it."""
        if transport is None:  # it went away meanwhile
            return
        there = self._strangers.pop(transport, None) or self._known.pop(transport, None)
        if there is not None:
            self._known[transport] = there

    def watch(self, transport: asyncio.BaseTransport, unread: Callable[[], None]) -> None:
        """Call `unread`, too, where this one takes no answer."""
        self._watched[transport] = unread

    def listens(self, transport: asyncio.BaseTransport | None) -> bool:
        """Whether it is a reader's: what it says changes what it hears, and nothing else."""
        return transport in self._watched

    def give_up(self, transport: asyncio.Transport) -> None:
        """Its answer waited too long to be taken."""
        self._unread()
        told = self._watched.pop(transport, None)
        if told is not None:
            told()
        transport.abort()

    def release(self, transport: asyncio.BaseTransport) -> None:
        """It is closed."""
        self._watched.pop(transport, None)
        self._strangers.pop(transport, None)
        self._known.pop(transport, None)


def _only_looks(data: bytes) -> bool:
    """Whether it is one request that changes nothing, whole, and nothing behind it."""
    return data.startswith(b"GET ") and data.find(b"\r\n\r\n") == len(data) - 4


class GuardedSite(web.TCPSite):
    """Listens as aiohttp's own site does, with `Connections` before its protocol."""

    def __init__(
        self, runner: EdgeRunner, host: str, port: int, connections: Connections,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        super().__init__(runner, host, port, backlog=BACKLOG, ssl_context=tls)
        self._where = host, port
        self._protocol = runner.protocol
        self._tls = tls
        self._connections = connections

    async def start(self) -> None:
        """Listen; raises `OSError` where the address can't be had."""
        await web.BaseSite.start(self)
        host, port = self._where
        more: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_S}
        self._server = await asyncio.get_running_loop().create_server(
            self._connections.guard(self._protocol), host, port, backlog=BACKLOG, **more
        )


class GuardedSocket(web.UnixSite):
    """The same on a unix socket; what an ended process left of it makes room."""

    def __init__(self, runner: EdgeRunner, path: Path, mode: int, connections: Connections) -> None:
        super().__init__(runner, path, backlog=BACKLOG)
        self._protocol = runner.protocol
        self._where = path
        self._mode = mode
        self._connections = connections
        self._ours = False

    async def start(self) -> None:
        """Listen; raises `OSError` where the path can't be had, or somebody listens there."""
        await web.BaseSite.start(self)
        _clear(self._where)
        self._where.parent.mkdir(parents=True, exist_ok=True)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.bind(str(self._where))
            self._ours = True
            os.chmod(self._where, self._mode)  # before anybody can connect: it doesn't listen yet
        except OSError:
            door.close()
            raise
        self._server = await asyncio.get_running_loop().create_unix_server(
            self._connections.guard(self._protocol), sock=door, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Listen no more, and leave nothing behind."""
        await super().stop()
        if self._ours:  # not what kept us from listening
            self._where.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Take a socket away on which nobody listens. Raises `OSError` where somebody does, or it is something else."""
    if not path.is_socket():
        if path.exists():
            raise OSError(errno.EEXIST, "is there and is no socket")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "somebody listens there")


def http_log(malformed: Callable[[], None], failed: Callable[[logging.LogRecord], None]) -> logging.Logger:
    """What aiohttp logs to: what can't be read as HTTP is counted by `malformed`, everything else goes to `failed`."""
    log = logging.Logger("control.http")  # not of the tree: nothing is passed on to the root
    log.addHandler(_Sorting(malformed, failed))
    return log


class _Sorting(logging.Handler):
    def __init__(self, malformed: Callable[[], None], failed: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._malformed = malformed
        self._failed = failed

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._malformed()
        elif record.levelno >= logging.WARNING:
            self._failed(record)
