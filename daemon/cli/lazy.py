"""A group of commands that are imported when they run, so that none of them waits for what the others need.

Invariant: a help page or a completion of the group imports no command; a command that is named is imported whole, so
that its own help and its options are complete.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup


class Later(NamedTuple):
    """Where a command is, as `module:attribute` (a function or a `Typer` of its own), and its line in the help."""

    place: str
    help: str


class LazyGroup(TyperGroup):
    """Knows its commands by name and one line, in the order of `later`; the rest comes when a command is called."""

    later: ClassVar[dict[str, Later]] = {}

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        stubs = {name: TyperCommand(name, help=one.help) for name, one in self.later.items()}
        self.commands = {**stubs, **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported."""
        if args and args[0] in self.later:
            return args[0], load(args[0], self.later[args[0]].place), args[1:]
        return super().resolve_command(ctx, args)


def load(name: str, place: str) -> Any:
    """Import a command."""
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)
