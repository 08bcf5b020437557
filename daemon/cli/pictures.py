"""What `hrmd ctl` shows of each route that looks: an answer's bytes → what is printed, one under the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import RenderableType
from rich.text import Text

from daemon.cli.ctl import decoded
from daemon.control import tables
from daemon.control.rows import TradeRow
from daemon.control.view import CanaryRow, DecisionRow, Health, OrderRow, PositionRow, Status
from daemon.report.side_by_side import ShadowRow
from daemon.report.side_tables import dropped_lines, evidence_lines, sessions_table, shadow_table


def picture(path: str, answer: bytes) -> Sequence[RenderableType]:
    """What `path` answered, drawn; raises `UnreadableError`."""
    return _DRAWN[path.partition("?")[0]](answer)


def _health(answer: bytes) -> list[RenderableType]:
    found = decoded(answer, Health)
    return [tables.health_table(found), Text(found.state.value)]


def _shadow(answer: bytes) -> list[RenderableType]:
    rows = decoded(answer, list[ShadowRow])
    by_session = sessions_table(rows)
    below: list[RenderableType] = [] if by_session is None else [Text(), by_session]
    return [shadow_table(rows), *dropped_lines(rows), *evidence_lines(rows), *below]


_DRAWN: dict[str, Callable[[bytes], Sequence[RenderableType]]] = {
    "/status": lambda answer: [tables.status_table(decoded(answer, Status))],
    "/health": _health,
    "/positions": lambda answer: [tables.positions_table(decoded(answer, list[PositionRow]))],
    "/orders": lambda answer: [tables.orders_table(decoded(answer, list[OrderRow]))],
    "/decisions": lambda answer: [tables.decisions_table(decoded(answer, list[DecisionRow]))],
    "/trades": lambda answer: [tables.trades_table(decoded(answer, list[TradeRow]))],
    "/shadow": _shadow,
    "/canary": lambda answer: [tables.canary_table(decoded(answer, CanaryRow))],
}
