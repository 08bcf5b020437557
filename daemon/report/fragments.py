"""Turns a `ReplaySummary` into the pieces of HTML that the report's page is made of.

Invariant: every text that a user or a tape chose goes through `html.escape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from daemon.report.performance import max_drawdown
from daemon.report.shell import banners, card, meter, table, toned
from daemon.report.summary import EquityPoint, ReplaySummary
from daemon.report.text import (
    ABSENT,
    counted,
    ist_date,
    percent,
    ratio,
    rupees,
    signed_percent,
    signed_rupees,
    whole,
    words,
)


def period(summary: ReplaySummary) -> str:
    """From which day to which, and how many sessions."""
    if summary.first_ts is None or summary.last_ts is None:
        return "no accepted tick"
    first, last = ist_date(summary.first_ts), ist_date(summary.last_ts)
    days = first if first == last else f"{first} to {last}"
    return f"{days} · {counted(summary.sessions, 'session')}"


def facts(summary: ReplaySummary) -> str:
    """One line: what was run on what."""
    parts = [
        ", ".join(summary.tapes),
        f"{summary.interval} bars",
        f"latency {summary.latency}",
        f"model {summary.model}" if summary.model else "",
        f"{whole(round(summary.ticks_per_s))} ticks/s" if summary.ticks_per_s else "",
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
    return banners(lines)


def tiles(summary: ReplaySummary, equity: Sequence[EquityPoint]) -> str:
    """The headline numbers; `equity` is at the close of each bar."""
    average = ABSENT if summary.average_trade is None else signed_rupees(summary.average_trade)
    rows = [
        ("Net P&amp;L", signed_rupees(summary.net_pnl), f"after {rupees(summary.costs)} costs", float(summary.net_pnl)),
        ("Return", signed_percent(summary.total_return), f"of {rupees(summary.starting_equity)}",
         summary.total_return or 0.0),
        ("Max drawdown", percent(summary.max_drawdown), _falls(summary, equity), -summary.max_drawdown),
        ("Sharpe", ratio(summary.sharpe), _other_ratios(summary), 0.0),
        ("Win rate", percent(summary.win_rate, 1), f"of {counted(summary.trades, 'trade')}", 0.0),
        ("Profit factor", ratio(summary.profit_factor), f"average trade {average}", 0.0),
        ("Time in market", percent(summary.exposure, 1), counted(summary.fills, "fill"), 0.0),
    ]  # fmt: skip
    metrics = summary.hrm_metrics
    if metrics is not None:
        saved = f"{percent(metrics.computation_efficiency, 0)} of {metrics.max_segments} segments saved"
        rows.append(("Reasoning depth", f"{metrics.avg_reasoning_depth:.2f}", saved, 0.0))
    return "".join(
        f'<div class="tile"><span>{name}</span><b class="{_tone(value)}">{text}</b><small>{below}</small></div>'
        for name, text, below, value in rows
    )


def _falls(summary: ReplaySummary, equity: Sequence[EquityPoint]) -> str:
    """Of what the tile's fall is, and how far it fell inside the sessions."""
    if not equity:
        return "of session closes"
    inside = max_drawdown([float(summary.starting_equity), *(float(point.equity) for point in equity)])
    return f"of session closes; {percent(inside)} of bar closes"


def _other_ratios(summary: ReplaySummary) -> str:
    if summary.sessions == 1:
        return "one session: no Sharpe, Sortino or Calmar"
    return f"Sortino {ratio(summary.sortino)} · Calmar {ratio(summary.calmar)}"


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
        f"<div><span>{escape(name)}</span>{meter(count / most, 'amber')}<b>{whole(count)}</b></div>"
        for name, count in sorted(rows, key=lambda row: -row[1])
    )


def regimes(summary: ReplaySummary) -> str:
    """A table of results by market regime."""
    if not summary.by_regime:
        return '<p class="empty">No decision was taken.</p>'
    rows = [
        (
            escape(name), whole(result.decisions), whole(result.trades),
            toned(signed_rupees(result.net_pnl), float(result.net_pnl)), ratio(result.avg_reasoning_depth),
        )
        for name, result in summary.by_regime.items()
    ]  # fmt: skip
    return table(("Regime", "Decisions", "Trades", "Net P&amp;L", "Depth"), rows)


def reasoning(summary: ReplaySummary) -> str:
    """How deep it reasoned and why it stopped; "" where nothing did."""
    metrics = summary.hrm_metrics
    if metrics is None:
        return ""
    depths = [(str(depth), count) for depth, count in metrics.depth_histogram.items()]
    halts = [(escape(words(reason) or "not said"), count) for reason, count in metrics.halt_reasons.items()]
    left = card("How deep it reasoned, segments", _counts(("Segments", "", "Decisions", "Share"), depths))
    return (
        f'<div class="pair">{left}{card("Why it stopped", _counts(("Reason", "", "Decisions", "Share"), halts))}</div>'
    )


def _counts(heads: Sequence[str], counts: Sequence[tuple[str, int]]) -> str:
    whole_of, most = sum(count for _, count in counts), max(count for _, count in counts)
    rows = [(name, meter(n / most), whole(n), percent(n / whole_of, 1)) for name, n in counts]
    return table(heads, rows, figures=2)


def _tone(value: float) -> str:
    return "up" if value > 0 else "down" if value < 0 else ""
