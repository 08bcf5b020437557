"""What the control server is told, from an app that is fed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.alerting.sender import Sender
from daemon.app import App
from daemon.control.standing import Standing
from daemon.core.clock import NS_PER_S, LiveClock, ReplayClock
from daemon.core.errors import JournalError
from daemon.core.events import (
    Action,
    Bar,
    Event,
    FeedState,
    FeedStatus,
    Fill,
    LockStrategy,
    OrderAccepted,
    OrderAmended,
    OrderCancelRequested,
    OrderDenied,
    OrderRejected,
    OrderType,
    OrderUnknown,
    SettingChanged,
    Side,
    SwapStrategy,
    SymbolHalted,
    TradingState,
    TradingStateChanged,
)
from daemon.core.latency import FixedLatency
from daemon.feed.live.feed import LiveFeed
from daemon.plan import RunPlan
from daemon.run.alerts import alert_desk
from daemon.run.gauges import gauges_of
from daemon.run.view import KEPT, DaemonView
from daemon.settings.loading import load_settings
from daemon.strategy.artifacts import hash_on_disk
from daemon.supervision.health import Overall
from daemon.supervision.supervisor import Ladder
from models.agent import HRMAgent
from tests.samples import (
    CLOSE,
    DAY,
    HRM,
    LIVELY,
    MINUTE,
    OPEN,
    RELIANCE,
    SBIN,
    cancel_of,
    decide,
    fill_of,
    hill,
    intend,
    settings_of,
    tick,
    ticks,
    write_tape,
)
from tests.unit.core.readings import FakeReadings

NOON = OPEN + 60 * MINUTE


class Desk:
    """An app that doesn't run, its view, and the parts of the path that a test needs moved by hand."""

    def __init__(self, tape: Path, start: int = NOON, changes: tuple[str, ...] = ()) -> None:
        self.clock = ReplayClock(start)
        plan = RunPlan(
            tapes=[tape], symbols=[], clock=self.clock, latency=FixedLatency(0), journal=None, durable=False,
            restarts=True, order_prefix="T",
        )  # fmt: skip
        self.app = App(settings_of(*LIVELY, *changes), plan)
        self.app.desk.open = True
        self.view = DaemonView(self.app, "a test")

    def tell(self, *events: Event) -> None:
        """Publish, and let portfolio and risk's book hear of it."""
        for event in events:
            self.app.bus.publish(event)
            if isinstance(event, Fill):
                self.app.portfolio.handle(event)
        for actor in self.app.actors:  # nobody runs here: what waits for them is taken
            while actor.inbox.take() is not None:
                actor.inbox.done()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """One at noon, before its first tick."""
    desk = Desk(write_tape(tmp_path / "t.parquet", *hill(), notes={"simulated": "true"}))
    yield desk
    desk.app.close()


def see(desk: Desk, ts: int, price: float, symbol: str = SBIN) -> None:
    """A tick that view and risk have seen."""
    desk.tell(tick(ts, price, symbol))
    desk.app.risk.book.on_ticks(tick(ts, price, symbol))


def test_a_fresh_daemon(desk: Desk) -> None:
    """Nothing has happened, and that is healthy."""
    status = desk.view.status()
    assert (status.mode, status.simulated, status.feed, status.symbols) == ("a test", True, "starting", [SBIN])
    assert (status.trading_state, status.strategy, status.model) == (TradingState.ACTIVE, "rules", "")
    assert (status.healthy, status.reasons, status.last_tick_ts) == (True, [], None)
    assert (status.equity, status.net_pnl, status.costs) == (Decimal(1_000_000), 0, 0)
    assert desk.view.positions() == []
    assert desk.view.orders() == []
    assert desk.view.decisions(5) == []


