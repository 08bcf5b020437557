"""`hrmd token new | list | revoke`: who may speak to a running daemon, and what they may do.

Invariant: a token is shown once, when it is made; afterwards only its name, scope and times are known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.control.tokens import Scope, TokenRecord, new_token, read_tokens, revoke_token
from daemon.core.clock import DAY_NS, wall_ns
from daemon.report.tables import show, table
from daemon.report.text import ist_minute

token_app = typer.Typer(no_args_is_help=True, help="Tokens of people and programs for the control API.")

Name = Annotated[str, typer.Argument(help="Whose it is: the journal names it.", show_default=False)]


@token_app.command()
def new(
    name: Name,
    scope: Annotated[Scope, typer.Option(help="read looks; trade halts and orders, too; admin changes who decides.")],
    days: Annotated[float | None, typer.Option(min=0.001, max=3650, help="How long it holds; for ever if left out.")]
    = None,
    config: Config = None, overrides: Overrides = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a token and show it, this once; a running daemon takes it at once."""
    now = wall_ns()
    expires_ts = None if days is None else now + int(days * DAY_NS)
    token, record = new_token(_file(config, overrides), name, scope, expires_ts, now)
    if as_json:
        return print_json({"token": token, **_shown(record)})
    typer.echo(token)
    typer.echo(f"{name} may {scope.value}; this is shown once", err=True)


@token_app.command("list")
def tokens(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show whose tokens there are, oldest first."""
    rows = [_shown(record) for record in read_tokens(_file(config, overrides))]
    if as_json:
        return print_json(rows)
    if not rows:
        typer.echo("No token but the daemon's own; hrmd token new makes one.")
        return
    shown = table("=name", "=scope", "=made", "=ends", "state")
    for row in rows:
        ends = "never" if row["expires_ts"] is None else ist_minute(row["expires_ts"])
        shown.add_row(row["name"], row["scope"], ist_minute(row["created_ts"]), ends, row["state"])
    show(shown)


@token_app.command()
def revoke(name: Name, config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Take a token away: its next request is refused, its sessions and streams end."""
    record = revoke_token(_file(config, overrides), name)
    if as_json:
        return print_json(_shown(record) | {"state": "revoked"})
    typer.echo(f"{name} is revoked")


def _file(config: Path | None, overrides: list[str] | None) -> Path:
    return settings_and_logs(config, overrides).control.tokens_file


def _shown(record: TokenRecord) -> dict[str, Any]:
    """What may be known of a token."""
    over = record.expires_ts is not None and record.expires_ts <= wall_ns()
    row = {key: value for key, value in msgspec.structs.asdict(record).items() if key != "sha256"}
    return row | {"scope": record.scope.value, "state": "expired" if over else "holds"}
