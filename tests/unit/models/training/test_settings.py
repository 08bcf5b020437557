"""Tests that the settings stay light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_settings_need_no_torch() -> None:
    """Reading settings does not load torch, so that a command that only checks them starts at once."""
    code = "import sys, models.training.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[4], check=False).returncode == 0