def test_a_symbol_whose_last_decision_failed_is_unhealthy(desk: Desk) -> None:
    """Until a good one; a turn that came too late says nothing either way."""
    hung = decide(Action.HOLD, strategy="hrm", failed=True, halt_reason="hung", reason="hung: no answer within 2 s")
    desk.tell(hung, msgspec.structs.replace(hung, symbol=RELIANCE, reason="not finite"))
    said = f"symbols whose last decision failed: 2, such as {SBIN}: hrm hung: no answer within 2 s"
    assert desk.view.health().reasons == [said]
    desk.tell(decide(Action.HOLD, strategy="hrm", halt_reason="late"))
    assert desk.view.health().reasons == [said]
    desk.tell(decide(Action.HOLD, strategy="hrm"))
    assert desk.view.health().reasons == [f"symbols whose last decision failed: 1, such as {RELIANCE}: hrm not finite"]
    desk.tell(decide(Action.HOLD, strategy="rules", symbol=RELIANCE))
    assert desk.view.health().healthy
    assert desk.view.status().strategies == ["rules", "flat"]


def test_what_commands_change_is_told(desk: Desk) -> None:
    """State with why and by whom, who decides, and whether that is locked."""
    assert desk.view.standing() == Standing(
        trading_state=TradingState.ACTIVE, trading_reason="", strategy="rules", locked=False
    )
    desk.app.risk.book.state = TradingState.HALTED
    desk.tell(TradingStateChanged(ts=NOON, state=TradingState.HALTED, reason="lunch", who="asha"))
    desk.app.supervisor.handle(LockStrategy(ts=NOON, locked=True, reason="I watch it", who="asha"))
    desk.app.supervisor.handle(SwapStrategy(ts=NOON, name="flat", reason="enough"))
    assert desk.view.standing() == Standing(
        trading_state=TradingState.HALTED, trading_reason="lunch (asha)", strategy="flat", locked=True
    )


def test_a_daemon_that_does_not_trade_is_not_healthy(desk: Desk) -> None:
    """Not before it has agreed with what was left, nor while it ends; once the tape has ended that is the reason."""
    desk.app.desk.open = False
    assert desk.view.health().reasons == ["recovering: not done yet"]
    desk.app.stop("SIGTERM received")
    assert desk.view.health().reasons == ["stopping: SIGTERM received"]
    desk.tell(FeedStatus(ts=NOON, state=FeedState.ENDED, symbol=None, reason=""))
    assert desk.view.health().reasons == ["the feed has ended"]


async def test_a_journal_that_can_not_be_written_is_not_healthy(tmp_path: Path) -> None:
    """A full disk: the reason is the journal's own, and it goes when there is room again."""
    tape = write_tape(tmp_path / "t.parquet", *hill())
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(NOON), latency=FixedLatency(0), journal=tmp_path / "j",
        durable=True, restarts=True, order_prefix="T",
    )  # fmt: skip
    app = App(settings_of(*LIVELY), plan)
    app.desk.open = True
    view, journal = DaemonView(app, "a test"), app.journal
    assert journal is not None
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    journal.append(intend(reason="x" * 100_000))
    with pytest.raises(JournalError, match="full"):
        await journal.durable()  # type: ignore[misc]
    assert view.health().reasons == [journal.trouble] != [""]
    journal._db.execute("PRAGMA max_page_count=1000000")
    async with asyncio.timeout(20):
        while journal.trouble:  # noqa: ASYNC110 — the writer tells nobody when it can write again
            await asyncio.sleep(0.01)
    assert view.health().healthy
    app.close()


def test_equity_is_at_the_last_prices(desk: Desk) -> None:
    """Not at those of the last bar: what `/status` shows is what would be had now."""
    see(desk, NOON, 800.0)
    desk.tell(fill_of(intend(quantity=100), costs=Decimal("29.01")))
    see(desk, NOON + 1, 810.5)
    status = desk.view.status()
    assert (status.net_pnl, status.equity) == (Decimal("1020.99"), Decimal("1001020.99"))
    assert (status.open_positions, status.fills, status.costs) == (1, 1, Decimal("29.01"))


