"""Turns a `ReplaySummary` and its trades into the pieces of HTML that the report's page is made of.

Invariant: every text that a user or a tape chose goes through `html.escape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from daemon.report.summary import ReplaySummary
from daemon.report.text import (
    ABSENT,
    ist_date,
    ist_minute,
    percent,
    price,
    ratio,
    rupees,
    signed_percent,
    signed_rupees,
    whole,
    words,
)
from daemon.report.trades import Direction, Trade

TRADES_LISTED = 500


def period(summary: ReplaySummary) -> str:
    """From which day to which, and how many sessions."""
    if summary.first_ts is None or summary.last_ts is None:
        return "no accepted tick"
    first, last = ist_date(summary.first_ts), ist_date(summary.last_ts)
    days = first if first == last else f"{first} to {last}"
    return f"{days} · {whole(summary.sessions)} session{'s' * (summary.sessions != 1)}"


def facts(summary: ReplaySummary) -> str:
    """One line: what was run on what."""
    parts = [
        ", ".join(summary.tapes),
        f"{summary.interval} bars",
        f"latency {summary.latency}",
        f"model {summary.model}" if summary.model else "",
        f"{whole(round(summary.ticks_per_s))} ticks/s",
    ]
    return " · ".join(escape(part) for part in parts if part)


def warnings(summary: ReplaySummary) -> str:
    """What a reader must know before the first number."""
    lines = []
    if summary.simulated:
        lines.append("<b>Simulated tape.</b> The ticks are made up by a program; nothing here is a market result.")
    if summary.model.startswith("untrained"):
        model = escape(summary.model)
        lines.append(f"<b>Model {model}.</b> Its weights were never trained; its decisions mean nothing.")
    lines += [escape(note) for note in summary.notes]
    return "".join(f'<div class="banner">{line}</div>' for line in lines)


def tiles(summary: ReplaySummary) -> str:
    """The headline numbers."""
    average = ABSENT if summary.average_trade is None else signed_rupees(summary.average_trade)
    rows = [
        ("Net P&amp;L", signed_rupees(summary.net_pnl), f"after {rupees(summary.costs)} costs", float(summary.net_pnl)),
        ("Return", signed_percent(summary.total_return), f"of {rupees(summary.starting_equity)}",
         summary.total_return or 0.0),
        ("Max drawdown", percent(summary.max_drawdown), "of session closes", -summary.max_drawdown),
        ("Sharpe", ratio(summary.sharpe), f"Sortino {ratio(summary.sortino)} · Calmar {ratio(summary.calmar)}", 0.0),
        ("Win rate", percent(summary.win_rate, 1), f"of {whole(summary.trades)} trades", 0.0),
        ("Profit factor", ratio(summary.profit_factor), f"average trade {average}", 0.0),
        ("Time in market", percent(summary.exposure, 1), f"{whole(summary.fills)} fills", 0.0),
    ]  # fmt: skip
    metrics = summary.hrm_metrics
    if metrics is not None:
        saved = f"{percent(metrics.computation_efficiency, 0)} of {metrics.max_segments} segments saved"
        rows.append(("Reasoning depth", f"{metrics.avg_reasoning_depth:.2f}", saved, 0.0))
    return "".join(
        f'<div class="tile"><span>{name}</span><b class="{_tone(value)}">{text}</b><small>{below}</small></div>'
        for name, text, below, value in rows
    )


def funnel(summary: ReplaySummary) -> str:
    """How many came through each stage."""
    steps = ("ticks_accepted", "bars", "decisions", "orders", "fills", "trades")
    return "".join(
        f"<div><b>{whole(getattr(summary, name))}</b><span>{name.removesuffix('_accepted')}</span></div>"
        for name in steps
    )


def turned_away(summary: ReplaySummary) -> str:
    """Ticks rejected and orders denied, by reason."""
    groups = {"tick": summary.ticks_rejected, "order denied": summary.denied}
    rows = [(f"{kind}: {words(name)}", n) for kind, counts in groups.items() for name, n in counts.items() if n]
    if summary.ticks_repaired:
        rows.append(("volume repaired", summary.ticks_repaired))
    if not rows:
        return '<p class="empty">Nothing: every tick was accepted and no order was denied.</p>'
    most = max(count for _, count in rows)
    return "".join(
        f'<div><span>{escape(name)}</span><i><u style="width:{max(0.5, 100 * count / most):.1f}%"></u></i>'
        f"<b>{whole(count)}</b></div>"
        for name, count in sorted(rows, key=lambda row: -row[1])
    )


def regimes(summary: ReplaySummary) -> str:
    """A table of results by market regime."""
    if not summary.by_regime:
        return '<p class="empty">No decision was taken.</p>'
    rows = "".join(
        f"<tr><td>{escape(name)}<td class=n>{whole(result.decisions)}<td class=n>{whole(result.trades)}"
        f'<td class="n {_tone(float(result.net_pnl))}">{signed_rupees(result.net_pnl)}'
        f"<td class=n>{ratio(result.avg_reasoning_depth)}</tr>"
        for name, result in summary.by_regime.items()
    )
    head = "<tr><th>Regime<th class=n>Decisions<th class=n>Trades<th class=n>Net P&amp;L<th class=n>Depth</tr>"
    return f"<table>{head}{rows}</table>"


def trade_table(trades: Sequence[Trade]) -> str:
    """The newest trades first, or what to look at where there is none."""
    if not trades:
        return (
            '<p class="empty">No trade was closed. See above where the path from tick to trade ended: without '
            "decisions there were too few bars, without orders the strategy held, without fills risk or the venue said "
            "no.</p>"
        )
    head = (
        "<tr><th>Opened (IST)<th>Closed<th>Symbol<th>Side<th class=n>Quantity<th class=n>In<th class=n>Out"
        "<th class=n>Costs<th class=n>Net</tr>"
    )
    rows = "".join(_trade_row(trade) for trade in reversed(trades[-TRADES_LISTED:]))
    older = len(trades) - TRADES_LISTED
    note = f'<p class="empty">{whole(older)} older trades are not listed.</p>' if older > 0 else ""
    return f"<div class=scroll><table>{head}{rows}</table></div>{note}"


def _trade_row(trade: Trade) -> str:
    side = "up" if trade.direction is Direction.LONG else "down"
    closed = "still open" if trade.open else ist_minute(trade.exit_ts)
    return (
        f"<tr><td>{ist_minute(trade.entry_ts)}<td>{closed}<td>{escape(trade.symbol)}"
        f'<td class="{side}">{trade.direction.value}<td class=n>{whole(trade.quantity)}'
        f"<td class=n>{price(trade.entry_price)}<td class=n>{price(trade.exit_price)}<td class=n>{rupees(trade.costs)}"
        f'<td class="n {_tone(float(trade.net_pnl))}">{signed_rupees(trade.net_pnl)}</tr>'
    )


def _tone(value: float) -> str:
    return "up" if value > 0 else "down" if value < 0 else ""
