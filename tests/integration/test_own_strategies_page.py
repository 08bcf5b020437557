"""docs/own-strategies.md as a stranger follows it: every command, in order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.settings.loading import load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-strategies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)


def follow(command: str) -> None:
    """One line of a shell block; it must succeed."""
    words = shlex.split(command)
    match words:
        case ["mkdir", folder]:
            Path(folder).mkdir()
        case ["cd", folder]:
            os.chdir(folder)
        case ["hrmd", *arguments]:
            assert main(arguments) == 0, command
        case ["python", *arguments]:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            subprocess.run([sys.executable, *arguments], check=True, env=environment, capture_output=True)
        case _:
            pytest.fail(f"a command that this test doesn't know: {command}")


def test_every_command_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the template to a report and a verified journal, then the class that the page shows."""
    monkeypatch.chdir(tmp_path)
    for language, text in BLOCKS:
        if language == "python":
            Path("dip.py" if "class Dip" in text else "linear.py").write_text(text)
        elif language == "yml":
            Path("shadow.yaml").write_text(text)
        elif language == "sh":
            capsys.readouterr()
            for command in text.splitlines():
                follow(command)
    answer = json.loads(capsys.readouterr().out)  # of the last command, a replay of the page's own class
    assert answer["strategy"] == "dip:Dip"
    assert answer["trades"] > 0
    assert answer["failed_decisions"] == 0
    folder = tmp_path / "my_strategies"
    assert (folder / "report" / "index.html").is_file()
    (agent,) = load_settings(folder / "shadow.yaml").shadow.agents
    assert agent.parameters == {"percent": 0.4}