def test_what_is_held_is_never_worth_nothing(desk: Desk) -> None:
    """Before the first tick after a restart at the last price before; in doubt over a night as before that night."""
    bar = Bar(symbol=SBIN, interval="1m", ts_open=NOON, ts_close=NOON + MINUTE, open=805.0, high=805.0, low=805.0,
              close=805.0, volume=1, ticks=1)  # fmt: skip
    alerts = alert_desk(desk.app, desk.view, Sender([], desk.app.settings.alerts))
    desk.tell(fill_of(intend(quantity=100), costs=Decimal(0)))
    desk.app.portfolio.handle(bar)
    assert desk.view.status().net_pnl == 500
    gauges = gauges_of(desk.app, alerts, {})
    assert (gauges.gross, gauges.net, gauges.unrealised) == (80_500, 80_500, 500)
    see(desk, NOON + DAY, 161.0)
    halted = SymbolHalted(ts=NOON + DAY, symbol=SBIN, reason="805 → 161 overnight", overnight=True)
    desk.app.portfolio.handle(halted)
    desk.app.risk.book.unsettle(SBIN, halted.reason, 805.0)
    assert desk.view.status().net_pnl == 500
    (row,) = desk.view.positions()
    assert (row.last_price, row.unrealised_pnl) == (161, None)
    assert gauges_of(desk.app, alerts, {}).unrealised == 500
    alerts.close()


def test_positions_show_those_held_first(desk: Desk) -> None:
    """With their open profit at the last price; one never priced has none."""
    see(desk, NOON, 800.0)
    desk.tell(
        fill_of(intend("R1", Side.SELL, 10, symbol=RELIANCE)), fill_of(intend("R2", Side.BUY, 10, symbol=RELIANCE)),
        fill_of(intend("S1", Side.SELL, 50)),
    )  # fmt: skip
    see(desk, NOON, 790.0)
    first, second = desk.view.positions()
    assert (first.symbol, first.quantity, first.last_price, first.unrealised_pnl) == (SBIN, -50, Decimal("790.0"), 500)
    assert (second.symbol, second.quantity, second.last_price, second.unrealised_pnl) == (RELIANCE, 0, None, None)


def test_a_position_shows_its_stop_and_target(desk: Desk) -> None:
    """And a stop order its price."""
    see(desk, NOON, 800.0)
    entry = intend("S1", quantity=50, stop_loss=Decimal(790), take_profit=Decimal(820))
    desk.tell(entry, fill_of(entry))
    desk.app.risk.book.brackets.on_fill(SBIN, entry, 0, 50)
    (held,) = desk.view.positions()
    assert (held.stop, held.target) == (Decimal(790), Decimal(820))
    desk.tell(intend("S2", Side.SELL, 50, type=OrderType.SL_MARKET, stop_price=Decimal(790)))
    assert desk.view.orders()[0].stop_price == Decimal(790)


