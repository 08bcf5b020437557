"""The gateway as the daemon sees it: a child process that gives frames and can be killed.

Its standard output, where the SDK prints, becomes log lines at debug; its working directory, where the SDK writes log
files, is temporary. It is started, and its end is waited for, beside the loop: the program may lie on a disk that
hangs. Invariant: when `running` is left, however it is left, the child is dead and its directory gone, or the disk
under them gives no answer; then no other one is started before it does.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from daemon.calls.hiding import Hiding
from daemon.core.aside import Aside
from daemon.core.threads import ThreadWorker
from daemon.feed.live.frames import HEADER, NEWS, Frame, read_length, read_news
from daemon.fyers.credentials import hiding_of
from daemon.fyers.gateway.assignment import Assignment, encode

log = structlog.get_logger("gateway")

START_S: Final = 10.0
"""How long the disk of the program may take."""
END_S: Final = 5.0
_ROOT: Final = Path(__file__).resolve().parents[3]
_LONGEST_LINE: Final = 2000

# the documented switch: a process that is made by vfork keeps every thread of ours waiting until its program is read
subprocess._USE_VFORK = False  # type: ignore[misc]


class GatewayProcess:
    """Implements `Link`."""

    def __init__(self, reader: asyncio.StreamReader, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._reader = reader
        self._process = process

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
        self._process.kill()


class _Printed(asyncio.Protocol):
    """What the child prints, line by line and without secrets, into the log."""

    def __init__(self, hiding: Hiding) -> None:
        self._hiding = hiding
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Log whole lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            log.debug("gateway printed", text=self._hiding.line(line.decode("utf-8", "replace"), _LONGEST_LINE))


class _Started(NamedTuple):
    """A child, and the directory that it works in."""

    process: subprocess.Popen[bytes]
    directory: str

    def end(self) -> None:
        """On a thread: kill it, wait for its end, leave nothing behind."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _start(theirs: socket.socket, program: str) -> _Started:
    """On a thread: start one that has the socket, which is the thread's from here on."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    with theirs:
        directory = tempfile.mkdtemp(prefix="hrmd-gateway-")
        try:
            process = subprocess.Popen(
                [program, "-u", "-m", "daemon.fyers.gateway", str(theirs.fileno())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=directory,
                env=environment, pass_fds=(theirs.fileno(),), start_new_session=True, bufsize=0,
            )  # fmt: skip
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    return _Started(process, directory)


def _drop(starting: asyncio.Future[_Started]) -> None:
    """One that came too late."""
    if not starting.cancelled() and starting.exception() is None:
        worker = ThreadWorker("gateway")
        worker.give(starting.result().end)
        worker.end(wait=False)


async def _begun(theirs: socket.socket, disk: Aside, program: str, start_s: float) -> _Started:
    """A child within `start_s`. Raises `OSError`, also where its disk gives no answer."""
    starting = asyncio.ensure_future(disk.ask(partial(_start, theirs, program), math.inf))
    try:
        await asyncio.wait((starting,), timeout=start_s)
    finally:
        if not starting.done():
            starting.add_done_callback(_drop)
    if not starting.done():
        raise TimeoutError(errno.ETIMEDOUT, f"its disk gives no answer for {start_s:g} s")
    return starting.result()


@asynccontextmanager
async def running(
    assignment: Assignment, disk: Aside | None = None, program: str = sys.executable, start_s: float = START_S
) -> AsyncIterator[GatewayProcess]:
    """Start a gateway, give it `assignment`, and take it down at the end of the block.

    `disk`: asks the disk of the `program`, one for all links. Raises `OSError` where it can't be started.
    """
    loop, disk = asyncio.get_running_loop(), disk if disk is not None else Aside("gateway")
    if disk.owes_s:
        raise TimeoutError(errno.ETIMEDOUT, f"its disk has given no answer for {disk.owes_s:.0f} s")
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        started = await _begun(theirs, disk, program, start_s)
        process = started.process
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        gateway = GatewayProcess(reader, process)
        printed, _ = await loop.connect_read_pipe(partial(_Printed, hiding_of(assignment.token)), process.stdout)
        standard_input, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
        try:
            standard_input.write(encode(assignment))
            yield gateway
        finally:
            gateway.kill()
            for transport in (standard_input, printed, writer):
                transport.close()
            with suppress(TimeoutError):
                await disk.ask(started.end, END_S)
