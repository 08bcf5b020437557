"""What a run did, as Arrow tables for notebooks: the `--…-out` options of `hrmd replay`.

Times are nanoseconds in UTC, money is decimal and exact. Columns are described in docs/json.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from daemon.core.errors import TapeError, UsageError
from daemon.core.events import Bar, Decision, Fill
from daemon.core.files import resolved
from daemon.orders.book import Order
from daemon.report.summary import EquityPoint
from daemon.report.trades import Trade
from daemon.tape.file import check_file

_TIME: Final = pa.timestamp("ns", "UTC")
_PRICE: Final = pa.decimal128(18, 4)
_MONEY: Final = pa.decimal128(18, 2)
_PLAIN: Final = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}

BAR_SCHEMA: Final = pa.schema(
    [
        ("symbol", pa.string()), ("interval", pa.string()), ("ts_open", _TIME), ("ts_close", _TIME),
        ("open", pa.float64()), ("high", pa.float64()), ("low", pa.float64()), ("close", pa.float64()),
        ("volume", pa.int64()), ("ticks", pa.int64()), ("gap", pa.bool_()),
    ]
)  # fmt: skip
FILL_SCHEMA: Final = pa.schema(
    [
        ("ts", _TIME), ("fill_id", pa.string()), ("order_id", pa.string()), ("symbol", pa.string()),
        ("side", pa.string()), ("quantity", pa.int64()), ("price", _PRICE), ("costs", _MONEY),
    ]
)  # fmt: skip
TRADE_SCHEMA: Final = pa.schema(
    [
        ("symbol", pa.string()), ("direction", pa.string()), ("quantity", pa.int64()), ("entry_ts", _TIME),
        ("exit_ts", _TIME), ("entry_price", pa.decimal128(24, 10)), ("exit_price", pa.decimal128(24, 10)),
        ("gross_pnl", _PRICE), ("costs", _MONEY), ("net_pnl", _PRICE),
    ]
)  # fmt: skip
ORDER_SCHEMA: Final = pa.schema(
    [
        ("ts", _TIME), ("order_id", pa.string()), ("symbol", pa.string()), ("side", pa.string()),
        ("quantity", pa.int64()), ("type", pa.string()), ("limit_price", _PRICE), ("stop_price", _PRICE),
        ("reduces", pa.bool_()), ("strategy", pa.string()), ("decision", pa.string()), ("reason", pa.string()),
        ("state", pa.string()), ("filled", pa.int64()), ("turnover", _PRICE), ("said", pa.string()),
    ]
)  # fmt: skip
EQUITY_SCHEMA: Final = pa.schema([("ts", _TIME), ("equity", _PRICE)])


def _decision_schema() -> pa.Schema:
    """A column for each field of a `Decision`; `action` by name."""
    columns = []
    for name, kind in get_type_hints(Decision).items():
        if name in Decision.__struct_fields__:
            columns.append((name, _TIME if name in ("ts", "ts_bar") else _PLAIN.get(kind, pa.string())))
    return pa.schema(columns)


DECISION_SCHEMA: Final = _decision_schema()


def bars_table(bars: Sequence[Bar]) -> pa.Table:
    """Bars as an Arrow table of `BAR_SCHEMA`; volume is null where the instrument has none."""
    columns = {name: [getattr(bar, name) for bar in bars] for name in BAR_SCHEMA.names}
    columns["volume"] = [None if volume < 0 else volume for volume in columns["volume"]]
    return pa.table(columns, schema=BAR_SCHEMA)


def fills_table(fills: Sequence[Fill]) -> pa.Table:
    """Fills, in their order."""
    return _table((msgspec.structs.asdict(fill) | {"side": fill.side.value} for fill in fills), FILL_SCHEMA)


def trades_table(trades: Sequence[Trade]) -> pa.Table:
    """Round trips, by their ends; prices are averages."""
    rows = (
        msgspec.structs.asdict(trade) | {"direction": trade.direction.value, "net_pnl": trade.net_pnl}
        for trade in trades
    )
    return _table(rows, TRADE_SCHEMA)


def decisions_table(decisions: Sequence[Decision]) -> pa.Table:
    """Everything that a decision says."""
    rows = (msgspec.structs.asdict(decision) | {"action": decision.action.name} for decision in decisions)
    return _table(rows, DECISION_SCHEMA)


def orders_table(orders: Sequence[Order]) -> pa.Table:
    """Orders as they stand; `said` is why one was denied, rejected or taken off the market."""
    rows = (
        msgspec.structs.asdict(order.intent)
        | {"side": order.intent.side.value, "type": order.intent.type.value, "state": order.state.value}
        | {"filled": order.filled, "turnover": order.turnover, "said": order.reason}
        for order in orders
    )
    return _table(rows, ORDER_SCHEMA)


def equity_table(points: Sequence[EquityPoint]) -> pa.Table:
    """Cash and positions at each session's last bar, the start not among them."""
    return _table((msgspec.structs.asdict(point) for point in points), EQUITY_SCHEMA)


SCHEMAS: Final = {
    "bars": BAR_SCHEMA, "fills": FILL_SCHEMA, "trades": TRADE_SCHEMA, "decisions": DECISION_SCHEMA,
    "equity": EQUITY_SCHEMA,
}  # fmt: skip
"""Of the tables that a replay writes, by name."""
OTHERS: Final = frozenset({".csv", ".tsv", ".txt", ".json", ".xlsx", ".xls", ".feather", ".arrow", ".html"})
"""Ends of names of files that aren't Parquet."""


def check_replaced(path: Path, name: str) -> None:
    """Raise `UsageError` where the table of this `name` (or, `ticks`, the tape) would destroy something else.

    A table that another version wrote with fewer columns, or more, is still one; so is an empty file. The same for a
    name that says that something else is wanted than what is written.
    """
    if path.suffix.lower() in OTHERS:
        raise UsageError(
            f"{path}: Parquet is written, and this name says otherwise; expected one such as {name}.parquet"
        )
    if not path.is_file() or not path.stat().st_size:
        return
    if name == "ticks":
        what, same = "no tape", _is_tape(path)
    else:
        what, same = f"no table of {name}", _is_table(path, set(SCHEMAS[name].names))
    if not same:
        raise UsageError(f"{path}: is there and holds {what}; name another place, or delete it first")


def _is_tape(path: Path) -> bool:
    try:
        check_file(path)
    except TapeError:
        return False
    return True


def _is_table(path: Path, names: set[str]) -> bool:
    try:
        there = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False
    return there <= names or names <= there


def write_table(table: pa.Table, path: Path) -> None:
    """As Parquet, whole or not at all. Raises `UsageError`."""
    target = resolved(path)
    fresh = target.with_name(f".{target.name}.new")
    try:
        if target.exists() and not target.is_file():  # a pipe, a device
            pq.write_table(table, target)
            return
        try:
            pq.write_table(table, fresh)
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: can't be written ({error.strerror or error})") from None


def _table(rows: Any, schema: pa.Schema) -> pa.Table:
    """Amounts with more digits than their column, as a broker may tell of a price, are rounded to it."""
    steps = {field.name: Decimal(1).scaleb(-field.type.scale) for field in schema if pa.types.is_decimal(field.type)}

    def cell(name: str, value: Any) -> Any:
        return value.quantize(steps[name]) if name in steps and value is not None else value

    return pa.Table.from_pylist([{name: cell(name, row[name]) for name in schema.names} for row in rows], schema=schema)