def test_orders_follow_their_events(desk: Desk) -> None:
    """Newest first, each in its last state with its average price and reason."""
    orders = {name: intend(name, quantity=100) for name in ("denied", "rejected", "cut", "part", "filled")}
    desk.tell(
        *orders.values(),
        OrderDenied(ts=1, order_id="denied", symbol=SBIN, check="position", limit="5", value="9"),
        OrderAccepted(ts=1, order_id="cut", venue_id="V"),
        OrderRejected(ts=1, order_id="rejected", code=-1, reason="no"), cancel_of(orders["cut"]),
        fill_of(orders["part"], 40),
        fill_of(orders["filled"], 25, 1, price=Decimal(800)), fill_of(orders["filled"], 75, 2, price=Decimal(804)),
        fill_of(intend("unheard of"), 1), OrderAccepted(ts=1, order_id="unheard of", venue_id="V"),
    )  # fmt: skip
    rows = {row.order_id: row for row in desk.view.orders()}
    assert list(rows) == ["filled", "part", "cut", "rejected", "denied"]
    assert {name: row.state for name, row in rows.items()} == {
        "filled": "FILLED", "part": "PARTIALLY_FILLED", "cut": "CANCELLED", "rejected": "REJECTED", "denied": "DENIED",
    }  # fmt: skip
    assert rows["denied"].reason == "position: 9, limit 5"
    assert (rows["filled"].average_price, rows["filled"].filled) == (Decimal(803), 100)
    assert rows["part"].filled == 40
    status = desk.view.status()
    assert (status.orders, status.fills, status.denied) == (5, 4, {"position": 1})
    desk.tell(OrderAmended(ts=2, order_id="filled", quantity=120, change=20))
    row = next(row for row in desk.view.orders() if row.order_id == "filled")
    assert (row.state, row.quantity, row.filled) == ("PARTIALLY_FILLED", 120, 100)


def test_a_reason_of_a_state_ends_with_it(desk: Desk) -> None:
    """An order that fills after all wasn't wanted because its answer was missing, or because it was to be cancelled."""
    wanted = intend("T1", quantity=100, reason="lunch")
    unwanted = OrderCancelRequested(ts=3, order_id="T1", reason="the market has gone on without it")
    unknown = OrderUnknown(ts=2, order_id="T1", reason="no answer")
    told = [unknown, fill_of(wanted, 40, 1), unwanted, fill_of(wanted, 60, 2)]
    desk.tell(wanted)
    said = []
    for event in told:
        desk.tell(event)
        said.append(desk.view.orders()[0].reason)
    assert said == ["no answer", "lunch", "the market has gone on without it", "lunch"]


def test_a_price_that_somebody_changed_is_shown(desk: Desk) -> None:
    """With its type; a change of the quantity alone leaves both."""
    desk.tell(intend("T1", quantity=10), OrderAmended(ts=NOON, order_id="T1", quantity=8, change=-2))
    assert (desk.view.orders()[0].type, desk.view.orders()[0].quantity) == ("MARKET", 8)
    change = {"quantity": 8, "change": 0, "type": OrderType.LIMIT, "limit_price": Decimal(805)}
    desk.tell(OrderAmended(ts=NOON, order_id="T1", **change))
    assert (desk.view.orders()[0].type, desk.view.orders()[0].limit_price) == ("LIMIT", Decimal(805))


def test_an_accepted_order_is_shown_as_that(desk: Desk) -> None:
    """Between approval and fill."""
    desk.tell(intend(), OrderAccepted(ts=1, order_id="T1", venue_id="V"))
    assert desk.view.orders()[0].state == "ACCEPTED"


def test_only_the_newest_are_remembered(desk: Desk) -> None:
    """Orders and decisions, so that a long run doesn't grow."""
    for number in range(KEPT + 20):
        desk.tell(intend(f"T{number}"), decide(Action.HOLD, quantity=number + 1))
    rows = desk.view.orders()
    assert (len(rows), rows[0].order_id, rows[-1].order_id) == (KEPT, f"T{KEPT + 19}", "T20")
    assert [event.quantity for event in desk.view.decisions(3)] == [KEPT + 20, KEPT + 19, KEPT + 18]
    assert len(desk.view.decisions(10_000)) == KEPT
    assert desk.view.status().decisions == desk.view.status().orders == KEPT + 20


def test_states_and_their_reasons(desk: Desk) -> None:
    """The reason of a halt is shown until trading is active again."""
    for state, shown in ((TradingState.HALTED, "why"), (TradingState.ACTIVE, "")):
        desk.tell(TradingStateChanged(ts=1, state=state, reason="why"))
        assert desk.view.status().trading_reason == shown


