from __future__ import annotations

import io
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from daemon.report.html import render
from daemon.report.page import Shown, page_data
from daemon.report.summary import ReplaySummary
from daemon.report.terminal import BAR_CELLS, bar, print_summary, sparkline
from daemon.report.trades import Trade
from tests.unit.report.samples import Sample


def shown(summary: ReplaySummary, trades: list[Trade], width: int = 100) -> str:
    """What a terminal of `width` columns shows."""
    stream = io.StringIO()
    print_summary(Console(file=stream, width=width), summary, trades)
    return stream.getvalue()


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Eight sessions with trades."""
    return Sample()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_it_fits(sample: Sample, width: int) -> None:
    """No line is wider than the terminal, and none is cut with an ellipsis."""
    text = shown(sample.summary(), sample.tally.trades, width)
    assert max(len(line) for line in text.splitlines()) <= min(width, 120)
    assert "…" not in text


def test_what_must_be_known_stands_first(sample: Sample) -> None:
    """Simulated, untrained and the notes come before the first rupee."""
    text = shown(sample.summary(), sample.tally.trades)
    first_rupee = text.index("₹")
    for warning in ("SIMULATED TAPE", "MODEL UNTRAINED", "index traded as its future"):
        assert text.index(warning) < first_rupee


def test_nothing_is_said_that_is_not_so(sample: Sample) -> None:
    """A recorded tape and a trained model carry no warning."""
    text = shown(sample.summary(simulated=False, model="hrm-27m 0123abcd", notes=[]), sample.tally.trades)
    assert "SIMULATED" not in text
    assert "UNTRAINED" not in text
    assert "hrm-27m 0123abcd" in text


def test_the_path_the_money_and_the_refusals(sample: Sample) -> None:
    """Counts along the path, rejected ticks by reason, denied orders by check, P&L and costs."""
    summary = sample.summary()
    text = shown(summary, sample.tally.trades)
    for part in ("951,204", "41,377", "backward time", "max order notional", "net P&L", "costs", "Sharpe",
                 "average depth", "stopped by", "q halt", "ranging", "mostly chance"):  # fmt: skip
        assert part in text


def test_a_run_without_reasoning_or_trades() -> None:
    """Rules have no reasoning; no trade is said, not left blank."""
    quiet = Sample(sessions=1, trading=False)
    summary = msgspec.structs.replace(quiet.summary(model=""), hrm_metrics=None)
    text = shown(summary, [])
    assert "No trade was closed." in text
    assert "Reasoning" not in text
    assert "model" not in text


def test_of_one_session_no_ratio_is_said() -> None:
    """A year of a day says nothing, and neither does its close of a fall inside it; one is no plural."""
    sample = Sample(sessions=1)
    summary = sample.summary()
    text = shown(summary, [])
    assert summary.calmar is None
    assert "1 session " in text
    assert "of one session no Sharpe, Sortino or Calmar can be said" in text
    page = render(summary, Shown(bars=sample.bars, equity=sample.equity))
    assert "one session: no Sharpe, Sortino or Calmar" in page
    assert re.search(r"of session closes; [0-9.]+ % of bar closes", page)


def test_a_run_without_anything() -> None:
    """No tick was accepted: no period, no equity, no regime, and no crash."""
    empty = msgspec.structs.replace(
        Sample(sessions=1, trading=False).summary(), first_ts=None, last_ts=None, equity=[], sessions=0, by_regime={},
        hrm_metrics=None, ticks=0, ticks_accepted=0, ticks_rejected={}, denied={}, total_return=None,
    )  # fmt: skip
    text = shown(empty, [])
    assert "no accepted tick" in text
    assert "Equity" not in text


def test_trouble_is_shown(sample: Sample) -> None:
    """Failed decisions, orders that the venue rejected, missed deadlines, and a model that nobody timed."""
    summary = sample.summary()
    assert summary.hrm_metrics is not None
    metrics = msgspec.structs.replace(summary.hrm_metrics, deadline_misses=17, inference_ms=None)
    text = shown(msgspec.structs.replace(summary, failed_decisions=3, rejected_orders=2, hrm_metrics=metrics), [])
    assert "decisions failed" in text
    assert "orders rejected" in text
    assert "inference" not in text


def test_tape_names_are_not_markup(sample: Sample) -> None:
    """A file called [red] is shown as it is."""
    assert "[red]x.parquet" in shown(sample.summary(tapes=["[red]x.parquet"], notes=["[bold]n"]), [])


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=300), st.integers(1, 80))
def test_sparkline_fits_and_ends_where_the_values_end(values: list[float], cells: int) -> None:
    """At most `cells` characters; the last one is the last value's."""
    line = sparkline(values, cells)
    assert len(line) == min(len(values), cells)
    if len(values) <= cells and max(values) > min(values) and values[-1] == max(values):
        assert line[-1] == "█"


def test_sparkline_of_what_does_not_move() -> None:
    """A flat line, not a division by zero."""
    assert sparkline([5.0, 5.0], 10) == "▄▄"


@given(st.floats(0, 1))
def test_bars_fit_and_show_what_is_there(share: float) -> None:
    """Never wider than its cells; empty only for nothing."""
    assert len(bar(share)) <= BAR_CELLS
    assert (bar(share) == "") == (share == 0)


@pytest.mark.parametrize("width", [80, 120])
def test_a_trade_that_is_still_open_says_so(sample: Sample, width: int) -> None:
    """Its price is the last one, not that of an exit; on the page, too."""
    still = msgspec.structs.replace(sample.tally.trades[-1], open=True)
    text = shown(sample.summary(), [*sample.tally.trades, still], width)
    assert text.count("(open)") == 1
    assert max(len(line) for line in text.splitlines()) <= width
    listed = page_data(sample.summary(), Shown(trades=[*sample.tally.trades, still]))["trades"]
    assert [row["to"] is None for row in listed] == [*(False for _ in sample.tally.trades), True]


def test_a_ruin_has_no_ratios(sample: Sample) -> None:
    """A dash in their place."""
    ruin = msgspec.structs.replace(sample.summary(), sharpe=None, sortino=None, calmar=None, total_return=-1.3)
    text = shown(ruin, [])
    assert re.search(r"Sharpe +-", text)
    assert "-130" in text.replace("−", "-")
