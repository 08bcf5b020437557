"""A class of a user's own: found, read, its parameters checked, each refusal one line."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from daemon.core.errors import SettingsError
from daemon.settings.loading import load_settings
from daemon.settings.own import find_class
from tests.own_classes import MOMENTUM, NAME, own, write_class
from tests.samples import settings_of

PARAMETERS = """\
from typing import Literal
from pydantic import BaseModel, Field, model_validator
from strategies.own import hold
class Momentum:
    class Parameters(BaseModel):
        bars: int = Field(5, ge=2, le=50)
        share: float = 0.5
        side: Literal["long", "short"] = "long"
        @model_validator(mode="after")
        def _fits(self):
            if self.bars > 40 and self.side == "short":
                raise ValueError("bars at most 40 for the short side")
            return self
    def decide(self, seen):
        return hold("content")
"""


def test_parameters_are_whole_and_typed(tmp_path: Path) -> None:
    """Those that nobody set stand beside those of the settings; texts became numbers."""
    write_class(tmp_path, PARAMETERS)
    settings = settings_of(*own(tmp_path, NAME, "strategy.parameters={bars: 7}"))
    assert settings.strategy.parameters == {"bars": 7, "share": 0.5, "side": "long"}
    assert settings.strategy.path == tmp_path.resolve()


@pytest.mark.parametrize(
    ("set_", "said"),
    [
        ("bar=3", "--set: strategy.parameters.bar: no such setting (did you mean strategy.parameters.bars?)"),
        ("bars=x", "--set: strategy.parameters.bars: expected a whole number such as 1500, got 'x'"),
        ("bars=1", "--set: strategy.parameters.bars: expected greater than or equal to 2, got 1"),
        ("side=up", "--set: strategy.parameters.side: expected one of 'long' or 'short', got 'up'"),
        ("share=nan", "--set: strategy.parameters.share: expected"),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, set_: str, said: str) -> None:
    """The key, and what would be right, as of any other setting."""
    write_class(tmp_path, PARAMETERS)
    with pytest.raises(SettingsError) as refused:
        settings_of(*own(tmp_path), f"strategy.parameters.{set_}")
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


SETS = """\
from strategies.own import Parameters as P, hold
class Momentum:
    class Parameters(P):
        symbols: set[str] = {"a", "b", "c", "d", "e"}
        groups: dict[str, frozenset[str]] = {"x": frozenset("fghij")}
    def decide(self, seen): return hold("x")