def test_health_knows_a_silent_feed(desk: Desk) -> None:
    """A minute without a tick within a session, and not at night."""
    see(desk, NOON, 800.0)
    assert desk.view.health().healthy
    desk.clock.advance(NOON + 60 * NS_PER_S)
    assert desk.view.health().healthy
    desk.clock.advance(NOON + 61 * NS_PER_S)
    assert desk.view.health().reasons == ["no tick for 61 s of the session"]
    desk.clock.advance(CLOSE + MINUTE)
    assert desk.view.health().healthy


def test_health_knows_the_end_of_feed_and_ladder(desk: Desk) -> None:
    """Both are named, and the status says the same."""
    desk.tell(FeedStatus(ts=1, state=FeedState.CONNECTED, symbol=None, reason="opened"))
    assert desk.view.status().feed == "connected"
    desk.tell(FeedStatus(ts=1, state=FeedState.ENDED, symbol=None, reason="end"))
    desk.app.supervisor.ladder.take("flat")
    status = desk.view.status()
    assert status.reasons == ["the feed has ended", "no strategy is left on the ladder"]
    assert (status.healthy, status.strategy, status.strategy_rung) == (False, "flat", 2)


def test_the_status_tells_of_the_ladder(desk: Desk) -> None:
    """Who a rollback means, the lock, what was done and what would have been, and that flat still closes."""
    supervisor = desk.app.supervisor
    supervisor.handle(LockStrategy(ts=1, locked=True, reason="I watch it"))
    supervisor.care.wanted = "step_down is wanted"
    status = desk.view.status()
    assert (status.strategy_lock, status.strategy_back, status.strategies_missing) == ("I watch it", "", {})
    assert "step_down is wanted" in status.reasons
    supervisor.held.add(SBIN)
    supervisor.handle(SwapStrategy(ts=1, name="flat", reason="enough"))
    reasons = desk.view.status().reasons
    (ladder,) = [one for one in reasons if "ladder" in one]
    assert ladder.startswith("no strategy is left on the ladder; flat, and still closing: 1 positions")


def test_the_model_is_of_who_decides(tmp_path: Path) -> None:
    """The rules that were put in charge have none, whatever the settings named."""
    desk = Desk(write_tape(tmp_path / "t.parquet", *hill()), changes=HRM)
    assert desk.view.status().model.startswith("untrained")
    desk.app.supervisor.handle(SwapStrategy(ts=1, name="rules", reason="enough"))
    status = desk.view.status()
    desk.app.close()
    assert (status.strategy, status.model) == ("rules", "")


def test_decisions_after_the_deadline_are_counted(desk: Desk) -> None:
    """Those of a model that were published too late, and no others."""
    thought = decide(Action.HOLD, 0, strategy="hrm", segments=2, halt_reason="deadline")
    desk.tell(
        msgspec.structs.replace(thought, latency_ns=50_000_000),
        msgspec.structs.replace(thought, latency_ns=50_000_001),
        decide(Action.HOLD, 0, latency_ns=90_000_000),
    )
    assert desk.view.overruns == 1
    assert desk.view.status().inference is None  # only the rules decide here


def test_a_stale_feed_is_unhealthy_and_one_symbol_is_not_the_feed(desk: Desk) -> None:
    """The feed's own state stays what it was last said to be; the reasons say which symbol, or that it is all."""
    desk.tell(FeedStatus(ts=NOON, state=FeedState.CONNECTED, symbol=None, reason="ticks"))
    stale = FeedStatus(ts=NOON, state=FeedState.STALE, symbol=SBIN, reason="feed 800, quote 900")
    desk.tell(stale)
    desk.app.risk.handle(stale)
    assert desk.view.status().feed == "connected"
    assert f"stale symbols: 1, such as {SBIN}: feed 800, quote 900" in desk.view.health().reasons
    desk.app.risk.handle(FeedStatus(ts=NOON, state=FeedState.STALE, symbol=None, reason="no ticks for 10.1 s"))
    assert "the feed is stale: no ticks for 10.1 s" in desk.view.health().reasons
    assert desk.view.status().feed_counts == {}


