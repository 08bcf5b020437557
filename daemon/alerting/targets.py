"""A file of apprise URLs → services that can be told, each known by what is no secret of it.

apprise is loaded only where there are URLs. Invariant: no URL and no part of one but a host leaves this module: what
apprise itself logs is kept back, and only a status code is taken from it.
"""

from __future__ import annotations

import importlib
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from daemon.alerting.messages import Message
from daemon.core.clock import NS_PER_S, stopwatch_ns
from daemon.core.errors import SettingsError
from daemon.core.events import Severity
from daemon.core.files import read_text
from daemon.settings.alerts import AlertSettings

CREDENTIAL: Final = "alert-urls"
HANGS: Final = "it hangs"
HANGS_AFTER: Final = 3.0
"""So many times as long as a service may take: mail and the like ask more than once."""
_CODE: Final = re.compile(r"error=(\d{3})\b")
_TYPES: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


class Target(Protocol):
    """A service."""

    @property
    def name(self) -> str:
        """For logs and tables: the service and, where that is no secret, its host."""

    def deliver(self, message: Message) -> str:
        """Tell it; may take long. "" when it was told, otherwise why not."""


def tell_all(targets: Sequence[Target], message: Message, wait_s: float) -> list[str]:
    """Tell all of them, beside one another; of each "" or why not. Whoever takes longer than `wait_s` hangs."""
    outcomes = [HANGS] * len(targets)

    def tell(place: int) -> None:
        outcomes[place] = targets[place].deliver(message)

    sending = [threading.Thread(target=tell, args=(place,), daemon=True) for place in range(len(targets))]
    for thread in sending:
        thread.start()
    until_ns = stopwatch_ns() + int(wait_s * NS_PER_S)
    for thread in sending:
        thread.join(max(0.0, (until_ns - stopwatch_ns()) / NS_PER_S))
    return list(outcomes)


def urls_file(settings: AlertSettings, environment: Mapping[str, str]) -> Path | None:
    """Systemd's credential `alert-urls` where there is one, else the file of the settings; None: nobody is told."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory) / CREDENTIAL if directory else None
    return credential if credential is not None and credential.exists() else settings.urls_file


def read_targets(settings: AlertSettings, environment: Mapping[str, str]) -> list[Target]:
    """The services of the file. Raises `SettingsError` that names the file and the line, and no URL."""
    path = urls_file(settings, environment)
    if path is None:
        return []
    lines = _lines(path, private=path == settings.urls_file)
    _load(path)
    return [_target(path, number, url, settings.send_s) for number, url in lines]


def _lines(path: Path, *, private: bool) -> list[tuple[int, str]]:
    try:
        mode = path.stat().st_mode & 0o777
        text = read_text(path)
    except OSError as error:
        raise SettingsError(
            f"alerts.urls_file: {path} can't be read ({error.strerror}); expected a file with one apprise URL a line"
        ) from None
    if private and mode & 0o077:
        raise SettingsError(f"alerts.urls_file: others may read {path} (mode {mode:04o}): chmod 600 {path}")
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if not lines:
        raise SettingsError(f"alerts.urls_file: {path} has no URL; expected one apprise URL a line (docs/alerts.md)")
    return lines


def _load(path: Path) -> Any:
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        raise SettingsError(f"alerts.urls_file: {path} needs apprise: pip install 'hrmd[alerts]'") from None
    _keep_back(logging.getLogger("apprise"))
    return apprise


def _keep_back(logger: logging.Logger) -> None:
    """Apprise names URLs in its log; nothing of it is passed on."""
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False


def _target(path: Path, number: int, url: str, send_s: float) -> Target:
    apprise = importlib.import_module("apprise")
    asset = apprise.AppriseAsset(app_id="hrmd", app_desc="hrmd", app_url="", async_mode=False, service_timeout=0)
    plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is None:
        raise SettingsError(
            f"alerts.urls_file: {path}, line {number}: not an apprise URL, or one that lacks something; expected "
            "such as tgram://BOT/CHAT, mailtos://USER:PASSWORD@HOST or json://HOST/PATH (docs/alerts.md)"
        )
    plugin.socket_connect_timeout = plugin.socket_read_timeout = send_s
    service = apprise.Apprise(asset=asset)
    service.add(plugin)
    return AppriseTarget(f"{number}: {_name(plugin)}", service)


def _name(plugin: Any) -> str:
    """The service and, where the URL's host is one, that; a bot's token may stand in its place."""
    token = plugin.template_tokens.get("host")
    host = plugin.host if token is not None and not token.get("private") else ""
    return f"{plugin.service_name} {host}".strip()


class AppriseTarget:
    """One service of apprise."""

    def __init__(self, name: str, service: Any) -> None:
        self.name = name
        self._service = service

    def deliver(self, message: Message) -> str:
        """Tell it; may take long. "" when it was told, otherwise why not."""
        kind = "success" if message.over else _TYPES[message.severity]
        result = self._service.notify(body=message.body, title=message.title, notify_type=kind)
        if result:
            return ""
        codes = [found[1] for entry in result.logs() if (found := _CODE.search(entry.message)) is not None]
        return f"it answered {codes[-1]}" if codes else "it can't be reached, or didn't answer in time"

    def __repr__(self) -> str:
        return f"AppriseTarget({self.name})"
