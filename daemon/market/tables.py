"""The market's own YAML tables, each read once in a process: several stations build their pictures from the same one.

Invariant: what is given is shared and nobody changes it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from daemon.core.documents import parse_yaml


@cache
def shipped_table(name: str) -> Any:
    """A table that lies beside this module, such as `costs.yaml`."""
    return parse_yaml(resources.files("daemon.market").joinpath(name).read_text(encoding="utf-8"))
