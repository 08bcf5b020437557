"""What a venue wrote → typed records with exact prices.

Invariant: a price goes through as the decimal that was written, and a record that can't be read whole is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from daemon.core.errors import HrmdError

ZERO: Final = Decimal(0)

R = TypeVar("R")


class WireError(HrmdError):
    """A message of the venue that can't be read; says which key and what was expected, never the whole message."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Root of what the venue tells."""


def decode(body: bytes | str) -> dict[str, Any]:
    """A JSON object with its fractional numbers as `Decimal`; raises `WireError` for anything else."""
    try:
        document = msgspec.json.Decoder(float_hook=Decimal).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WireError("expected JSON") from None
    if not isinstance(document, dict):
        raise WireError("expected a JSON object")
    return document


def renamed(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What `row` holds of the named keys, under our names; an explicit null is as good as absent."""
    return {ours: row[theirs] for ours, theirs in names.items() if row.get(theirs) is not None}


def rows_of(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of objects under `key`; raises `WireError`."""
    rows = document.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WireError(f"{key}: expected a list of objects")
    return rows


def record_of(fields: Mapping[str, Any], kind: type[R], where: str) -> R:
    """The record of these fields; raises `WireError` that names `where` and the field."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise WireError(f"{where}: {error}") from None
