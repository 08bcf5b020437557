"""No thread of Arrow's ever holds a Python object: at the end of the interpreter that aborts the process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BY_PATH = {
    "ParquetFile",
    "ParquetWriter",
    "read_table",
    "read_schema",
    "read_metadata",
    "write_table",
    "ParquetDataset",
}
"""Of `pyarrow.parquet`: given a path, they open it themselves."""
NEVER = {"open_csv", "PythonFile", "read_json", "open_json", "ORCFile", "FeatherDataset", "input_stream", "dataset"}
ONLY_IN = {"read_csv": "daemon/core/csv.py"}
PATHS = {"path", "_path", "_part", "part", "target", "out", "fresh"}
"""What a path is called."""


def offences(source: str, module: str = "x.py") -> Iterator[str]:
    """Each place where a Python file could meet Arrow's threads."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, owner = _called(node.func)
        if name in NEVER and owner not in ("self", "cls"):
            yield f"{module}:{node.lineno}: {name} reads ahead on a thread"
        elif name in ONLY_IN and owner in ("csv", "pcsv") and module != ONLY_IN[name]:
            yield f"{module}:{node.lineno}: {name} of pyarrow stands in {ONLY_IN[name]} alone"
        elif name in BY_PATH and owner in ("pq", "parquet") and not _by_path(name, node):
            yield f"{module}:{node.lineno}: {name} of what may be no path"


def _called(function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Name):
        return function.id, ""
    if not isinstance(function, ast.Attribute):
        return "", ""
    owner = function.value
    return function.attr, owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")


def _by_path(name: str, call: ast.Call) -> bool:
    place = 1 if name == "write_table" else 0
    given = call.args[place] if len(call.args) > place else None
    if isinstance(given, ast.Call) and _called(given.func)[0] in ("str", "Path"):
        return True
    return isinstance(given, ast.Name | ast.Attribute) and getattr(given, "attr", getattr(given, "id", "")) in PATHS


def test_no_python_file_meets_a_thread_of_arrow() -> None:
    """Over all of the program."""
    modules = [path for room in ("daemon", "models", "strategies") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(modules) > 200
    found = [
        line
        for path in modules
        for line in offences(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]  # fmt: skip
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "pyarrow.csv.open_csv(Utf8Stream(path))",
        "open_csv(path)",
        "pcsv.read_csv(BytesIO(text))",
        "pq.ParquetFile(io.BytesIO(text))",
        "pq.ParquetFile(stream)",
        "pq.read_table(open(path, 'rb'))",
        "pq.write_table(table, buffer)",
        "pa.PythonFile(stream)",
    ],
)
def test_it_is_noticed_where_one_does(line: str) -> None:
    """The ways in which it was, or could be, done."""
    assert len(list(offences(line))) == 1
