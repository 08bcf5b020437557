"""What the rules earn on recorded bars: per year and symbol, trades, gross, costs, net, its t-statistic and drawdown.

    python benchmarks/rules.py BARS.parquet … | TAPES/ [--cost-bp 6] [--set strategy.rules.pays=4] [--json]

The real strategy behind the real view and complexity, bar by bar: decided at the close of a bar, filled at the open of
the next one, half the costs at each end, squared off as the daemon does. Bars are Parquet files as `hrmd train` reads
them (`ts` UTC start of the bar, open, high, low, close, perhaps volume and symbol); of a directory its tapes are
played into bars first. Net is in basis points of what is traded, and in per cent of the paper account at the size that
`strategy.rules.quantity` and `risk.max_order_notional` leave. `t` is net over its standard error: below −2 a year has
lost beyond noise. Bars are not shipped. Invariant: no session of the exchange's calendar, no year and no trade is left
out, however odd.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daemon.bars.complexity import ComplexityDetector
from daemon.core.clock import NS_PER_S
from daemon.core.errors import HrmdError
from daemon.core.events import Action, Bar, Decision, PositionChanged
from daemon.market.calendar import MarketCalendar, ist_date
from daemon.market.costs import ZERO
from daemon.market.hours import hours_of
from daemon.market.scheduled_events import ScheduledEvents
from daemon.run import log
from daemon.run.latency import parse_latency
from daemon.run.replaying import Replay, ReplayOutputs
from daemon.settings.loading import load_settings
from daemon.settings.tree import Settings
from daemon.settings.values import INTERVALS
from daemon.strategy.build import view_settings
from models.training.errors import DataError
from models.training.ingest import Limits, read_bars
from strategies.base import MarketView
from strategies.rules import RulesStrategy

ENTRIES = {Action.BUY_LONG: 1, Action.SELL_SHORT: -1}
EVERY = 200
"""Sessions between two signs of life."""


@dataclass(frozen=True)
class Trade:
    """One round trip; `share` is its size in shares of the account."""

    year: int
    symbol: str
    gross_bp: float
    share: float


@dataclass(frozen=True)
class Row:
    """A year of a symbol, or all of them; `net_percent` and `drawdown_percent` of the account."""

    symbol: str
    year: str
    trades: int
    gross_bp: float
    cost_bp: float
    net_bp: float
    t: float
    net_percent: float
    drawdown_percent: float


class Trader:
    """One symbol: what the daemon's stages do between a bar and a fill."""

    def __init__(self, symbol: str, settings: Settings, calendar: MarketCalendar) -> None:
        self.trades: list[Trade] = []
        self.years: dict[int, None] = {}
        self._symbol, self._settings, self._calendar = symbol, settings, calendar
        self._strategy = RulesStrategy(settings.strategy.rules)
        self._view = MarketView(view_settings(settings), calendar)
        self._detector = ComplexityDetector(settings.complexity_detection, ScheduledEvents())
        self._position = 0
        self._entry = 0.0
        self._wanted: int | None = None
        """Side from the next bar on, where it is to change."""

    def on_bar(self, bar: Bar) -> None:
        """Fill what was decided before, at the open; then decide at the close."""
        if self._wanted is not None:
            self._fill(bar.ts_open, bar.open)
        self._view.on_bar(bar)
        moment = self._view.moment(self._detector.on_bar(bar))
        if moment.minutes_to_close <= self._settings.strategy.square_off_minutes:
            self._wanted = 0 if self._position else None
        else:
            self._wanted = self._side(self._strategy.decide(moment))

    def end_session(self, bar: Bar) -> None:
        """The last bar of a day: what is open is closed at its close, and nothing is left for tomorrow."""
        self.years[ist_date(bar.ts_open).year] = None
        self._wanted = 0 if self._position else None
        if self._position:
            self._fill(bar.ts_close, bar.close)
        self._wanted = None

    def _side(self, decision: Decision) -> int | None:
        if decision.action is Action.HOLD:
            return None
        return ENTRIES.get(decision.action, 0)

    def _fill(self, ts: int, price: float) -> None:
        if self._position:
            gross = self._position * (price / self._entry - 1.0) * 1e4
            year = ist_date(ts).year
            self.trades.append(Trade(year, self._symbol, gross, self._share(self._entry)))
        self._position, self._entry = self._wanted or 0, price
        self._wanted = None
        quantity = self._position * self._settings.strategy.rules.quantity
        self._view.on_position(
            PositionChanged(
                ts=ts, symbol=self._symbol, quantity=quantity, average_price=ZERO, realised_pnl=ZERO, costs=ZERO,
                cash=ZERO, opened_ts=ts,
            )
        )  # fmt: skip

    def _share(self, price: float) -> float:
        settings = self._settings
        notional = min(settings.strategy.rules.quantity * price, float(settings.risk.max_order_notional))
        return notional / float(settings.broker.starting_cash)