def test_the_calendar_is_seen(desk: Desk) -> None:
    """Whether the market is open, and nothing in doubt on a day that NSE has confirmed."""
    status = desk.view.status()
    assert (status.session, status.notes) == ("open until 15:30 IST", [])
    desk.clock.advance(CLOSE + MINUTE)
    assert desk.view.status().session == "closed for today; next: Tue 06 Jan 2026 09:15 IST"
    desk.clock.advance(CLOSE + 400 * DAY)
    (note,) = desk.view.status().notes
    assert note.startswith("calendar: 2027 is not confirmed")


def test_a_day_that_lost_what_it_may_is_seen(desk: Desk) -> None:
    """Trading is ACTIVE and healthy, and nothing is opened: that is said, by the limits that hold now."""
    desk.app.risk.book.day_start_net = Decimal(500)
    assert desk.view.status().notes == []
    tighter = SettingChanged(
        ts=NOON, who="asha", key="risk.max_daily_loss", before='"20000"', after='"500"', reason="a test"
    )
    desk.app.risk.handle(tighter)
    (note,) = desk.view.status().notes
    assert note == "the day's loss ₹500.00 has reached risk.max_daily_loss ₹500.00: nothing is opened"


def test_before_a_tape_tells_the_time_nothing_is_said_of_the_market(tmp_path: Path) -> None:
    """A run without a time has no day."""
    desk = Desk(write_tape(tmp_path / "t.parquet", *hill()), start=0)
    assert desk.view.status().session == ""
    desk.app.close()


def test_a_step_down_is_degraded_and_not_ill(desk: Desk) -> None:
    """Why is in the warnings and the status; nothing is a reason to be unhealthy."""
    desk.app.supervisor.ladder = Ladder(["hrm", "rules", "flat"], "hrm", 3)
    desk.app.supervisor.ladder.take("rules")
    desk.app.supervisor.reason = "3 failed decisions in a row: not finite"
    said = "rules decides instead of hrm: 3 failed decisions in a row: not finite"
    health, status = desk.view.health(), desk.view.status()
    assert (health.healthy, health.state, health.reasons, health.warnings) == (True, Overall.DEGRADED, [], [said])
    assert (status.healthy, status.health, status.warnings) == (True, Overall.DEGRADED, [said])
    assert health.outline().warnings == ["rules decides instead of hrm"]


def test_a_strategy_that_is_not_there_can_not_decide(desk: Desk) -> None:
    """In charge, and not loaded."""
    desk.app.supervisor.ladder = Ladder(["hrm", "rules", "flat"], "hrm", 3)
    assert desk.view.health().reasons == ["hrm is in charge and not loaded"]


def test_a_bar_that_nobody_decides_on_is_unhealthy(desk: Desk) -> None:
    """From the deadline and its grace on, until the decision comes; a bar of another interval is not decided on."""
    minute = Bar(
        symbol=SBIN, interval="1m", ts_open=NOON, ts_close=NOON + MINUTE, open=1.0, high=1.0, low=1.0, close=1.0,
        volume=1, ticks=1,
    )  # fmt: skip
    desk.tell(msgspec.structs.replace(minute, interval="5m", symbol=RELIANCE), minute)
    desk.clock.advance(NOON + 5 * NS_PER_S)
    assert desk.view.health().healthy
    desk.clock.advance(NOON + 6 * NS_PER_S)
    health = desk.view.health()
    assert health.reasons == [f"rules owes decisions: 1, the oldest for 6 s, on {SBIN}"]
    assert health.outline().reasons == ["rules owes decisions: 1, the oldest for 6 s"]
    desk.tell(decide(Action.HOLD, ts_bar=NOON + MINUTE))
    assert desk.view.health().healthy


