"""Turns the daemon's answers into rich tables for `hrmd ctl`.

Invariant: every value shown is one that the daemon sent, or a sum of such.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from daemon.control.rows import TradeRow
from daemon.control.view import CanaryRow, DecisionRow, Health, OrderRow, PositionRow, Status
from daemon.core.events import ITSELF, Action, CanaryState
from daemon.report.tables import facts, table
from daemon.report.text import (
    Number,
    ist,
    ist_date,
    ist_second,
    ist_short,
    ist_time,
    percent,
    price,
    rupees,
    signed_rupees,
    tone,
    whole,
    words,
)
from daemon.supervision.health import CheckStatus

ORDERS_SHOWN = 30
_STATE_STYLE = {"ACTIVE": "bold green", "REDUCING": "bold yellow", "HALTED": "bold red"}
_CHECK_STYLE = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}


def status_table(status: Status) -> Table:
    """The daemon at a glance, one row a subject."""
    shown = facts()
    state = Text(status.trading_state.value, _STATE_STYLE[status.trading_state.value])
    if status.trading_reason:
        state.append(f" · {status.trading_reason}{_by(status.trading_who)}", "default")
    if status.healthy and not status.warnings:
        health = Text("healthy", "green")
    elif status.healthy:
        health = Text(f"{status.health.value}: {'; '.join(status.warnings)}", "yellow")
    else:
        health = Text("; ".join(status.reasons), "bold red")
    model = f" · model {status.model}" if status.model else ""
    rejected, denied = sum(status.ticks_rejected.values()), sum(status.denied.values())
    rows: list[tuple[str, str | Text]] = [
        ("trading", state),
        ("health", health),
        ("mode", status.mode + (" · simulated ticks" if status.simulated else "")),
        ("strategy", f"{status.strategy} (rung {status.strategy_rung}){model}"),
        *_why("because", status.strategy_reason, status.strategy_who),
        *([("steps", Text(", ".join(status.strategy_steps), "yellow"))] if status.strategy_steps else []),
        *_why("locked", status.strategy_lock, status.strategy_lock_who),
        *([("back to", status.strategy_back)] if status.strategy_back else []),
        *(("missing", Text(f"{rung}: {why}", "yellow")) for rung, why in status.strategies_missing.items()),
        ("feed", " · ".join((status.feed, *_market_time(status), ", ".join(status.symbols)))),
        ("ticks", f"{whole(status.ticks_accepted)} accepted, {whole(rejected)} rejected"),
        ("path", f"{whole(status.bars)} bars → {whole(status.decisions)} decisions → {whole(status.orders)} orders "
                 f"({whole(denied)} denied) → {whole(status.fills)} fills"),
        ("open", f"{status.open_positions} positions, {status.working_orders} working orders"),
        ("net P&L", Text(signed_rupees(status.net_pnl), tone(status.net_pnl))),
        ("equity", f"{rupees(status.equity)} after {rupees(status.costs)} costs"),
    ]  # fmt: skip
    if status.session:
        rows.insert(2, ("session", status.session))
    if status.model_simulated and not status.simulated:
        who = status.model or status.strategy
        untried = f"{who} has learned from simulated markets alone, and these ticks are real"
        rows.append(("untried", Text(untried, "bold yellow")))
    rows += [("note", Text(note, "yellow")) for note in status.notes]
    if status.token:
        rows.append(("access", Text(status.token, "bold red" if status.token_left_s == 0 else "")))
    for name, value in rows:
        shown.add_row(name, value)
    return shown


def _market_time(status: Status) -> list[str]:
    """Before its first tick a tape has none."""
    return [f"market time {ist_time(status.ts)} IST"] if status.ts else []


def _why(subject: str, reason: str, who: str) -> list[tuple[str, Text]]:
    return [(subject, Text(reason + _by(who), "bold yellow"))] if reason else []


def _by(who: str) -> str:
    """A person, or a signal; what the daemon does by itself says so in its reason."""
    return f" ({who})" if who not in ("", ITSELF) else ""


def canary_table(row: CanaryRow) -> Table | Text:
    """The canary run, one row a subject, or a line that says there is none."""
    if row.ts is None:
        who = ", ".join(row.agents)
        return Text(f"No canary. {f'Could begin: {who}' if who else 'No shadow agent is configured.'}", "dim")
    shown = facts()
    runs = row.state == CanaryState.RUNNING
    began = "" if row.began_ts is None else ist_second(row.began_ts)
    when = f"since {began or ist_second(row.ts)}" if runs else f"{ist_second(row.ts)}{began and f', begun {began}'}"
    proof = f"better {row.better:,.2f}, worse {row.worse:,.2f}, of {row.needed:,.4g} needed"
    rows: list[tuple[str, str | Text]] = [
        ("canary", Text(f"{row.agent}: {row.state} {when}", "bold")),
        ("because", f"{row.reason} ({row.who})"),
        (
            "decides on" if runs else "decided on",
            f"{', '.join(row.symbols) or '-'} · at {row.size:g} of the limits on size",
        ),
        ("against", row.against or "-"),
        ("proof", f"{proof} · {row.sessions} sessions, {row.mean_bp:+.2f} bp a session"),
    ]
    if runs:
        rows.append(("on proof", "is put in charge by itself" if row.promote == "auto" else "a person is asked"))
    if row.net_pnl is not None:
        rows.append(("net P&L", Text(signed_rupees(row.net_pnl), tone(row.net_pnl))))
    for name, value in rows:
        shown.add_row(name, value)
    return shown


def health_table(health: Health) -> Table:
    """Every check, those that are to be mended first."""
    shown = table("=check", "=state", ">value", ">limit", "found", "do")
    for check in sorted(health.checks, key=lambda check: -check.status.rank):
        age = "" if check.age_s is None else f" ({check.age_s:.0f} s ago)"
        shown.add_row(
            check.name,
            Text(check.status.value, _CHECK_STYLE[check.status]),
            _figure(check.value, check.unit),
            _figure(check.limit, check.unit),
            check.text + age,
            check.do,
        )
    return shown


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.4g} {unit}".rstrip()


def positions_table(rows: Sequence[PositionRow]) -> Table | Text:
    """Positions, or a line that says there is none."""
    if not rows:
        return Text("No position.", "dim")
    protected = [">stop", ">target"] if any(row.stop or row.target for row in rows) else []
    shown = table("=symbol", ">quantity", ">average", ">last", *protected, ">unrealised", ">realised", ">costs")
    for row in rows:
        unrealised = Text("-") if row.unrealised_pnl is None else _money(row.unrealised_pnl)
        shown.add_row(
            row.symbol,
            Text(whole(row.quantity), tone(row.quantity)),
            rupees(row.average_price) if row.quantity else "-",
            "-" if row.last_price is None else rupees(row.last_price),
            *("-" if price is None else rupees(price) for price in (row.stop, row.target)[: len(protected)]),
            unrealised,
            _money(row.realised_pnl),
            rupees(row.costs),
        )
    return shown


def orders_table(rows: Sequence[OrderRow]) -> Table | Text:
    """The newest orders, or a line that says there is none."""
    if not rows:
        return Text("No order.", "dim")
    head, times = _times([row.ts for row in rows[:ORDERS_SHOWN]])
    shown = table(head, "=id", "=symbol", "=side", "=type", ">filled", ">price", "=state", "why")
    for row, time in zip(rows, times, strict=False):
        paid = next((it for it in (row.average_price, row.limit_price, row.stop_price) if it is not None), None)
        shown.add_row(
            time,
            row.order_id,
            row.symbol,
            Text(row.side.value, "green" if row.side.sign > 0 else "red"),
            row.type,
            f"{whole(row.filled)}/{whole(row.quantity)}",
            "-" if paid is None else rupees(paid),
            row.state,
            row.reason,
        )
    return shown


def _times(stamps: Sequence[int]) -> tuple[str, list[str]]:
    """The head of a column of times, and each: the day stands above them, or beside each where there are several."""
    days = {ist_date(ts) for ts in stamps}
    if len(days) > 1:
        return "=time", [f"{ist(ts):%d %b %H:%M:%S}" for ts in stamps]
    return f"={min(days)}", [ist_time(ts) for ts in stamps]


def _money(value: Number) -> Text:
    return Text(signed_rupees(value), tone(value))


def decisions_table(rows: Sequence[DecisionRow]) -> Table | Text:
    """Decisions, or a line that says there is none."""
    if not rows:
        return Text("No decision.", "dim")
    head, times = _times([row.ts for row in rows])
    shown = table(head, "=symbol", "=decision", ">up to", ">price", ">sure", ">segments", "=by", "why")
    for row, time in zip(rows, times, strict=True):
        trades = row.action != Action.HOLD.name
        shown.add_row(
            time,
            row.symbol,
            Text("failed" if row.failed else words(row.action.lower()), _action_style(row)),
            whole(row.quantity) if trades else "-",
            price(row.price),
            percent(row.confidence, 0) if row.confidence else "-",
            str(row.segments) if row.segments else "-",
            row.strategy,
            f"{row.why}; {row.reason}" if row.why else row.reason,
        )
    return shown


def trades_table(rows: Sequence[TradeRow]) -> Table | Text:
    """Round trips, or a line that says there is none."""
    if not rows:
        return Text("No round trip.", "dim")
    shown = table("=opened", "=closed", "=symbol", "=", ">quantity", ">in", ">out", ">costs", ">net")
    for row in rows:
        shown.add_row(
            ist_short(row.entry_ts),
            ist_short(row.exit_ts),
            row.symbol,
            Text(row.direction, "green" if row.direction == "LONG" else "red"),
            whole(row.quantity),
            price(row.entry_price),
            price(row.exit_price),
            rupees(row.costs),
            _money(row.net_pnl),
        )
    return shown


def _action_style(row: DecisionRow) -> str:
    if row.failed:
        return "bold red"
    return {Action.BUY_LONG.name: "green", Action.SELL_SHORT.name: "red", Action.HOLD.name: "dim"}.get(row.action, "")