def bars_of(path: Path, settings: Settings, calendar: MarketCalendar) -> Iterator[tuple[str, int, list[Bar]]]:
    """(symbol, sessions left, bars) of each session in a file, oldest first; those outside the calendar are skipped."""
    interval = settings.strategy.interval
    sessions, _ = read_bars(path, INTERVALS[interval], limits=Limits(missing_share=1.0), hours=hours_of(calendar))
    length = INTERVALS[interval] * NS_PER_S
    for number, (start, end) in enumerate(zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)):
        symbol = sessions.symbols[sessions.symbol[number]]
        rows = range(int(start), int(end))
        bars = [_bar(symbol, interval, int(sessions.ts_ns[row]), length, sessions.bars[row]) for row in rows]
        bars = [bar for bar in bars if calendar.session_at(bar.ts_close - 1) is not None]
        yield symbol, len(sessions) - number - 1, bars


def _bar(symbol: str, interval: str, ts: int, length: int, row: NDArray[np.float64]) -> Bar:
    price = [float(value) for value in row[:4]]
    volume = -1 if math.isnan(row[4]) else int(row[4])
    return Bar(
        symbol=symbol, interval=interval, ts_open=ts, ts_close=ts + length, open=price[0], high=price[1], low=price[2],
        close=price[3], volume=volume, ticks=1,
    )  # fmt: skip


def trade(path: Path, settings: Settings, calendar: MarketCalendar) -> dict[str, Trader]:
    """A trader for each symbol in a file of bars, after the last of them."""
    traders: dict[str, Trader] = {}
    for symbol, left, bars in bars_of(path, settings, calendar):
        trader = traders.setdefault(symbol, Trader(symbol, settings, calendar))
        for bar in bars:
            trader.on_bar(bar)
        if bars:
            trader.end_session(bars[-1])
        if left % EVERY == 0:
            print(f"{path.name}: {symbol}, {left} sessions left", file=sys.stderr)
    return traders


def play(directory: Path, settings: Settings, out: Path) -> Path:
    """The bars of all tapes of a directory, as the daemon makes them."""
    tapes = sorted(directory.glob("*.parquet"))
    if not tapes:
        raise SystemExit(f"{directory}: holds no tapes (*.parquet)")
    print(f"{directory}: playing {len(tapes)} tapes", file=sys.stderr)
    made = out.with_suffix(".made")
    asyncio.run(Replay(settings, tapes, [], parse_latency("zero"), ReplayOutputs(bars=made)).run())
    bars = pq.read_table(made, filters=[("interval", "=", settings.strategy.interval)])
    bars = bars.select(["symbol", "ts_open", "open", "high", "low", "close"])
    pq.write_table(bars.rename_columns(["symbol", "ts", "open", "high", "low", "close"]), out)
    return out


def rows_of(symbol: str, trader: Trader, cost_bp: float) -> list[Row]:
    """A row for each year that has sessions, and one for all."""
    rows = []
    for year in trader.years:
        rows.append(_row(symbol, str(year), [done for done in trader.trades if done.year == year], cost_bp))
    return [*rows, _row(symbol, "all", trader.trades, cost_bp)]


def _row(symbol: str, year: str, trades: Sequence[Trade], cost_bp: float) -> Row:
    gross = np.array([trade.gross_bp for trade in trades])
    net = gross - cost_bp
    money = np.cumsum(np.append(0.0, net * [trade.share for trade in trades])) / 100
    error = float(net.std(ddof=1)) * math.sqrt(len(net)) if len(net) > 1 else 0.0
    return Row(
        symbol=symbol, year=year, trades=len(net), gross_bp=float(gross.sum()), cost_bp=cost_bp * len(net),
        net_bp=float(net.sum()), t=float(net.sum()) / error if error > 0.0 else 0.0, net_percent=float(money[-1]),
        drawdown_percent=float((np.maximum.accumulate(money) - money).max()),
    )  # fmt: skip


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="+", help="files of bars, or directories of tapes")
    parser.add_argument("--cost-bp", type=float, help="of a round trip; strategy.rules.cost_bp if not given")
    parser.add_argument("--set", action="append", default=[], help="a setting, as of hrmd")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        settings = load_settings(None, ["strategy.name=rules", *given.set])
        log.configure(settings.log)
        cost_bp = settings.strategy.rules.cost_bp if given.cost_bp is None else given.cost_bp
        calendar, rows = MarketCalendar(), []
        with tempfile.TemporaryDirectory() as name:
            for number, path in enumerate(given.source):
                file = play(path, settings, Path(name) / f"{number}.parquet") if path.is_dir() else path
                for symbol, trader in trade(file, settings, calendar).items():
                    rows += rows_of(symbol, trader, cost_bp)
    except (HrmdError, DataError) as error:
        raise SystemExit(str(error)) from None
    if given.json:
        print(json.dumps([row.__dict__ for row in rows]))
        return
    heads = ("trades", "gross bp", "cost bp", "net bp", "t", "net %", "dd %")
    print(f"{'symbol':<12}{'year':>6}" + "".join(f"{head:>9}" for head in heads))
    for row in rows:
        print(
            f"{row.symbol:<12}{row.year:>6}{row.trades:>9}{row.gross_bp:>9.0f}{row.cost_bp:>9.0f}{row.net_bp:>9.0f}"
            f"{row.t:>9.1f}{row.net_percent:>9.2f}{row.drawdown_percent:>9.2f}"
        )


if __name__ == "__main__":
    main()
