"""A `ReplaySummary` → the pieces of its page that show the result from several sides, as HTML.

Invariant: every text that a user or a tape chose goes through `html.escape`.
"""

from __future__ import annotations

from html import escape

from daemon.report.shell import meter, table, toned
from daemon.report.summary import ReplaySummary
from daemon.report.text import ABSENT, percent, ratio, rupees, signed_percent, signed_rupees, whole

_KINDS = {
    "brokerage": "Brokerage", "stt": "STT", "exchange": "Exchange", "sebi": "SEBI", "stamp": "Stamp duty",
    "ipft": "IPFT", "gst": "GST", "other": "Other",
}  # fmt: skip


def certainty(summary: ReplaySummary) -> str:
    """What the result says at all: its interval, and what holding would have brought."""
    parts = []
    found, held = summary.bootstrap, summary.buy_and_hold
    if held is not None:
        what = "the symbol" if held.symbols == 1 else f"equal parts of {whole(held.symbols)} symbols"
        won = toned(signed_percent(held.total_return), held.total_return)
        parts.append(f"<b>Buy and hold</b>, {what}, without costs: {won}, {signed_rupees(held.net_pnl)}.")
    if found is None:
        few = f"{whole(summary.sessions)} session{'s' * (summary.sessions != 1)}"
        parts.append(f"<b>No interval</b>: {few} are too few to say how much of this is chance.")
    else:
        text = (
            f"<b>95 % intervals</b>: {_unbroken(signed_rupees(found.mean_pnl_low))} to "
            f"{_unbroken(signed_rupees(found.mean_pnl_high))} a session"
        )
        if found.sharpe_low is not None:
            text += f", Sharpe {ratio(found.sharpe_low)} to {ratio(found.sharpe_high)}"
        text += (
            f" <small>(circular block bootstrap: n = {whole(found.sessions)} sessions, blocks of {found.block}, "
            f"{whole(found.resamples)} draws, seed {found.seed})</small>"
        )
        parts.append(text)
    order = summary.trade_order
    if order is not None:
        parts.append(
            f"<b>The same {whole(order.trades)} trades in another order</b> fall by {rupees(order.drawdown_median)} in "
            f"the middle and by {rupees(order.drawdown_high)} in one of twenty; these fell by "
            f"{rupees(order.drawdown)}. A trade brings {_unbroken(signed_rupees(order.mean_low))} to "
            f"{_unbroken(signed_rupees(order.mean_high))} on average <small>(95 %, {whole(order.draws)} draws, blocks "
            f"of {order.block} trades, seed {order.seed})</small>"
        )
    return f'<div class="card words"><p>{"</p><p>".join(parts)}</p></div>{_sensitivity(summary)}'


def _unbroken(text: str) -> str:
    """An amount in running text: browsers end a line between a sign and ₹."""
    return f'<span class="unbroken">{text}</span>'


def _sensitivity(summary: ReplaySummary) -> str:
    """Other costs of the market and other latencies, where that was asked for."""
    if not summary.sensitivity:
        return ""
    rows = [
        (
            f"× {row.market_costs:g}", escape(row.latency), whole(row.trades), rupees(row.costs),
            toned(signed_rupees(row.net_pnl), float(row.net_pnl)),
            "ruined" if row.ruined else ratio(row.sharpe), percent(row.max_drawdown, 2),
        )
        for row in summary.sensitivity
    ]  # fmt: skip
    heads = ("Spread and slippage", "Latency", "Trades", "Costs", "Net P&amp;L", "Sharpe", "Drawdown")
    return table(heads, rows)


def months(summary: ReplaySummary) -> str:
    """One row a month, the whole below."""
    if not summary.by_month:
        return '<p class="empty">No session was played.</p>'
    rows = [
        (
            escape(row.month), whole(row.sessions), whole(row.trades), rupees(row.costs),
            toned(signed_rupees(row.net_pnl), float(row.net_pnl)),
            toned(signed_percent(row.total_return), row.total_return or 0.0),
        )
        for row in summary.by_month
    ]  # fmt: skip
    rows.append((
        "<b>All</b>", whole(summary.sessions), whole(summary.trades), rupees(summary.costs),
        toned(signed_rupees(summary.net_pnl), float(summary.net_pnl)),
        toned(signed_percent(summary.total_return), summary.total_return or 0.0),
    ))  # fmt: skip
    return table(("Month", "Sessions", "Trades", "Costs", "Net P&amp;L", "Return"), rows)


def symbols(summary: ReplaySummary) -> str:
    """One row a symbol; beside its profit how its price went."""
    if not summary.by_symbol:
        return '<p class="empty">No symbol had a bar.</p>'
    rows = [
        (
            escape(name) + (f" <small>{whole(row.quantity)} held</small>" if row.quantity else ""), whole(row.trades),
            percent(row.win_rate, 1), rupees(row.costs), toned(signed_rupees(row.net_pnl), float(row.net_pnl)),
            signed_percent(row.price_change),
        )
        for name, row in sorted(summary.by_symbol.items(), key=lambda item: -item[1].net_pnl)
    ]  # fmt: skip
    return table(("Symbol", "Trades", "Won", "Costs", "Net P&amp;L", "Its price"), rows)


def costs(summary: ReplaySummary) -> str:
    """What was paid to whom, and its share."""
    if not summary.costs_by_kind or not summary.costs:
        return '<p class="empty">Nothing was paid.</p>'
    rows = [
        (_KINDS.get(name, escape(name)), meter(float(amount / summary.costs), "cost"), rupees(amount),
         percent(float(amount / summary.costs), 1))
        for name, amount in sorted(summary.costs_by_kind.items(), key=lambda item: -item[1])
    ]  # fmt: skip
    gross = summary.net_pnl + summary.costs
    share = percent(float(summary.costs / abs(gross)), 1) if gross else ABSENT
    rows.append(("<b>All</b>", "", rupees(summary.costs), _unbroken(f"{share} of gross")))
    return table(("Kind", "", "Paid", "Share"), rows, figures=2)
