"""`hrmd ctl migration`: where the way to a candidate stands, a person's word on the next step, and the report.

Invariant: nothing is said to have moved unless the daemon said so, and a step forwards has a name under it.
"""

from __future__ import annotations

import getpass
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.ctl import Client, Reason, TokenFile, UnansweredError, Url, decoded
from daemon.cli.options import AsJson, Config, Overrides, print_document
from daemon.core.errors import Fault, UsageError
from daemon.report.migration import MigrationAnswer, MigrationView, markdown, view_tables
from daemon.report.tables import show

migration_app = typer.Typer(no_args_is_help=True, help="From the one in charge to a candidate, step by step.")

READING_S = 30.0
"""Before a step the candidate's artifact is read from the disk."""
Signed = Annotated[str, typer.Option("--sign", help="Your name: who signs for this step.", show_default=False)]
MaySign = Annotated[str | None, typer.Option("--sign", help="Your name; without it, that of the user.")]


@migration_app.command()
def status(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show the stage, and the gates to the next one with their numbers."""
    answer = Client.of(config, overrides, url, token_file).get("/migration")
    if as_json:
        return print_document(answer)
    for part in view_tables(decoded(answer, MigrationView)):
        show(part)


@migration_app.command()
def advance(
    sign: Signed, reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take the next step, where every gate is passed; exit 1 and the gates that aren't where not."""
    _give(Client.of(config, overrides, url, token_file), "advance", sign, reason, as_json)


@migration_app.command()
def rollback(
    sign: MaySign = None, reason: Reason = None, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Go back: the candidate decides nothing for real any more; exit 1 and why where it can't be."""
    _give(Client.of(config, overrides, url, token_file), "rollback", sign or _user(), reason, as_json)


@migration_app.command()
def report(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The Markdown file; without it: on stdout.")] = None,
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
) -> None:  # fmt: skip
    """Write the report that a person reads and signs before the next step."""
    if out is not None and out.suffix != ".md":
        raise UsageError(f"--out {out}: expected a name that ends with .md, the report is Markdown")
    text = markdown(decoded(Client.of(config, overrides, url, token_file).get("/migration"), MigrationView))
    if out is None:
        return typer.echo(text, nl=False)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {out}: can't be written ({error.strerror})") from None
    typer.echo(f"wrote {out}")


def _give(client: Client, command: str, who: str, reason: str | None, as_json: bool) -> None:
    body = {"who": who} if reason is None else {"who": who, "reason": reason}
    try:
        raw = client.post(f"/control/migration/{command}", body, READING_S)
    except UnansweredError as error:
        raise Fault(f"{error}; it may have moved: hrmd ctl migration status says where it stands") from None
    answer = decoded(raw, MigrationAnswer)
    if as_json:
        print_document(raw)
    elif answer.moved:
        moved = typer.style(f"{answer.before.value} → {answer.stage.value}", bold=True)
        typer.echo(f"{moved}, signed by {answer.who}")
    else:
        typer.echo(f"{typer.style('refused', 'red', bold=True)}: {answer.reason}; nothing has changed")
    if not answer.moved:
        raise typer.Exit(1)


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return "an operator"