"""


@pytest.mark.slow
def test_parameters_are_written_the_same_in_every_process(tmp_path: Path) -> None:
    """A set has another order in each: the strategy's hash would be another one after a restart."""
    write_class(tmp_path, SETS)
    shown = "from tests.unit.settings.test_own import *; import pathlib, sys; "
    shown += "print(settings_of(*own(pathlib.Path(sys.argv[1]))).strategy.parameters)"
    found = {
        subprocess.run(
            [sys.executable, "-c", shown, str(tmp_path)], env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert found == {"{'symbols': ['a', 'b', 'c', 'd', 'e'], 'groups': {'x': ['f', 'g', 'h', 'i', 'j']}}\n"}


def test_a_parameter_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    """No settings file, and no journal, could hold it."""
    write_class(tmp_path, SETS.replace('symbols: set[str] = {"a", "b", "c", "d", "e"}', 'key: bytes = b"\\xff"'))
    with pytest.raises(SettingsError, match=r"^strategy\.parameters\.key: expected what a settings file can hold \("):
        settings_of(*own(tmp_path))


def test_a_class_says_what_fits_together(tmp_path: Path) -> None:
    """Its own validators speak in their own words."""
    write_class(tmp_path, PARAMETERS)
    with pytest.raises(SettingsError, match=r"strategy\.parameters: bars at most 40 for the short side"):
        settings_of(*own(tmp_path), "strategy.parameters={bars: 50, side: short}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Momentum:\n    def decide(self, seen)\n", "my_folder/module.py, line 2: SyntaxError"),
        ("import nowhere_at_all\n", "my_folder/module.py, line 1: ModuleNotFoundError: No module named"),
        ("x = 1\nraise SystemExit(3)\n", "my_folder/module.py, line 2: SystemExit: 3"),
        ("x = [][0]\n", "my_folder/module.py, line 1: IndexError"),
        ("class Momentun:\n    def decide(self, seen): ...\n", "has no class Momentum (did you mean Momentun?)"),
        ("class Momentum: ...\n", "Momentum: has no method decide(self, seen)"),
        ("class Momentum:\n    def decide(self): ...\n", "Momentum.decide: expected def decide(self, seen)"),
        ("class Momentum:\n    async def decide(self, seen): ...\n", "Momentum.decide: is async"),
        (
            "class Momentum:\n    Parameters = 3\n    def decide(self, s): ...\n",
            "Parameters: expected a pydantic model",
        ),
        ("Momentum = 3\n", "has no class Momentum"),
        ("\x00", "my_folder/module.py"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong and where; the process goes on."""
    write_class(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        settings_of(*own(tmp_path))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the settings file first, then in the working directory; where there is none both are named."""
    here, beside = tmp_path / "here", tmp_path / "beside"
    write_class(here)
    write_class(beside, MOMENTUM.replace("= 3", "= 4"))
    config = beside / "mine.yaml"
    config.write_text(f"strategy: {{name: '{NAME}'}}\n")
    monkeypatch.chdir(here)
    assert load_settings(config).strategy.parameters == {"bars": 4}
    (beside / "my_folder" / "module.py").unlink()
    assert load_settings(config).strategy.parameters == {"bars": 3}
    (here / "my_folder" / "module.py").unlink()
    with pytest.raises(SettingsError) as refused:
        load_settings(config)
    said = f"mine.yaml: strategy.name {NAME}: no my_folder/module.py in {beside} or {here} (strategy.path may name"
    assert said in str(refused.value)


@pytest.mark.parametrize("taken", ["random:Momentum", "daemon:Momentum", "models.module:Momentum"])
def test_a_name_that_is_taken(tmp_path: Path, taken: str) -> None:
    """A user's file never stands in for a module of Python's or of hrmd."""
    module = sys.modules.get(taken.partition(":")[0])
    write_class(tmp_path, module=taken.partition(":")[0])
    with pytest.raises(SettingsError, match="is taken by"):
        settings_of(*own(tmp_path, taken))
    assert sys.modules.get(taken.partition(":")[0]) is module


@pytest.mark.parametrize("name", ["luck", "a.b", "a b:C", "a:b:C", "../x:C", ":C", "x:"])
def test_names_that_are_none(name: str) -> None:
    """What a name may be is said."""
    with pytest.raises(SettingsError, match=r"strategy\.name: expected one of 'hrm', 'ppo', 'rules' or 'onnx', a"):
        settings_of(f"strategy.name={name!r}")


def test_the_source_is_that_of_the_file_and_of_what_it_imports(tmp_path: Path) -> None:
    """Another byte of either is another strategy, in the same process too; the same bytes are the same."""
    write_class(tmp_path, f"from my_folder.helper import HALF\n{MOMENTUM}")
    helper = write_class(tmp_path, "HALF = 0.5\n", "my_folder.helper")
    first = find_class(NAME, [tmp_path]).source
    helper.write_text("HALF = 0.6\n")
    changed = find_class(NAME, [tmp_path])
    assert changed.source != first
    assert sys.modules["my_folder.helper"].HALF == 0.6
    helper.write_text("HALF = 0.5\n")
    assert find_class(NAME, [tmp_path]).source == first


def test_two_folders_with_modules_of_one_name(tmp_path: Path) -> None:
    """Each is its own, in one process."""
    write_class(tmp_path / "a")
    write_class(tmp_path / "b", MOMENTUM.replace("= 3", "= 9"))
    for folder, bars in (("a", 3), ("b", 9), ("a", 3)):
        assert settings_of(*own(tmp_path / folder)).strategy.parameters == {"bars": bars}


def test_parameters_of_none(tmp_path: Path) -> None:
    """A strategy that comes with hrmd, and a class without parameters, take none."""
    with pytest.raises(SettingsError, match="no parameters for rules: they are those of a class of your own"):
        settings_of("strategy.name=rules", "strategy.parameters={bars: 3}")
    write_class(tmp_path, "class Momentum:\n    def decide(self, seen): ...\n")
    with pytest.raises(SettingsError, match=r"strategy\.parameters: Momentum has no parameters .*, got bars"):
        settings_of(*own(tmp_path), "strategy.parameters={bars: 3}")


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package names its strategies in the group `hrmd.strategies`."""
    write_class(tmp_path, module="sold_strategies.momentum")
    info = tmp_path / "sold_strategies-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sold-strategies\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hrmd.strategies]\nsold = sold_strategies.momentum:Momentum\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "sold" in {point.name for point in entry_points(group="hrmd.strategies")}
    settings = settings_of("strategy.name=sold", "strategy.parameters.bars=8")
    assert settings.strategy.parameters == {"bars": 8}
    with pytest.raises(SettingsError, match="or of installed packages sold"):
        settings_of("strategy.name=gone")


def test_a_shadow_agent_has_parameters_of_its_own(tmp_path: Path) -> None:
    """Checked as those of the one in charge."""
    write_class(tmp_path)
    agents = "shadow.agents=[{{name: mine, strategy: '{0}', parameters: {{{1}}}}}]"
    settings = settings_of(f"strategy.path={tmp_path}", agents.format(NAME, "bars: 4"))
    assert settings.shadow.agents[0].parameters == {"bars": 4}
    with pytest.raises(SettingsError, match=r"shadow\.agents\.0\.parameters\.bar: no such setting \(did you mean"):
        settings_of(f"strategy.path={tmp_path}", agents.format(NAME, "bar: 4"))
