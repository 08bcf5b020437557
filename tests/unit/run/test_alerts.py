"""What the alert desk is told of a whole daemon, without running it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.core.clock import NS_PER_S, PacedClock
from daemon.core.errors import SettingsError
from daemon.core.events import AlertChanged, Halt, SettingChanged, TradingState, TradingStateChanged
from daemon.journal.reader import JournalReader
from daemon.market.calendar import ist_date, ist_ns
from daemon.run.service import Service
from tests.samples import OPEN, wave, write_tape
from tests.unit.alerting.services import urls_file
from tests.unit.run.test_service import service

CLOSE = ist_ns(ist_date(OPEN), "15:30")


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Service]:
    """A daemon that has begun to trade, two minutes after the open."""
    made = service(write_tape(tmp_path / "t.parquet", *wave(5)), tmp_path, "alerts.warn_after_s=0")
    made.app.desk.open = True
    go_to(made, OPEN + 120 * NS_PER_S)
    yield made
    made.alerts.close()
    made.app.close()


def go_to(subject: Service, ts: int) -> None:
    """Let it be so late."""
    clock = subject.app.plan.clock
    assert isinstance(clock, PacedClock)
    clock.start(ts)


def change(subject: Service, key: str, after: str) -> None:
    """What the operator sets while it runs."""
    subject.app.risk.handle(SettingChanged(ts=OPEN, key=key, before="", after=after, reason="a test", who="asha"))


def raised(subject: Service) -> dict[str, str]:
    """What one look raises: texts by key."""
    told: list[AlertChanged] = []
    subject.app.bus.tap((AlertChanged,), told.append)
    subject.alerts.look()
    return {change.key: change.text for change in told if change.raised}


def test_a_halt_and_the_loss_limit_are_seen_without_an_event(subject: Service) -> None:
    """As a restart finds them: the state that an earlier process left, and what the day has lost."""
    book, account = subject.app.risk.book, subject.app.account
    assert "halt" not in raised(subject)
    book.state = TradingState.HALTED
    account.state_reason, account.state_who = "a test", "asha"
    book.day_start_net = Decimal(25_000)
    found = raised(subject)
    assert found["halt"] == "trading is HALTED (by asha): a test"
    assert found["loss_limit"].startswith("the day's loss ₹25,000.00 has reached risk.max_daily_loss ₹20,000.00")


def test_a_limit_that_was_changed_is_the_one_that_is_told(subject: Service) -> None:
    """Beyond it nothing is opened, whatever the file said at the start."""
    book = subject.app.risk.book
    book.day_start_net = Decimal(500)
    assert "loss_limit" not in raised(subject)
    change(subject, "risk.max_day_drawdown", '"400"')
    assert raised(subject)["loss_limit"].startswith("₹500.00 below the day's high: risk.max_day_drawdown ₹400.00 is")
    change(subject, "risk.max_daily_loss", '"500"')
    subject.alerts.look()
    text = {key: alert.text for key, alert in subject.alerts.book.standing.items()}["loss_limit"]
    assert text.startswith("the day's loss ₹500.00 has reached risk.max_daily_loss ₹500.00")


def test_the_end_of_the_process_is_no_halt(subject: Service) -> None:
    """Neither by the event nor by the state, nor is it a start that takes long."""
    subject.app.started_ts -= 120 * NS_PER_S
    subject.app.stop("SIGTERM received", "SIGTERM")
    subject.app.desk.open = False
    subject.app.risk.book.state = TradingState.HALTED
    subject.app.bus.publish(Halt(ts=OPEN, reason="SIGTERM received", shutdown=True))
    subject.app.bus.publish(TradingStateChanged(ts=OPEN, state=TradingState.HALTED, reason="SIGTERM received"))
    assert raised(subject) == {}


def test_a_start_that_takes_long_is_told(subject: Service) -> None:
    """After a minute, and not before."""
    subject.app.desk.open = False
    assert raised(subject) == {}
    subject.app.started_ts -= 61 * NS_PER_S
    assert raised(subject) == {"running": "recovering: not done yet"}


async def test_the_day_of_a_daemon_is_told_after_its_close(subject: Service) -> None:
    """By the calendar's session and the settings; what the daemon stands for is in it."""
    told: list[AlertChanged] = []
    subject.app.bus.tap((AlertChanged,), told.append)
    go_to(subject, CLOSE)
    await subject.alerts.tell_the_day()
    assert told == []
    go_to(subject, CLOSE + 901 * NS_PER_S)
    await subject.alerts.tell_the_day()
    (digest,) = told
    assert digest.key == f"digest:{ist_date(OPEN)}"
    assert digest.text.splitlines()[0] == "paper · tape ×20000: day ₹0.00, since the start ₹0.00"
    assert digest.text.splitlines()[1].startswith("rules decides (rung 1), trading is ACTIVE, ")
    assert "decisions 0, orders 0" in digest.text


async def test_a_day_without_a_session_has_no_digest(subject: Service) -> None:
    """Such as a Sunday, and the time beyond the calendar."""
    told: list[AlertChanged] = []
    subject.app.bus.tap((AlertChanged,), told.append)
    day = ist_date(OPEN)
    sunday = day + dt.timedelta(days=6 - day.weekday())
    for date in (sunday, dt.date(2150, 1, 4)):
        go_to(subject, ist_ns(date, "18:00"))
        await subject.alerts.tell_the_day()
    assert told == []


def test_addresses_that_are_no_good_leave_nothing(tmp_path: Path) -> None:
    """Refused before anything is made: no journal, no lock, no token."""
    tape = write_tape(tmp_path / "t.parquet", *wave(5))
    path = urls_file(tmp_path, "nope://x")
    with pytest.raises(SettingsError, match="line 3: not an apprise URL"):
        service(tape, tmp_path, f"alerts.urls_file={path}")
    assert sorted(it.name for it in tmp_path.iterdir()) == ["alerts.urls", "t.parquet"]


def test_what_is_told_is_on_record(subject: Service, tmp_path: Path) -> None:
    """So that the next process knows it."""
    subject.app.risk.book.state = TradingState.HALTED
    subject.alerts.look()
    subject.app.close()
    reader = JournalReader(tmp_path / "j.sqlite")
    assert "halt" in [event.key for event in reader.events(AlertChanged) if isinstance(event, AlertChanged)]
    reader.close()
