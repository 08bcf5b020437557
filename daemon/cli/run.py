"""`hrmd run`: the daemon itself, until its feed ends or a signal comes."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.options import Config, Overrides, run_loop, settings_and_logs


def run(
    config: Config = None,
    overrides: Overrides = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End the start (exit 2) where a strategy of the ladder can't be built.")
    ] = False,
) -> None:
    """Run the daemon by its settings: live or on paper, with logs on stderr and control over local HTTP."""
    from daemon.core.clock import wall_ns
    from daemon.core.passing import telling_what_passes
    from daemon.market.calendar import ist_date
    from daemon.market.symbol_files import ensure
    from daemon.run.log import without_waiting
    from daemon.run.memory import set_aside
    from daemon.run.service import Service
    from daemon.settings.loading import load_settings

    changes = [*(overrides or []), "supervisor.strict=true"] if strict else overrides
    settings = settings_and_logs(config, changes)
    with telling_what_passes(), without_waiting():
        run_loop(ensure(settings, ist_date(wall_ns())))
        service = Service(settings, load=lambda: load_settings(config, changes))
        set_aside()
        run_loop(service.run())
