"""Bugs that can be planted in hrmd, to see that the simulation finds them: `python -m tests.simulation --plant NAME`.

Each swaps one method of one class for a wrong one, in a process that simulates and does nothing else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from daemon.app import App
from daemon.calls.call_record import CallRecord
from daemon.calls.outcome import Unknown
from daemon.calls.pen import Parts, Pen
from daemon.control.idempotency import Repeats
from daemon.control.server import ControlServer
from daemon.control.stream import Stream
from daemon.core.errors import UsageError
from daemon.core.events import Event, Fill, SettingChanged
from daemon.core.own_code import OwnCodeFailed
from daemon.feed.live.feed import LiveFeed
from daemon.fyers.broker import FyersBroker
from daemon.journal.files import OpenedFiles
from daemon.journal.writer import Journal
from daemon.orders.canceller import Canceller
from daemon.orders.live_book import LiveBook
from daemon.orders.live_execution import LiveExecutionActor
from daemon.orders.token_keeper import TokenKeeper
from daemon.risk.actor import RiskActor
from daemon.risk.owed import OwedExits
from daemon.run.service import Service
from daemon.shadow.canary_desk import CanaryDesk
from daemon.strategy.actor import StrategyActor
from daemon.strategy.own import OwnStrategy
from daemon.strategy.succession import Succession
from daemon.supervision.migration import Migration
from daemon.supervision.supervisor import Supervisor
from daemon.tape.recorder import Recorder
from daemon.tape.reel import ReelWriter
from strategies.own import Answer, Observation, hold

Wrong = Callable[..., Any]
"""Takes the right method first, then what that takes."""


def _nothing(right: Wrong, self: Any, *arguments: Any, **options: Any) -> None:
    """Left out."""


def _without_trades(right: Wrong, self: LiveBook, orders: Any, trades: Any) -> Any:
    """What the tradebook says is not booked."""
    return right(self, orders, [])


async def _once_more(right: Wrong, self: FyersBroker, *arguments: Any) -> Any:
    """An order that nobody answered is sent again."""
    outcome = await right(self, *arguments)
    return await right(self, *arguments) if isinstance(outcome, Unknown) else outcome


def _but_failures(right: Wrong, self: StrategyActor, decision: Any, request: Any) -> None:
    """A decision that failed is told to nobody."""
    if not decision.failed:
        right(self, decision, request)


async def _for_one_life(right: Wrong, self: LiveFeed) -> None:
    """After the first link there is none."""
    await self._live_one_link()


def _with_a_task(right: Wrong, self: App) -> None:
    """Something still runs when all is closed."""
    right(self)
    asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="forgotten")


def _but_some_fills(right: Wrong, self: Journal, event: Event) -> None:
    """Every seventh unit of time a fill isn't written down."""
    if not isinstance(event, Fill) or event.ts // 1_000_000 % 7:
        right(self, event)


def _but_settings(right: Wrong, self: Journal, event: Event) -> None:
    """A limit that was changed isn't written down."""
    if not isinstance(event, SettingChanged):
        right(self, event)


def _never(right: Wrong, self: Journal) -> str:
    """However long the disk gives no answer, it is waited for."""
    return ""


def _whatever_it_answers(right: Wrong, self: OwnStrategy, seen: Observation) -> Answer:
    """No answer of a user's class is as good as a hold."""
    try:
        return right(self, seen)
    except OwnCodeFailed:
        return hold("nothing was said")


def _before_the_disk_has_it(right: Wrong, self: ReelWriter, content: bytes) -> None:
    """Ticks are counted as recorded once they are written, whether the disk has them or not."""
    done = 0
    while done < len(content):
        done += self._file.write(content[done:], self._size + done)
    self._size += len(content)


def _none_before(right: Wrong, self: Recorder, day: str) -> list[str]:
    """A new reel is named by the clock alone."""
    return []


def _gone_where_unseen(right: Wrong, self: OpenedFiles) -> str:
    """A file that the disk says nothing of was deleted."""
    for suffix in self._known:
        try:
            os.stat(f"{self._path}{suffix}")
        except OSError:
            return f"{self._path}{suffix} was deleted while hrmd was writing it"
    gone: str = right(self)
    return gone


