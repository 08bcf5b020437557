from __future__ import annotations

import base64
import hashlib
import json
import re
import resource
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.core.errors import UsageError
from daemon.core.events import Action
from daemon.report.html import render, write_report
from daemon.report.page import Shown
from tests.unit.report.samples import Sample

EVIL = "</script><img src=x onerror=alert(1)>"


class Addresses(HTMLParser):
    """Collects every address that the page would load, and every that it leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.loud: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep `src` and `href`, and handlers and styles that stand in attributes."""
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "poster", "srcset"):
                (self.linked if tag == "a" else self.loaded).append(value or "")
            if name == "style" or name.startswith("on"):
                self.loud.append(f"{tag} {name}")


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Three sessions with trades."""
    return Sample(sessions=3)


def shown_of(sample: Sample) -> Shown:
    """What the page draws of it."""
    return Shown(bars=sample.bars, decisions=sample.decisions, fills=sample.fills, equity=sample.equity,
                 trades=sample.tally.trades)  # fmt: skip


def page(sample: Sample, **values: object) -> str:
    """The whole page of `sample`."""
    return render(sample.summary(**values), shown_of(sample))


def block(html: str) -> Any:
    """The page's JSON, as a browser finds it: to the first end of a script."""
    text = html.partition('<script type="application/json" id="run">')[2].partition("</script>")[0]
    return json.loads(text)


def outside_of_scripts(html: str) -> str:
    """What is shown without running anything."""
    return re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL)


def test_the_page_is_one_file_that_loads_nothing(sample: Sample, tmp_path: Path) -> None:
    """All code is inside; the one address is the link that the charts' licence asks for."""
    path = write_report(tmp_path / "new" / "report", sample.summary(), shown_of(sample))
    html = path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]
    parser = Addresses()
    parser.feed(html)
    assert (parser.loaded, parser.loud) == ([], [])
    assert parser.linked == ["https://www.tradingview.com/"]
    assert "url(" not in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]


def test_the_policy_runs_what_was_put_in_and_nothing_else(sample: Sample) -> None:
    """Every script and style by its hash, none inline by right, no address at all."""
    html = page(sample)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    parts = [
        *re.findall(r"<script>(.*?)</script>", html, re.DOTALL),
        *re.findall(r"<style>(.*?)</style>", html, re.DOTALL),
    ]
    assert len(parts) == 3
    for text in parts:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_four_thousand_bars_are_less_than_a_megabyte() -> None:
    """With their decisions, fills and equity."""
    many = Sample(sessions=54)
    assert len(many.bars) > 4000
    assert len(page(many).encode()) < 1_000_000


def test_what_must_be_known_stands_first(sample: Sample) -> None:
    """Simulated, untrained and the notes come before the numbers."""
    html = page(sample)
    for warning in ("Simulated tape.", "Model untrained", "index traded as its future"):
        assert html.index(warning) < html.index("Net P&amp;L")
    assert "Simulated" not in outside_of_scripts(page(sample, simulated=False))


def test_names_are_text(sample: Sample) -> None:
    """A tape, symbol, note, reason or model that holds HTML ends no element, and comes out of the JSON as it was."""
    summary = sample.summary(tapes=[EVIL], symbols=[EVIL], notes=[EVIL], model="untrained " + EVIL)
    summary = msgspec.structs.replace(
        summary, ticks_rejected={EVIL: 1}, by_regime={EVIL: next(iter(summary.by_regime.values()))},
        by_symbol={EVIL: next(iter(summary.by_symbol.values()))}, costs_by_kind={EVIL: summary.costs},
    )  # fmt: skip
    shown = Shown(
        bars=[msgspec.structs.replace(sample.bars[0], symbol=EVIL)],
        decisions=[msgspec.structs.replace(sample.decisions[0], symbol=EVIL, reason=EVIL, action=Action.BUY_LONG)],
        trades=[msgspec.structs.replace(sample.tally.trades[0], symbol=EVIL)],
    )
    html = render(summary, shown)
    assert "<img" not in html
    assert html.count("</script>") == 3
    assert "&lt;img src=x" in html
    found = block(html)
    assert (found["symbols"][0]["name"], found["trades"][0]["symbol"]) == (EVIL, EVIL)
    assert EVIL in found["reasons"]


def test_a_run_without_trades_says_where_to_look() -> None:
    """An empty state that helps, and that equity didn't move."""
    html = page(Sample(sessions=1, trading=False))
    assert "No trade was closed" in html
    assert "Equity stayed at ₹10,00,000.00" in html
    assert 'id="chart"' in html


def test_a_run_without_anything(sample: Sample) -> None:
    """No tick accepted: no bars, no decisions, still a page."""
    empty = msgspec.structs.replace(
        sample.summary(model=""), first_ts=None, last_ts=None, equity=[], by_regime={}, hrm_metrics=None,
        ticks_rejected={}, denied={}, ticks_repaired=0, by_month=[], by_symbol={}, costs_by_kind={},
        buy_and_hold=None,
    )  # fmt: skip
    html = render(empty, Shown())
    for text in (
        "no accepted tick", "No bar was closed", "No decision was taken", "every tick was accepted",
        "No session was played", "No symbol had a bar", "Nothing was paid", "3 sessions are too few",
    ):  # fmt: skip
        assert text in html


def test_every_side_of_the_result_is_shown() -> None:
    """Months, symbols, costs by kind, holding, and how sure it is: with n and block."""
    html = outside_of_scripts(page(Sample(sessions=12)))
    for text in ("2021-04", "NSE:SBIN-EQ", "Buy and hold", "n = 12 sessions, blocks of 2", "Other"):
        assert text in html


def test_a_place_that_cannot_be_written(sample: Sample, tmp_path: Path) -> None:
    """A file where the directory should be: exit 2, named."""
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(UsageError, match=r"report .*file"):
        write_report(blocker, sample.summary(), Shown())


def test_a_full_disk_leaves_the_page_that_was_there(sample: Sample, tmp_path: Path) -> None:
    """And nothing beside it."""
    before = write_report(tmp_path, sample.summary(), Shown()).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"report .*: can't be written \(File too large\)"):
            write_report(tmp_path, sample.summary(), shown_of(sample))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("index.html", before)]
