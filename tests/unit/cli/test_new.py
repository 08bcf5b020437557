"""`hrmd new strategy`: what it writes works as written, and nothing is overwritten."""

from __future__ import annotations

import ast
import runpy
import sys
import unittest
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.settings.loading import load_settings


def test_it_writes_a_strategy_whose_test_passes_and_whose_settings_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three files fit each other."""
    assert main(["new", "strategy", "morning_breakout", "--into", str(tmp_path)]) == 0
    settings = load_settings(tmp_path / "morning_breakout.yaml")
    assert settings.strategy.name == "morning_breakout:MorningBreakout"
    assert settings.strategy.parameters == {"bars": 20, "quantity": 10}
    monkeypatch.syspath_prepend(str(tmp_path))
    tests = runpy.run_path(str(tmp_path / "test_morning_breakout.py"))["TestMorningBreakout"]
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(tests).run(result)
    assert (result.testsRun, result.errors, result.failures) == (3, [], [])
    sys.modules.pop("morning_breakout")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the three is there: none is written."""
    kept = tmp_path / "test_dip.py"
    kept.write_text("mine")
    assert main(["new", "strategy", "dip", "--into", str(tmp_path)]) == 2
    assert f"{kept}: is there already; nothing was written" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["test_dip.py"]


@pytest.mark.parametrize("name", ["Breakout", "a-b", "9a", "class", "random", "daemon", "../x", ""])
def test_a_name_that_can_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """One line, and nothing is written."""
    assert main(["new", "strategy", name, "--into", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_no_such_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named."""
    assert main(["new", "strategy", "dip", "--into", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_each_line_of_it_fits_a_page(tmp_path: Path) -> None:
    """And every part has its docstring."""
    main(["new", "strategy", "dip", "--into", str(tmp_path)])
    text = (tmp_path / "dip.py").read_text()
    assert max(map(len, text.splitlines())) <= 120
    assert all(ast.get_docstring(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef))
