"""Streams of bytes between the processes of one simulation, with the ways in which networks fail.

Bytes of one direction arrive in order, each later than it was sent by a latency that the seed draws. While the way is
`blocked` they wait, as TCP sends them again, and arrive when it is free: so a request may reach the venue long after
its caller has given up. Invariant: what arrives is what was sent up to some point, then perhaps an end.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import socket
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import PROCESS, Process, SimLoop

LATENCY_S = (0.0005, 0.012)


class Network:
    """Who listens where, and how the wires are."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.rng = random.Random(f"network:{seed}")
        self.blocked_until = 0.0
        self.answers_blocked_until = 0.0
        """Only what a server sends waits: the venue acts, and its answer doesn't come."""
        self.refuses_until = 0.0
        self.slowness = 1.0
        self.bytes_sent = 0
        self.connections: list[Wire] = []
        self._listeners: dict[tuple[str, int], tuple[Callable[[], Any], contextvars.Context]] = {}
        self._knocked: dict[int, tuple[str, int]] = {}

    def latency_s(self) -> float:
        """How long the next bytes travel."""
        return self.rng.uniform(*LATENCY_S) * self.slowness

    def block(self, seconds: float, *, answers_only: bool = False) -> None:
        """Nothing gets through for so long."""
        until = self.loop.time() + seconds
        if answers_only:
            self.answers_blocked_until = max(self.answers_blocked_until, until)
        else:
            self.blocked_until = max(self.blocked_until, until)

    def refuse(self, seconds: float) -> None:
        """Nobody answers new connections, and the old ones break."""
        self.refuses_until = max(self.refuses_until, self.loop.time() + seconds)
        self.cut()

    def cut(self) -> None:
        """Every connection breaks."""
        for wire in list(self.connections):
            wire.near.lose(ConnectionResetError("cut"))
            wire.far.lose(ConnectionResetError("cut"))

    def kill(self, process: Process) -> None:
        """The kernel closes what a dead process had open; what it had written still goes out."""
        for wire in list(self.connections):
            for end in (wire.near, wire.far):
                if end.process is not None and end.process.owner is process:
                    end.die()

    def heal(self) -> None:
        """All is well from now on; what waits arrives when it was going to."""
        self.blocked_until = self.answers_blocked_until = self.refuses_until = 0.0
        self.slowness = 1.0

    # -- the loop's side ----------------------------------------------------------------------------------------------

    async def knock(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A connection is asked for."""
        await asyncio.sleep(self.latency_s())
        while (left := self.blocked_until - self.loop.time()) > 0:  # noqa: ASYNC110 — it may be blocked longer meanwhile
            await asyncio.sleep(left)
        if tuple(address[:2]) not in self._listeners or self.loop.time() < self.refuses_until:
            raise ConnectionRefusedError(111, "Connection refused")
        self._knocked[sock.fileno()] = (address[0], address[1])

    def connect(self, factory: Callable[[], Any], sock: socket.socket) -> tuple[End, Any]:
        """Both ends are made."""
        address = self._knocked.pop(sock.fileno())
        sock.close()
        far_factory, far_context = self._listeners[address]
        wire = Wire(self)
        self.connections.append(wire)
        protocol = factory()
        wire.near.protocol = protocol
        wire.far.context = far_context
        wire.far.process = far_context.get(PROCESS)
        protocol.connection_made(wire.near)

        def accept() -> None:
            wire.far.protocol = far_factory()
            wire.far.protocol.connection_made(wire.far)

        self.loop.call_soon(accept, context=far_context)
        return wire.near, protocol

    def listen(self, factory: Callable[[], Any], host: str, port: int) -> Server:
        """Accept connections to an address."""
        self._listeners[host, port] = (factory, contextvars.copy_context())
        return Server(self, (host, port))

    def unlisten(self, address: tuple[str, int]) -> None:
        """Accept no more."""
        self._listeners.pop(address, None)


class Server(asyncio.AbstractServer):
    """What `create_server` gives."""

    def __init__(self, network: Network, address: tuple[str, int]) -> None:
        self._network = network
        self._address = address
        self.sockets = [self]

    def getsockname(self) -> tuple[str, int]:
        """Of its one socket."""
        return self._address

    def close(self) -> None:
        """Accept no more."""
        self._network.unlisten(self._address)

    def is_serving(self) -> bool:
        """As long as the simulation lasts."""
        return True

    async def wait_closed(self) -> None:
        """At once."""


class Wire:
    """One connection: `near` asked for it."""

    def __init__(self, network: Network) -> None:
        self.near = End(network, self, from_server=False)
        self.far = End(network, self, from_server=True)
        self.near.peer, self.far.peer = self.far, self.near


class End(asyncio.Transport):
    """One end of a wire, as its process sees it."""

    peer: End

    def __init__(self, network: Network, wire: Wire, *, from_server: bool) -> None:
        super().__init__()
        self.network = network
        self.protocol: Any = None
        self.context = contextvars.copy_context()
        self.process = self.context.get(PROCESS)
        self._wire = wire
        self._from_server = from_server
        self._closing = False
        self._lost = False
        self._paused = False
        self._held: list[Callable[[], None]] = []
        self._last_s = 0.0

    # -- what its process does ----------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send."""
        if self._closing or self._lost or not data:
            return
        content = bytes(data)
        self.network.bytes_sent += len(content)
        self._send(lambda: self.peer.receive(content))

    def close(self) -> None:
        """Send what was written, then the end."""
        if self._closing or self._lost:
            return
        self._closing = True
        self._send(self.peer.end)
        self.network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        """Break off."""
        if not self._lost:
            self._closing = True
            self._send(lambda: self.peer.lose(ConnectionResetError(104, "Connection reset by peer")))
            self.network.loop.call_soon(self.lose, None, context=self.context)

    def die(self) -> None:
        """The process is gone; the other side hears of it."""
        self._lost = self._closing = True
        self._send(lambda: self.peer.lose(ConnectionResetError(104, "Connection reset by peer")))

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing or self._lost

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The address alone."""
        return ("127.0.0.1", 0) if name in ("peername", "sockname") else default

    def set_protocol(self, protocol: Any) -> None:
        """Who hears from now on."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """Who hears."""
        return self.protocol

    def pause_reading(self) -> None:
        """Hear nothing for a while."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hear what came meanwhile."""
        self._paused = False
        held, self._held = self._held, []
        for deliver in held:
            self.network.loop.call_soon(deliver, context=self.context)

    def is_reading(self) -> bool:
        """Whether it listens."""
        return not self._paused

    def can_write_eof(self) -> bool:
        """Only whole ends here."""
        return False

    def get_write_buffer_size(self) -> int:
        """The kernel takes all."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """No limit is ever reached."""

    # -- what happens to it -------------------------------------------------------------------------------------------

    def receive(self, content: bytes) -> None:
        """Bytes came."""
        if self._paused:
            self._held.append(lambda: self.receive(content))
        elif not self._lost and self.protocol is not None:
            self.protocol.data_received(content)

    def end(self) -> None:
        """The other side has ended."""
        if self._paused:
            self._held.append(self.end)
        elif not self._lost and (self.protocol is None or not self.protocol.eof_received()):
            self.close()

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._lost:
            return
        self._lost = self._closing = True
        if self._wire in self.network.connections and self.peer._lost:
            self.network.connections.remove(self._wire)
        if self.protocol is not None:
            self.network.loop.call_soon(self.protocol.connection_lost, error, context=self.context)

    def _send(self, deliver: Callable[[], None]) -> None:
        """In order, after a latency and when the way is free; in the other side's own context."""
        network = self.network
        sent = network.loop.time()
        at = max(sent, network.blocked_until, network.answers_blocked_until if self._from_server else 0.0)
        self._last_s = max(self._last_s + 1e-6, at + network.latency_s())
        network.loop.call_at(self._last_s, deliver, context=self.peer.context)
