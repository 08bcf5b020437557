from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.alerting.conditions import Condition, condition
from daemon.alerting.desk import AlertDesk, Earlier, Watched, earlier
from daemon.alerting.digest import Stands
from daemon.alerting.messages import Message
from daemon.alerting.sender import Sender
from daemon.core.bus import Bus
from daemon.core.clock import NS_PER_S, ReplayClock
from daemon.core.events import (
    AlertChanged,
    AlertSent,
    OrderUnknown,
    RunCounted,
    Severity,
    StrategySwapped,
    TradingState,
    TradingStateChanged,
)
from daemon.core.threads import ThreadWorker, Worker
from daemon.journal.writer import Journal
from daemon.settings.alerts import AlertKind, AlertSettings
from tests.threads import Hung
from tests.unit.orders.live import until

T0 = 1_617_594_300 * NS_PER_S
CLOSE = T0 + 6 * 3600 * NS_PER_S
FEED = condition(AlertKind.FEED, Severity.CRITICAL, "stale")
ENDED = RunCounted(ts=T0, accepted=0, repaired=0, rejected={}, first_ts=None, last_ts=None, bars=0)


class Heard:
    """A service that takes everything at once."""

    name = "heard"

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def deliver(self, message: Message) -> str:
        """Keep it."""
        self.messages.append(message)
        return ""


class Room:
    """A desk, a daemon that is as a test says, and who is told."""

    def __init__(
        self, before: Earlier | None = None, journal: Path | None = None,
        thread: Callable[[str], Worker] = ThreadWorker, count_s: float = 60, **settings: object,
    ) -> None:  # fmt: skip
        self.bus, self.clock, self.heard = Bus(), ReplayClock(T0), Heard()
        self.now: list[Condition] | None = []
        self.trades = True
        self.published: list[AlertChanged | AlertSent] = []
        self.bus.tap((AlertChanged, AlertSent), self.published.append)
        chosen = AlertSettings.model_validate(settings)
        self.sender = Sender([self.heard], chosen)
        watched = Watched(
            conditions=lambda: self.now, trades=lambda: self.trades, close_ns=lambda _: CLOSE, first="hrm",
            stands=lambda: Stands("2021-04-05", "paper", Decimal(5), Decimal(7), "hrm", 0, "ACTIVE", "healthy", 0),
        )  # fmt: skip
        self.desk = AlertDesk(
            self.bus, self.clock, chosen, self.sender, watched, before or Earlier(), journal, live=True, thread=thread,
            count_s=count_s,
        )  # fmt: skip

    def look(self, after_s: float = 1) -> None:
        """Once more, later."""
        self.clock.advance(self.clock.now_ns() + int(after_s * NS_PER_S))
        self.desk.look()

    def told(self) -> list[str]:
        """Titles of all that was sent, when all was."""
        self.desk.close()
        return [
            line for it in self.heard.messages for line in ([it.title] if "\n" not in it.body else it.body.split("\n"))
        ]


def test_it_is_told_published_and_cleared() -> None:
    """An alert, its journal record, that it was sent, and that it is over."""
    room = Room()
    room.now = [FEED]
    room.look()
    room.now = []
    room.look()
    room.look(61)
    changes = [it for it in room.published if isinstance(it, AlertChanged)]
    assert [(it.key, it.raised) for it in changes] == [("feed", True), ("feed", False)]
    assert len(room.told()) == 2
    room.look()
    sent = [it for it in room.published if isinstance(it, AlertSent)]
    assert {key for it in sent for key in it.keys} == {"feed"}


def test_an_event_that_is_over_by_the_next_look_is_told() -> None:
    """An order that was UNKNOWN for a moment, and a halt that somebody took back at once."""
    room = Room()
    room.bus.publish(OrderUnknown(ts=T0, order_id="H1", reason="no answer"))
    room.bus.publish(TradingStateChanged(ts=T0, state=TradingState.HALTED, reason="x", who="asha"))
    room.bus.publish(TradingStateChanged(ts=T0, state=TradingState.ACTIVE, reason="y", who="asha"))
    assert room.published == []
    room.look()
    assert [it.key for it in room.published if isinstance(it, AlertChanged)] == ["orders", "halt"]


@pytest.mark.parametrize("trades", [True, False])
def test_what_comes_while_it_recovers_or_ends_is_no_news(trades: bool) -> None:
    """The end of a process halts trading, too; that is no alert."""
    room = Room()
    room.trades = trades
    room.bus.publish(TradingStateChanged(ts=T0, state=TradingState.HALTED, reason="SIGTERM received"))
    room.now = None
    room.look()
    assert len(room.published) == trades


def test_what_is_mild_or_muted_is_recorded_and_not_sent() -> None:
    """The minimum, the kinds that somebody doesn't want, and cleared ones."""
    room = Room(minimum="critical", muted=["feed"], cleared=False, clear_after_s=1, warn_after_s=0)
    room.now = [
        FEED,
        condition(AlertKind.DISK, Severity.WARNING, "x"),
        condition(AlertKind.HALT, Severity.CRITICAL, "y"),
    ]
    room.look()
    room.now = []
    room.look()
    room.look()
    recorded = [it for it in room.published if isinstance(it, AlertChanged)]  # that it was sent is heard when it is
    assert len(recorded) == 6
    assert room.told() == ["hrmd: CRITICAL: halt"]


