from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from daemon.core.errors import UsageError
from daemon.core.events import Side
from daemon.report import fragments
from daemon.report.charts import depth_figure, equity_figure, halt_figure, price_figure
from daemon.report.fragments import TRADES_LISTED
from daemon.report.html import PRICE_PANELS, render, write_report
from daemon.report.summary import EquityPoint
from tests.unit.report.samples import Sample

EVIL = "<img src=x onerror=alert(1)>"


class Addresses(HTMLParser):
    """Collects every address that the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep `src` and `href`."""
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Three sessions with trades."""
    return Sample(sessions=3)


def page(sample: Sample, **values: object) -> str:
    """The whole page of `sample`."""
    return render(
        sample.summary(**values), sample.bars, sample.decisions, sample.fills, sample.tally.trades, sample.equity
    )


def test_the_page_is_one_file_that_loads_nothing(sample: Sample, tmp_path: Path) -> None:
    """The code of plotly is inside, no address is outside, and the policy forbids the network."""
    path = write_report(tmp_path / "new" / "report", sample.summary(), sample.bars, sample.decisions, sample.fills,
                        sample.tally.trades, sample.equity)  # fmt: skip
    html = path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]
    parser = Addresses()
    parser.feed(html)
    assert parser.found == []
    assert "default-src 'none'" in html
    assert len(html) > 1_000_000
    assert {"price0", "equity", "depth", "halts"} <= set(re.findall(r'id="(\w+)"', html))


def test_what_must_be_known_stands_first(sample: Sample) -> None:
    """Simulated, untrained and the notes come before the numbers."""
    html = page(sample)
    for warning in ("Simulated tape.", "Model untrained", "index traded as its future"):
        assert html.index(warning) < html.index("Net P&amp;L")
    assert "Simulated" not in page(sample, simulated=False)


def test_names_are_escaped(sample: Sample) -> None:
    """A tape, symbol, note or model that holds HTML is text."""
    summary = sample.summary(tapes=[EVIL], symbols=[EVIL], notes=[EVIL], model="untrained " + EVIL)
    summary = msgspec.structs.replace(
        summary, ticks_rejected={EVIL: 1}, by_regime={EVIL: next(iter(summary.by_regime.values()))}
    )
    trade = msgspec.structs.replace(sample.tally.trades[0], symbol=EVIL)
    bar = msgspec.structs.replace(sample.bars[0], symbol=EVIL)
    made = msgspec.structs.replace(sample.decisions[0], symbol=EVIL)
    html = render(summary, [bar], [made], [], [trade], sample.equity)
    assert EVIL not in html
    assert "&lt;img src=x" in html


def test_a_run_without_trades_says_where_to_look() -> None:
    """An empty state that helps, and no equity curve of a line that doesn't move."""
    quiet = Sample(sessions=1, trading=False)
    html = page(quiet)
    assert "No trade was closed" in html
    assert "Equity stayed at ₹10,00,000.00" in html
    assert 'id="price0"' in html


def test_a_run_without_anything(sample: Sample) -> None:
    """No tick accepted: no bars, no decisions, still a page."""
    empty = msgspec.structs.replace(
        sample.summary(model=""), first_ts=None, last_ts=None, equity=[], by_regime={}, hrm_metrics=None,
        ticks_rejected={}, denied={}, ticks_repaired=0,
    )  # fmt: skip
    html = render(empty, [], [], [], [])
    for text in ("no accepted tick", "No bar was closed", "No decision was taken", "every tick was accepted"):
        assert text in html


def test_the_busiest_symbols_are_drawn() -> None:
    """Of many symbols the four with most fills; the others are named."""
    symbols = tuple(f"S{number}" for number in range(PRICE_PANELS + 2))
    many = Sample(sessions=1, symbols=symbols)
    fills = [msgspec.structs.replace(many.fills[0], symbol=symbol) for symbol in ("S5", "S5", "S4", "elsewhere")]
    html = render(many.summary(), many.bars, many.decisions, fills, many.tally.trades)
    assert html.index("S5 · 5m bars") < html.index("S4 · 5m bars") < html.index("S0 · 5m bars")
    assert "not drawn: S2, S3" in html


def test_long_lists_of_trades_are_cut_and_say_so(sample: Sample) -> None:
    """The newest come first; how many are missing is said."""
    trades = [sample.tally.trades[0]] * (TRADES_LISTED + 3)
    table = fragments.trade_table(trades)
    assert table.count("<tr>") == TRADES_LISTED + 1
    assert "3 older trades" in table


def test_a_place_that_cannot_be_written(sample: Sample, tmp_path: Path) -> None:
    """A file where the directory should be: exit 2, named."""
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(UsageError, match=r"--report .*file"):
        write_report(blocker, sample.summary(), [], [], [], [])


def test_fills_sit_on_the_bar_they_fell_into(sample: Sample) -> None:
    """An arrow's place is its bar's, its height its price; one after the last bar stays on the last."""
    late = msgspec.structs.replace(sample.fills[0], ts=sample.bars[-1].ts_close + 1, side=Side.BUY)
    first = msgspec.structs.replace(sample.fills[0], ts=sample.bars[0].ts_close, side=Side.BUY)
    figure = price_figure(sample.bars, [first, late])
    arrows = next(trace for trace in figure.data if trace.name == "buy")
    candles = figure.data[0]
    assert list(arrows.x) == [candles.x[0], candles.x[-1]]
    assert list(arrows.y) == [float(first.price), float(late.price)]


def test_an_index_has_no_volume_panel(sample: Sample) -> None:
    """Volume −1 is none."""
    bars = [msgspec.structs.replace(bar, volume=-1) for bar in sample.bars]
    assert {trace.name for trace in price_figure(bars, []).data} == {"price", "buy", "sell"}


def test_equity_starts_at_the_start(sample: Sample) -> None:
    """P&L begins at nothing; the drawdown is measured from the peak so far."""
    start = sample.summary().starting_equity
    points = [EquityPoint(1, start * 2), EquityPoint(2, start)]
    line, drawdown = equity_figure(sample.summary(), points).data
    assert list(line.y) == [0, float(start), 0]
    assert list(drawdown.y) == [0, 0, -50]


def test_depth_and_halts_count_every_decision(sample: Sample) -> None:
    """One bar a decision over time; the stacks add up to all decisions."""
    depth, complexity = depth_figure(sample.decisions, 8).data
    assert len(depth.y) == len(complexity.y) == len(sample.decisions)
    assert sum(sum(stack.y) for stack in halt_figure(sample.decisions).data) == len(sample.decisions)
