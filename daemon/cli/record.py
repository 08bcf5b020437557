"""`hrmd tape record` and `hrmd tape seal`: a feed's ticks into tapes, without trading.

Invariant: with `--json` stdout holds exactly one JSON document; everything else goes to stderr.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.core.errors import TapeError, UsageError
from daemon.report.tables import show, table, terminal
from daemon.run.log import without_waiting
from daemon.run.process import on_ending
from daemon.run.recording import Recording, record_only
from daemon.settings.tree import Settings
from daemon.tape.recorded import RecordedDirectory, RecordedElsewhere, is_recording, reels_by_day
from daemon.tape.sealing import Sealed, seal


def record(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> int:
    """Record the feed of the settings into feed.record.path, without trading, until Ctrl-C or the feed's end."""
    settings = settings_and_logs(config, overrides)
    with without_waiting():
        done = run_loop(_record(settings))
    if as_json:
        print_json(done)
    else:
        terminal().print(f"{done.path}: {done.recorded:,} ticks recorded, {done.lost:,} lost")
    return 0


async def _record(settings: Settings) -> Recording:
    stop = asyncio.Event()
    on_ending(lambda _: stop.set())
    return await record_only(settings, stop)


def seal_left(
    directory: Annotated[
        Path | None, typer.Argument(help="Where reels are; feed.record.path unless told.", show_default=False)
    ] = None,
    if_free: Annotated[
        bool, typer.Option("--if-free", help="Do nothing where another process records: it seals by itself.")
    ] = False,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Seal what a recording left behind into tapes now, as the next start or the session's end would."""
    settings = settings_and_logs(config, overrides)
    if directory is not None and not directory.is_dir():
        raise UsageError(f"{directory}: no such directory; expected the one that feed.record.path names")
    named, directory = directory, settings.feed.record.path if directory is None else directory
    failed: list[str] = []
    try:
        done = _seal_all(directory, failed) if directory.is_dir() else []
    except RecordedElsewhere:
        if not if_free:
            raise
        typer.echo(f"{directory}: another process records here and seals by itself", err=True)
        done = []
    else:
        ours = named is None or named.resolve() == settings.feed.record.path.resolve()
        if not done and not failed and not ours and not is_recording(directory):
            raise UsageError(f"{named}: nothing was ever recorded there; expected the one that feed.record.path names")
    if as_json:
        print_json(done)
    elif not done and not failed:
        terminal().print(f"{directory}: there is nothing to seal")
    elif done:
        _print_sealed(done)
    if failed:
        raise TapeError(f"{', '.join(failed)}: not sealed, the reels are kept")
    return 0


def _seal_all(directory: Path, failed: list[str]) -> list[Sealed]:
    """Every day by itself: one that can't be sealed, and why, is added to `failed`."""
    held, done = RecordedDirectory(directory), []
    try:
        for day, reels in reels_by_day(directory).items():
            try:
                done.append(seal(directory, day, reels))
            except (TapeError, OSError) as error:
                failed.append(f"{day} ({error})")
    finally:
        held.release()
    return done


def _print_sealed(done: Sequence[Sealed]) -> None:
    shown = table("day", "tape", ">ticks", ">of them now", ">cut off", ">torn bytes")
    for day in done:
        torn = sum(day.torn.values())
        shown.add_row(
            day.day, day.tape or "(no ticks)", f"{day.ticks:,}", f"{day.added:,}", str(len(day.cut_off)), f"{torn:,}"
        )
    show(shown)
