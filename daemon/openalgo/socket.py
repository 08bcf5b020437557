"""OpenAlgo's WebSocket: connect, show the key, subscribe, and read its messages one by one.

Protocol (websocket_proxy/server.py of marketcalls/openalgo): JSON texts; `authenticate` is answered by `auth` or by an
error; the server pings by the protocol's own pings. Invariant: no text of this module holds the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aiohttp
import msgspec

from daemon.calls.hiding import Hiding
from daemon.calls.records import WireError, decode
from daemon.calls.secret import Secret
from daemon.core.errors import HrmdError

MAX_FRAME_BYTES: Final = 1 << 20
_KEY_CODES: Final = ("AUTHENTICATION_ERROR", "NOT_AUTHENTICATED")


class SocketTimes(msgspec.Struct, frozen=True):
    """Seconds: to connect and be let in, between pings, and of back-off."""

    connect_s: float = 5.0
    ping_s: float = 10.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0


class LostError(HrmdError):
    """The connection is gone, or was never made; `key` where only another key will change that."""

    def __init__(self, reason: str, *, key: bool = False) -> None:
        super().__init__(reason)
        self.key = key


class Connection:
    """One open connection that was let in."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, hiding: Hiding) -> None:
        self._socket = socket
        self._hiding = hiding

    async def say(self, message: dict[str, object]) -> None:
        """Send one message."""
        with translated():
            await self._socket.send_str(msgspec.json.encode(message).decode())

    async def next(self) -> dict[str, Any]:
        """The next message, {} for one that can't be read; raises `LostError` at the end."""
        with translated():
            received = await self._socket.receive()
        if received.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise LostError(f"the connection was closed ({received.type.name.lower()})")
        try:
            return decode(received.data)
        except WireError:
            return {}

    async def let_in(self, key: Secret) -> str:
        """Show the key; the broker behind the server. Raises `LostError`."""
        await self.say({"action": "authenticate", "api_key": key.reveal()})
        while True:
            answer = await self.next()
            if answer.get("type") == "auth" and answer.get("status") == "success":
                return str(answer.get("broker") or "")
            if answer.get("status") == "error" or answer.get("type") == "error":
                code = str(answer.get("code") or "")
                reason = self._hiding.line(answer.get("message")) or code or "no message"
                raise LostError(f"the key was refused ({reason})" if code in _KEY_CODES else reason,
                                key=code in _KEY_CODES)  # fmt: skip


@asynccontextmanager
async def connected(url: str, key: Secret, times: SocketTimes) -> AsyncGenerator[tuple[Connection, str], None]:
    """A connection that was let in, and the broker behind it; raises `LostError`."""
    hiding = Hiding(key.reveal())
    async with aiohttp.ClientSession() as session:
        with translated():
            async with asyncio.timeout(times.connect_s):
                socket = await session.ws_connect(url, max_msg_size=MAX_FRAME_BYTES, heartbeat=times.ping_s)
        try:
            connection = Connection(socket, hiding)
            with translated():
                async with asyncio.timeout(times.connect_s):
                    broker = await connection.let_in(key)
            yield connection, broker
        finally:
            await socket.close()


@contextmanager
def translated() -> Iterator[None]:
    """Any failure of the connection as `LostError`."""
    try:
        yield
    except aiohttp.WSServerHandshakeError as error:
        raise LostError(f"the handshake was refused (HTTP {error.status})") from None
    except TimeoutError:
        raise LostError("no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise LostError(f"no connection ({type(error).__name__})") from None
