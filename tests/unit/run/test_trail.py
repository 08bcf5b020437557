"""A decision and its orders can be followed through the log by one id each."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

import daemon.core.events as events
from daemon.core.bus import Bus
from daemon.core.events import Action, Decision, Event, Fill, OrderIntent, OrderRejected, OrderSent
from daemon.core.ids import decision_id
from daemon.orders.book import Order, OrderBook
from daemon.run.service import Service
from daemon.run.trail import KEPT, STEPS, TRAILED, Trail
from tests.samples import LIVELY, OPEN, SBIN, intend, journaled, settings_of, wave, write_tape

MINUTE = 60 * 10**9


def lines(*said: Event, find: Any = lambda _: None) -> list[dict[str, Any]]:
    """What the trail logs of these."""
    bus = Bus()
    bus.tap(TRAILED, Trail(find).record)
    with capture_logs() as log:
        for event in said:
            bus.publish(event)
    return [dict(line) for line in log]


def test_a_decision_is_named_by_symbol_and_bar() -> None:
    """In India's time, as people read it; the same wherever it is made."""
    assert decision_id(SBIN, OPEN + 5 * MINUTE) == f"{SBIN}@2026-01-05T09:20"


def test_each_line_of_an_order_has_both_ids() -> None:
    """From the wish to the fill; money is exact."""
    wish = intend(decision=decision_id(SBIN, OPEN))
    fill = Fill(ts=3, fill_id="f", order_id=wish.order_id, symbol=SBIN, side=wish.side, quantity=1,
                price=Decimal("820.05"), costs=Decimal("1.10"))  # fmt: skip
    log = lines(wish, OrderSent(ts=2, order_id=wish.order_id), fill)
    assert [line["event"] for line in log] == ["order wanted", "order sent", "order filled"]
    assert {(line["order"], line["decision"], line["symbol"]) for line in log} == {
        (wish.order_id, f"{SBIN}@2026-01-05T09:15", SBIN)
    }
    assert log[-1]["price"] == "820.05"


def test_an_order_of_an_earlier_process_is_looked_up() -> None:
    """Its decision is in the book; an order that nobody knows has its own id and no more."""
    wish = intend(decision="d")
    rejected = OrderRejected(ts=2, order_id=wish.order_id, code=-50, reason="no margin")
    (line,) = lines(rejected, find=lambda _: Order(wish))
    assert (line["decision"], line["reason"], line["code"]) == ("d", "no margin", -50)
    (line,) = lines(rejected)
    assert (line["order"], "decision" in line) == (wish.order_id, False)


def test_an_order_without_a_decision_has_none() -> None:
    """By hand, or by risk."""
    assert "decision" not in lines(intend())[0]


@pytest.mark.parametrize(
    ("action", "failed", "level"),
    [(Action.HOLD, False, "debug"), (Action.HOLD, True, "info"), (Action.BUY_LONG, False, "info")],
)
def test_decisions_to_hold_are_for_debugging(action: Action, failed: bool, level: str) -> None:
    """All others are told."""
    decision = Decision(
        ts=OPEN, ts_bar=OPEN, symbol=SBIN, interval="1m", strategy="rules", action=action, quantity=1, confidence=1.0,
        reason="why", price=800.0, failed=failed,
    )  # fmt: skip
    (line,) = lines(decision)
    assert (line["log_level"], line["decision"]) == (level, decision_id(SBIN, OPEN))


def test_no_event_about_an_order_is_forgotten() -> None:
    """Whatever names an order by its id is a step of its trail, but for the answer to a person."""
    kinds = {it for it in vars(events).values() if isinstance(it, type) and issubclass(it, Event)}
    about = {it for it in kinds if "order_id" in {field.name for field in msgspec.structs.fields(it)}}
    assert about - {events.ManualOrderAnswered} == {OrderIntent, *STEPS}
    for kind, (_, names) in STEPS.items():
        assert set(names) <= {field.name for field in msgspec.structs.fields(kind)}, kind


def test_what_is_remembered_is_bounded() -> None:
    """The oldest goes first."""
    trail, book = Trail(OrderBook().find), []
    for number in range(KEPT + 1):
        book.append(intend(order_id=str(number), decision="d"))
    with capture_logs() as log:
        for wish in book:
            trail.record(wish)
        trail.record(OrderSent(ts=1, order_id="0"))
        trail.record(OrderSent(ts=1, order_id="1"))
    assert [("decision" in line) for line in log[-2:]] == [False, True]


def test_a_daemon_writes_its_trail(tmp_path: Path) -> None:
    """Every order of a session was wanted by a decision that the log has, or by none; the journal agrees."""
    tape = write_tape(tmp_path / "t.parquet", *wave(40))
    places = (f"feed.tape=[{tape}]", f"journal.path={tmp_path}/j.sqlite", "control.enabled=false")
    subject = Service(settings_of(*LIVELY, "risk.stale_after_s=100000", "feed.speed=20000", *places))
    with capture_logs() as log:
        asyncio.run(subject.run())
    decided = {line["decision"] for line in log if line["event"] == "decision"}
    wanted = {line["order"]: line["decision"] for line in log if line["event"] == "order wanted" and "decision" in line}
    assert wanted
    assert set(wanted.values()) <= decided
    assert wanted == {it.order_id: it.decision for it in journaled(tmp_path / "j.sqlite", OrderIntent) if it.decision}
