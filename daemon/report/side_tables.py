"""The rows of shadow agents → tables for a terminal.

Invariant: every value shown is one of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from daemon.report.side_by_side import ShadowRow, ShadowSession
from daemon.report.tables import table
from daemon.report.text import ABSENT, MINUS, percent, ratio, signed_rupees, tone, whole

SESSIONS_SHOWN = 10


def shadow_table(rows: Sequence[ShadowRow]) -> Table | Text:
    """All agents, or a line that says that there is none beside the one in charge."""
    if len(rows) < 2:
        return Text("No shadow agent (shadow.agents).", "dim")
    shown = table(
        "=agent", "=strategy", ">agrees", ">depth", ">think ms", ">decisions", ">skipped", ">failed", ">trades",
        ">net P&L", ">difference",
    )  # fmt: skip
    for row in rows:
        shown.add_row(
            Text(row.name, "bold" if row.in_charge else ""), Text(row.strategy),
            "in charge" if row.in_charge else percent(row.agreement, 1), ratio(row.depth), ratio(row.thinking_ms),
            whole(row.decisions), whole(row.skipped), whole(row.failed), whole(row.trades),
            Text(signed_rupees(row.net_pnl), tone(row.net_pnl)), _difference(row.difference),
        )  # fmt: skip
    return shown


def dropped_lines(rows: Sequence[ShadowRow]) -> list[Text]:
    """One line for each agent that decides no more."""
    return [Text(f" ! {row.name} was dropped: {row.dropped}", "bold yellow") for row in rows if row.dropped]


def evidence_lines(rows: Sequence[ShadowRow]) -> list[Text]:
    """What the whole sessions of each agent say, where there is one."""
    lines = []
    for row in rows:
        found = row.evidence
        if found is not None and found.sessions:
            words = f" ({found.reason})" if found.reason else ""
            seen = f"{found.sessions} whole sessions, {_signed(found.mean_bp)} bp a session"
            seen += f" ({found.clipped} cut at the bound)" if found.clipped else ""
            proof = f"proof that it is better {found.better:.2f}, worse {found.worse:.2f}"
            lines.append(Text(f" {row.name}: {found.verdict}{words} · {seen} · {proof}", "dim"))
    return lines


def sessions_table(rows: Sequence[ShadowRow]) -> Table | None:
    """Profit of the newest sessions, one column an agent; None before the first is over."""
    if len(rows) < 2 or not rows[0].sessions:
        return None
    shown = table("=session", *(f">{row.name}" for row in rows))
    by_agent = [{session.session: session for session in row.sessions} for row in rows]
    for one in rows[0].sessions[-SESSIONS_SHOWN:]:
        cells = [of.get(one.session) for of in by_agent]
        shown.add_row(one.session, *(_profit(cell) for cell in cells))
    return shown


def _profit(session: ShadowSession | None) -> Text:
    if session is None:
        return Text(ABSENT)
    mark = "" if session.whole else " (part)"
    return Text(signed_rupees(session.net_pnl) + mark, tone(session.net_pnl))


def _difference(value: Decimal | None) -> Text:
    return Text(ABSENT) if value is None else Text(signed_rupees(value), tone(value))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)
