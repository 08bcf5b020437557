"""`hrmd model install | list | rollback | archive`: the store of models (`daemon.strategy.store`).

Invariant: with `--json` stdout holds exactly one JSON document, in one form for every command: what the store is now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from daemon.cli.options import AsJson, Config, Overrides, print_json, settings_and_logs
from daemon.core.clock import wall_ns
from daemon.report.tables import show, table
from daemon.report.text import ist_minute
from daemon.strategy.store import Release, Store

Version = Annotated[
    str, typer.Argument(help="As `hrmd model list` shows it: version, name, current or previous.", show_default=False)
]


def install(
    artifact: Annotated[Path, typer.Argument(help="Model artifact (.safetensors).", show_default=False)],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; by default as the file.")] = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Take a model into the store and make it the current one; a running daemon keeps its own (hrmd ctl model load)."""
    store = _store(config, overrides)
    _say(store, store.install(artifact, name, wall_ns()), "is current", as_json)


def rollback(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Make the previous model of the store the current one again; given twice it is as before."""
    store = _store(config, overrides)
    _say(store, store.roll_back(), "is current", as_json)


def archive(version: Version, config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Put a model aside: it can't be loaded any more, and stays for the journals that name it."""
    store = _store(config, overrides)
    _say(store, store.archive(version), "is archived", as_json)


def releases(config: Config = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show the models of the store, oldest first."""
    store = _store(config, overrides)
    said = _document(store)
    if as_json:
        return print_json(said)
    if not said["releases"]:
        typer.echo(f"{store.directory}: no model; hrmd model install FILE takes one in")
        return
    shown = table("=version", "=name", "=state", "=installed", "=trained", "=data", "=code", "metrics")
    for row in said["releases"]:
        style = {"current": "bold green", "archived": "dim"}.get(row["state"], "")
        span = f"{row['first_day']} to {row['last_day']}" if row["first_day"] else "yes"
        metrics = ", ".join(f"{key} {value:.4g}" for key, value in row["metrics"].items())
        shown.add_row(
            row["version"], row["name"], Text(row["state"], style), ist_minute(row["installed_ts"]),
            span if row["trained"] else "no", (row["data_sha256"] or "-")[:12], (row["git_revision"] or "-")[:12],
            metrics,
        )  # fmt: skip
    show(shown)


def _store(config: Path | None, overrides: list[str] | None) -> Store:
    from daemon.strategy.build import store_of

    return store_of(settings_and_logs(config, overrides))


def _say(store: Store, release: Release, what: str, as_json: bool) -> None:
    if as_json:
        return print_json(_document(store))
    typer.echo(f"{release.words} {what} in {store.directory}")


def _document(store: Store) -> dict[str, Any]:
    """What the store is now."""
    import msgspec

    index = store.index()
    rows = []
    for release in index.releases:
        state = "archived" if release.archived else "installed"
        state = {index.current: "current", index.previous: "previous"}.get(release.sha256, state)
        rows.append({"version": release.version, "state": state, **msgspec.structs.asdict(release)})
    return {"store": str(store.directory), "current": index.current, "previous": index.previous, "releases": rows}
