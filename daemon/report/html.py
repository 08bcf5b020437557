"""Turns a run into one self-contained page, `index.html`: figures as HTML, charts and the list of trades by its script.

Invariant: the page fetches nothing, and text that came from a tape or a tape's name is escaped.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from daemon.report import fragments, sides
from daemon.report.page import Shown, as_block, page_data
from daemon.report.shell import ATTRIBUTION, CHARTS, asset, card, document, write_page
from daemon.report.summary import ReplaySummary
from daemon.report.text import rupees


def write_report(directory: Path, summary: ReplaySummary, shown: Shown) -> Path:
    """Write `directory/index.html` (made if missing) and return its path; raises `UsageError` where that can't be."""
    path = directory / "index.html"
    write_page(path, render(summary, shown), directory)
    return path


def render(summary: ReplaySummary, shown: Shown) -> str:
    """The page."""
    title = f"{', '.join(summary.symbols)} · {summary.strategy}"
    scripts = [asset(CHARTS), asset("report.js")]
    return document(title, _body(title, summary, shown), scripts, as_block(page_data(summary, shown)))


def _body(title: str, summary: ReplaySummary, shown: Shown) -> str:
    parts = [
        f"<main>\n<h1>{escape(title)}<span>{fragments.period(summary)}</span></h1>",
        f'<div class="facts">{fragments.facts(summary)}</div>',
        fragments.warnings(summary),
        f'<div class="tiles">{fragments.tiles(summary, shown.equity)}</div>',
        sides.certainty(summary),
        _chart(summary, shown),
        _pair(card("By month", sides.months(summary)), card("By symbol", sides.symbols(summary))),
        _pair(card("Costs by kind", sides.costs(summary)), card("By market regime", fragments.regimes(summary))),
        fragments.reasoning(summary),
        _pair(
            card("From tick to trade", f'<div class="funnel">{fragments.funnel(summary)}</div>'),
            card("Turned away", f'<div class="away">{fragments.turned_away(summary)}</div>'),
        ),
        card("Trades", _trades(shown), "trades"),
        "<footer>Ratios are of session closes, annualised by √252, without a risk-free rate. Times are IST. "
        f"Decisions SHA-256 {escape(summary.decisions_sha256)}<br>{ATTRIBUTION}</footer>\n</main>",
    ]
    return "\n".join(part for part in parts if part)


def _pair(left: str, right: str) -> str:
    return f'<div class="pair">{left}{right}</div>'


def _chart(summary: ReplaySummary, shown: Shown) -> str:
    if not shown.bars:
        return card("Price", '<p class="empty">No bar was closed, so there is nothing to draw.</p>')
    moved = any(point.equity != summary.starting_equity for point in (*shown.equity, *summary.equity))
    still = "" if moved else f'<p class="empty">Equity stayed at {rupees(summary.starting_equity)}.</p>'
    return card(
        f"Price, equity and reasoning · {escape(summary.interval)} bars",
        '<div class="bar"><label>Symbol <select id="symbol"></select></label>'
        '<span class="buttons" role="group" aria-label="Zoom">'
        '<button type="button" data-zoom="day">Day</button><button type="button" data-zoom="week">Week</button>'
        '<button type="button" data-zoom="all">All</button>'
        '<button type="button" data-zoom="in" aria-label="Zoom in">+</button>'
        '<button type="button" data-zoom="out" aria-label="Zoom out">−</button></span>'
        '<label><input type="checkbox" id="fills" checked> fills</label>'
        '<label><input type="checkbox" id="decisions" checked> decisions</label></div>'
        '<div id="read" class="read" aria-live="polite"></div>'
        '<div id="chart" class="chart" tabindex="0" role="application" aria-label="Candles, equity, drawdown, '
        'reasoning depth and complexity over one time axis. Arrow keys move from bar to bar, plus and minus zoom, '
        'Home and End go to the ends, 0 shows all."></div>'
        f'{still}<p class="empty" id="notdrawn"></p>',
        "wide",
    )  # fmt: skip


def _trades(shown: Shown) -> str:
    if not shown.trades:
        return (
            '<p class="empty">No trade was closed. See above where the path from tick to trade ended: without '
            "decisions there were too few bars, without orders the strategy held, without fills risk or the venue said "
            "no.</p>"
        )
    return (
        '<div class="bar"><label>Symbol <input id="find" type="search" size="14" autocomplete="off"></label>'
        '<label>Side <select id="side"><option value="">all</option><option>LONG</option><option>SHORT</option>'
        '</select></label><label>Result <select id="result"><option value="">all</option><option value="won">won'
        '</option><option value="lost">lost</option><option value="open">still open</option></select></label>'
        '<label>Sort <select id="sort"></select></label><span id="count" aria-live="polite"></span></div>'
        '<p class="hint">A row (click, or Enter) goes to its candle.</p>'
        '<table class="stack" id="trades"><thead></thead><tbody></tbody></table>'
        '<button type="button" id="more" hidden>Show more</button>'
    )
