"""Turns a `ReplaySummary` into what a trader reads on a terminal of 80 to 120 columns.

Invariant: that a tape is simulated or a model untrained stands before the first rupee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from daemon.report.side_tables import dropped_lines, evidence_lines, sessions_table, shadow_table
from daemon.report.summary import HrmMetrics, ReplaySummary, equity_curve
from daemon.report.tables import show, table
from daemon.report.text import (
    counted,
    ist_date,
    ist_short,
    percent,
    price,
    ratio,
    rupees,
    signed_percent,
    signed_rupees,
    tone,
    whole,
    words,
)
from daemon.report.trades import Direction, Trade

TRADES_SHOWN = 6
FEW_SESSIONS = 60
BAR_CELLS = 24
_BLOCKS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDEST = 120


def print_summary(
    console: Console, summary: ReplaySummary, trades: Sequence[Trade], title: str = "hrmd replay"
) -> None:
    """Print the whole of it; `trades` are all closed ones, oldest first, then those still open."""
    width = min(console.width, _WIDEST)
    parts: list[RenderableType] = [_header(summary, title), *_warnings(summary), _funnel(summary), Text()]
    parts += [_side_by_side(_money(summary), _refusals(summary)), Text()]
    if 0 < summary.sessions < FEW_SESSIONS:
        parts += [Text(f" · {of_few(summary.sessions)}", "dim"), Text()]
    if summary.equity:
        parts += [_rule("Equity"), _equity(summary, width - 2), Text()]
    if summary.hrm_metrics is not None:
        parts += [_rule("Reasoning"), _side_by_side(*_reasoning(summary.hrm_metrics)), Text()]
    if summary.by_regime:
        parts += [_rule("By regime"), _regimes(summary), Text()]
    if summary.shadow:
        parts += [_rule("Side by side"), shadow_table(summary.shadow), *dropped_lines(summary.shadow)]
        parts += [*evidence_lines(summary.shadow), Text()]
        by_session = sessions_table(summary.shadow)
        parts += [] if by_session is None else [by_session, Text()]
    if summary.sensitivity:
        parts += [_rule("Dearer markets, later orders"), _sensitivity(summary), Text()]
    parts += [_rule("Last trades"), _trades(trades)]
    show(Group(*parts), console, widest=_WIDEST)


def _sensitivity(summary: ReplaySummary) -> Table:
    grid = table(">spread, slippage", "=latency", ">trades", ">net P&L", ">Sharpe", ">drawdown")
    for row in summary.sensitivity:
        grid.add_row(
            f"× {row.market_costs:g}", row.latency, whole(row.trades), signed_rupees(row.net_pnl),
            "ruined" if row.ruined else ratio(row.sharpe), percent(row.max_drawdown),
        )  # fmt: skip
    return grid


def of_few(sessions: int) -> str:
    """What the ratios and the drawdown of so few are worth."""
    if sessions == 1:
        return "of one session no Sharpe, Sortino or Calmar can be said; a fall inside it is in no drawdown"
    return f"ratios over {whole(sessions)} sessions are mostly chance; the drawdown is of their closes"


def sparkline(values: Sequence[float], cells: int) -> str:
    """`values` as at most `cells` block characters, lowest ▁ to highest █; the last value of each stretch counts."""
    if len(values) > cells:
        values = [values[(cell + 1) * len(values) // cells - 1] for cell in range(cells)]
    low, span = min(values), max(values) - min(values)
    if span == 0:
        return _BLOCKS[3] * len(values)
    return "".join(_BLOCKS[round((value - low) / span * (len(_BLOCKS) - 1))] for value in values)


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """`share` of `cells` character cells, to an eighth of a cell; something is always seen of what isn't 0."""
    eighths = round(share * cells * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _header(summary: ReplaySummary, title: str) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    period = "no accepted tick"
    if summary.first_ts is not None and summary.last_ts is not None:
        period = f"{ist_date(summary.first_ts)} to {ist_date(summary.last_ts)} · {counted(summary.sessions, 'session')}"
    rows = {
        "tape": ", ".join(summary.tapes),
        "symbols": ", ".join(summary.symbols),
        "period": period,
        "strategy": f"{summary.strategy} on {summary.interval} bars · order latency {summary.latency}",
        "model": summary.model,
    }
    for name, text in rows.items():
        if text:
            grid.add_row(name, Text(text))  # a Text, as names may hold what rich reads as markup
    speed = f"{summary.wall_s:.2f} s · {whole(round(summary.ticks_per_s))} ticks/s" if summary.wall_s else None
    return Panel(grid, title=f"[bold]{title}", title_align="left", subtitle=speed, subtitle_align="right",
                 box=box.ROUNDED, border_style="cyan", padding=(0, 1))  # fmt: skip


def _warnings(summary: ReplaySummary) -> list[Text]:
    lines = []
    if summary.simulated:
        lines.append("SIMULATED TAPE: the ticks are made up; nothing below is a market result.")
    if summary.model.startswith("untrained"):
        lines.append(f"MODEL {summary.model.upper()}: its decisions mean nothing yet.")
    texts = [Text(f" ! {line}", "bold yellow") for line in lines]
    texts += [Text(f" · {note}", "yellow") for note in summary.notes]
    return [*texts, Text()] if texts else [Text()]


def _funnel(summary: ReplaySummary) -> Table:
    steps = {
        "ticks": summary.ticks_accepted,
        "bars": summary.bars,
        "decisions": summary.decisions,
        "orders": summary.orders,
        "fills": summary.fills,
        "trades": summary.trades,
    }
    grid = Table.grid(padding=(0, 1), expand=True)
    cells: list[Text] = []
    for name, count in steps.items():
        if cells:
            grid.add_column(justify="center")
            cells.append(Text("\n→", "dim"))
        grid.add_column(justify="center", ratio=1)
        cells.append(Text.assemble((name, "dim"), "\n", (whole(count), "bold")))
    grid.add_row(*cells)
    return grid


def _money(summary: ReplaySummary) -> Table:
    grid = _pairs("Result")
    grid.add_row("net P&L", Text(signed_rupees(summary.net_pnl), f"bold {tone(summary.net_pnl)}"))
    grid.add_row("costs", rupees(summary.costs))
    grid.add_row("total return", Text(signed_percent(summary.total_return), tone(summary.total_return or 0)))
    grid.add_row("max drawdown", percent(summary.max_drawdown))
    grid.add_row("Sharpe", ratio(summary.sharpe))
    grid.add_row("Sortino", ratio(summary.sortino))
    grid.add_row("Calmar", ratio(summary.calmar))
    grid.add_row("win rate", percent(summary.win_rate, 1))
    grid.add_row("profit factor", ratio(summary.profit_factor))
    average = "-" if summary.average_trade is None else signed_rupees(summary.average_trade)
    grid.add_row("average trade", average)
    grid.add_row("time in market", percent(summary.exposure, 1))
    return grid


def _refusals(summary: ReplaySummary) -> Table:
    grid = _pairs("Turned away")
    rejected = sum(summary.ticks_rejected.values())
    share = rejected / summary.ticks if summary.ticks else 0.0
    grid.add_row("ticks rejected", Text(f"{whole(rejected)} ({percent(share)})", "bold"))
    _add_counts(grid, summary.ticks_rejected)
    grid.add_row("volume repaired", whole(summary.ticks_repaired))
    grid.add_row("orders denied", Text(whole(sum(summary.denied.values())), "bold"))
    _add_counts(grid, summary.denied)
    if summary.rejected_orders:
        grid.add_row("orders rejected", whole(summary.rejected_orders))
    if summary.failed_decisions:
        grid.add_row("decisions failed", Text(whole(summary.failed_decisions), "bold red"))
    return grid


def _add_counts(grid: Table, counts: Mapping[str, int]) -> None:
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        if count:
            grid.add_row(Text(f"  {words(name)}", "dim"), whole(count))


def _equity(summary: ReplaySummary, cells: int) -> Text:
    curve = equity_curve(summary)
    line = Text(f" {sparkline(curve, cells)}\n", tone(curve[-1] - curve[0]))
    return line.append(f" {rupees(curve[0])} → {rupees(curve[-1])}, at each session's end", "dim")


def _reasoning(metrics: HrmMetrics) -> tuple[Table, Table]:
    depths = _chart("segments", {str(depth): n for depth, n in metrics.depth_histogram.items()})
    grid = _pairs("")
    grid.add_row("average depth", f"{metrics.avg_reasoning_depth:.2f} of {metrics.max_segments}")
    grid.add_row("depth saved", percent(metrics.computation_efficiency, 1))
    grid.add_row("convergence", f"{metrics.convergence:.4f}")
    missed = Text(whole(metrics.deadline_misses), "bold red" if metrics.deadline_misses else "default")
    grid.add_row("deadline misses", missed)
    if metrics.inference_ms is not None:
        times = metrics.inference_ms
        grid.add_row("inference p50", f"{times.p50:.1f} ms")
        grid.add_row("inference p99", f"{times.p99:.1f} ms")
        grid.add_row("inference max", f"{times.max:.1f} ms")
    grid.add_row("stopped by", "")
    _add_counts(grid, metrics.halt_reasons)
    return depths, grid


def _chart(title: str, counts: Mapping[str, int]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="dim", min_width=4)
    grid.add_column(min_width=BAR_CELLS, style="cyan")
    grid.add_column(justify="right")
    grid.add_row("", Text(title, "dim"), "")
    most = max(counts.values())
    for name, count in counts.items():
        grid.add_row(name, bar(count / most), whole(count))
    return grid


def _regimes(summary: ReplaySummary) -> Table:
    shown = table("= regime", ">decisions", ">trades", ">net P&L", ">depth")
    for name, result in summary.by_regime.items():
        shown.add_row(
            Text(f" {name}"),
            whole(result.decisions),
            whole(result.trades),
            Text(signed_rupees(result.net_pnl), tone(result.net_pnl)),
            ratio(result.avg_reasoning_depth),
        )
    return shown


def _trades(trades: Sequence[Trade]) -> Table | Text:
    if not trades:
        return Text(" No trade was closed.", "dim")
    shown = table("= opened", "=symbol", "=", ">qty", ">in", ">out", ">net")
    for trade in trades[-TRADES_SHOWN:]:
        shown.add_row(
            f" {ist_short(trade.entry_ts)}",
            Text(trade.symbol),
            Text(trade.direction.value, "green" if trade.direction is Direction.LONG else "red"),
            whole(trade.quantity),
            price(trade.entry_price),
            f"{price(trade.exit_price)}{' (open)' if trade.open else ''}",
            Text(signed_rupees(trade.net_pnl), tone(trade.net_pnl)),
        )
    return shown


def _pairs(title: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="default", min_width=16)
    grid.add_column(justify="right")
    if title:
        grid.add_row(Text(title, "bold cyan"), "")
    return grid


def _rule(title: str) -> Rule:
    return Rule(f"[bold]{title}", align="left", style="cyan", characters="─")


def _side_by_side(left: Table, right: Table) -> Padding:
    grid = Table.grid(padding=(0, 6, 0, 0))
    grid.add_row(left, right)
    return Padding(grid, (0, 0, 0, 1))
