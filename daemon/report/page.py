"""What a run's page shows besides its figures → the page's block of data: columns, small and safe inside HTML.

Times are seconds since 1970, prices and rupees plain numbers: the page draws them, exact amounts are in the summary.
Invariant: no text in it can end the element that it stands in, whatever a tape or a model calls itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.core.events import Action, Bar, Decision, Fill, PriceAdjusted
from daemon.report.summary import EquityPoint, ReplaySummary
from daemon.report.text import price, words
from daemon.report.trades import Trade

BARS_DRAWN = 40_000
"""Over all symbols, busiest first: more would make a page that no telephone opens."""


class Shown(msgspec.Struct):
    """What happened, in order: `bars` of the decision interval; `equity` at each close; `trades`, open ones last."""

    bars: list[Bar] = []
    decisions: list[Decision] = []
    fills: list[Fill] = []
    adjusted: list[PriceAdjusted] = []
    equity: list[EquityPoint] = []
    trades: list[Trade] = []


def as_block(document: Any) -> str:
    """JSON that may stand inside a `script` element: no `<`, `>` or `&`, and no line end of JavaScript's own."""
    text = msgspec.json.encode(document).decode()
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def page_data(summary: ReplaySummary, shown: Shown, room: int = BARS_DRAWN) -> dict[str, Any]:
    """All that the page's script draws, with at most `room` bars."""
    drawn, left_out = _drawn(shown, room)
    reasons = _Names()
    return {
        "starting": float(summary.starting_equity),
        "interval": summary.interval,
        "maxSegments": summary.hrm_metrics.max_segments if summary.hrm_metrics is not None else 0,
        "symbols": [_symbol(name, bars, shown, reasons) for name, bars in drawn.items()],
        "notDrawn": left_out,
        "reasons": reasons.known,
        "equity": {"t": [point.ts // NS_PER_S for point in shown.equity],
                   "v": [round(float(point.equity), 2) for point in shown.equity]},
        "hold": _hold(summary, shown),
        "trades": [_trade(trade, list(drawn)) for trade in shown.trades],
    }  # fmt: skip


class _Names:
    """Texts that come again and again, by number."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """That of `text`, a new one where it wasn't heard of before."""
        if text not in self._numbers:
            self._numbers[text] = len(self.known)
            self.known.append(text)
        return self._numbers[text]


def _drawn(shown: Shown, room: int) -> tuple[dict[str, list[Bar]], list[str]]:
    """Bars by symbol, most fills first, the newest of each as far as there is room; and the symbols without."""
    found: dict[str, dict[int, Bar]] = {}
    for bar in shown.bars:  # after a restart one may have been built twice: the later one counts
        found.setdefault(bar.symbol, {})[bar.ts_open] = bar
    bars = {symbol: [of[ts] for ts in sorted(of)] for symbol, of in found.items()}
    fills = dict.fromkeys(bars, 0)
    for fill in shown.fills:
        if fill.symbol in fills:
            fills[fill.symbol] += 1
    drawn: dict[str, list[Bar]] = {}
    left_out = []
    for symbol in sorted(bars, key=lambda name: (-fills[name], name)):
        if room <= 0:
            left_out.append(symbol)
            continue
        drawn[symbol] = bars[symbol][-room:]
        room -= len(bars[symbol])
    return drawn, left_out


def _why(decision: Decision) -> str:
    """The reason, with the stop and the target of an entry that has any."""
    prices = (("stop", decision.stop_price), ("target", decision.target_price))
    return ", ".join((decision.reason, *(f"{what} {price(value)}" for what, value in prices if value)))


def _symbol(name: str, bars: Sequence[Bar], shown: Shown, reasons: _Names) -> dict[str, Any]:
    closes = [bar.ts_close for bar in bars]
    columns: dict[str, Any] = {
        "name": name,
        "t": [bar.ts_open // NS_PER_S for bar in bars],
        "e": [close // NS_PER_S for close in closes],
        "o": _rounded(bar.open for bar in bars),
        "h": _rounded(bar.high for bar in bars),
        "l": _rounded(bar.low for bar in bars),
        "c": _rounded(bar.close for bar in bars),
        "v": [max(bar.volume, 0) for bar in bars] if any(bar.volume > 0 for bar in bars) else [],
    }
    first = bars[0].ts_open
    made = [one for one in shown.decisions if one.symbol == name and one.ts_bar >= first]
    columns["decisions"] = {
        "i": [_bar_of(closes, one.ts_bar) for one in made],
        "action": [int(one.action) for one in made],
        "segments": [one.segments for one in made],
        "complexity": [round(one.complexity, 3) for one in made],
        "confidence": [round(one.confidence, 3) for one in made],
        "halt": [reasons.number(words(one.halt_reason)) for one in made],
        "why": [reasons.number(_why(one) if one.action is not Action.HOLD else "") for one in made],
    }
    columns["fills"] = [
        [_bar_of(closes, one.ts), one.side.sign, one.quantity, float(one.price), float(one.costs)]
        for one in shown.fills
        if one.symbol == name and one.ts >= first
    ]
    return columns


def _bar_of(closes: Sequence[int], ts: int) -> int:
    """The place of the bar in which `ts` falls; what comes after the last stays on it."""
    return min(bisect_left(closes, ts), len(closes) - 1)


def _rounded(prices: Iterable[float]) -> list[float]:
    return [round(price, 4) for price in prices]


def _trade(trade: Trade, drawn: list[str]) -> dict[str, Any]:
    return {
        "symbol": trade.symbol,
        "s": drawn.index(trade.symbol) if trade.symbol in drawn else -1,
        "side": trade.direction.value,
        "quantity": trade.quantity,
        "from": trade.entry_ts // NS_PER_S,
        "to": None if trade.open else trade.exit_ts // NS_PER_S,
        "in": round(float(trade.entry_price), 4),
        "out": round(float(trade.exit_price), 4),
        "costs": float(trade.costs),
        "net": round(float(trade.net_pnl), 2),
    }


def _hold(summary: ReplaySummary, shown: Shown) -> list[float]:
    """Beside each point of the equity, what equal parts bought at the first opens would be worth, without costs."""
    start = float(summary.starting_equity)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    names = list(dict.fromkeys(bar.symbol for bar in shown.bars))
    bars, adjusted, values = iter(shown.bars), list(shown.adjusted), []
    bar = next(bars, None)
    for point in shown.equity:
        while bar is not None and bar.ts_close <= point.ts:
            while adjusted and adjusted[0].ts <= bar.ts_close:
                one = adjusted.pop(0)
                if one.symbol in first:
                    first[one.symbol] *= one.ratio
                    last[one.symbol] *= one.ratio
            first.setdefault(bar.symbol, bar.open)
            last[bar.symbol] = bar.close
            bar = next(bars, None)
        grown = sum(last[name] / first[name] for name in first if first[name] > 0)
        values.append(round(start * (grown + len(names) - len(first)) / len(names), 2))
    return values