async def test_the_models_file_is_read_again(tmp_path: Path) -> None:
    """Another model, a damaged file, none at all: worth a look, and the loaded one goes on."""
    file = tmp_path / "mine.safetensors"
    shape = load_settings().hierarchical_reasoning_model
    one, other = (HRMAgent.untrained(shape, seed, instruments=["SIM"], timeframes=["5m"]) for seed in (1, 2))
    one.save_model(file)
    tape = write_tape(tmp_path / "t.parquet", *hill())
    plan = RunPlan(
        tapes=[tape], symbols=[], clock=ReplayClock(NOON), latency=FixedLatency(0), journal=None, durable=False,
        restarts=True, order_prefix="T",
    )  # fmt: skip
    changes = ("strategy.name=hrm", f"model_management.artifact={file}", "performance.runtime=torch")
    app = App(settings_of(*LIVELY, *changes), plan)
    app.desk.open = True
    view = DaemonView(app, "a test")

    loaded = str(getattr(app.strategy.strategies["hrm"], "model_hash", ""))[:12]

    async def said() -> str:
        await view.monitor.read_models()
        return next(check.text for check in view.health().checks if check.name == "model")

    assert await said() == f"hrm: mine.safetensors ({loaded})"
    other.save_model(file)
    found = hash_on_disk("hrm", file)[:12]
    assert f"mine.safetensors holds another model ({found}) than hrm thinks with ({loaded})" in await said()
    assert view.health().state is Overall.DEGRADED
    file.write_bytes(file.read_bytes()[:-100])
    assert "the file of hrm is damaged or gone" in await said()
    file.unlink()
    assert "mine.safetensors: no such file" in await said()
    one.save_model(file)
    assert await said() == f"hrm: mine.safetensors ({loaded})"
    app.close()


def test_a_stage_that_handles_nothing_is_unhealthy(desk: Desk) -> None:
    """Events wait for it, and it takes none; which one is said."""
    desk.app.bus.publish(intend())
    assert desk.view.health().healthy
    desk.clock.advance(NOON + 6 * NS_PER_S)
    assert desk.view.health().state is Overall.DEGRADED
    desk.clock.advance(NOON + 16 * NS_PER_S)
    (reason,) = desk.view.health().reasons
    assert reason.endswith("has handled nothing for 16 s; events that wait for it: 1")
    desk.tell()
    assert desk.view.health().healthy


async def test_a_clock_that_rejects_the_feed_is_not_healthy(tmp_path: Path) -> None:
    """Health and status name the machine's clock, by how much it is off, and what to do."""
    token = tmp_path / "token"
    token.write_text("a" * 40)
    token.chmod(0o600)
    settings = settings_of(
        *LIVELY, "feed.source=fyers", f"feed.symbols=[{SBIN}]", "market.symbol_master.use=never",
        f"broker.fyers.token_file={token}", f"broker.fyers.calls_file={tmp_path}/calls",
    )  # fmt: skip
    readings = FakeReadings(NOON)
    clock = LiveClock(readings)
    plan = RunPlan(
        tapes=[], symbols=[], clock=clock, latency=FixedLatency(0), journal=None, durable=False, restarts=True,
        order_prefix="T",
    )  # fmt: skip
    app = App(settings, plan)
    app.desk.open = True
    try:
        view, feed = DaemonView(app, "a test"), app.feed
        assert isinstance(feed, LiveFeed)
        assert feed.clock_watch is not None
        for _ in range(30):
            readings.go(1.0)
            now = clock.now_ns()
            feed.clock_watch.on_ticks(ticks([now + 3 * NS_PER_S], [800.0], ts_recv=[now]))
        said = (
            "100% of ticks are ahead of this machine's clock by 3.0 s and are rejected (bad_time): set the clock "
            "(chronyc tracking)"
        )
        assert said in view.health().reasons
        assert said in view.status().reasons
    finally:
        await app.feed.close() if isinstance(app.feed, LiveFeed) else None
        app.close()
