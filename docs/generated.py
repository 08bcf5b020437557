"""The code → reference pages of the documentation site: commands, events, the control API.

mkdocs calls it as a hook (`hooks` in mkdocs.yml): the pages are made while the site is built, and nobody writes them by
hand. What a page of `docs/` links to outside of it (README, units, model cards) becomes a page of the site, too.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from daemon import __version__
from daemon.cli import app
from daemon.control.openapi import document
from daemon.core import events
from daemon.journal.schema import JOURNALED

ROOT: Final = Path(__file__).parents[1]
OUTSIDE: Final = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "models/artifacts/README.md": "models.md",
    "systemd/README.md": "units.md",
}
"""Pages that lie elsewhere in the tree, and what they are called on the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from code, and those from elsewhere in the tree."""
    made = {"commands.md": commands(), "events.md": journal_events(), "api-reference.md": api()}
    made |= {name: (ROOT / path).read_text(encoding="utf-8") for path, name in OUTSIDE.items()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave `docs/` to the page that stands for them; a link to code keeps its words only."""
    sources = {name: path for path, name in OUTSIDE.items()}
    source = ROOT / sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def led(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        name, sharp, heading = target.partition("#")
        path = (source.parent / name).resolve()
        if not name or not path.is_relative_to(ROOT):
            return match[0]
        inside = path.relative_to(ROOT).as_posix()
        if inside in OUTSIDE:
            return f"[{words}]({OUTSIDE[inside]}{sharp}{heading})"
        if inside.startswith("docs/") and path.is_file():
            up = "../" * page.file.src_uri.count("/")
            return f"[{words}]({up}{inside.removeprefix('docs/')}{sharp}{heading})"
        return f"`{inside}`" if not match[0].startswith("!") else words

    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:)([^)\s]+)\)", led, _pictures(markdown, page))


def _pictures(markdown: str, page: Any) -> str:
    """README shows pictures from the root of the tree."""
    return markdown.replace("](docs/images/", "](images/") if page.file.src_uri in OUTSIDE.values() else markdown


# -- commands ---------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments and options, as `--help` tells them."""
    parts = ["# Commands\n\nMade from the command line itself; `hrmd COMMAND --help` says the same in a terminal."]
    parts.append(
        "Exit codes: 0 done, 1 a check said no, 2 bad usage or settings, 3 a fault, 4 an end "
        "whose journal is on a disk that hangs.\n"
    )
    for name, command in _walk("hrmd", typer.main.get_command(app)):
        parts.append(f"## {name}\n\n{_plain(command.help or command.short_help or '')}\n")
        rows = [row for parameter in command.params if (row := _parameter(parameter))]
        if rows:
            parts.append("\n".join(["| | what | default |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Each command that does something, groups before theirs."""
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    context = typer.Context(command)
    for inner in command.list_commands(context):
        _, found, _ = command.resolve_command(context, [inner])  # imported, where the group knows it by name only
        if not found.hidden:
            yield from _walk(f"{name} {inner}", found)


def _parameter(parameter: Any) -> str:
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return ""
    names = ", ".join(f"`{one}`" for one in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    default = parameter.default
    shown = "" if default is None or default in ((), [], False) or callable(default) else f"`{_cell(str(default))}`"
    return f"| {names} | {_cell(_plain(getattr(parameter, 'help', '') or ''))} | {shown} |"


def _plain(text: str) -> str:
    """Help as one runs it in a terminal, without the marks of its layout."""
    return inspect.cleandoc(text).replace("\b", "").strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# -- events -----------------------------------------------------------------------------------------------------------


def journal_events() -> str:
    """Every event of the journal with its fields; what stands in the module is what stands here."""
    tree = ast.parse(inspect.getsource(events))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    parts = [
        "# Journal and events\n",
        "A journal is one SQLite file in write-ahead mode: `runs(run, key, value)` holds what a run began with "
        "(settings, tapes, versions), `events(run, seq, ts, type, body)` holds each event as JSON text. Times are UTC "
        "nanoseconds, prices and money decimal strings. Several runs may lie in one file; a run that was shortened "
        "begins with a snapshot.\n",
        "```sql\nSELECT json_extract(body, '$.symbol') AS symbol, json_extract(body, '$.price') AS price\n"
        "FROM events WHERE type = 'Fill' AND run = (SELECT MAX(run) FROM runs) ORDER BY seq;\n```\n",
    ]
    for kind in (events.Bar, *JOURNALED):
        parts.append(_struct(classes[kind.__name__], heading="##"))
    parts.append("## What events are made of\n")
    recorded = {kind.__name__ for kind in (events.Bar, *JOURNALED)}
    for node in classes.values():
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)} | {
            base.attr for base in node.bases if isinstance(base, ast.Attribute)
        }
        if bases & {"StrEnum", "IntEnum", "Struct"} and node.name not in {*recorded, "Event"}:
            parts.append(_struct(node, heading="###"))
    return "\n".join(parts)


def _struct(node: ast.ClassDef, *, heading: str) -> str:
    """Its docstring, and a row for each field or member with what stands below it."""
    rows, body = [], node.body
    for place, line in enumerate(body):
        below = body[place + 1] if place + 1 < len(body) else None
        words = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            default = "" if line.value is None else f"`{_cell(ast.unparse(line.value))}`"
            kind = f"`{_cell(ast.unparse(line.annotation))}`"
            rows.append(f"| `{line.target.id}` | {kind} | {default} | {_cell(str(words))} |")
        elif isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            rows.append(f"| `{line.targets[0].id}` | | `{_cell(ast.unparse(line.value))}` | {_cell(str(words))} |")
    table = ["| field | is | default | |", "|---|---|---|---|", *rows] if rows else []
    return "\n".join([f"{heading} {node.name}\n", inspect.cleandoc(ast.get_docstring(node) or ""), "", *table, ""])


# -- the control API --------------------------------------------------------------------------------------------------


def api() -> str:
    """Every operation of the OpenAPI document that a running daemon gives at `/openapi.json`."""
    described = document(__version__)
    parts = ["# Control API: every route\n", "From the document at `/openapi.json`. Examples, streams and the "
             "frames of web sockets are in [the API](api.md).\n"]  # fmt: skip
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(f"## {method.upper()} {path}\n\n{operation['summary']} (`{operation['operationId']}`)\n")
            rows = [
                f"| `{one['name']}` | {_cell(one.get('description', ''))} |" for one in operation.get("parameters", [])
            ]
            if rows:
                parts.append("\n".join(["| query | |", "|---|---|", *rows]) + "\n")
            answers = [f"| {code} | {_cell(one['description'])} | {_schema_of(one)} |"
                       for code, one in operation["responses"].items()]  # fmt: skip
            parts.append("\n".join(["| answer | when | gives |", "|---|---|---|", *answers]) + "\n")
    parts.append("## Documents\n")
    for name, schema in described["components"]["schemas"].items():
        needed = set(schema.get("required", []))
        rows = [
            f"| `{field}` | {_kind(one)} | {'' if field in needed else 'maybe'} | {_cell(one.get('description', ''))} |"
            for field, one in schema.get("properties", {}).items()
        ]
        parts.append("\n".join([f"### {name}\n", schema.get("description", ""), "", "| field | is | | |",
                                "|---|---|---|---|", *rows, ""]))  # fmt: skip
    return "\n".join(parts)


def _schema_of(answer: dict[str, Any]) -> str:
    for kind, content in answer.get("content", {}).items():
        return _kind(content.get("schema", {})) or f"`{kind}`"
    return ""


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return _cell(", ".join(f"`{one}`" for one in schema["enum"]))
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {})) or 'anything'}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
