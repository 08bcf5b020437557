"""A journal as tables: what notebooks import, the views for SQL, and the example that is shipped."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from daemon.core.errors import UsageError
from daemon.core.events import Bar, Decision, Fill, OrderIntent, PositionChanged
from daemon.journal.views import VIEWS, script
from daemon.notebook import JournalTables, read_journal
from daemon.report.summary import ReplaySummary
from tests.samples import LIVELY, journaled, play, wave, write_tape

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[JournalTables, ReplaySummary]:
    """Two days of the rules, as tables and as the replay said."""
    place = tmp_path_factory.mktemp("notebook")
    tape = write_tape(place / "t.parquet", *wave(60, days=2))
    _, summary = play(tape, *LIVELY, journal=place / "j.sqlite")
    return read_journal(place / "j.sqlite"), summary


def test_the_tables_are_those_of_the_replay(told: tuple[JournalTables, ReplaySummary]) -> None:
    """To the paisa, and as many."""
    tables, summary = told
    trades = tables.trades().to_pandas()
    assert len(trades) == summary.trades > 5
    assert list(tables.equity()["equity"].to_pylist()) == [point.equity for point in summary.equity]
    assert tables.equity(by_bar=True).num_rows > 100
    assert tables.decisions().num_rows == summary.decisions
    assert sum(tables.fills()["costs"].to_pylist()) == summary.costs
    assert tables.bars().num_rows == len(journaled(tables.path, Bar))
    orders = tables.orders().to_pylist()
    assert len(orders) == summary.orders
    assert sum(order["filled"] for order in orders) == sum(fill.quantity for fill in journaled(tables.path, Fill))
    assert {order["state"] for order in orders} >= {"FILLED"}


@pytest.mark.parametrize(("view", "kind"), [(name, kind) for name, kind in VIEWS.items() if kind in (
    Bar, Decision, Fill, OrderIntent, PositionChanged)])  # fmt: skip
def test_a_view_has_every_field_of_its_kind(
    told: tuple[JournalTables, ReplaySummary], view: str, kind: type[Any]
) -> None:
    """In the order of the journal, amounts as the very text and as an exact integer."""
    tables, _ = told
    rows = tables.sql(f"SELECT * FROM {view} ORDER BY run, seq").to_pylist()
    events = journaled(tables.path, kind)
    assert len(rows) == len(events) > 0
    for row, event in zip(rows, events, strict=True):
        for name in kind.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, Decimal):
                assert Decimal(row[name]) == value
                assert Decimal(row[f"{name}_e4"]) == (value * 10_000).to_integral_value() or value != round(value, 4)
            else:
                assert row[name] == value


def test_orders_by_sql_add_up(told: tuple[JournalTables, ReplaySummary]) -> None:
    """Costs and turnover of the fills, exactly."""
    tables, summary = told
    (row,) = tables.sql("SELECT COUNT(*) AS n, SUM(costs_e4) AS costs, SUM(turnover_e4) AS turnover FROM orders")\
        .to_pylist()  # fmt: skip
    fills = journaled(tables.path, Fill)
    assert (row["n"], Decimal(row["costs"]) / 10_000) == (summary.orders, summary.costs)
    assert Decimal(row["turnover"]) / 10_000 == sum(fill.price * fill.quantity for fill in fills)


def test_a_query_that_is_wrong_is_one_line(told: tuple[JournalTables, ReplaySummary]) -> None:
    """It names the journal; and nothing can be written."""
    tables, _ = told
    before = tables.path.read_bytes()
    for query in ("SELECT x FROM fills", "DELETE FROM events"):
        with pytest.raises(UsageError, match=r"j\.sqlite: .*docs/journal\.sql"):
            tables.sql(query)
    assert tables.path.read_bytes() == before


def test_the_shipped_views_are_those_of_the_code() -> None:
    """`python -m daemon.journal.views > docs/journal.sql`."""
    assert (ROOT / "docs" / "journal.sql").read_text().endswith(script())


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell, in order; it holds no output."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = json.loads((ROOT / "docs" / "examples" / "a-day.ipynb").read_text())["cells"]
    namespace: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), namespace)
    assert isinstance(namespace["decisions"], pd.DataFrame)
    assert len(namespace["decisions"]) > 50
