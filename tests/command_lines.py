"""A command line as a document or a unit has it → what of it there isn't."""

from __future__ import annotations

import re
from typing import Any

import typer.main

from daemon.cli import app


def unknown(line: str) -> str:
    """What of a command line there isn't; "" where all is."""
    command: Any = typer.main.get_command(app)
    said = re.split(r"\s[|&;#>]|\s{2,}#", line)[0]
    words = said.replace("[", " ").replace("]", " ").replace("…", " ").rstrip(",.;").split()
    for word in words:
        word = word.rstrip(",")
        if hasattr(command, "commands") and not word.startswith("-"):
            for one in word.split("|"):
                if one not in command.commands:
                    return f"{line}: no command {one}"
            command = command.resolve_command(typer.Context(command), [one])[1]
        elif word.startswith("--"):
            names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            if word.partition("=")[0] not in names | {"--help", "--version"}:
                return f"{line}: no option {word}"
    return ""
