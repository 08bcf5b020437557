"""`hrmd instruments`: the newest copy, a given day, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli import main
from tests.unit.market.masters import put

Capture = pytest.CaptureFixture[str]


def show(directory: Path, *arguments: str) -> int:
    """The exit code of `hrmd instruments show`."""
    changes = (f"market.symbol_master.directory={directory}", "market.symbol_master.min_rows=1")
    return main(["instruments", "show", *arguments, *[word for change in changes for word in ("--set", change)]])


def test_what_symbols_are(capsys: Capture, tmp_path: Path) -> None:
    """As a table and as JSON."""
    put(tmp_path)
    assert show(tmp_path, "NSE:NIFTY-FUT1", "NSE:SBIN-EQ") == 0
    assert "NSE:NIFTY26JANFUT" in capsys.readouterr().out
    assert show(tmp_path, "NSE:NIFTY50-INDEX", "--day", "2026-01-05", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "day": "2026-01-05",
        "instruments": [{"symbol": "NSE:NIFTY50-INDEX", "kind": "index", "traded_as": "NSE:NIFTY26JANFUT",
                         "lot_size": 65, "tick_size": "0.10", "freeze_quantity": 1800, "expiry": None,
                         "strike": None, "right": None, "settled": None}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["NSE:TCS-EQ"], "symbol NSE:TCS-EQ: not in the symbol master of 2026-01-05"),
        (["NSE:SBIN-EQ", "--day", "2026-01-06"], "2026-01-06/NSE_CM.csv can't be read"),
        (["NSE:SBIN-EQ", "--day", "monday"], "--day monday: expected a date"),
    ],
)
def test_what_can_not_be_shown(capsys: Capture, tmp_path: Path, arguments: list[str], why: str) -> None:
    """One line, exit 2."""
    put(tmp_path)
    assert show(tmp_path, *arguments) == 2
    assert why in capsys.readouterr().err


def test_no_copy_at_all(capsys: Capture, tmp_path: Path) -> None:
    """What names and settings say, and what gets one; and getting one that nobody serves says so."""
    assert show(tmp_path, "NSE:SBIN-EQ") == 0
    shown = capsys.readouterr().out
    assert "names and settings alone" in shown
    assert "hrmd instruments update gets it" in shown
    assert show(tmp_path, "NSE:NIFTY26JAN26000CE", "NSE:SBIN26JANFUT", "NSE:NIFTY-FUT1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["day"] is None
    assert [
        [row[key] for key in ("kind", "traded_as", "expiry", "strike", "right", "settled")]
        for row in found["instruments"]
    ] == [
        ["option", "NSE:NIFTY26JAN26000CE", "2026-01-27", "26000", "CE", "cash"],
        ["future", "NSE:SBIN26JANFUT", "2026-01-27", None, None, "delivery"],
        ["future", None, None, None, None, None],
    ]
    assert found["instruments"][1]["lot_size"] is None  # only the symbol master has it
    assert show(tmp_path, "SBI Bank") == 2
    assert "symbol SBI Bank: no such symbol" in capsys.readouterr().err
    changes = (f"market.symbol_master.directory={tmp_path}", "market.symbol_master.url=http://127.0.0.1:1")
    assert main(["instruments", "update", *[word for change in changes for word in ("--set", change)]]) == 3
    assert "market.symbol_master.url: http://127.0.0.1:1/NSE_CM.csv can't be read" in capsys.readouterr().err


def test_what_one_order_may_be_for(capsys: Capture, tmp_path: Path) -> None:
    """An index contract's limit is the exchange's; what nobody told is a dash."""
    put(tmp_path)
    assert show(tmp_path, "NSE:NIFTY-FUT1", "NSE:SBIN-EQ") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]
    assert any(line[-1] == "freeze" for line in lines)
    assert {line[0]: line[-1] for line in lines if "NSE:" in line[0]} == {"NSE:NIFTY-FUT1": "1800", "NSE:SBIN-EQ": "-"}


def test_how_a_contract_ends(capsys: Capture, tmp_path: Path) -> None:
    """Its expiry, its strike, and whether cash or shares change hands."""
    options = ("NSE:NIFTY2611326000CE", "NSE:SBIN26JAN800PE")
    put(tmp_path, symbols=options)
    assert show(tmp_path, "NSE:NIFTY26JANFUT", *options, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["instruments"]
    assert [(row["kind"], row["expiry"], row["strike"], row["right"], row["settled"]) for row in rows] == [
        ("future", "2026-01-27", None, None, "cash"), ("option", "2026-01-13", "26000", "CE", "cash"),
        ("option", "2026-01-27", "800", "PE", "delivery"),
    ]  # fmt: skip


def test_no_copy_is_of_a_day_to_come(capsys: Capture, tmp_path: Path) -> None:
    """Refused before anything is asked for."""
    assert (
        main(["instruments", "update", "--day", "9999-01-05", "--set", "market.symbol_master.url=http://[::1]:1"]) == 2
    )
    assert "--day 9999-01-05: expected a day up to 2" in capsys.readouterr().err
