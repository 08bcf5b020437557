"""A start that came to nothing → one message to whoever is told of alerts, and none that day for the same reason again.

A daemon that trades tells by itself what ails it; one that never gets there has nobody to do so, and systemd starts it
again and again, or not at all. Invariant: nothing here makes the end of the process another one, or holds it up for
longer than a service may take.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from daemon.alerting.messages import Message
from daemon.alerting.targets import read_targets, tell_all
from daemon.core.clock import wall_ns
from daemon.core.errors import SettingsError
from daemon.core.events import Severity
from daemon.core.files import read_text
from daemon.market.calendar import ist_date
from daemon.settings.alerts import AlertSettings

NOTE: Final = "refused-start"
ROOM_S: Final = 1.0
"""Beyond what a service may take."""
ONCE_MORE: Final = "it is started again every few seconds until it can be"
FOR_GOOD: Final = "nothing starts it again: mend it, and start it"

log = structlog.get_logger("alerts")


def note_path(environment: Mapping[str, str]) -> Path:
    """Where it says what was told last: systemd's `$RUNTIME_DIRECTORY`, else a place of ours."""
    directory = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(directory) / NOTE if directory else Path(tempfile.gettempdir()) / f"hrmd-{os.geteuid()}-{NOTE}"


def tell(settings: AlertSettings, reason: str, note: Path, environment: Mapping[str, str], *, again: bool) -> None:
    """Tell every service, unless the same was told last, and today; `again`: whether systemd starts it again."""
    known = f"{ist_date(wall_ns())} {reason}"
    if _told(note) == known:
        return
    try:
        targets = read_targets(settings, environment)
    except SettingsError as error:
        log.warning("nobody is told that it didn't start", reason=str(error))
        return
    message = Message("hrmd: CRITICAL: not started", f"{reason}; {ONCE_MORE if again else FOR_GOOD}", Severity.CRITICAL)
    for target, why in zip(targets, tell_all(targets, message, settings.send_s + ROOM_S), strict=True):
        if why:
            log.error("an alert was not sent", target=target.name, why=why, text=message.body)
    if targets:
        _write(note, known)


def forget(note: Path) -> None:
    """It trades: the same reason is news again."""
    try:
        note.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a refused start would be told of no more", path=str(note), reason=str(error))


def _told(note: Path) -> str:
    try:
        return read_text(note)
    except OSError:
        return ""


def _write(note: Path, known: str) -> None:
    try:
        note.write_text(known, encoding="utf-8")
    except OSError as error:
        log.warning("the next start that is refused is told of again", path=str(note), reason=str(error))
