"""Texts of YAML and JSON → values, wherever a user or another program wrote them.

`parse_yaml` guesses what a bare word is, as YAML 1.1 does: for our own tables. What users write is read as the texts
that it is made of (`parse_texts`); whoever knows what is wanted in a place says what its text means
(`daemon.core.texts`).

Invariant: a text means one thing or is refused in one line with its place. A key that stands twice in a mapping, of
which a parser would silently keep the last, nesting and aliases that would exhaust the process, and values that YAML
can't make (a 13th month) are all `DocumentError`s.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from daemon.core.files import read_text

MAX_DEPTH = 64
"""Of mappings and lists in each other; ours are below ten."""
MAX_NODES = 1_000_000
"""Of a document with its aliases written out."""

_UNMADE = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML's constructors raise for texts such as `2026-13-01` or `!!int ''`."""


class DocumentError(ValueError):
    """Why a text has no one meaning: the place, where it is known, and then the problem."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place} {problem}".strip())
        self.problem = problem


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader; a key that stands twice is an error, as it is in the specification (YAML 1.2, 3.2.1.1)."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            _refuse_repeats(node)
        return dict(super().construct_mapping(node, deep=deep))

    def construct_yaml_map(self, node: Any) -> Any:
        _refuse_repeats(node)
        return super().construct_yaml_map(node)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except _UNMADE as error:
            why = str(error)[:120] if isinstance(error, ValueError) else "no value can be made of"
            problem = f"{why} ({str(node.value)[:40]!r})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _refuse_repeats(node: Any) -> None:
    first: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name = (key.tag, key.value)
            if name in first:
                problem = f"{key.value} is set twice, first in line {first[name]}: write it once"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            first[name] = key.start_mark.line + 1


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_yaml_map)

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class _TextLoader(_Loader):
    """Mappings, lists and texts; what is empty, `null` or `~` is None. No other tag is known, not even `!!int`."""


_TextLoader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] in (_NULL, _MERGE)]
    for first, entries in _Loader.yaml_implicit_resolvers.items()
}
_TextLoader.yaml_constructors = {
    tag: make
    for tag, make in _Loader.yaml_constructors.items()
    if tag in (None, _NULL, *(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")))
}


def parse_yaml(text: str) -> Any:
    """The one value of a YAML text, its bare words as YAML 1.1 takes them; raises `DocumentError`."""
    return _parse(text, _Loader)


def parse_texts(text: str) -> Any:
    """Mappings and lists of texts and None, as a YAML text has them; raises `DocumentError`."""
    return _parse(text, _TextLoader)


def read_texts(path: Path) -> Any:
    """`parse_texts` of a file. Raises `OSError` where there is no text, `DocumentError` for what the text is not."""
    return parse_texts(read_text(path))


def parse_value(text: str) -> Any:
    """What `text` is where it stands behind a key of a YAML file; raises `DocumentError`."""
    document = parse_texts(f"value: {text}")
    if not isinstance(document, dict) or set(document) != {"value"}:
        raise DocumentError("is more than one value")
    return document["value"]


def _parse(text: str, loader: type[_Loader]) -> Any:
    try:
        _check_size(text)
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        if mark is not None and "cannot start any token" in str(problem) and _at(text, mark.line, mark.column) == "\t":
            problem = "a tab; indent with spaces"
        raise DocumentError(f"is not valid YAML: {' '.join(str(problem).split())}", where) from None
    except UnicodeEncodeError:  # half a character, from a command line that is no UTF-8
        raise DocumentError("is not valid YAML: it holds bytes that are no UTF-8") from None


def _at(text: str, line: int, column: int) -> str:
    """One character, "" where there is none."""
    return "".join(text.split("\n")[line : line + 1])[column : column + 1]


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises `DocumentError`."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except ValueError as error:  # of JSON, of UTF-8, of an integer of thousands of digits
        raise DocumentError(f"is not valid JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"{repeated} is set twice: write it once")
    return values


def _check_size(text: str) -> None:
    """Count depth and nodes by events, which need no recursion, before anything is built."""
    anchors: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # (anchor, nodes before it)
    nodes = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise _refusal(event, f"the alias *{event.anchor} has no anchor before it, or stands inside its own")
            nodes += anchors[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            if isinstance(event, yaml.ScalarEvent):
                if event.anchor:
                    anchors[event.anchor] = 1
            else:
                open_nodes.append((event.anchor, nodes - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                anchors[anchor] = nodes - before
        if len(open_nodes) > MAX_DEPTH:
            raise _refusal(event, f"nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise _refusal(event, f"more than {MAX_NODES} values, with its aliases written out")


def _refusal(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, event.start_mark)
