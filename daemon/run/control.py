"""The control API of a running daemon, on a loop and a thread of its own.

Invariant: who asks, however much and however often, takes from the trading loop only the looks and commands that
cross to it, and what stands still there is said here.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from daemon.app import App
from daemon.control.backtests import Backtests
from daemon.control.bridge import Across
from daemon.control.connections import limits_within
from daemon.control.metrics import Metrics
from daemon.control.precedence import Precedence
from daemon.control.server import ControlServer
from daemon.control.stream import STREAMED, Stream
from daemon.control.tuning import Tuning
from daemon.core.aside import Aside
from daemon.core.own_loop import STOP_S
from daemon.run.log_tail import LogTail
from daemon.run.process import allow_open_files
from daemon.run.view import DaemonView
from daemon.settings.tree import Settings

TURN_S = 0.0005
"""So long at most the thread that answers keeps the interpreter while the one that trades wants it (Python's own: 5 ms,
and a decision asks for it several times)."""


class ControlService:
    """Starts and stops with the daemon."""

    def __init__(
        self, settings: Settings, app: App, view: DaemonView, metrics: Metrics, token: str, tuning: Tuning
    ) -> None:
        """`settings`: as they were read; the app's own may hold limits that an earlier process was told."""
        self._settings = settings
        self._app = app
        self._view = view
        self._metrics = metrics
        self._token = token
        self._tuning = tuning
        self._tail = LogTail()
        self._own = app.plan.machine.side_loop("control")
        self._server: ControlServer | None = None

    @property
    def url(self) -> str:
        """Where it listens on loopback, "" where it doesn't."""
        return self._server.url if self._server is not None else ""

    async def owners_link(self) -> str:
        """A link that opens the page for whoever started the daemon, once; "" where it doesn't listen."""
        server = self._server

        async def make() -> str:
            return server.owners_link().link if server is not None else ""

        return await self._own.run(make()) if server is not None else ""

    async def start(self) -> None:
        """Listen. Raises `UsageError` where an address can't be had."""
        app, settings = self._app, self._settings
        migration = app.migration_desk
        assert migration is not None, "a service goes on where the run before left off"
        sys.setswitchinterval(TURN_S)
        stream = Stream(self._view.order)
        app.bus.tap(STREAMED, stream.put)
        self._tail.open()
        self._own.start()
        server = ControlServer(
            settings.control, self._view, app.plan.clock, self._metrics, self._token, app.desk, app.model_desk,
            migration, limits_within(allow_open_files()),
            tuning=self._tuning,
            backtests=Backtests(settings.feed.record.path, settings.feed.tape),
            stream=stream,
            bridge=Across(asyncio.get_running_loop()),
            lines=self._tail.lines,
            precedence=Precedence(lambda: app.strategy.owed, app.bus.when_idle),
            disk=Aside("control tokens", app.plan.machine.thread),
        )  # fmt: skip
        try:
            await self._own.run(server.start())
        except BaseException:
            await self._end()
            raise
        self._server = server

    async def stop(self) -> None:
        """Close what is open, and end the thread; not started, does nothing."""
        server, self._server = self._server, None
        if server is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._own.run(server.stop())
            await self._end()

    async def _end(self) -> None:
        self._tail.close()
        await self._own.stop()
