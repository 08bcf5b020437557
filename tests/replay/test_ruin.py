"""More is lost than there was, and the loser is still held at the end: a report in spite of it."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from daemon.core.json_form import encode
from daemon.report.sides import certainty
from daemon.report.terminal import print_summary
from daemon.run.sensitivity import sensitivity
from tests.own_classes import own, write_class
from tests.samples import DAY, LIVELY, OPEN, play, settings_of, write_tape

SECOND = 1_000_000_000


def test_a_ruin_is_reported(tmp_path: Path) -> None:
    """Bought on the way up, worth a fifth of it at the end, in the middle of a bar."""
    prices = [800.0 + minute for minute in range(20)] + [819.0 * 0.86**step for step in range(1, 12)]
    seconds = [60 * minute + 10 for minute in range(20)] + [1200 + 3 * step for step in range(1, 12)]
    times = [OPEN + second * SECOND for second in seconds]
    tape = write_tape(tmp_path / "t.parquet", times, prices)
    replay, summary = play(
        tape, *LIVELY, "broker.paper.starting_cash=100000", "strategy.rules.quantity=500", "strategy.rules.slow=20",
        "strategy.rules.fast=4", "strategy.rules.min_bars=5", "feed.max_jump_percent=20", "risk.stale_after_s=100000",
        report=tmp_path / "page",
    )  # fmt: skip
    document = msgspec.json.decode(encode(summary))
    assert document["net_pnl"].startswith("-")
    assert float(document["total_return"]) < -1
    assert [document[name] for name in ("sharpe", "sortino", "calmar")] == [None, None, None]
    assert len(document["open_trades"]) == 1, (document["trades"], document["fills"])
    assert document["exposure"] > 0
    assert any("the account was ruined: −₹2" in note for note in document["notes"]), document["notes"]
    assert "still open" in (tmp_path / "page" / "index.html").read_text()
    assert replay.trades[-1].open


@pytest.mark.parametrize(("cash", "denied"), [(100_000, False), (79_000, True)])
def test_paper_lends_no_more_than_a_broker(tmp_path: Path, cash: int, *, denied: bool) -> None:
    """500 at 800 need a fifth of ₹4 lakh; who hasn't that buys nothing, and who was ruined neither."""
    prices = [800.0] * 10 + [800.0 + minute / 10 for minute in range(20)]
    times = [OPEN + (60 * minute + 10) * SECOND for minute in range(30)]
    tape = write_tape(tmp_path / "t.parquet", times, prices)
    _, summary = play(
        tape, *LIVELY, f"broker.paper.starting_cash={cash}", "strategy.rules.quantity=500", "risk.stale_after_s=100000"
    )
    assert ("funds" in summary.denied, summary.fills == 0) == (denied, denied), summary


HOLDER = """\
from strategies.own import buy, hold
class Holder:
    def decide(self, seen):
        return hold("held") if seen.position else buy(500, "for good")
"""


def test_a_ruin_that_comes_back_within_the_day_is_one(tmp_path: Path) -> None:
    """Bought at 801, worth nothing at 560, back at 900: no broker would have kept it, and no ratio says otherwise."""
    minutes, swing = range(60), [800.0, 801.0, *range(780, 540, -20), *range(560, 900, 20)]
    prices = [float(swing[minute]) if minute < len(swing) else 900.0 for minute in minutes]
    times = [OPEN + (60 * minute + 10) * SECOND + day * DAY for day in range(2) for minute in minutes]
    tape = write_tape(tmp_path / "t.parquet", times, [*prices, *[900.0] * 60])
    write_class(tmp_path, HOLDER)
    asked = (*own(tmp_path, "my_folder.module:Holder"), "broker.paper.starting_cash=100000")
    _, summary = play(tape, *asked)
    assert min(point.equity for point in summary.equity) > 100_000
    assert [summary.sharpe, summary.sortino, summary.calmar] == [None, None, None]
    assert summary.max_drawdown >= 1, "at the closes of sessions it never fell"
    assert any("the account was ruined: −₹" in note and "on 2026-01-05 09:" in note for note in summary.notes)
    (row, *_) = rows = sensitivity(settings_of(*asked), [tape], [], "zero")
    assert row.net_pnl == summary.net_pnl > 0
    assert all(row.ruined for row in rows)
    beside = msgspec.structs.replace(summary, sensitivity=rows)
    console = Console(width=100, file=io.StringIO())
    print_summary(console, beside, [])
    assert console.file.getvalue().count("ruined") == 1 + len(rows)  # type: ignore[attr-defined]
    assert certainty(beside).count("ruined") == len(rows)
