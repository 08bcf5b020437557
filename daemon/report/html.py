"""Turns a replay into one self-contained page, `index.html`, with plotly's JavaScript inside it.

Invariant: the page fetches nothing, and text that came from a tape or a tape's name is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from daemon.core.errors import UsageError
from daemon.core.events import Bar, Decision, Fill
from daemon.report.charts import depth_figure, equity_figure, halt_figure, price_figure, to_script
from daemon.report.fragments import facts, funnel, period, regimes, tiles, trade_table, turned_away, warnings
from daemon.report.summary import EquityPoint, ReplaySummary
from daemon.report.text import rupees
from daemon.report.trades import Trade

PRICE_PANELS = 4


def write_report(
    directory: Path,
    summary: ReplaySummary,
    bars: Sequence[Bar],
    decisions: Sequence[Decision],
    fills: Sequence[Fill],
    trades: Sequence[Trade],
    equity: Sequence[EquityPoint] = (),
) -> Path:
    """Write `directory/index.html` (made if missing) and return its path; raises `UsageError` where that can't be.

    `bars` are those of the strategy's interval; `equity` is finer than the sessions' ends, which `summary` holds.
    """
    path = directory / "index.html"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(render(summary, bars, decisions, fills, trades, equity), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--report {directory}: can't be written ({error.strerror})") from None
    return path


def render(
    summary: ReplaySummary,
    bars: Sequence[Bar],
    decisions: Sequence[Decision],
    fills: Sequence[Fill],
    trades: Sequence[Trade],
    equity: Sequence[EquityPoint] = (),
) -> str:
    """The page; arguments as for `write_report`."""
    template = Template(files("daemon.report").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{', '.join(summary.symbols)} · {summary.strategy}"),
        period=period(summary),
        facts=facts(summary),
        warnings=warnings(summary),
        tiles=tiles(summary),
        funnel=funnel(summary),
        turned_away=turned_away(summary),
        charts=_charts(summary, bars, decisions, fills, equity or summary.equity),
        regimes=regimes(summary),
        trades=trade_table(trades),
        fingerprint=escape(summary.decisions_sha256),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
    )


def _charts(
    summary: ReplaySummary,
    bars: Sequence[Bar],
    decisions: Sequence[Decision],
    fills: Sequence[Fill],
    equity: Sequence[EquityPoint],
) -> str:
    cards = []
    symbols = _busiest(bars, fills)
    for number, symbol in enumerate(symbols[:PRICE_PANELS]):
        own = [bar for bar in bars if bar.symbol == symbol]
        figure = price_figure(own, [fill for fill in fills if fill.symbol == symbol])
        cards.append(_card(f"{escape(symbol)} · {escape(summary.interval)} bars", to_script(f"price{number}", figure)))
    if len(symbols) > PRICE_PANELS:
        left_out = escape(", ".join(symbols[PRICE_PANELS:]))
        cards.append(f'<p class="empty">Fewer fills, not drawn: {left_out}</p>')
    if not symbols:
        cards.append(_card("Price", '<p class="empty">No bar was closed, so there is nothing to draw.</p>'))
    if any(point.equity != summary.starting_equity for point in equity):
        cards.append(_card("Net P&amp;L and drawdown", to_script("equity", equity_figure(summary, equity))))
    else:
        unchanged = f'<p class="empty">Equity stayed at {rupees(summary.starting_equity)}.</p>'
        cards.append(_card("Net P&amp;L and drawdown", unchanged))
    reasoned = [decision for decision in decisions if decision.segments]
    if reasoned and summary.hrm_metrics is not None:
        depth = to_script("depth", depth_figure(reasoned, summary.hrm_metrics.max_segments))
        cards.append(_card("Reasoning depth and market complexity", depth))
        cards.append(_card("How deep it reasoned, and why it stopped", to_script("halts", halt_figure(reasoned))))
    return "".join(cards)


def _busiest(bars: Sequence[Bar], fills: Sequence[Fill]) -> list[str]:
    """Symbols that have bars, most fills first."""
    counts = dict.fromkeys((bar.symbol for bar in bars), 0)
    for fill in fills:
        if fill.symbol in counts:
            counts[fill.symbol] += 1
    return sorted(counts, key=lambda symbol: (-counts[symbol], symbol))


def _card(title: str, body: str) -> str:
    return f'<section class="card"><h2>{title}</h2>{body}</section>'
