"""What is known of a daemon → the lines of a terminal, whatever its size.

Invariant: exactly as many lines as the terminal has, none wider than it is; nothing is green unless `Seen.is_well`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from daemon.control.rows import LogRow
from daemon.control.view import DecisionRow, OrderRow, PositionRow, Status
from daemon.core.events import ITSELF, Action, Regime, TradingState
from daemon.report.terminal import sparkline
from daemon.report.text import Number, ist_time, percent, price, rupees, signed_rupees, tone, whole, words
from daemon.supervision.health import CheckStatus, Overall
from daemon.top.columns import Column, lines, parts, shorten, spread
from daemon.top.seen import Look, Seen, works

LEAST_WIDTH, LEAST_HEIGHT = 40, 14
KEYS = "h halt  r resume  f flatten  s strategy  c cancel (↑↓ chooses)  q quit"
KEYS_SHORT = "h halt r resume f flatten s c q"
LEAST_ROWS = {"positions": 2, "orders": 3, "decisions": 2, "log": 1}
"""Rows of each list that come before anything else has more."""
POSITIONS = (
    Column("positions"), Column("quantity", True, 8), Column("average", True, 4), Column("last", True, 5),
    Column("unrealised", True, 7), Column("realised", True, 6), Column("costs", True, 3),
)  # fmt: skip
ORDERS = (
    Column(" ", keep=10), Column("orders", keep=5), Column("symbol"), Column("side", keep=8), Column("type", keep=3),
    Column("filled", True, 7), Column("price", True, 6), Column("state", keep=9), Column("time", keep=2),
    Column("why", words=True),
)  # fmt: skip
DECISIONS = (
    Column("decisions", keep=6), Column("symbol"), Column("does", keep=10), Column("up to", True, 8),
    Column("price", True, 5), Column("sure", True, 7), Column("why", words=True),
)  # fmt: skip
_PILL = {TradingState.ACTIVE: "yellow", TradingState.REDUCING: "yellow", TradingState.HALTED: "red"}


def picture(seen: Seen, width: int, height: int, now_ns: int) -> Text:
    """The whole terminal; `now_ns` by the stopwatch."""
    drawn = _picture(seen, width, height, now_ns)
    fitting = [line if line.cell_len <= width else _cut(line, width) for line in drawn[:height]]
    fitting += [Text()] * (height - len(fitting))
    return Text("\n", no_wrap=True, end="").join(fitting)


def _picture(seen: Seen, width: int, height: int, now_ns: int) -> list[Text]:
    look, lost = seen.look, seen.lost(now_ns)
    top = _state_lines(seen, width, now_ns)
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        needed = f"{LEAST_WIDTH} × {LEAST_HEIGHT} are needed"
        return [*top[:1], Text(needed, "yellow"), *_notice(seen, width), Text(KEYS_SHORT, "dim")]
    notice = _notice(seen, width)
    keys = Text(KEYS if len(KEYS) <= width else KEYS_SHORT, "reverse")
    if look is None:
        body: list[Text] = []
    else:
        head = [*_money(look, width), _ladder(look.status, width), *_health(look, width, height)]
        body = [*head, *_lists(seen, look, width, height - len(top) - len(head) - len(notice) - 1)]
        if lost:
            body = [Text(line.plain, "dim") for line in body]
    space = height - len(top) - len(body) - len(notice) - 1
    return [*top, *body, *[Text()] * space, *notice, keys]


def pill(seen: Seen, now_ns: int) -> Text:
    """The state in one word; green only where all is well."""
    look = seen.look
    if look is None or seen.lost(now_ns):
        return Text(" LOST ", "bold white on red")
    state = look.status.trading_state
    if seen.is_well(now_ns):
        return Text(f" {state.value} ", "bold black on green")
    ill = not look.status.healthy or look.health.state is Overall.UNHEALTHY
    return Text(f" {state.value} ", f"bold {'white' if ill else 'black'} on {'red' if ill else _PILL[state]}")


def _state_lines(seen: Seen, width: int, now_ns: int) -> list[Text]:
    look, lost, word = seen.look, seen.lost(now_ns), pill(seen, now_ns)
    if look is None or lost:
        room = width - word.cell_len - 1
        said = Text(shorten(lost, room), "bold red")
        made = [Text.assemble(word, " ", said)]
        if look is not None:
            then = f"what is below was so at {ist_time(look.status.ts)} IST (market time)"
            made.append(Text(shorten(then, width), "yellow"))
        return made
    status = look.status
    clock = Text(f"{ist_time(status.ts) if status.ts else '--:--:--'} IST {'⇄' if seen.streams else '↻'}", "bold")
    room = width - word.cell_len - 3 - clock.cell_len
    by = f" ({status.trading_who})" if status.trading_who not in ("", ITSELF) else ""
    made_up = " · simulated ticks" if status.simulated else ""
    opens_nothing = look.risk.reached if status.trading_state is TradingState.ACTIVE else ""
    given = f"{status.trading_reason}{by}" if status.trading_reason else ""
    why = opens_nothing or given or f"{status.mode}{made_up}"
    return [spread(Text.assemble(word, " ", shorten(why, room)), clock, width)]


def _money(look: Look, width: int) -> list[Text]:
    status = look.status
    net = Text("net ", "dim").append(signed_rupees(status.net_pnl), f"bold {tone(status.net_pnl)}")
    worth = Text("equity ", "dim").append(rupees(status.equity))
    costs = Text("costs ", "dim").append(rupees(status.costs))
    line = parts([net, worth, costs], width)
    curve = [float(row.equity) for row in reversed(look.equity)]
    room = width - line.cell_len - 2
    if len(curve) > 1 and room >= 8:
        return [line.append("  ").append(sparkline(curve, room), tone(curve[-1] - curve[0]))]
    return [line]


def _ladder(status: Status, width: int) -> Text:
    rungs = Text()
    for name in status.strategies or [status.strategy]:
        style = "bold reverse" if name == status.strategy else "dim"
        rungs.append(" > " if rungs.plain else "", "dim").append(f" {name} " if style != "dim" else name, style)
    rung = Text("rung ", "dim").append(str(status.strategy_rung), "default" if status.strategy_rung == 0 else "yellow")
    locked = Text("locked", "bold yellow") if status.strategy_lock else Text()
    because = f"{status.strategy_reason}" if status.strategy_reason else ""
    steps = Text("steps " + ", ".join(status.strategy_steps), "yellow") if status.strategy_steps else Text()
    model = Text(status.model, "dim")
    line = parts([rungs, rung, locked, steps, model], width)
    room = width - line.cell_len - 2
    return line.append(f"  {shorten(because, room)}", "yellow") if because and room > 12 else line


def _health(look: Look, width: int, height: int) -> list[Text]:
    """One line where all is well, else those that are to be mended first, as many as there is room for."""
    bad = sorted(
        (check for check in look.health.checks if check.status is not CheckStatus.OK), key=lambda one: -one.status.rank
    )
    opened = Text(f"{look.status.open_positions} open, {look.status.working_orders} working", "dim")
    if not bad:
        return [spread(Text(f"{look.health.state.value}: {len(look.health.checks)} checks", "default"), opened, width)]
    room = max(1, min(len(bad), (height - 20) // 4))
    made = []
    for check in bad[:room]:
        style = "bold red" if check.status is CheckStatus.FAIL else "yellow"
        text = f"{check.status.value} {check.name}: {check.text}" + (f" → {check.do}" if check.do else "")
        more = f"  (+{len(bad) - room})" if len(bad) > room and check is bad[room - 1] else ""
        made.append(Text(shorten(text, width - len(more)) + more, style))
    return made


def _lists(seen: Seen, look: Look, width: int, height: int) -> list[Text]:
    orders = seen.orders()
    made = {
        "positions": lines(POSITIONS, [_position(row) for row in look.positions], width),
        "orders": lines(ORDERS, [_order(row, seen.chosen) for row in orders], width),
        "decisions": lines(DECISIONS, [_decision(row) for row in look.decisions], width),
        "log": [Text("log", "bold cyan"), *(_log(row, width) for row in reversed(look.logs))],
    }
    given = _share({name: len(rows) - 1 for name, rows in made.items()}, height - len(made))
    drawn: list[Text] = []
    for name, (head, *rows) in made.items():
        drawn.append(head)
        at = next((at for at, row in enumerate(orders) if row.order_id == seen.chosen), 0) if name == "orders" else 0
        drawn += _window(rows, given[name], at)
    return drawn


def _share(wanted: dict[str, int], room: int) -> dict[str, int]:
    """Rows of each list: at first its least, then in turn one more for each that has more to show."""
    given = dict.fromkeys(wanted, 0)
    for most in (LEAST_ROWS, wanted):
        while room > 0:
            hungry = [name for name in wanted if given[name] < min(wanted[name], most[name])]
            if not hungry:
                break
            for name in hungry[:room]:
                given[name] += 1
            room -= len(hungry[:room])
    return given


def _window(rows: Sequence[Text], room: int, at: int) -> list[Text]:
    """`room` of the rows with row `at` among them; the last line says how many are missing."""
    if len(rows) <= room or room < 1:
        return list(rows[:room])
    if room == 1:
        return [rows[at]]
    first = min(max(0, at - (room - 2)), len(rows) - (room - 1))
    above, below = first, len(rows) - first - (room - 1)
    said = ", ".join(text for text in (f"{above} above" if above else "", f"{below} more" if below else "") if text)
    return [*rows[first : first + room - 1], Text(f"… {said}", "dim")]


def _position(row: PositionRow) -> list[Text]:
    return [
        Text(row.symbol), Text(whole(row.quantity), tone(row.quantity)),
        Text(price(row.average_price) if row.quantity else "-"),
        Text("-" if row.last_price is None else price(row.last_price)),
        Text("-") if row.unrealised_pnl is None else _money_of(row.unrealised_pnl), _money_of(row.realised_pnl),
        Text(rupees(row.costs)),
    ]  # fmt: skip


def _order(row: OrderRow, chosen: str) -> list[Text]:
    paid = next((it for it in (row.average_price, row.limit_price, row.stop_price) if it is not None), None)
    style = "bold" if works(row) else "dim"
    mark = Text("▶", "bold yellow") if row.order_id == chosen else Text(" ")
    return [
        mark, Text(row.order_id, style), Text(row.symbol, style), Text(row.side.value, "green" if row.side.sign > 0
        else "red"), Text(row.type.lower(), style), Text(f"{whole(row.filled)}/{whole(row.quantity)}", style),
        Text("-" if paid is None else price(paid), style), Text(row.state, style), Text(ist_time(row.ts), style),
        Text(row.reason, "dim"),
    ]  # fmt: skip


def _decision(row: DecisionRow) -> list[Text]:
    style = {Action.BUY_LONG.name: "green", Action.SELL_SHORT.name: "red", Action.HOLD.name: "dim"}.get(row.action, "")
    does = "failed" if row.failed else "holds" if row.action == Action.HOLD.name else words(row.action.lower())
    regime = "" if row.regime in ("", Regime.UNKNOWN) else f" ({row.regime})"
    why = f"{row.strategy}: {row.reason}{regime}"
    return [
        Text(ist_time(row.ts)), Text(row.symbol), Text(does, "bold red" if row.failed else style),
        Text("-" if row.action == Action.HOLD.name else whole(row.quantity)), Text(price(row.price)),
        Text(percent(row.confidence, 0) if row.confidence else "-"), Text(why, "dim"),
    ]  # fmt: skip


def _log(row: LogRow, width: int) -> Text:
    style = {"warning": "yellow", "error": "bold red", "critical": "bold red"}.get(row.level, "dim")
    fields = " ".join(f"{name}={value}" for name, value in row.fields.items())
    return Text(shorten(f"{row.level:<7.7} {row.event}  {fields}", width), style)


def _notice(seen: Seen, width: int) -> list[Text]:
    if seen.notice:
        return [Text(shorten(seen.notice, width), "bold red" if seen.notice_bad else "bold")]
    return [Text(shorten(seen.remark or seen.where, width), "dim")]


def _money_of(value: Number) -> Text:
    return Text(signed_rupees(value), tone(value))


def _cut(line: Text, width: int) -> Text:
    """Only a single column that is wider than the terminal comes here."""
    cut = line.copy()
    cut.truncate(width, overflow="ellipsis")
    return cut
