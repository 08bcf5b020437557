"""A model's file → the shape of its network, without torch and without its weights.

For settings, which follow the model that they name. Invariant: whatever the file holds, the answer is a shape that can
be built, or None; whether the model is whole is asked by who loads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from models.config import ArchitectureSettings

LENGTH: Final = 8
"""Bytes that hold the length of a file's header, little endian (the format of safetensors)."""
MOST: Final = 100_000_000
"""Bytes of the largest header that safetensors itself reads."""


def shape_in(path: Path) -> ArchitectureSettings | None:
    """What the network in a file is built as; None for a file that is no HRM's, damaged or not there."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(LENGTH), "little")
            header: Any = json.loads(stream.read(length)) if length <= MOST else {}
        manifest = json.loads(header["__metadata__"]["manifest"])
        return ArchitectureSettings.model_validate(manifest["config"]["architecture"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return None
