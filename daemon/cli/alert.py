"""`hrmd alert`: the kinds of alerts, and a message to every address of `alerts.urls_file`.

Invariant: of an address nothing is shown but the service and, where that is no secret, its host.
"""

from __future__ import annotations

import os

import msgspec
import typer

from daemon.alerting.kinds import KINDS
from daemon.alerting.messages import Message
from daemon.alerting.targets import HANGS_AFTER, read_targets, tell_all, urls_file
from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.core.errors import CheckFailed, SettingsError
from daemon.core.events import Severity
from daemon.report.tables import show, table
from daemon.settings.alerts import AlertKind, AlertSettings

alert_app = typer.Typer(help="Who is told what has happened, when nobody looks.", no_args_is_help=True)


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    severities: list[str]
    sent: str
    about: str


class _Tried(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    sent: bool
    reason: str


@alert_app.command("list")
def list_kinds(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Every kind of alert, how grave it is, and whether the settings send it."""
    settings = settings_and_logs(config, overrides).alerts
    rows = [
        _Kind(kind=kind.value, severities=[it.value for it in sort.severities], sent=_sent(settings, kind),
              about=sort.about)
        for kind, sort in KINDS.items()
    ]  # fmt: skip
    if urls_file(settings, os.environ) is None:
        typer.echo("nobody is told, whatever is sent: alerts.urls_file is not set (docs/alerts.md)", err=True)
    if as_json:
        return print_json(rows)
    shown = table("=kind", "=severity", "=sent", "about")
    for row in rows:
        shown.add_row(row.kind, ", ".join(row.severities), row.sent, row.about)
    show(shown)


def _sent(settings: AlertSettings, kind: AlertKind) -> str:
    """Which of its severities are: yes, no, or from which one on."""
    if kind in settings.muted:
        return "muted"
    if kind is AlertKind.DIGEST:
        return "no" if settings.digest_minutes is None else "yes"
    sent = [it for it in KINDS[kind].severities if it.rank >= settings.minimum.rank]
    if not sent:
        return "no"
    return "yes" if len(sent) == len(KINDS[kind].severities) else f"from {sent[0].value} on"


@alert_app.command("test")
def try_targets(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Send a message to every address and say what became of it; exit 1 where one wasn't told."""
    settings = settings_and_logs(config, overrides).alerts
    targets = read_targets(settings, os.environ)
    if not targets:
        raise SettingsError("alerts.urls_file: not set; expected a file with one apprise URL a line (docs/alerts.md)")
    message = Message("hrmd: a test", "hrmd alert test was called: this is how an alert comes.", Severity.INFO)
    reasons = tell_all(targets, message, HANGS_AFTER * settings.send_s)
    rows = [
        _Tried(target=target.name, sent=not reason, reason=reason)
        for target, reason in zip(targets, reasons, strict=True)
    ]
    if as_json:
        print_json(rows)
    else:
        shown = table("=target", "=sent", "reason")
        for row in rows:
            shown.add_row(row.target, "yes" if row.sent else "NO", row.reason)
        show(shown)
    failed = [row.target for row in rows if not row.sent]
    if failed:
        raise CheckFailed(f"not told: {', '.join(failed)}")
