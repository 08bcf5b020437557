"""The models of the settings and the comments of `config/settings.yaml` → the page that lists every one of them.

`python -m daemon.settings.reference > docs/settings.md` writes it. Invariant: a setting that a model has is on the
page, with what the model takes; nothing on it is written by hand, and a test compares.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.settings.layers import DEFAULT_PATH
from daemon.settings.tree import Settings

ANY_NAME: Final = "NAME"
"""Stands for a key that a person may choose."""
_KEY = re.compile(r"( *)(\w+):(.*)")
_NAMES: Final = {
    "int": "whole number", "float": "number", "Decimal": "number", "bool": "true or false", "str": "text",
    "Path": "path", "date": "date", "Any": "anything", "Fraction": "number or fraction", "time": "time of day",
}  # fmt: skip
_BOUNDS: Final = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
_HEAD: Final = """# Settings

Every setting, made from the models by `python -m daemon.settings.reference`: what it takes, its default, its limits,
and the comment of `config/settings.yaml`. How files, variables and `--set` lie over each other is in
[Configuration](configuration.md). What may change while hrmd runs (log level, limits of risk) is in
[the control API](api.md); everything else waits for a restart, and `hrmd ctl reload` names it.
"""


class Row(NamedTuple):
    """One setting."""

    key: str
    kind: str
    default: str
    limits: str
    meaning: str


def page() -> str:
    """The whole page."""
    text = DEFAULT_PATH.read_text(encoding="utf-8")
    comments, values = comments_of(text), yaml.load(text, yaml.BaseLoader)  # texts as they stand there
    parts = [_HEAD]
    for name, field in Settings.model_fields.items():
        model = _model(field.annotation)
        assert model is not None, name
        parts.append(f"## {name}\n{_first_sentence(model)}\n\n| setting | is | default | limits | meaning |")
        parts.append("|---|---|---|---|---|")
        for row in rows(model, name, values[name], comments):
            parts.append("| " + " | ".join(_cell(text) for text in (f"`{row.key}`", *row[1:])) + " |")
        parts.append("")
    return "\n".join(parts)


def rows(model: type[BaseModel], prefix: str, values: Any, comments: dict[str, str]) -> Iterator[Row]:
    """The settings of a section and of the sections in it, in the model's order."""
    for name, field in model.model_fields.items():
        key, value = f"{prefix}.{name}", values.get(name) if isinstance(values, dict) else None
        within = _model(field.annotation)
        if within is not None and get_origin(field.annotation) is None:
            yield from rows(within, key, value, comments)
            continue
        if within is not None and value == {} and get_origin(field.annotation) is dict:
            yield _row(key, field, value, comments.get(key, ""))
            place = f"{key}.{ANY_NAME}"
            yield from (row._replace(meaning=row.meaning or f"in `{key}`") for row in rows(within, place, None, {}))
            continue
        if within is not None and isinstance(value, dict) and get_origin(field.annotation) is not Union:
            example = next(iter(value.values()))  # a mapping of sections: the first of the file explains them all
            first = next(iter(value))
            told = {known.replace(f"{key}.{first}.", f"{key}.{ANY_NAME}."): said for known, said in comments.items()}
            yield from rows(within, f"{key}.{ANY_NAME}", example, told)
            continue
        yield _row(key, field, value, comments.get(key, _of_section(comments, prefix)))
        if within is not None:
            place = f"{key}[]" if _is_list(field.annotation) else key
            yield from (row._replace(meaning=row.meaning or f"in `{key}`") for row in rows(within, place, None, {}))


def comments_of(text: str) -> dict[str, str]:
    """The comment at the end of each key's line, by dotted key."""
    found: dict[str, str] = {}
    path: list[str] = []
    for line in text.splitlines():
        key = _KEY.match(line)
        if key is None:
            continue
        path = [*path[: len(key[1]) // 2], key[2]]
        _, mark, comment = key[3].partition(" #")
        if mark:
            found[".".join(path)] = comment.strip()
    return found


def _row(key: str, field: FieldInfo, value: Any, comment: str) -> Row:
    kind, limits = describe(field.annotation)
    bounds = [*_limits(field.metadata), *limits]
    default = _written(value) if value is not None else _default(field)
    return Row(key, kind, default, ", ".join(dict.fromkeys(bounds)), comment)


def describe(kind: Any) -> tuple[str, list[str]]:
    """What a type is in a person's words, and its limits."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        words, limits = describe(inner[0])
        return words, [*_limits(inner[1:]), *limits]
    if origin in (Union, types.UnionType):
        parts = [describe(one) for one in inner if one is not types.NoneType]
        words = " or ".join(dict.fromkeys(part[0] for part in parts))
        return words + (" or null" if types.NoneType in inner else ""), [limit for part in parts for limit in part[1]]
    if origin is Literal:
        return " \\| ".join(str(word) for word in inner), []
    if origin in (list, tuple):
        words, limits = describe(inner[0])
        return f"list of {words}", limits
    if origin is dict:
        words, limits = describe(inner[1])
        return f"names with {words}", limits
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " \\| ".join(str(one.value) for one in kind), []
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "keys and values", []
    return _NAMES.get(getattr(kind, "__name__", str(kind)), str(kind)), []


def _limits(metadata: Any) -> list[str]:
    found: list[str] = []
    for one in metadata:
        if isinstance(one, FieldInfo):
            found += _limits(one.metadata)
            continue
        found += [f"{sign} {_number(getattr(one, name))}" for name, sign in _BOUNDS if hasattr(one, name)]
        if getattr(one, "min_length", None):
            found.append(f"at least {one.min_length}")
        if getattr(one, "pattern", None):
            found.append(f"`{one.pattern}`")
    return found


def _number(value: Any) -> str:
    return f"{value:,}"


def _model(kind: Any) -> type[BaseModel] | None:
    """The section that a field is, or is a list, a mapping or an absence of."""
    if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel):
        return kind
    return next((found for found in map(_model, get_args(kind)) if found is not None), None)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (list, tuple) or any(_is_list(one) for one in get_args(kind))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(needed)"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Enum):
        default = default.value
    if default is None or isinstance(default, bool):
        return "`null`" if default is None else f"`{str(default).lower()}`"
    return f"`{default}`" if default != "" else '`""`'


def _written(value: Any) -> str:
    """A value of the file, on one line."""
    if isinstance(value, str):
        return f"`{value}`"
    return "`" + yaml.dump(value, default_flow_style=True, width=10**6, sort_keys=False).strip().replace("'", "") + "`"


def _of_section(comments: dict[str, str], prefix: str) -> str:
    return comments.get(prefix, "") if prefix.count(".") else ""


def _first_sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")


def _cell(text: str) -> str:
    """A cell of a table: a bar in it would end it."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def main() -> None:
    """Print the page."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
