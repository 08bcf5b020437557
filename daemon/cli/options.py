"""Options that several commands share, and the one way in which commands print JSON.

Every command imports this first, so what it needs is imported where it is used.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from daemon.settings.tree import Settings

Config = Annotated[
    Path | None,
    # by a parser of its own: typer itself would look at the file, whose disk may hang
    typer.Option(
        "-c", "--config", parser=Path, metavar="<path>", help="Settings file, laid over the shipped defaults."
    ),
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b.c=VALUE; may repeat.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]

T = TypeVar("T")

INTERRUPTED = 130
"""The exit code of what was asked to end before it was done."""


def settings_and_logs(config: Path | None, overrides: list[str] | None, model: str | None = None) -> Settings:
    """Load settings and set up logging by them; `model`: the key of the model whose shape they follow.

    Raises `SettingsError`.
    """
    from daemon.run import log
    from daemon.settings.loading import load_settings

    settings = load_settings(config, overrides) if model is None else load_settings(config, overrides, model)
    log.configure(settings.log, sys.stderr)
    return settings


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made if missing, for hours of work; processes of one torchrun write together.

    Raises `UsageError` where nothing can be written into it, or another command does.
    """
    from daemon.core.errors import UsageError
    from daemon.core.files import check_folder
    from daemon.core.locks import Held, let_go, take

    lock = folder / ".writing"
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        handle = None if os.environ.get("RANK", "0") != "0" else take(lock, 0o644)
    except OSError as error:
        raise UsageError(f"--out {folder}: can't be written ({error.strerror})") from None
    except Held:
        raise UsageError(
            f"--out {folder}: another hrmd train or sweep writes into it; expected one at a time"
        ) from None
    try:
        yield
    finally:
        if handle is not None:
            let_go(lock, handle)
        for place in missing:  # an empty one would look like work that was begun
            with suppress(OSError):
                place.rmdir()


def naming(model: Path, key: str = "model_management.artifact") -> str:
    """The `--set` of a command that is given a model, so that settings follow it."""
    return f"{key}={json.dumps(str(model), ensure_ascii=False)}"  # YAML knows no pairs of surrogates, as 😀 is in ASCII


def print_json(document: Any) -> None:
    """Print one JSON document on stdout, in the form of docs/json.md."""
    from daemon.core.json_form import encode

    print_document(encode(document))


def print_document(document: bytes) -> None:
    """Print JSON that is already encoded: on one line for programs, indented for who looks at it."""
    if sys.stdout.isatty():
        import msgspec

        document = msgspec.json.format(document, indent=2)
    sys.stdout.write(spelled(document) + "\n")


def spelled(document: bytes) -> str:
    """JSON as stdout can say it: in an encoding other than UTF-8 by JSON's own escapes, which read the same."""
    text = document.decode()
    if codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8":
        return text
    return re.sub("[^\x00-\x7f]", lambda letter: json.dumps(letter[0])[1:-1], text)


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
