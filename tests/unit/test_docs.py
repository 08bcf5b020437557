"""What the documents tell people to type is accepted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest
import yaml

from daemon.cli import main
from daemon.core.errors import SettingsError
from daemon.market.calendar_file import read_calendar_file
from daemon.settings.loading import load_settings
from daemon.settings.tree import Settings
from tests.command_lines import unknown
from tests.samples import wave, write_tape

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "systemd" / "README.md", ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
STYLES = re.findall(r"^\| (\w[\w ()]*) \| (.*`strategy\..*) \|$", CONFIGURATION.partition("## Trading styles")[2], re.M)
REFUSALS = re.findall(r"^\$ hrmd check (--set .*)\nerror: (.*)$", CONFIGURATION, re.M)


@pytest.mark.parametrize(("style", "settings"), STYLES, ids=[style for style, _ in STYLES])
def test_a_trading_style_is_accepted(style: str, settings: str) -> None:
    """Each row of the table of styles, as overrides."""
    pairs = re.findall(r"`([\w.…]+): ([^`]+)`", settings)
    assert len(pairs) >= 3, style
    load_settings(None, [f"{key.replace('…', 'hierarchical_reasoning_model.')}={value}" for key, value in pairs])


SPANS = re.findall(
    r"`([^`]+)`", re.sub(r"^```.*?^```", "", CONFIGURATION.partition("## Trading styles")[0], flags=re.M | re.S)
)
"""What stands between backticks in the text."""


def test_a_setting_that_the_text_names_is_one() -> None:
    """With a value it is taken; alone, there is such a key."""
    shown = [span for span in SPANS if re.match(r"[a-z_]+(\.[a-z_]+)+: \S", span)]
    named = [span for span in SPANS if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span) and span != "inference.model_hash"]
    assert len(shown) >= 3
    assert len(named) >= 12
    for span in shown:
        key, _, value = span.partition(": ")
        load_settings(None, [f"{key}={value}"])
    every = load_settings(None)
    for span in named:
        reduce(getattr, span.split("."), every)  # raises AttributeError for what is none


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=[options for options, _ in REFUSALS])
def test_a_refusal_reads_as_shown(options: str, message: str) -> None:
    """The errors that the page quotes are those that come."""
    overrides = [word for word in shlex.split(options) if word != "--set"]
    with pytest.raises(SettingsError) as refused:
        load_settings(None, overrides)
    assert str(refused.value).endswith(message.removeprefix("config/settings.yaml: "))


@pytest.mark.parametrize(("style", "settings"), STYLES, ids=[style for style, _ in STYLES])
def test_a_trading_style_can_be_run(
    style: str, settings: str, tmp_path: Path, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`hrmd check` finds nothing missing: a model of its bars among the rest."""
    tape = write_tape(tmp_path / "t.parquet", *wave(10))
    pairs = re.findall(r"`([\w.…]+): ([^`]+)`", settings)
    changes = [f"{key.replace('…', 'hierarchical_reasoning_model.')}={value}" for key, value in pairs]
    changes += [f"feed.tape=[{tape}]", f"performance.cache_dir={built}", f"journal.path={tmp_path}/j.sqlite",
                "control.port=0", f"control.token_file={tmp_path}/token", "log.level=error"]  # fmt: skip
    assert main(["check", *[part for change in changes for part in ("--set", change)]]) == 0, capsys.readouterr().out


def yaml_blocks() -> Iterator[tuple[str, str]]:
    """(page and number, text) of every example that is settings."""
    for page in PAGES:
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        ):
            keys = yaml.safe_load(text)
            if not Settings.model_fields.keys().isdisjoint(keys):  # no calendar, and nothing of another program
                yield f"{page.name}-{number}", text


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in yaml_blocks()])
def test_settings_that_a_page_shows_are_accepted(text: str, tmp_path: Path) -> None:
    """As a file of one's own; what another example on the page defines may be referred to."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    load_settings(path)


def commands(page: Path) -> Iterator[str]:
    """What a page tells people to type that begins with hrmd: in a block, or between backticks."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    blocks = [block for language, block in fenced if language in ("", "sh", "bash", "console", "text")]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).split("\n\n")
    spans = [span.replace("\n", " ") for part in prose for span in re.findall(r"`([^`]+)`", part)]
    for found in (part for line in (*lines, *spans) for part in line.split(" · ")):
        match = re.match(r"(?:\$ |sudo )*(?:-u \S+ )?(?:\S*/bin/)?hrmd ((?:[a-z]|--).*)", found.strip())
        if match is not None:
            yield match[1]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_command_of_a_page_exists(page: Path) -> None:
    """Its name, and each option that it is given."""
    wrong = [problem for line in commands(page) if (problem := unknown(line))]
    assert not wrong


def test_a_command_that_is_not_there_is_found() -> None:
    """The look itself: a name, an option, a command of a group."""
    assert unknown("ctl health --json | jq") == ""
    assert "no command heal" in unknown("ctl heal")
    assert "no option --jason" in unknown("ctl health --jason")


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading of it."""
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if heading and path.suffix == ".md":
            assert heading in _headings(path), f"{page.name}: {target}"


def _headings(page: Path) -> set[str]:
    """As their anchors are written."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).replace(" ", "-") for title in titles}


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


RUNBOOK_PAGE = (DOCS / "runbooks.md").read_text(encoding="utf-8")
RUNBOOKS = re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", RUNBOOK_PAGE, re.M | re.S)
PARTS = ("**Seen**", "**Means**", "**By itself**", "**Do**", "**Halt when**")


@pytest.mark.parametrize(("title", "text"), RUNBOOKS, ids=[title for title, _ in RUNBOOKS])
def test_a_runbook_is_whole_and_quotes_what_is_said(title: str, text: str) -> None:
    """Its five parts in order; each health line under Seen is one that the code can say, by a check that there is."""
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "daemon").rglob("*.py"))
    checks = (ROOT / "daemon/supervision/health_checks.py").read_text(encoding="utf-8")
    quoted = re.findall(r"`(\w+) (?:warn|fail): ([^`]*)`", text.partition("**Means**")[0])
    assert quoted, title
    for check, line in quoted:
        assert f'"{check}"' in checks, check
        for fragment in re.split(r"…", line):
            assert fragment.strip(" :,") in source, f"{title}: {line}"


def test_the_subjects_that_need_a_runbook_have_one() -> None:
    """Latency, memory, feed, broker, disk, token, convergence, and what the path of an order can end in."""
    assert {title for title, _ in RUNBOOKS} == {
        "Latency", "Memory", "Feed", "Broker", "Disk", "Token", "Convergence", "The ladder stepped down",
        "An UNKNOWN order", "An exit that can't be had", "A reconciliation difference", "Clock",
    }  # fmt: skip
