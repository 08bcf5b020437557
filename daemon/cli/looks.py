"""The commands of `hrmd ctl` that look, once or with `--watch` again and again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from daemon.cli.ctl import Client, TokenFile, Url, Watch, decoded
from daemon.cli.options import AsJson, Config, Overrides, print_document

if TYPE_CHECKING:
    from rich.console import RenderableType

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many rows at most.")]


def status(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show the daemon at a glance."""
    look(Where(config, overrides, url, token_file), "/status", as_json, seconds)


def health(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show every check of the daemon's health; exit 1 when it is unhealthy."""
    where = Where(config, overrides, url, token_file)
    if seconds is not None:
        return look(where, "/health", as_json, seconds)
    answer = where.client().get("/health")
    from daemon.control.view import Health

    found = decoded(answer, Health)
    _print("/health", answer, as_json)
    if not found.healthy:
        raise typer.Exit(1)
    return None


def positions(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show positions, at their last prices."""
    look(Where(config, overrides, url, token_file), "/positions", as_json, seconds)


def orders(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show working and recent orders, newest first."""
    look(Where(config, overrides, url, token_file), "/orders", as_json, seconds)


def decisions(
    limit: Limit = 20, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show the newest decisions, newest first."""
    look(Where(config, overrides, url, token_file), f"/decisions?limit={limit}", as_json, seconds)


def trades(
    limit: Limit = 20, config: Config = None, overrides: Overrides = None, url: Url = None,
    token_file: TokenFile = None, as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show the newest round trips, newest first."""
    look(Where(config, overrides, url, token_file), f"/trades?limit={limit}", as_json, seconds)


def shadow(
    config: Config = None, overrides: Overrides = None, url: Url = None, token_file: TokenFile = None,
    as_json: AsJson = False, seconds: Watch = None,
) -> None:  # fmt: skip
    """Show the agents that decide beside the one in charge, on paper."""
    look(Where(config, overrides, url, token_file), "/shadow", as_json, seconds)


class Where(NamedTuple):
    """What was typed about the daemon that is meant."""

    config: Path | None
    overrides: list[str] | None
    url: str | None
    token_file: Path | None

    def client(self, before: Client | None = None) -> Client:
        """The daemon; raises `UsageError`."""
        return Client.of(*self, before)


def look(where: Where, path: str, as_json: bool, seconds: float | None) -> None:
    """Show what `path` answers, once, or every so many seconds until Ctrl-C. Raises as `Client.get` does."""
    if seconds is None:
        return _print(path, where.client().get(path), as_json)
    import time

    from daemon.cli.watching import Roll, Screen, watch

    def draw(answer: bytes) -> Sequence[RenderableType]:
        from daemon.cli.pictures import picture

        return picture(path, answer)

    name = path.strip("/").partition("?")[0]
    on_screen = sys.stdout.isatty() and not as_json
    sheet = Screen(f"hrmd ctl {name} · every {seconds:g} s", draw) if on_screen else Roll(None if as_json else draw)
    return watch(where.client, path, sheet, lambda: time.sleep(seconds))


def _print(path: str, answer: bytes, as_json: bool) -> None:
    if as_json:
        return print_document(answer)
    from daemon.cli.pictures import picture
    from daemon.report.tables import show

    for one in picture(path, answer):
        show(one)
    return None
