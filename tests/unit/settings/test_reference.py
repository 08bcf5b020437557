"""The page of all settings is what the models say."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from daemon.core.errors import SettingsError
from daemon.settings.layers import DEFAULT_PATH
from daemon.settings.loading import load_settings
from daemon.settings.reference import comments_of, describe, page, rows

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


class Word(StrEnum):
    """Some words."""

    ONE = "one"
    TWO = "two"


class Entry(BaseModel):
    """One of a list."""

    at: int


class Example(BaseModel):
    """A section."""

    size: Annotated[int, Field(gt=0, le=9)] = 3
    words: list[Entry] = []


def test_the_page_is_the_models() -> None:
    """`python -m daemon.settings.reference > docs/settings.md` was run after the last change."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_setting_is_on_it() -> None:
    """Each that `hrmd check --show` lists, once."""

    def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
        found: list[str] = []
        for key, value in values.items():
            within = isinstance(value, dict) and value
            found += leaves(value, f"{prefix}{key}.") if within else [f"{prefix}{key}"]
        return found

    keys = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert len(set(keys)) == len(keys)
    shapes = load_settings().hierarchical_reasoning_model.architecture
    for key in leaves(load_settings().model_dump(mode="json")):
        for name in shapes:
            key = key.replace(f".architecture.{name}.", ".architecture.NAME.")
        assert key in keys, key


def test_every_setting_says_what_it_means() -> None:
    """In one line; a table of five columns stays one."""
    for line in page().splitlines():
        if line.startswith("| `"):
            cells = line.replace("\\|", "").split("|")
            assert len(cells) == 7, line
            assert cells[5].strip(), line


@pytest.mark.parametrize(
    ("kind", "words", "limits"),
    [
        (int, "whole number", []),
        (Annotated[Decimal, Field(gt=0, le=10**6)], "number", ["> 0", "≤ 1,000,000"]),
        (Annotated[float, Field(ge=1, lt=2)] | None, "number or null", ["≥ 1", "< 2"]),
        (Literal["a", "b"], "a \\| b", []),
        (Literal["shipped"] | Path | None, "shipped or path or null", []),
        (Word, "one \\| two", []),
        (list[Path], "list of path", []),
        (dict[str, Annotated[int, Field(gt=0)]], "names with whole number", ["> 0"]),
        (Annotated[str, Field(pattern="^a$")], "text", ["`^a$`"]),
    ],
)
def test_a_type_in_a_persons_words(kind: Any, words: str, limits: list[str]) -> None:
    """And the limits, wherever they stand."""
    assert describe(kind) == (words, limits)


def test_a_section_is_its_rows() -> None:
    """Defaults are the file's; entries of a list have rows of their own."""
    found = list(rows(Example, "part", {"size": "3", "words": []}, comments_of("part:\n  size: 3  # how large\n")))
    assert [tuple(row) for row in found] == [
        ("part.size", "whole number", "`3`", "> 0, ≤ 9", "how large"),
        ("part.words", "list of keys and values", "`[]`", "", ""),
        ("part.words[].at", "whole number", "(needed)", "", "in `part.words`"),
    ]


@pytest.mark.parametrize(
    ("key", "beyond"),
    [("feed.live.compare_symbols", "51"), ("risk.max_daily_loss", "0"), ("control.port", "65536"),
     ("performance.torch_threads", "0")],
)  # fmt: skip
def test_the_limits_are_the_ones_that_hold(key: str, beyond: str) -> None:
    """What the page says is too much is refused."""
    (line,) = [line for line in page().splitlines() if line.startswith(f"| `{key}` ")]
    assert any(sign in line for sign in "≥≤><")
    with pytest.raises(SettingsError, match=key):
        load_settings(None, [f"{key}={beyond}"])


def test_comments_are_read_by_key() -> None:
    """Of the shipped file: one that stands deep in it."""
    found = comments_of(DEFAULT_PATH.read_text(encoding="utf-8"))
    assert found["broker.fyers.socket_url"] == "ticks"
