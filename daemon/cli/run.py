"""`hrmd run`: the daemon itself, until its feed ends or a signal comes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import Config, Overrides, run_loop

if TYPE_CHECKING:
    from daemon.machine import Machine
    from daemon.run.start_watch import Watch
    from daemon.settings.alerts import AlertSettings
    from daemon.settings.tree import Settings


def run(
    config: Config = None,
    overrides: Overrides = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End the start (exit 2) where a strategy of the ladder can't be built.")
    ] = False,
) -> None:
    """Run the daemon by its settings: live or on paper, with logs on stderr and control over local HTTP."""
    from daemon.core.errors import Unavailable, UsageError
    from daemon.run.log import configure, without_waiting
    from daemon.run.start_watch import in_time
    from daemon.settings.alerts import AlertSettings
    from daemon.settings.loading import alerts_alone, load_settings

    changes = [*(overrides or []), "supervisor.strict=true"] if strict else overrides

    def load() -> Settings:
        return load_settings(config, changes)

    try:
        settings = in_time(load, config)
    except UsageError as error:
        alerts = AlertSettings() if isinstance(error, Unavailable) else alerts_alone(config, changes)
        tell_not_started(alerts, error)
        raise
    configure(settings.log, sys.stderr)
    with without_waiting():
        run_watched(settings, load)


def tell_not_started(alerts: AlertSettings, error: Exception) -> None:
    """Whoever is told of alerts is told why a start came to nothing, where systemd made it."""
    from daemon.alerting.refused import note_path, tell
    from daemon.core.errors import HrmdError, Unavailable, UsageError
    from daemon.run.notify import Notifier

    if Notifier.from_environment(os.environ).managed:
        reason = str(error) if isinstance(error, HrmdError) else f"{type(error).__name__}: {error}"
        again = not isinstance(error, UsageError) or isinstance(error, Unavailable)
        tell(alerts, reason, note_path(os.environ), os.environ, again=again)


def run_watched(
    settings: Settings, load: Callable[[], Settings], machine: Machine | None = None, watch: Watch | None = None
) -> None:
    """Run it; where it never came to trade, or its start stands still, whoever is told of alerts is told why.

    `machine`: what it runs on, by default this computer, and `watch`: who looks after its start.
    """
    from daemon.alerting.refused import forget, note_path, tell
    from daemon.core.clock import wall_ns
    from daemon.core.passing import telling_what_passes
    from daemon.market.calendar import ist_date
    from daemon.market.symbol_files import ensure
    from daemon.run.memory import set_aside
    from daemon.run.notify import Notifier
    from daemon.run.service import Service
    from daemon.run.start_watch import places_of, watched

    note, began = note_path(os.environ), False
    managed = Notifier.from_environment(os.environ).managed

    async def begin() -> None:
        nonlocal began
        began = True
        forget(note)

    def stands_still(reason: str) -> None:
        if managed:
            tell(settings.alerts, reason, note, os.environ, again=True)

    try:
        with telling_what_passes():
            with (watch or watched)(places_of(settings), stands_still):
                run_loop(ensure(settings, ist_date(wall_ns())))
                service = Service(settings, load=load, machine=machine)
            set_aside()
            run_loop(service.run((begin,)))
    except Exception as error:
        if not began:
            tell_not_started(settings.alerts, error)
        raise
