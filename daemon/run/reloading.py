"""A hangup under a service manager → the settings read anew: `systemctl reload`.

Without a manager a hangup means that the terminal is gone, and ends the run. Invariant: settings that can't be read
change nothing, and whatever became of a reload is one line in the log and the status line of the service.
"""

from __future__ import annotations

import asyncio

import structlog

from daemon.control.tuning import SettingsDesk
from daemon.control.view import NotDurableError
from daemon.core.errors import HrmdError
from daemon.run.notify import Notifier

log = structlog.get_logger("reload")


class Reloading:
    """Waits to be asked; asked again while it reads, it reads once more."""

    def __init__(self, tuning: SettingsDesk, notifier: Notifier) -> None:
        self._tuning = tuning
        self._notifier = notifier
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read them as soon as the path has recovered."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        try:
            document = await self._tuning.reload("settings were read anew", "SIGHUP")
        except NotDurableError as error:
            log.error("settings were reloaded, and the journal doesn't know", reason=str(error))
            self._notifier.status(f"reloaded, not on disk: {error}")
        except HrmdError as error:
            log.error("settings were not reloaded: nothing has changed", reason=str(error))
            self._notifier.status(f"running; not reloaded: {error}")
        else:
            log.info("settings reloaded", changed=document.changed)
            waiting = ", ".join(document.needs_restart)
            if waiting:
                log.warning("settings that need a restart differ from the running ones", keys=document.needs_restart)
            self._notifier.status(f"running; settings that need a restart: {waiting}" if waiting else "running")
