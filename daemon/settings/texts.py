"""The texts of the layers → values of the types that the settings' fields have.

What a text means is up to the field alone: `0012345` is an app id where a text is wanted and no number where one is.
Invariant: the same text has the same value, or the same refusal, in a file, a variable and `--set`. What is wrong stays
in its place as a `Misread`, so that all that is wrong is refused together, by `daemon.settings.loading`.
"""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from daemon.core.texts import date, exact_number, number, whole_number, yes_or_no

_READERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    int: whole_number, float: number, Decimal: exact_number, bool: yes_or_no, dt.date: date,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Misread:
    """A text that its field can't take, and what it would take."""

    text: str
    expected: str


def typed(value: Any, kind: Any) -> Any:
    """`value` with every text read as its place in `kind` wants it; whatever doesn't fit there is left as it is."""
    kind = _plain(kind)
    if isinstance(value, str):
        return _read(value, kind)
    if isinstance(value, dict):
        return {key: typed(item, _of_key(kind, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item, _of_item(kind)) for item in value]
    return value


def _read(text: str, kind: Any) -> Any:
    reader = _READERS.get(kind)
    if reader is None:
        return text
    try:
        return reader(text)
    except ValueError as error:
        return Misread(text, str(error))


def _plain(kind: Any) -> Any:
    """Without bounds and without None."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(item for item in get_args(kind) if item is not types.NoneType)
    return kind


def _of_key(kind: Any, key: Any) -> Any:
    """The kind of a field of a section, or of the values of a mapping; None where there is no such thing."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(key)
        return field.annotation if field is not None else None
    return get_args(kind)[1] if get_origin(kind) is dict else None


def _of_item(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) in (list, tuple) else None
