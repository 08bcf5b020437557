"""What the documents show as the output of a command is what the command prints, but for what is measured."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HRMD = str(Path(sys.executable).parent / "hrmd")
DEMO = "var/demo"
MEASURED = re.compile(r"[\d.,]+ (?=ms|s |ticks/s)|(?<=%)( +(?:-|\d\.\d\d)) +\d+\.\d\d(?= )")
"""Times of the machine, and in a table of shadows what stands behind the depth; words keep their places."""


def said(text: str) -> list[str]:
    """Lines without what is measured, and without how far they are filled up."""
    return [
        re.sub(r"[ ─│╭╮╰╯]+", " ", MEASURED.sub(r"\1 ", line)).strip() for line in text.splitlines() if line.strip()
    ]


def printed(command: str, folder: Path, columns: int = 80) -> list[str]:
    """What a command says on stdout."""
    environment = {**os.environ, "COLUMNS": str(columns)}
    done = subprocess.run(
        [HRMD, *shlex.split(command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return said(done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Where the commands of `make demo` were run, and what they said."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / DEMO).mkdir(parents=True)
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\ndemo:")[2].partition("\n\n")[0]
    commands = [line.replace("$(DEMO)", DEMO) for line in re.findall(r"\$\(BIN\)/hrmd (.*)", recipe)]
    assert len(commands) == 3
    return folder, [line for command in commands for line in printed(command, folder)]


def test_the_demo_prints_what_the_readme_shows(demo: tuple[Path, list[str]]) -> None:
    """From the summary's head to the word of `hrmd verify`."""
    shown = (ROOT / "README.md").read_text("utf-8").partition("`make demo` prints")[2].split("```")[1]
    found = demo[1][demo[1].index("hrmd replay") :]
    assert said(shown.replace(f".venv/bin/hrmd verify {DEMO}/journal.sqlite\n", "")) == found


def test_a_decision_is_explained_as_shown(demo: tuple[Path, list[str]]) -> None:
    """The lines above the table."""
    block = re.search(r"^\$ hrmd (explain .*)\n((?:.+\n)*)", (ROOT / "docs" / "hrm.md").read_text("utf-8"), re.M)
    assert block is not None
    shown = said(block[2].removesuffix("```\n"))
    assert shown == printed(block[1], demo[0])[: len(shown)]


def test_shadows_are_told_as_shown(tmp_path: Path) -> None:
    """The table of agents, and what was proved of each."""
    page = (ROOT / "docs" / "shadow.md").read_text("utf-8")
    block = re.search(r"^\$ hrmd (tape .*)\n\$ hrmd (replay .*)\n((?:.+\n)*?)```", page, re.M)
    assert block is not None
    printed(block[1], tmp_path)
    found, shown = printed(block[2], tmp_path, 115), said(block[3])
    start = found.index("Side by side")
    assert shown == found[start : start + len(shown)]