def _for_good(right: Wrong, self: Service, *arguments: Any) -> None:
    """A start that a bad disk refuses is never tried again."""
    said = ""
    try:
        right(self, *arguments)
    except UsageError as error:
        said = str(error)
    if said:
        raise UsageError(said)


def _on_the_loop(right: Wrong, self: Pen, parts: Parts) -> bool:
    """Whoever makes a call waits for the disk of past calls."""
    for at, content in parts:
        self._write(self._file, content, at)
    return True


def _once_only(right: Wrong, self: TokenKeeper, found: Any) -> None:
    """A token that couldn't be read isn't read again."""
    right(self, found)
    self._seen = found[0]


_DOOR: dict[int, asyncio.Lock] = {}


async def _one_after_the_other(right: Wrong, self: ControlServer, *arguments: Any) -> Any:
    """Whoever asks for something waits for all who came before."""
    async with _DOOR.setdefault(id(self), asyncio.Lock()):
        await asyncio.sleep(0.2)
        return await right(self, *arguments)


def _but_told_fills(right: Wrong, self: Stream, event: Event) -> None:
    """Fills are told to nobody who listens."""
    if not isinstance(event, Fill):
        right(self, event)


PLANTS: dict[str, tuple[type, str, Wrong]] = {
    "order_before_its_intent": (Journal, "durable", _nothing),
    "halt_lets_entries_work": (LiveExecutionActor, "cancel_entries", _nothing),
    "restart_distrusts_nothing": (LiveExecutionActor, "_distrust", _nothing),
    "halt_forgotten_at_restart": (RiskActor, "restore", _nothing),
    "owed_exits_forgotten_at_restart": (OwedExits, "restore", _nothing),
    "missed_fills_stay_missed": (LiveBook, "compare", _without_trades),
    "silence_is_sent_again": (FyersBroker, "submit", _once_more),
    "failures_answer_nobody": (StrategyActor, "_publish", _but_failures),
    "no_second_link": (LiveFeed, "_keep_linked", _for_one_life),
    "a_task_is_left": (App, "close", _with_a_task),
    "fills_not_on_record": (Journal, "append", _but_some_fills),
    "a_disk_that_hangs_is_waited_for": (Journal, "_stands", _never),
    "repeats_are_taken_again": (Repeats, "begin", _nothing),
    "canary_forgotten_at_restart": (CanaryDesk, "resume", _nothing),
    "cancelled_and_left": (Canceller, "pursue", _nothing),
    "limit_said_and_not_on_record": (Journal, "append", _but_settings),
    "no_answer_is_a_hold": (OwnStrategy, "_asked", _whatever_it_answers),
    "strategy_said_and_not_in_charge": (Supervisor, "_swap", _nothing),
    "model_said_and_not_put_in_charge": (Succession, "follow", _nothing),
    "recorded_and_not_on_disk": (ReelWriter, "_write", _before_the_disk_has_it),
    "frames_left_behind_the_end": (ReelWriter, "_cut_off", _nothing),
    "lost_ticks_not_said": (Recorder, "_tell_gap", _nothing),
    "reels_named_by_the_clock": (Recorder, "_known", _none_before),
    "a_step_asked_for_once": (Migration, "take_up", _nothing),
    "gone_where_unseen": (OpenedFiles, "missing", _gone_where_unseen),
    "refused_for_good": (Service, "__init__", _for_good),
    "calls_written_on_the_loop": (Pen, "put", _on_the_loop),
    "calls_not_on_record": (CallRecord, "_write", _nothing),
    "one_after_the_other": (ControlServer, "_carried_out", _one_after_the_other),
    "fills_not_told": (Stream, "put", _but_told_fills),
    "a_token_is_read_once": (TokenKeeper, "_take", _once_only),
    "ends_without_its_stop": (RiskActor, "unfinished", _nothing),
}
"""Name: (class, method, what is put in its place)."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """A bug in the block; "" is none."""
    if not name:
        yield
        return
    owner, method, wrong = PLANTS[name]
    right = getattr(owner, method)

    def put(self: Any, *arguments: Any, **options: Any) -> Any:
        return wrong(right, self, *arguments, **options)

    setattr(owner, method, put)
    try:
        yield
    finally:
        setattr(owner, method, right)
