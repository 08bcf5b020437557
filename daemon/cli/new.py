"""`hrmd new`: something of your own, written so that it works as it stands.

Invariant: what is there already stays as it is; either all files are written or none.
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.strategy_template import SETTINGS, STRATEGY, TEST
from daemon.core.errors import UsageError

new_app = typer.Typer(help="Write a strategy of your own to begin with, and its test.", no_args_is_help=True)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@new_app.callback()
def new() -> None:
    """Write a strategy of your own to begin with, and its test."""


@new_app.command("strategy")
def strategy(
    name: Annotated[str, typer.Argument(help="Of its module, such as morning_breakout.", show_default=False)],
    into: Annotated[Path, typer.Option(help="The folder that it is written to.")] = Path(),
) -> None:
    """Write a strategy of your own, its test and its settings; nothing that is there is overwritten."""
    _check_name(name)
    if not into.is_dir():
        raise UsageError(f"--into {into}: no such folder")
    kind = "".join(part.capitalize() for part in name.split("_"))
    title = name.replace("_", " ").strip().capitalize()
    files = {
        into / f"{name}.py": STRATEGY, into / f"test_{name}.py": TEST, into / f"{name}.yaml": SETTINGS,
    }  # fmt: skip
    taken = next((file for file in files if file.exists() or file.is_symlink()), None)
    if taken is not None:
        raise UsageError(f"{taken}: is there already; nothing was written, expected another name")
    for file, text in files.items():
        try:
            with file.open("x", encoding="utf-8") as out:
                out.write(text.format(name=name, kind=kind, title=title))
        except OSError as error:
            raise UsageError(f"{file}: can't be written ({error.strerror})") from None
        typer.echo(f"wrote {file}")


def _check_name(name: str) -> None:
    """Raises `UsageError` for what can't be a module, or is one already."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"{name}: expected a name such as morning_breakout: small letters, digits and _")
    if name in sys.stdlib_module_names or name in ("daemon", "models", "strategies", "config", "test", "tests"):
        raise UsageError(f"{name}: is the name of a module of Python or hrmd; expected another")
