"""The report in a browser, where playwright and a Chromium are: nothing clipped or fetched, all of it reachable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.report.html import write_report
from daemon.report.page import Shown
from tests.integration.browsers import Visit, clipped
from tests.unit.report.samples import Sample

CLIPPED = clipped("td, th, b, span, p, small, h1, h2, label, div", "#chart")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, twelve sessions, with trades."""
    sample = Sample(sessions=12, symbols=("NSE:SBIN-EQ", "NSE:NIFTY50-INDEX"))
    shown = Shown(bars=sample.bars, decisions=sample.decisions, fills=sample.fills, equity=sample.equity,
                  trades=sample.tally.trades)  # fmt: skip
    return write_report(tmp_path_factory.mktemp("page"), sample.summary(), shown)


class ReportVisit(Visit):
    """Of a report, when its chart is drawn."""

    def __init__(self, browser: Any, file: Path, width: int = 1440, scheme: str = "light") -> None:
        super().__init__(browser, file.as_uri(), width, scheme)
        self.page.wait_for_selector("#chart[data-from]")

    def texts(self, column: int) -> list[str]:
        """A column of the list of trades."""
        return list(self.page.locator(f"#trades tbody td:nth-child({column})").all_inner_texts())

    def seen(self) -> tuple[int, int]:
        """The first and the last bar that the chart shows."""
        data = self.page.locator("#chart").evaluate("one => ({...one.dataset})")
        return int(data["from"]), int(data["to"])


def amount(text: str) -> float:
    """Of rupees as shown."""
    return float(text.replace("−", "-").replace("₹", "").replace(",", "").replace("+", ""))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390, 360])
def test_nothing_is_clipped_fetched_or_complained_of(browser: Any, file: Path, width: int, scheme: str) -> None:
    """From a desk to a telephone; the background follows the reader's setting."""
    visit = ReportVisit(browser, file, width, scheme)
    assert visit.said == []
    assert visit.asked == [file.as_uri()]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate(CLIPPED) == []
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(14, 18, 22)"}[scheme]
    assert visit.page.locator("#chart").get_attribute("data-panes") == "5"


def test_a_trade_leads_to_its_candle_by_keyboard(browser: Any, file: Path) -> None:
    """Tab to the row, Enter: its symbol is drawn, its bars are seen, and the focus is on the chart."""
    visit = ReportVisit(browser, file)
    row = visit.page.locator("#trades tbody tr").nth(5)
    opened, closed, symbol = row.locator("td").all_inner_texts()[:3]
    whole = visit.seen()
    row.focus()
    visit.page.keyboard.press("Enter")
    visit.until(f"document.getElementById('chart').dataset.to < {whole[1]}")
    first, last = visit.seen()
    held = visit.page.evaluate(
        """([opened, closed]) => (new Date(closed) - new Date(opened)) / 300000""", [opened, closed]
    )
    assert last - first == pytest.approx(held + 2 * max(15, held / 2), abs=3)
    assert visit.page.locator("#symbol option:checked").inner_text() == symbol
    assert visit.page.evaluate("document.activeElement.id") == "chart"
    read = visit.page.locator("#read").inner_text()
    assert read.startswith(opened[:-1])
    assert "bought" in read or "sold" in read


def test_the_price_axis_follows_the_visible_bars(browser: Any, file: Path) -> None:
    """Nearer, it spans the prices of what is seen, not those of all days."""
    visit = ReportVisit(browser, file)
    spans = []
    for _ in range(2):
        visit.page.wait_for_selector("#chart[data-high]")
        data = visit.page.locator("#chart").evaluate("one => ({...one.dataset})")
        spans.append(float(data["high"]) - float(data["low"]))
        visit.page.locator("#chart").evaluate("one => { delete one.dataset.high; }")
        visit.page.get_by_role("button", name="Day").click()
    assert 0 < spans[1] < 0.8 * spans[0]


def test_the_chart_is_moved_by_keys(browser: Any, file: Path) -> None:
    """From bar to bar, to the ends, nearer and to all of it again."""
    visit = ReportVisit(browser, file)
    all_of_it = visit.seen()
    visit.page.locator("#chart").focus()
    visit.page.keyboard.press("Home")
    first = visit.page.locator("#read").inner_text()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.locator("#read").inner_text() != first
    visit.page.keyboard.press("ArrowLeft")
    assert visit.page.locator("#read").inner_text() == first
    visit.page.keyboard.press("+")
    nearer = visit.seen()
    assert nearer[1] - nearer[0] < all_of_it[1] - all_of_it[0]
    visit.page.keyboard.press("0")
    assert visit.seen() == all_of_it


def test_trades_are_sorted_and_filtered(browser: Any, file: Path) -> None:
    """By a column both ways, by side, by result and by symbol; the count says how many are left."""
    visit = ReportVisit(browser, file)
    before = visit.texts(9)
    visit.page.get_by_role("button", name="Net").click()
    falling = [amount(text) for text in visit.texts(9)]
    assert falling == sorted(map(amount, before), reverse=True)
    visit.page.get_by_role("button", name="Net").click()
    assert [amount(text) for text in visit.texts(9)] == falling[::-1]
    assert visit.page.locator("#trades th[aria-sort=ascending]").inner_text().startswith("Net")
    visit.page.locator("#side").select_option("SHORT")
    assert set(visit.texts(4)) == {"SHORT"}
    visit.page.locator("#result").select_option("won")
    assert all(amount(text) > 0 for text in visit.texts(9))
    visit.page.locator("#find").fill("nifty")
    assert set(visit.texts(3)) == {"NSE:NIFTY50-INDEX"}
    assert visit.page.locator("#count").inner_text().startswith(f"{len(visit.texts(3))} of {len(before)} trades")


def test_the_reader_may_change_light_and_dark(browser: Any, file: Path) -> None:
    """Without a new visit, and without a complaint."""
    visit = ReportVisit(browser, file)
    visit.page.emulate_media(color_scheme="dark")
    visit.until("getComputedStyle(document.body).backgroundColor === 'rgb(14, 18, 22)'")
    assert visit.said == []
