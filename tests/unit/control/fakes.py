"""A daemon that shows a fixed state and keeps what it is told, for the tests of the control server."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from daemon.budget.server import BudgetServer
from daemon.control.backtests import Backtests
from daemon.control.connections import LIMITS, Limits
from daemon.control.metrics import Metrics
from daemon.control.precedence import Precedence
from daemon.control.rows import Asked, EquityRow, HrmMetrics, Listing, LogRow, Page, Ring, RiskGauge, RiskView, TradeRow
from daemon.control.server import ControlServer
from daemon.control.standing import Standing
from daemon.control.stream import Stream
from daemon.control.tuning import Changeable, ConfigDocument, ConfigTicket
from daemon.control.view import (
    CanaryRow,
    CanaryTicket,
    Health,
    MigrationTicket,
    ModelAnswer,
    ModelTicket,
    OrderAnswer,
    OrderRow,
    OrderTicket,
    PositionRow,
    Status,
)
from daemon.core.aside import Aside
from daemon.core.clock import NS_PER_S, Clock, ReplayClock
from daemon.core.errors import InboxFull, SettingsError
from daemon.core.events import (
    Action,
    Bar,
    ControlAction,
    Decision,
    Event,
    GateReading,
    MigrationStage,
    Side,
    TradingState,
)
from daemon.report.migration import MigrationAnswer, MigrationSession, MigrationStep, MigrationView
from daemon.report.side_by_side import ShadowEvidence, ShadowRow, ShadowSession
from daemon.settings.run import ControlSettings
from daemon.supervision.health import Check, bad, good

TOKEN = "a-token-of-some-length"
NOW = 1_617_594_300 * NS_PER_S
TIME = "2021-04-05T09:15:00+05:30"
"""The same, as answers write it."""

STATUS = Status(
    version="0.1.0", mode="paper · tape ×20", simulated=True, started_ts=NOW, ts=NOW, last_tick_ts=NOW - 2 * NS_PER_S,
    feed="connected", trading_state=TradingState.ACTIVE, trading_reason="", strategy="hrm", strategy_rung=0,
    model="untrained (seed 7)", symbols=["NSE:SBIN-EQ"], healthy=True, reasons=[], ticks_accepted=951_204,
    ticks_rejected={"bad_time": 5450, "duplicate": 41_377}, bars=5210, decisions=1042, orders=48, fills=46,
    denied={"max_order_notional": 2}, working_orders=1, open_positions=1, equity=Decimal("1002138.04"),
    net_pnl=Decimal("2138.04"), costs=Decimal("2076.96"), strategies=["hrm", "rules", "flat"], rollback_to="rules",
)  # fmt: skip
POSITIONS = [
    PositionRow(symbol="NSE:SBIN-EQ", quantity=-500, average_price=Decimal("348.20"), last_price=Decimal("347.15"),
                unrealised_pnl=Decimal("525.00"), realised_pnl=Decimal("-1613.04"), costs=Decimal("2076.96")),
    PositionRow(symbol="NSE:TCS-EQ", quantity=0, average_price=Decimal(0), last_price=None, unrealised_pnl=None,
                realised_pnl=Decimal(0), costs=Decimal(0)),
]  # fmt: skip
ORDERS = [
    OrderRow(ts=NOW, order_id="H1", symbol="NSE:SBIN-EQ", side=Side.SELL, type="MARKET", quantity=500, filled=500,
             limit_price=None, average_price=Decimal("348.20"), state="FILLED", strategy="hrm", reason="5 segments"),
    OrderRow(ts=NOW, order_id="H0", symbol="NSE:SBIN-EQ", side=Side.BUY, type="LIMIT", quantity=500, filled=0,
             limit_price=Decimal("347.05"), average_price=None, state="ACCEPTED", strategy="hrm", reason="q_halt"),
    OrderRow(ts=NOW, order_id="H2", symbol="NSE:SBIN-EQ", side=Side.BUY, type="MARKET", quantity=500, filled=0,
             limit_price=None, average_price=None, state="DENIED", strategy="hrm", reason="max_order_notional"),
]  # fmt: skip
DECISIONS = [
    Decision(ts=NOW + number * NS_PER_S, ts_bar=NOW, symbol="NSE:SBIN-EQ", interval="5m", strategy="hrm",
             action=action, quantity=500, confidence=0.61, reason="5 segments, q_halt", price=348.2,
             segments=3 + number, halt_reason="q_halt", complexity=0.55, regime="trending")
    for number, action in enumerate(Action)
]  # fmt: skip

BARS = [
    Bar(symbol="NSE:SBIN-EQ", interval=interval, ts_open=NOW, ts_close=NOW + NS_PER_S, open=348.2, high=349.0,
        low=348.0, close=348.5, volume=-1 if interval == "1m" else 1000, ticks=5)
    for interval in ("5m", "1m")
]  # fmt: skip
TRADES = [
    TradeRow(symbol="NSE:SBIN-EQ", direction="LONG", quantity=5, entry_ts=NOW, exit_ts=NOW + NS_PER_S,
             entry_price=Decimal("348.20"), exit_price=Decimal("349.20"), gross_pnl=Decimal("5.00"),
             costs=Decimal("1.10"), net_pnl=Decimal("3.90")),
]  # fmt: skip
EQUITY = [EquityRow(ts=NOW + n * NS_PER_S, equity=Decimal("1000000.00") + n, net_pnl=Decimal(n)) for n in range(3)]
LINES = [
    LogRow(timestamp="2021-04-05T03:45:00.000000Z", level=level, event="bar closed", fields={"symbol": "NSE:SBIN-EQ"})
    for level in ("info", "warning", "error")
]

PART = ShadowSession(
    session="2021-04-05", since_ts=NOW, until_ts=NOW + NS_PER_S, whole=False, decisions=75, agreement=None, trades=2,
    net_pnl=Decimal("2138.04"), difference=None,
)  # fmt: skip
IN_CHARGE = ShadowRow(
    name="in charge", strategy="hrm", model="untrained (seed 7)", in_charge=True, dropped="", decisions=75, skipped=0,
    failed=0, compared=0, agreement=None, depth=2.5, latency_ms=9.0, thinking_ms=8.0, orders=4, fills=4, trades=2,
    open_positions=0, costs=Decimal("120.10"), net_pnl=Decimal("2138.04"), difference=None, evidence=None,
    sessions=[PART],
)  # fmt: skip
SHADOW = msgspec.structs.replace(
    IN_CHARGE, name="fast", strategy="rules", model="", in_charge=False, dropped="hung, 4 times today", decisions=70,
    skipped=5, failed=3, compared=66, agreement=0.75, depth=None, net_pnl=Decimal("-100.50"),
    evidence=ShadowEvidence(
        sessions=12, mean_bp=-3.25, clipped=1, better=0.25, worse=7.5, verdict="continue", reason=""),
    difference=Decimal("-2238.54"), sessions=[msgspec.structs.replace(
        PART, whole=True, agreement=0.75, net_pnl=Decimal("-100.50"), difference=Decimal("-2238.54"))],
)  # fmt: skip

GATES = (
    GateReading("sessions", False, "3 whole sessions on paper, at least 20", 3, 20),
    GateReading("failed", True, "0 of 225 decisions failed (0.00 %), at most 1 %", 0.0, 1.0),
)
MIGRATION = MigrationView(
    ts=NOW, stage=MigrationStage.PARALLEL, since_ts=NOW, next=MigrationStage.GRADUAL, ready=False, halted="",
    in_charge="ppo 0123456789ab", former="ppo 0123456789ab", candidate="fast", decider="hrm cafe", canary="",
    trouble="", gates=GATES, changes="fast decides for real on a share.", back="To baseline.",
    sessions=[
        MigrationSession(session="2021-04-05", stage=MigrationStage.PARALLEL, in_charge_bp=1.5, candidate_bp=-0.25,
                         difference_bp=-1.75, decisions=75, failed=0, trades=2, agreement=0.75, latency_p99_ms=9.5)
    ],
    history=[
        MigrationStep(ts=NOW, before=MigrationStage.TRAINING, stage=MigrationStage.PARALLEL, candidate="fast",
                      who="asha", reason="trained | on <2020>", gates=())
    ],
)  # fmt: skip


CANARY = CanaryRow(
    state="running", agent="fast", strategy="rules", model_hash="", against="hrm 0123abcd", symbols=["NSE:SBIN-EQ"],
    size=0.5, began_ts=NOW, ts=NOW, sessions=12, mean_bp=3.25, better=7.5, worse=0.25, needed=20.0,
    net_pnl=Decimal("12.50"), who="anna", reason="looks good", promote="ask", agents=["fast"],
)  # fmt: skip


class FakeDaemon:
    """Implements `ControlView` and `OrderDesk`; everything can be changed by a test."""

    def __init__(self) -> None:
        self.shown = STATUS
        self.checks: list[Check] = [good("running", "it trades"), good("memory", "0.41 GB in use", 0.41, 3, "GB")]
        self.held = POSITIONS
        self.known_orders = ORDERS
        self.asked_for = Asked(limit=0)
        self.asked: Counter[str] = Counter()
        self.submitted: list[Event] = []
        self.full = False
        self.order_state = self.order_reason = ""
        self.broken = False
        self.tickets: list[OrderTicket] = []
        self.models: list[ModelTicket] = []
        self.signed: list[tuple[str, MigrationTicket]] = []
        self.cancelled: list[tuple[str, str, str]] = []
        self.canaries: list[CanaryTicket] = []
        self.why = ""
        self.trouble: Exception | None = None
        self.metrics = Metrics()
        self.stream = Stream(self.order)
        self.noted: list[ControlAction] = []
        self.max_daily_loss = "20000"
        self.reached = ""
        self.rings: dict[Listing, Ring[Any]] = {listing: Ring(500) for listing in Listing}
        for listing, rows in ((Listing.ORDERS, ORDERS), (Listing.DECISIONS, DECISIONS), (Listing.BARS, BARS),
                              (Listing.TRADES, TRADES), (Listing.EQUITY, EQUITY)):  # fmt: skip
            for row in reversed(rows):
                self.rings[listing].add(row)

    def status(self) -> Status:
        """The fixed status, or what a test put there."""
        self.asked["status"] += 1
        return self.shown

    def positions(self) -> Sequence[PositionRow]:
        """One held, one flat; a crash where a test wants one."""
        self.asked["positions"] += 1
        if self.broken:
            raise KeyError("a bug")
        return self.held

    def orders(self) -> Sequence[OrderRow]:
        """One filled, one working, one denied."""
        self.asked["orders"] += 1
        return self.known_orders

    def decisions(self, limit: int) -> Sequence[Decision]:
        """One of each action."""
        self.asked["decisions"] += 1
        return DECISIONS[:limit]

    def page(self, listing: Listing, asked: Asked) -> Page:
        """A page of what a test put there."""
        self.asked[listing.value] += 1
        self.asked_for = asked
        ring = self.rings[listing]
        if listing is Listing.ORDERS:
            ring = Ring(500)
            for row in reversed(self.known_orders):
                ring.add(row)
        return ring.page(asked, (lambda row: row.symbol == asked.symbol) if asked.symbol else None)

    def order(self, order_id: str) -> OrderRow | None:
        """One of the fixed orders."""
        return next((row for row in self.known_orders if row.order_id == order_id), None)

    def hrm_metrics(self) -> HrmMetrics:
        """Of one decision."""
        return HrmMetrics(
            ts=NOW, decisions=1, efficiency=0.5, reasoning_depth=3.0, convergence=0.2, convergence_stability=1.0,
            latency_ms=12.0, memory_mb=100.0, complexity=0.5,
        )  # fmt: skip

    def note(self, action: ControlAction) -> None:
        """Keep it."""
        self.noted.append(action)

    def config(self) -> ConfigDocument:
        """One setting that may change."""
        row = Changeable(key="risk.max_daily_loss", value=self.max_daily_loss, file="20000", says="Rupees")
        settings = {"risk": {"max_daily_loss": self.max_daily_loss}, "strategy": {"interval": "5m"}}
        return ConfigDocument(changeable=[row], settings=settings | {"bars": {"intervals": ["1m", "5m", "1d"]}})

    async def change(self, ticket: ConfigTicket, who: str) -> ConfigDocument:
        """Only the one setting."""
        if self.trouble is not None:
            raise self.trouble
        if set(ticket.changes) != {"risk.max_daily_loss"}:
            raise SettingsError(f"{next(iter(ticket.changes))}: doesn't change while hrmd runs")
        self.max_daily_loss = str(ticket.changes["risk.max_daily_loss"])
        return self.config()

    async def reload(self, reason: str, who: str) -> ConfigDocument:
        """As the file says."""
        if self.trouble is not None:
            raise self.trouble
        self.max_daily_loss = "20000"
        return self.config()

    def settings_json(self) -> str:
        """None to speak of."""
        return "{}"

    def risk(self) -> RiskView:
        """One limit, an eighth of it used."""
        gauge = RiskGauge(
            name="daily loss", used=Decimal("2500.00"), limit=Decimal("20000.00"), share=0.125, unit="₹"
        )  # fmt: skip
        return RiskView(day_pnl=Decimal("-2500.00"), free=None, gauges=[gauge], reached=self.reached)

    def shadow(self) -> Sequence[ShadowRow]:
        """The one in charge and one that was dropped."""
        return [IN_CHARGE, SHADOW]

    def migration(self) -> MigrationView:
        """In the middle of it."""
        return MIGRATION

    def canary(self) -> CanaryRow:
        """One that runs."""
        return CANARY

    def why_not(self, ticket: CanaryTicket) -> str:
        """What a test wants."""
        self.canaries.append(ticket)
        return self.why

    def health(self) -> Health:
        """What the checks come to."""
        return Health.of(self.checks)

    async def place(self, ticket: OrderTicket) -> OrderAnswer:
        """Keep the ticket; approve it, or do what a test asks for."""
        if self.trouble is not None:
            raise self.trouble
        repeated = any(known.key == ticket.key for known in self.tickets)
        self.tickets.append(ticket)
        denied = {"check": "lot_size", "limit": "a multiple of 75", "value": str(ticket.quantity)}
        return OrderAnswer(
            key=ticket.key, order_id="H7", approved=ticket.quantity < 1000, repeated=repeated, ts=NOW,
            state=self.order_state, reason=self.order_reason,
            **(denied if ticket.quantity >= 1000 else dict.fromkeys(denied, "")),
        )  # fmt: skip

    async def cancel(self, order_id: str, reason: str, who: str) -> int | None:
        """Only H0 works."""
        if self.full:
            raise InboxFull("inbox 'execution' is full")
        if self.trouble is not None:
            raise self.trouble
        self.cancelled.append((order_id, reason, who))
        return NOW if order_id == "H0" else None

    async def load_model(self, ticket: ModelTicket) -> ModelAnswer:
        """Keep the ticket; "bad" is refused."""
        if self.trouble is not None:
            raise self.trouble
        self.models.append(ticket)
        loaded = ticket.model != "bad"
        return ModelAnswer(
            loaded=loaded, model="new (abc)" if loaded else "bad", model_hash="abc" if loaded else "",
            before="def" if loaded else "", reason="" if loaded else "bad: no such version", ts=NOW,
            after_restart="a restart loads it, too" if loaded else "",
        )  # fmt: skip

    async def advance(self, ticket: MigrationTicket) -> MigrationAnswer:
        """Keep the ticket; "nobody" is refused."""
        return self._step("advance", ticket, MigrationStage.GRADUAL)

    async def roll_back(self, ticket: MigrationTicket) -> MigrationAnswer:
        """Keep the ticket; "nobody" is refused."""
        return self._step("rollback", ticket, MigrationStage.BASELINE)

    def _step(self, name: str, ticket: MigrationTicket, to: MigrationStage) -> MigrationAnswer:
        if self.trouble is not None:
            raise self.trouble
        self.signed.append((name, ticket))
        moved = ticket.who != "nobody"
        return MigrationAnswer(
            moved=moved, stage=to if moved else MigrationStage.PARALLEL, before=MigrationStage.PARALLEL,
            who=ticket.who, reason=ticket.reason if moved else f"{name}: sessions: 3, at least 20", gates=GATES, ts=NOW,
        )  # fmt: skip

    def standing(self) -> Standing:
        """As `shown` has it."""
        return Standing(
            trading_state=self.shown.trading_state, trading_reason=self.shown.trading_reason,
            strategy=self.shown.strategy, locked=bool(self.shown.strategy_lock),
        )  # fmt: skip

    async def command(self, event: Event) -> None:
        """Keep the command, or fail as a full bus does, or as a test wants it."""
        if self.full:
            raise InboxFull("inbox 'risk' is full")
        self.submitted.append(event)
        if self.trouble is not None:
            raise self.trouble

    def sicken(self, reason: str) -> None:
        """Be unhealthy for `reason`."""
        self.checks.append(bad("ticks", reason, "look at the feed"))
        self.shown = msgspec.structs.replace(self.shown, healthy=False, reasons=[reason])


def build_server(
    daemon: FakeDaemon, clock: Clock | None = None, port: int = 0, limits: Limits = LIMITS, tapes: Path = Path("none"),
    worker: Sequence[str] = (sys.executable, "-c", "raise SystemExit(3)"), precedence: Precedence | None = None,
    disk: Aside | None = None, **changes: Any,
) -> ControlServer:  # fmt: skip
    """A control server over `daemon`, on a free port unless told; `changes` are settings of control."""
    settings = ControlSettings(port=port, **({"token_file": "unused", "tokens_file": "unused"} | changes))
    stream = Stream(daemon.order)
    daemon.stream = stream
    return ControlServer(
        settings, daemon, clock or ReplayClock(NOW), daemon.metrics, TOKEN, daemon, daemon, daemon, limits,
        tuning=daemon, backtests=Backtests(tapes, [], worker), stream=stream, lines=lambda: LINES,
        precedence=precedence, disk=disk,
    )  # fmt: skip


@contextmanager
def running_in_thread(server: ControlServer | BudgetServer) -> Iterator[str]:
    """Serve on an own loop in an own thread, for clients that block; gives the URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            yield server.url
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
