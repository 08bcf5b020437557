"""What the documents tell people to type is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from daemon.core.errors import SettingsError
from daemon.market.calendar_file import read_calendar_file
from daemon.settings.loading import load_settings

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
STYLES = re.findall(r"^\| (\w[\w ()]*) \| (.*`strategy\..*) \|$", CONFIGURATION.partition("## Trading styles")[2], re.M)
REFUSALS = re.findall(r"^\$ hrmd check (--set .*)\nerror: (.*)$", CONFIGURATION, re.M)


@pytest.mark.parametrize(("style", "settings"), STYLES, ids=[style for style, _ in STYLES])
def test_a_trading_style_is_accepted(style: str, settings: str) -> None:
    """Each row of the table of styles, as overrides."""
    pairs = re.findall(r"`([\w.…]+): ([^`]+)`", settings)
    assert len(pairs) >= 3, style
    load_settings(None, [f"{key.replace('…', 'hierarchical_reasoning_model.')}={value}" for key, value in pairs])


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=[options for options, _ in REFUSALS])
def test_a_refusal_reads_as_shown(options: str, message: str) -> None:
    """The errors that the page quotes are those that come."""
    overrides = [word for word in shlex.split(options) if word != "--set"]
    with pytest.raises(SettingsError) as refused:
        load_settings(None, overrides)
    assert str(refused.value).endswith(message.removeprefix("config/settings.yaml: "))


def test_the_page_is_understood() -> None:
    """Both tables were found at all."""
    assert len(STYLES) == 4
    assert len(REFUSALS) == 2


def test_the_calendar_file_of_the_page_is_accepted(tmp_path: Path) -> None:
    """Its shape; a whole year has more holidays than a page needs."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8").partition("## The exchange calendar")[2]
    (text,) = re.findall(r"```yaml\n(.*?)```", page.partition("\n## ")[0], re.DOTALL)
    path = tmp_path / "calendar.yaml"
    path.write_text(text, encoding="utf-8")
    found = read_calendar_file(path)
    assert (len(found.holidays), len(found.sessions)) == (1, 2)
