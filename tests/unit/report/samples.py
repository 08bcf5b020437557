"""Made-up runs for the report's tests: seeded, with or without trades."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

from daemon.core.clock import NS_PER_S
from daemon.core.events import Action, Bar, Decision, Event, Fill, OrderDenied, OrderIntent, OrderType, Side
from daemon.report.summary import EquityPoint, ReplaySummary, Run, TickCounts
from daemon.report.tally import Tally

MINUTE_NS = 60 * NS_PER_S
BARS_A_SESSION = 75
START = int(dt.datetime(2021, 4, 5, 3, 45, tzinfo=dt.UTC).timestamp()) * NS_PER_S
DAY_NS = 86_400 * NS_PER_S


def fill(ts: int, symbol: str, side: Side, quantity: int, price: str, costs: str = "0") -> Fill:
    """A fill of order `o<ts>`."""
    return Fill(ts=ts, fill_id=f"f{ts}", order_id=f"o{ts}", symbol=symbol, side=side, quantity=quantity,
                price=Decimal(price), costs=Decimal(costs))  # fmt: skip


def intent(ts: int, symbol: str, side: Side, quantity: int, reduces: bool = False) -> OrderIntent:
    """A market order of the HRM."""
    return OrderIntent(ts=ts, order_id=f"o{ts}", symbol=symbol, side=side, quantity=quantity, type=OrderType.MARKET,
                       limit_price=None, stop_price=None, reduces=reduces, strategy="hrm", reason="hrm",
                       reference_price=Decimal(100))  # fmt: skip


def decision(ts: int, symbol: str, action: Action = Action.HOLD, **values: object) -> Decision:
    """A decision of the HRM at the close of a five-minute bar."""
    given: dict[str, object] = {
        "ts": ts, "ts_bar": ts, "symbol": symbol, "interval": "5m", "strategy": "hrm", "action": action,
        "quantity": 0 if action is Action.HOLD else 100, "confidence": 0.6, "reason": "hrm", "price": 100.0,
    }  # fmt: skip
    return Decision(**(given | values))  # type: ignore[arg-type]  # names are checked by msgspec


class Sample:
    """A run as the replay would hand it to the report."""

    def __init__(self, sessions: int = 8, trading: bool = True, symbols: tuple[str, ...] = ("NSE:SBIN-EQ",)) -> None:
        self.tally = Tally()
        self.bars: list[Bar] = []
        self.decisions: list[Decision] = []
        self.fills: list[Fill] = []
        self.equity: list[EquityPoint] = []
        self.closes: list[EquityPoint] = []
        self._chance = random.Random(7)
        self._price = dict.fromkeys(symbols, 350.0)
        self._held = dict.fromkeys(symbols, 0)
        self._cash = Decimal(1_000_000)
        for session in range(sessions):
            for number in range(BARS_A_SESSION):
                ts = START + session * DAY_NS + (number + 1) * 5 * MINUTE_NS
                for symbol in symbols:
                    self._step(ts, symbol, number, trading)
                self.equity.append(EquityPoint(ts, self._worth()))
            self.closes.append(self.equity[-1])
        self.record(OrderDenied(ts=START, order_id="x", symbol=symbols[0], check="max_order_notional", limit="500000",
                                value="612000"))  # fmt: skip

    def record(self, event: Event) -> None:
        """Tally and keep `event`."""
        self.tally.record(event)

    def summary(self, **values: object) -> ReplaySummary:
        """The summary of the run; `values` replace parts of `Run`."""
        run: dict[str, object] = {
            "tapes": ["sbin.parquet"], "symbols": list(self._price), "strategy": "hrm", "interval": "5m",
            "model": "untrained (seed 20250626)", "simulated": True, "latency": "fixed:50",
            "starting_equity": Decimal(1_000_000), "max_segments": 8,
            "notes": ["index traded as its future at spot prices"],
        }  # fmt: skip
        ticks = TickCounts(accepted=951_204, rejected={"bad_time": 5450, "backward_time": 6120, "duplicate": 41_377},
                           repaired=12_004, first_ts=START, last_ts=self.equity[-1].ts)  # fmt: skip
        sessions = [(point.ts - 375 * MINUTE_NS, point.ts) for point in self.closes]
        return self.tally.summary(Run(**(run | values)), ticks, self.closes, sessions, 0.734)  # type: ignore[arg-type]

    def _worth(self) -> Decimal:
        held = sum(Decimal(f"{self._price[symbol]:.2f}") * quantity for symbol, quantity in self._held.items())
        return self._cash + held

    def _step(self, ts: int, symbol: str, number: int, trading: bool) -> None:
        chance, before = self._chance, self._price[symbol]
        after = self._price[symbol] = round(before * (1 + chance.gauss(0, 0.0012)), 2)
        high, low = max(before, after) + abs(chance.gauss(0, 0.2)), min(before, after) - abs(chance.gauss(0, 0.2))
        bar = Bar(symbol=symbol, interval="5m", ts_open=ts - 5 * MINUTE_NS, ts_close=ts, open=before, high=high,
                  low=low, close=after, volume=chance.randrange(1000, 90_000), ticks=300)  # fmt: skip
        complexity = min(1.0, max(0.0, 0.45 + chance.gauss(0, 0.18)))
        segments = min(8, max(2, round(2 + 6 * complexity + chance.gauss(0, 1))))
        action = Action.HOLD
        if trading and number in (8, 30, 52):
            action = chance.choice((Action.BUY_LONG, Action.SELL_SHORT))
        elif self._held[symbol] and (number in (22, 44, 70)):
            action = Action.CLOSE_LONG if self._held[symbol] > 0 else Action.CLOSE_SHORT
        made = decision(ts, symbol, action, segments=segments, min_segments=2, complexity=complexity,
                        regime=chance.choice(("trending", "ranging", "ranging", "volatile")), convergence=0.02,
                        halt_reason="max_segments" if segments == 8 else "q_halt")  # fmt: skip
        self.bars.append(bar)
        self.decisions.append(made)
        self.record(bar)
        self.record(made)
        self.tally.inference(abs(chance.gauss(0.011, 0.003)))
        if action is not Action.HOLD:
            self._trade(ts + NS_PER_S, symbol, action, after)

    def _trade(self, ts: int, symbol: str, action: Action, price: float) -> None:
        side = Side.BUY if action in (Action.BUY_LONG, Action.CLOSE_SHORT) else Side.SELL
        self.record(intent(ts, symbol, side, 500, reduces=action in (Action.CLOSE_LONG, Action.CLOSE_SHORT)))
        done = fill(ts + 1, symbol, side, 500, f"{price:.2f}", "43.27")
        self._held[symbol] += side.sign * 500
        self._cash -= done.price * 500 * side.sign + done.costs
        self.fills.append(done)
        self.record(done)
