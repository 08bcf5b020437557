"""The tutorials, as somebody follows them: every block of a page, one after the other, in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TUTORIALS = ["first-day.md", pytest.param("train-on-your-bars.md", marks=pytest.mark.nightly)]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_is_followed(page: str, tmp_path: Path) -> None:
    """No block fails, and what it started has ended."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 3, page
    home = tmp_path / "home"
    home.mkdir()
    script = "\n".join(["set -emo pipefail", *blocks, '[ -z "$(jobs -r)" ]'])  # -m: jobs are numbered, as in a terminal
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "XDG_STATE_HOME": str(home), "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
