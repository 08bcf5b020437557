"""YAML and JSON of others: one meaning, or one line that says where there is none."""

from __future__ import annotations

import pytest

from daemon.core.documents import DocumentError, parse_json, parse_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1 is not valid YAML: a is set twice, first in line 1: write it once"),
        ("- {x: 1, x: 1}", "x is set twice"),
        ("!!set {a, a}", "a is set twice"),
        ("a: &x [*x]", "the alias *x has no anchor before it, or stands inside its own"),
        ("a: *b", "the alias *b has no anchor before it"),
        ("x: !!int ''", "no value can be made of ('')"),
        ("x: !!timestamp z", "no value can be made of ('z')"),
        ("x: !!bool q", "no value can be made of ('q')"),
        ("a:\n\tb: 1", "line 2, column 1 is not valid YAML: a tab; indent with spaces"),
        ("x: 2026-13-01", "line 1, column 4 is not valid YAML: month must be in 1..12 ('2026-13-01')"),
        ("x: " + "9" * 6000, "Exceeds the limit"),
        ("x: !!python/object:os.system 1", "could not determine a constructor"),
        ("? [1]\n: 2", "found unhashable key"),
        ("a: 1\n---\nb: 2", "found another document"),
        ("\0", "control characters"),
        ("a: \ud800", "bytes that are no UTF-8"),
    ],
)
def test_a_yaml_text_without_one_meaning(text: str, says: str) -> None:
    """The line and the column, and what is wrong there."""
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_yaml_is_used_for() -> None:
    """Aliases, merges that override, and one name in two mappings are meant."""
    assert parse_yaml("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}
    assert parse_yaml("x: &d {a: 1, b: 1}\ny:\n  <<: *d\n  a: 2") == {"x": {"a": 1, "b": 1}, "y": {"a": 2, "b": 1}}
    assert parse_yaml("[{a: 1}, {a: 2}]") == [{"a": 1}, {"a": 2}]
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": {"b": 1, "b": 2}}', "b is set twice: write it once"),
        ("[" * 100_000, "is nested too deeply"),
        (b"\xff", "is not valid JSON"),
        ("9" * 6000, "is not valid JSON"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_json_text_without_one_meaning(text: str | bytes, says: str) -> None:
    """Of two values for one key neither counts."""
    with pytest.raises(DocumentError, match=says):
        parse_json(text)