def test_the_swap_that_the_settings_want_is_no_step_down() -> None:
    """Back on the first strategy nothing is raised."""
    room = Room()
    room.bus.publish(StrategySwapped(ts=T0, old="rules", new="hrm", reason="back"))
    room.look()
    assert room.published == []


def test_before_the_run_has_a_time_nothing_is_looked_at() -> None:
    """A tape that hasn't begun."""
    room = Room()
    room.clock = ReplayClock(0)
    room.now = [FEED]
    room.desk = AlertDesk(
        room.bus, room.clock, AlertSettings(), room.sender, room.desk._watched, Earlier(), None, live=True
    )
    room.desk.look()
    assert room.published == []


async def test_the_day_is_told_once_and_after_the_close() -> None:
    """A quarter of an hour after it, by the settings; the next process of the day doesn't tell it again."""
    room = Room(digest_minutes=15)
    room.clock.advance(CLOSE + 899 * NS_PER_S)
    await room.desk.tell_the_day()
    assert room.published == []
    room.clock.advance(CLOSE + 900 * NS_PER_S)
    for _ in range(3):
        await room.desk.tell_the_day()
    (told,) = room.published
    assert isinstance(told, AlertChanged)
    assert (told.key, told.kind) == ("digest:2021-04-05", "digest")
    room.desk.close()
    assert [message.title for message in room.heard.messages] == ["hrmd: 2021-04-05: +₹5.00"]
    again = Room(Earlier([told]))
    again.clock.advance(CLOSE + 1000 * NS_PER_S)
    await again.desk.tell_the_day()
    assert again.published == []


async def test_while_a_day_is_counted_all_else_is_told(tmp_path: Path) -> None:
    """However long the disk of the journal takes."""
    hung = Hung()
    room = Room(journal=tmp_path / "j.sqlite", thread=hung.thread)
    room.clock.advance(CLOSE + 900 * NS_PER_S)
    running = asyncio.create_task(room.desk.run())
    await until(lambda: hung.begun)
    room.bus.publish(OrderUnknown(ts=T0, order_id="H1", reason="no answer"))
    await until(lambda: room.published)
    running.cancel()
    assert [it.kind for it in room.published if isinstance(it, AlertChanged)] == ["orders"]
    hung.goes_on.set()
    room.desk.close()


async def test_a_day_that_a_hung_disk_keeps_is_told_without_its_counts(tmp_path: Path) -> None:
    """In good time, once."""
    hung = Hung()
    room = Room(journal=tmp_path / "j.sqlite", thread=hung.thread, count_s=0.01)
    room.clock.advance(CLOSE + 900 * NS_PER_S)
    for _ in range(2):
        await room.desk.tell_the_day()
    room.desk.close()
    (digest,) = room.heard.messages
    assert digest.body.splitlines()[0] == "paper: day +₹5.00, since the start +₹7.00"
    assert "decisions" not in digest.body
    hung.goes_on.set()


async def test_no_digest_where_none_is_wanted() -> None:
    """By its own setting; a muted one is recorded alone."""
    for settings, published in (({"digest_minutes": None}, 0), ({"muted": ["digest"]}, 1)):
        room = Room(**settings)
        room.clock.advance(CLOSE + 3600 * NS_PER_S)
        await room.desk.tell_the_day()
        assert len(room.published) == published
        room.desk.close()
        assert room.heard.messages == []


def written(path: Path, tapes: str, *events: object) -> int:
    """A run; its number."""
    journal = Journal(path, safe=False)
    journal.describe({"tapes": tapes})
    for event in events:
        journal.append(event)  # type: ignore[arg-type]
    journal.close()
    return journal.run


def test_a_start_knows_what_was_told_and_how_the_process_before_ended(tmp_path: Path) -> None:
    """Of runs of its own sort, and not of itself; one that was killed is told of, once."""
    path = tmp_path / "j.sqlite"
    assert earlier(None, live=True, run=0) == earlier(path, live=True, run=1) == Earlier()
    room = Room()
    room.now = [FEED]
    room.look()
    written(path, "[]", *room.published, ENDED)
    written(path, '["t.parquet"]')
    run = written(path, "[]")
    before = earlier(path, live=True, run=run)
    assert before == Earlier(room.published, in_order=True)
    written(path, "[]", FEED_AGAIN)
    before = earlier(path, live=True, run=run + 2)
    assert not before.in_order
    next_one = Room(before)
    next_one.now = [FEED]
    next_one.look()
    next_one.look()
    assert [it.key for it in next_one.published if isinstance(it, AlertChanged)] == ["broken_off", "feed"]


FEED_AGAIN = AlertChanged(
    ts=T0, key="feed", kind="feed", severity=Severity.CRITICAL, raised=True, text="stale", times=2
)


async def test_a_start_that_never_trades_is_told_of() -> None:
    """While it recovers the desk looks, too; then it leaves that to `run`."""
    room = Room()
    room.trades, room.now = False, [condition(AlertKind.RUNNING, Severity.CRITICAL, "recovering")]
    told = asyncio.get_running_loop().create_future()
    room.bus.tap((AlertChanged,), lambda _: told.done() or told.set_result(None))
    task = asyncio.create_task(room.desk.run_until_it_trades())
    await asyncio.wait_for(told, 30)
    room.trades = True
    await asyncio.wait_for(task, 30)
    assert [it.key for it in room.published if isinstance(it, AlertChanged)] == ["running"]
