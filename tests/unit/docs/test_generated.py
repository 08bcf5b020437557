"""The reference pages of the documentation site, as they are made from the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
MODULE = Path(__file__).parents[3] / "docs" / "generated.py"


def test_every_command_has_its_options() -> None:
    """Those of groups under their own names, and those too that are imported only when they are called."""
    spec = importlib.util.spec_from_file_location("generated", MODULE)
    assert spec is not None
    assert spec.loader is not None
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    page = generated.commands()
    parts = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert "`--latency`" in parts["hrmd replay"]
    assert "`--tz`" in parts["hrmd tape import"]
    assert "`--watch`" in parts["hrmd ctl status"]
    assert "`--sign`" in parts["hrmd ctl migration advance"]
    assert "`ORDER_ID`" in parts["hrmd ctl cancel"]
    assert [name for name, part in parts.items() if "| | what | default |" not in part] == []
