"""The gateway as the daemon sees it: a child process that gives frames and can be killed.

Its standard output, where the SDK prints, becomes log lines at debug; its working directory, where the SDK writes log
files, is temporary. Invariant: when `running` is left, however it is left, the child is dead and its directory gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, cast

import structlog

from daemon.calls.hiding import Hiding
from daemon.feed.live.frames import HEADER, NEWS, Frame, read_length, read_news
from daemon.fyers.credentials import hiding_of
from daemon.fyers.gateway.assignment import Assignment, encode

log = structlog.get_logger("gateway")

_ROOT: Final = Path(__file__).resolve().parents[3]
_LONGEST_LINE: Final = 2000


class GatewayProcess:
    """Implements `Link`."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.SubprocessTransport) -> None:
        self.pid = transport.get_pid()
        self._reader = reader
        self._transport = transport

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames until the process ends or breaks off; raises `FrameError` for one that can't be read."""
        while True:
            try:
                size, kind = read_length(await self._reader.readexactly(HEADER.size))
                body = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield read_news(body) if kind == NEWS else body

    def kill(self) -> None:
        """Nothing in it is worth a farewell."""
        if self._transport.get_returncode() is None:
            try:
                self._transport.kill()
            except ProcessLookupError:
                return


class _Printed(asyncio.SubprocessProtocol):
    """What the child prints, line by line and without secrets, into the log; and its end."""

    def __init__(self, hiding: Hiding) -> None:
        self.ended = asyncio.Event()
        self._hiding = hiding
        self._rest = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Log whole lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            log.debug("gateway printed", text=self._hiding.line(line.decode("utf-8", "replace"), _LONGEST_LINE))

    def process_exited(self) -> None:
        """Remember the end."""
        self.ended.set()


@asynccontextmanager
async def running(assignment: Assignment) -> AsyncIterator[GatewayProcess]:
    """Start a gateway, give it `assignment`, and take it down at the end of the block."""
    loop = asyncio.get_running_loop()
    directory = tempfile.mkdtemp(prefix="hrmd-gateway-")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    printed = _Printed(hiding_of(assignment.token))
    try:
        transport, _ = await loop.subprocess_exec(
            lambda: printed, sys.executable, "-u", "-m", "daemon.fyers.gateway", str(theirs.fileno()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            cwd=directory, env=environment, pass_fds=(theirs.fileno(),), start_new_session=True,
        )  # fmt: skip
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        gateway = GatewayProcess(reader, transport)
        try:
            standard_input = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
            standard_input.write(encode(assignment))
            yield gateway
        finally:
            gateway.kill()
            await printed.ended.wait()
            writer.close()
            transport.close()
    finally:
        theirs.close()
        ours.close()
        shutil.rmtree(directory, ignore_errors=True)
