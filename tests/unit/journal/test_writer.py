"""The record: in order, whole up to what was said to be durable, and readable after every kind of end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from daemon.core.errors import CheckFailed, JournalError, JournalHangs, Unavailable, UsageError
from daemon.core.events import (
    Action,
    Bar,
    CanaryChanged,
    CanaryState,
    Event,
    Fill,
    Halt,
    LockStrategy,
    ModelLoaded,
    OrderApproved,
    OrderDenied,
    OrderIntent,
    OrderRejected,
    OrderUnknown,
    StrategySwapped,
    TickBatch,
)
from daemon.journal import writer
from daemon.journal.files import UnwrittenMark
from daemon.journal.reader import JournalReader, check_journal
from daemon.journal.schema import JOURNALED
from daemon.journal.writer import BATCH, DELETED_AT_ONCE, LOCKED_MS, Journal
from daemon.recovery.account import Account
from tests.samples import cancel_of, decide, fill_of, intend, journaled, position_of
from tests.unit.orders.live import until

ROOT = Path(__file__).parents[3]


def halts(first: int, count: int) -> list[Event]:
    """Numbered events."""
    return [Halt(ts=number, reason=f"r{number}") for number in range(first, first + count)]


def written(path: Path, *events: Event, **metadata: str) -> Path:
    """A journal of one more run."""
    journal = Journal(path, safe=False)
    journal.describe(metadata or {"version": "test"})
    for event in events:
        journal.append(event)
    journal.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal may go."""
    return tmp_path / "deep" / "j.sqlite"


def test_every_journaled_type_comes_back_equal(path: Path) -> None:
    """Decimals, enumerations and None included."""
    bar = Bar(symbol="S", interval="1m", ts_open=0, ts_close=60, open=1.1, high=2.0, low=1.0, close=1.3, volume=-1,
              ticks=3)  # fmt: skip
    intent = intend(limit_price=Decimal("800.05"))
    events: list[Event] = [
        bar, decide(Action.BUY_LONG), intent, OrderApproved(ts=1, order_id="T1"), fill_of(intent), position_of(-100),
        cancel_of(intent), *halts(1, 2),
    ]  # fmt: skip
    written(path, *events)
    assert journaled(path) == events
    assert journaled(path, Fill, Bar) == [bar, fill_of(intent)]


def test_numbers_have_no_gaps_and_follow_publication(path: Path) -> None:
    """Over several commits: 1, 2, 3 and so on."""
    count = 2 * BATCH + 17
    written(path, *halts(0, count))
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT seq, ts FROM events ORDER BY seq").fetchall()
    db.close()
    assert rows == [(number + 1, number) for number in range(count)]


def test_appending_while_the_writer_takes_loses_nothing(path: Path) -> None:
    """Tens of thousands of events, with the writer at work all the time and threads switching as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        written(path, *halts(0, 30_000))
    finally:
        sys.setswitchinterval(interval)
    assert [event.ts for event in journaled(path)] == list(range(30_000))


def test_runs_are_kept_apart_and_the_latest_is_read(path: Path) -> None:
    """A second run starts at 1 again and has its own metadata."""
    written(path, *halts(0, 3), version="a")
    written(path, *halts(10, 2), version="b", model="m")
    reader = JournalReader(path)
    assert (reader.run, reader.metadata()) == (2, {"version": "b", "model": "m", "ends_at": "2"})
    assert [event.ts for event in reader.events(Halt) if isinstance(event, Halt)] == [10, 11]
    reader.close()


async def test_durable_means_on_disk(path: Path) -> None:
    """After the wait another connection sees every event appended before it, with the full synchronous mode."""
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})
    assert journal.durable() is None
    for round_number in range(3):
        for event in halts(10 * round_number, 9 if round_number else 10):
            journal.append(event)
        async with asyncio.timeout(30):
            await asyncio.gather(*(waiting for _ in range(2) if (waiting := journal.durable()) is not None))
        assert len(journaled(path)) == 10 * (round_number + 1)
        assert journal.durable() is None
        with journal._hand.lock:  # the writer waits: one more event is not on disk yet, and that is said
            journal.append(Halt(ts=10 * round_number, reason="one more"))
            one_more = journal.durable()
        assert one_more is not None
        async with asyncio.timeout(30):
            await one_more
    assert journal.durable() is None
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    journal.close()


async def test_a_replays_journal_waits_for_nobody(path: Path) -> None:
    """Not safe: nothing to await, and all is there in the end."""
    journal = Journal(path, safe=False)
    journal.describe({"version": "t"})
    for event in halts(0, 10):
        journal.append(event)
        assert journal.durable() is None
    journal.close()
    assert len(journaled(path)) == 10


async def test_a_failing_file_is_a_fault_and_never_durable(path: Path) -> None:
    """The table goes away under the writer: waiting, asking again, appending and closing all say so."""
    journal = Journal(path, safe=True)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE events")
    other.close()
    journal.append(halts(1, 1)[0])
    waiting = journal.durable()
    assert waiting is not None
    with pytest.raises(JournalError, match="no such table"):
        async with asyncio.timeout(30):
            await waiting
    with pytest.raises(JournalError, match=r"j\.sqlite.*no such table"):
        journal.durable()
    with pytest.raises(JournalError, match="no such table"):
        journal.append(halts(2, 1)[0])
    with pytest.raises(JournalError, match="no such table"):
        journal.close()
    journal.close()


async def test_an_event_that_can_not_be_written_is_a_fault_and_no_hang(path: Path) -> None:
    """The writer must not die silently: whoever waits is told."""
    journal = Journal(path, safe=True)
    journal.append(Halt(ts=1, reason="\ud800"))
    waiting = journal.durable()
    assert waiting is not None
    with pytest.raises(JournalError):
        async with asyncio.timeout(30):
            await waiting
    with pytest.raises(JournalError):
        journal.close()


async def test_a_waiter_that_gave_up_is_left_alone(path: Path) -> None:
    """A cancelled future stays cancelled, and the next one is answered."""
    journal = Journal(path, safe=True)
    journal.append(halts(1, 1)[0])
    waiting = journal.durable()
    assert waiting is not None
    waiting.cancel()
    journal.append(halts(2, 1)[0])
    again = journal.durable()
    assert again is not None
    async with asyncio.timeout(30):
        await again
    assert waiting.cancelled()
    journal.close()


def test_a_loop_that_is_gone_stops_no_writing(path: Path) -> None:
    """Its waiter can't be told any more; the events are written all the same."""
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})

    async def leave() -> None:
        with journal._hand.lock:  # the writer is kept from answering while this loop lives
            journal.append(halts(1, 1)[0])
            assert journal.durable() is not None

    loop = asyncio.new_event_loop()
    with journal._hand.lock:
        loop.run_until_complete(leave())
        loop.close()
    journal.append(halts(2, 1)[0])
    journal.close()
    assert len(journaled(path)) == 2


async def test_a_closed_journal_takes_nothing(path: Path) -> None:
    """What would be lost is refused; closing twice does nothing."""
    journal = Journal(path, safe=True)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(halts(1, 1)[0])
    with pytest.raises(JournalError, match="closed"):
        journal.durable()


def test_ticks_are_not_for_the_journal() -> None:
    """They have their own tape, and bars are chosen by their interval."""
    assert TickBatch not in JOURNALED
    assert Bar not in JOURNALED
    assert {OrderIntent, Fill, OrderUnknown} <= set(JOURNALED)


def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """Not SQLite; SQLite of somebody else; a journal of another schema."""
    text = tmp_path / "notes.txt"
    text.write_text("no database, but long enough to have a header" * 20)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    before = foreign.read_bytes()
    for path, why in ((text, "file is not a database"), (foreign, "not an hrmd journal of schema 2")):
        for refuse in (lambda path=path: Journal(path, safe=True), lambda path=path: check_journal(path)):
            with pytest.raises(UsageError, match=why) as refused:
                refuse()
            assert str(path) in str(refused.value)
            assert "\n" not in str(refused.value)
    assert foreign.read_bytes() == before


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    """A directory, a path below a file, and another table under our name."""
    (tmp_path / "file").write_text("")
    runs = tmp_path / "runs.sqlite"
    with sqlite3.connect(runs) as db:
        db.execute("CREATE TABLE runs (other)")
        db.execute("PRAGMA user_version=1")
    db.close()
    for path in (tmp_path, tmp_path / "file" / "j.sqlite", runs):
        with pytest.raises(UsageError, match="can't be opened") as refused:
            Journal(path, safe=True)
        assert "\n" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only(tmp_path: Path) -> None:
    """Permissions are said as what they are."""
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UsageError, match="can't be opened"):
        Journal(tmp_path / "j.sqlite", safe=True)


def test_readers_refuse_what_is_no_journal(tmp_path: Path) -> None:
    """Missing, a directory, other files, no run, another schema: one line each that names the file."""
    text, empty, old = tmp_path / "text", tmp_path / "empty.sqlite", tmp_path / "old.sqlite"
    text.write_text("nothing of the kind " * 60)
    Journal(empty, safe=False).close()
    written(old)
    with sqlite3.connect(old) as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    for path, why in (
        (tmp_path / "none", "no such journal"), (tmp_path, r"not an hrmd journal \(is a directory, expected"),
        (text, "not an hrmd journal"),
        (empty, "holds no run"), (old, "journal schema 9, expected 2"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=why) as refused:
            JournalReader(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_journal_that_another_program_holds_can_be_read_later(path: Path) -> None:
    """It is one all the same, and not damaged."""
    written(path, *halts(0, 3))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match=r"j\.sqlite: can't be read now \(database is locked\); try again"):
            JournalReader(path)
    assert len(journaled(path)) == 3


def test_a_reader_finds_files_of_awkward_names(tmp_path: Path) -> None:
    """Question marks, hashes, per cents and blanks are no part of a URI."""
    path = written(tmp_path / "a?b#c %20.sqlite", *halts(0, 1))
    assert len(journaled(path)) == 1


def test_a_row_that_can_not_be_read_is_named(path: Path) -> None:
    """The file and the number of the event."""
    written(path, *halts(0, 3))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET body = '{\"ts\":' WHERE seq = 2")
    db.close()
    with pytest.raises(UsageError, match=r"j\.sqlite: event 2 \(Halt\) can't be read"):
        journaled(path)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("price", '"NaN"', "price is NaN, no amount"), ("costs", '"-Infinity"', "costs is -Infinity, no amount"),
        ("price", "1e308", "price is 1E+308, no amount"), ("costs", '"sNaN"', "costs is sNaN, no amount"),
        ("price", "-1", "100 at -1; a fill's quantity is above 0, its price not below"), ("quantity", "-1", "-1 at"),
    ],
)  # fmt: skip
def test_an_amount_that_can_not_be_is_named(path: Path, field: str, value: str, why: str) -> None:
    """The file, the event and the field, whoever reads it."""
    written(path, fill_of(intend("one", quantity=100)))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET body = json_set(body, ?, json(?))", (f"$.{field}", value))
    db.close()
    said = r"j\.sqlite: (run 1, )?event 1 \(Fill\) can't be read \(" + re.escape(why)
    with pytest.raises(UsageError, match=said):
        journaled(path)
    with contextlib.closing(JournalReader(path)) as reader, pytest.raises(UsageError, match=said):
        list(reader.since_snapshot(Fill))


def test_a_worthless_option_is_settled_at_nothing(path: Path) -> None:
    """A price of 0 can be."""
    worthless = msgspec.structs.replace(fill_of(intend("one", quantity=100)), price=Decimal(0))
    written(path, worthless)
    assert journaled(path) == [worthless]


def test_an_amount_within_what_an_event_holds_is_named(path: Path) -> None:
    """Of a snapshot's holdings, too."""
    account = Account(Decimal(1))
    account.fold([fill_of(intend("one", quantity=100))])
    written(path, account.snapshot(5))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET body = json_set(body, '$.holdings[0].basis', 'NaN')")
    db.close()
    with pytest.raises(UsageError, match=r"j\.sqlite: event 1 \(AccountSnapshot\) can't be read \(basis is NaN"):
        journaled(path)


def test_an_event_of_no_known_type_is_named(path: Path) -> None:
    """Passed over it would be a decision or a fill that nobody misses."""
    written(path, *halts(0, 3))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET type = 'Halts' WHERE seq = 2")
    db.close()
    with (
        contextlib.closing(JournalReader(path)) as reader,
        pytest.raises(CheckFailed, match=r"j\.sqlite: event 2 is a Halts, which this version of hrmd doesn't know"),
    ):
        list(reader.events(Fill))


def test_pending_are_orders_without_an_end(path: Path) -> None:
    """Filled whole, denied, rejected and cancelled orders have one; partly filled, sent and unknown ones don't."""
    names = ("filled", "denied", "rejected", "cut", "partly", "sent", "unknown")
    orders = [intend(name, quantity=100) for name in names]
    filled, _, _, cut, partly, sent, unknown = orders
    written(
        path, *orders, OrderDenied(ts=1, order_id="denied", symbol="S", check="c", limit="l", value="v"),
        OrderRejected(ts=1, order_id="rejected", code=-1, reason="r"), fill_of(filled, 40, 1), fill_of(filled, 60, 2),
        fill_of(cut, 10), cancel_of(cut, 10), fill_of(partly, 99), OrderUnknown(ts=1, order_id="unknown", reason="r"),
        OrderApproved(ts=1, order_id=sent.order_id), fill_of(intend("stranger")),
    )  # fmt: skip
    reader = JournalReader(path)
    assert reader.pending() == [partly.order_id, sent.order_id, unknown.order_id]
    reader.close()


def rows(path: Path) -> list[tuple[int, int]]:
    """(run, seq) of all events."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT run, seq FROM events ORDER BY run, seq").fetchall()


def test_a_running_journal_is_shortened_to_its_snapshot(path: Path) -> None:
    """Earlier runs and what lies before the newest old snapshot go, in pieces; what is left reads whole and goes on."""
    written(path, *halts(0, 10), started_ts="10")
    snapshots = [Account(Decimal(1)).snapshot(ts) for ts in (5000, 9000)]
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": "20"})
    swapped = StrategySwapped(ts=1, old="hrm", new="rules", reason="r")
    loaded = ModelLoaded(
        ts=1, key="k", name="new", model_hash="b", before="a", after_bar=1, runtime="", file="", closes=False,
        reason="r",
    )  # fmt: skip
    locked = LockStrategy(ts=1, locked=True, reason="w")
    canary = CanaryChanged(
        ts=1, agent="next", strategy="hrm", model_hash="b", state=CanaryState.RUNNING, symbols=("A",), size=0.5,
        sessions=1, mean_bp=2.0, better=1.1, worse=0.9, who="anna", reason="r", judged=((1, 2.0),),
    )  # fmt: skip
    early = [*halts(0, DELETED_AT_ONCE + 498), loaded, canary, locked, swapped]
    for event in [*early, snapshots[0], *halts(6000, 5), snapshots[1], *halts(0, 5)]:
        journal.append(event)
    journal.shorten(15, 9000)
    deadline = time.monotonic() + 30
    cut = DELETED_AT_ONCE + 503
    while rows(path) != [(2, seq) for seq in range(cut, cut + 12)]:
        assert time.monotonic() < deadline, rows(path)[:3]
    journal.append(Halt(ts=7, reason="and on"))
    journal.close()
    assert journaled(path) == [snapshots[0], *halts(6000, 5), snapshots[1], *halts(0, 5), Halt(ts=7, reason="and on")]
    reader = JournalReader(path)
    assert reader.metadata() == {
        "started_ts": "20", "begins_at": str(cut), "strategy_in_charge": "rules", "strategy_lock": "w",
        "ends_at": str(cut + 12), "model_in_charge": msgspec.json.encode(loaded).decode(),
        "canary": msgspec.json.encode(canary).decode(),
    }  # fmt: skip
    reader.close()


class FullConnection(sqlite3.Connection):
    """A connection to a file on a disk that may be full."""

    full = False

    def commit(self) -> None:
        """Write, where there is room."""
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().commit()


def test_old_runs_that_can_not_be_deleted_are_left_for_the_next_start(path: Path) -> None:
    """A start on a full disk ends with one line of what it can't write, not here, where nothing depends on it."""
    written(path, *halts(0, 3), started_ts="10")
    written(path, Account(Decimal(1)).snapshot(5000), started_ts="20")
    opened: list[FullConnection] = []

    def database(path: Path) -> sqlite3.Connection:
        opened.append(sqlite3.connect(path, check_same_thread=False, factory=FullConnection))
        return opened[0]

    journal = Journal(path, safe=True, database=database)
    opened[0].full = True
    assert journal.prune(15) == 0
    opened[0].full = False
    assert rows(path) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert journal.prune(15) == 1
    journal.close()
    assert rows(path) == [(2, 1)]


def test_a_shortening_that_was_cut_off_reads_the_same(path: Path) -> None:
    """Killed between two pieces: rows from before the beginning on record count for nothing."""
    written(path, *halts(0, 5), Account(Decimal(1)).snapshot(5), *halts(6, 2))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO runs VALUES (1, 'begins_at', '6')")
        db.execute("DELETE FROM events WHERE seq < 3")
        db.commit()
    assert journaled(path, Halt) == halts(6, 2)


def test_what_was_appended_before_a_shortening_was_asked_for_counts(path: Path) -> None:
    """The writer is between a commit and its other work as a snapshot comes, and the shortening to it is asked for."""
    journal: list[Journal] = []
    snapshot = Account(Decimal(1)).snapshot(5)

    class Meanwhile(sqlite3.Connection):
        def commit(self) -> None:
            super().commit()
            if journal and journal[0].appended == 3:
                journal[0].append(snapshot)
                journal[0].shorten(0, 10)

    def database(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False, factory=Meanwhile)

    journal.append(Journal(path, safe=True, database=database))
    journal[0].describe({"started_ts": "1"})
    with journal[0]._hand.lock:
        for event in halts(0, 3):
            journal[0].append(event)
    deadline = time.monotonic() + 30
    while rows(path) != [(1, 4)]:
        assert time.monotonic() < deadline, rows(path)
    journal[0].close()
    assert journaled(path) == [snapshot]


def test_a_journal_without_a_snapshot_is_not_shortened(path: Path) -> None:
    """Nothing is needless that a restart would have to read."""
    journal = Journal(path, safe=True)
    journal.describe({"started_ts": "1"})
    for event in halts(0, 20):
        journal.append(event)
    journal.shorten(10**18, 10**18)
    while journal._wanted is not None:
        time.sleep(0.001)
    journal.close()
    assert journaled(path) == halts(0, 20)


CHILD = """
import asyncio, sys
from pathlib import Path
from daemon.core.events import Halt
from daemon.journal.writer import Journal

async def main():
    journal = Journal(Path(sys.argv[1]), safe=True)
    journal.describe({"version": "child"})
    number = 0
    while True:
        for _ in range(50):
            number += 1
            journal.append(Halt(ts=number, reason="x"))
        waiting = journal.durable()
        if waiting is not None:
            await waiting
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_durable(path: Path) -> None:
    """Killed in the middle of writing: the file is readable, without gaps, and holds at least what was promised."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(5)]
    child.send_signal(signal.SIGKILL)
    promised = int([*lines, *child.stdout.read().splitlines()][-1])
    child.stdout.close()
    assert child.wait(60) == -signal.SIGKILL
    numbers = [event.ts for event in journaled(path, Halt)]
    assert len(numbers) >= promised >= 250
    assert numbers == list(range(1, len(numbers) + 1))
    written(path, *halts(0, 2))  # and a new run can be added
    assert len(journaled(path)) == 2


async def test_a_file_that_another_program_holds_is_written_when_it_lets_go(tmp_path: Path) -> None:
    """As with a full disk: trouble is named, what happens waits in memory, and nothing is lost."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, safe=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.append(Halt(ts=1, reason="while it is held"))
        with pytest.raises(JournalError, match="locked"):
            await journal.durable()  # type: ignore[misc]
        assert "locked" in journal.trouble
        journal.append(Halt(ts=2, reason="still"))
        other.execute("ROLLBACK")
    async with asyncio.timeout(20):
        while journal.trouble:  # noqa: ASYNC110 — the writer tells nobody when it can write again
            await asyncio.sleep(0.01)
    journal.close()
    reader = JournalReader(path)
    assert [event.ts for event in reader.events(Halt) if isinstance(event, Halt)] == [1, 2]
    reader.close()


async def test_a_quiet_journal_that_could_not_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything happens that should be on it; it holds up nobody, and is over when the other lets go."""
    monkeypatch.setattr(writer, "TRIED_S", 0.05)
    path = tmp_path / "j.sqlite"
    journal = Journal(path, safe=True)
    journal.describe({"version": "t"})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await until(lambda: journal.doubt)
        said = f"journal {path}: another program holds it (database is locked)"
        assert (journal.doubt, journal.trouble) == (said, "")
        assert journal.durable() is None
        other.execute("ROLLBACK")
    await until(lambda: not journal.doubt)
    journal.close()
    assert journaled(path) == []


async def test_a_quiet_journal_on_a_disk_that_hangs_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then an exit doesn't wait for it any more."""
    monkeypatch.setattr(writer, "TRIED_S", 0.05)
    journal = on_frozen(path)
    await until(lambda: journal.trouble)
    journal.append(Halt(ts=1, reason="late"))
    with pytest.raises(JournalError, match="no answer"):
        journal.durable()
    Frozen.goes_on.set()
    await until(lambda: not journal.trouble and journal.durable() is None)
    journal.close()
    assert journaled(path) == [Halt(ts=1, reason="late")]


def test_the_end_waits_for_another_program_that_holds_the_file(tmp_path: Path) -> None:
    """What happened last is written when it lets go, and the next start finds the record whole."""
    path = tmp_path / "j.sqlite"
    journal = Journal(path, safe=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.append(Halt(ts=1, reason="the last one"))
        letting_go = threading.Timer(2.5, other.execute, ("ROLLBACK",))
        letting_go.start()
        journal.close()
        letting_go.join()
    assert [event.ts for event in journaled(path, Halt)] == [1]
    assert not UnwrittenMark(path).stands


class Frozen(sqlite3.Connection):
    """On a disk that hangs from when a test says, until it says otherwise."""

    goes_on = threading.Event()

    def commit(self) -> None:
        """Once the disk goes on."""
        self.goes_on.wait()
        super().commit()


def on_frozen(path: Path, stands_s: float = 0.05, memory: Path | None = None) -> Journal:
    """A journal whose disk hangs from now on."""
    Frozen.goes_on.set()
    journal = Journal(path, safe=True, stands_s=stands_s, memory=memory, database=lambda path: sqlite3.connect(
        path, check_same_thread=False, factory=Frozen))  # fmt: skip
    journal.describe({"version": "t"})
    Frozen.goes_on.clear()
    return journal


async def test_a_disk_that_hangs_is_as_one_that_can_not_be_written(path: Path) -> None:
    """Who waits for it is told, and who asks then is told at once; it is over when the disk goes on."""
    journal = on_frozen(path)
    first, second = halts(0, 2)
    journal.append(first)
    waiting = journal.durable()
    assert waiting is not None
    said = f"journal {path}: its disk has given no answer for more than 0.05 s"
    async with asyncio.timeout(30):
        with pytest.raises(JournalError) as told:
            await waiting
    assert str(told.value) == journal.trouble == said
    journal.append(second)
    with pytest.raises(JournalError):
        journal.durable()
    Frozen.goes_on.set()
    await until(lambda: not journal.trouble and journal.durable() is None)
    journal.close()
    assert journaled(path) == halts(0, 2)


async def test_a_command_that_a_hanging_disk_may_not_have_is_known_from_memory(path: Path, tmp_path: Path) -> None:
    """No mark can be left on such a disk; the next process begins halted all the same, and the word is gone then."""
    memory = tmp_path / "memory"
    memory.mkdir()
    journal = on_frozen(path, memory=memory)
    journal.append(Halt(ts=1, reason="enough"))
    journal.leave_word()
    assert (UnwrittenMark(path, memory).stands, UnwrittenMark(path).stands) == (True, False)
    Frozen.goes_on.set()
    journal.close()
    UnwrittenMark(path, memory).put()  # as a process that was killed meanwhile leaves it
    after = Journal(path.parent / ".." / path.parent.name / path.name, safe=True, memory=memory)
    assert after.unwritten
    after.append(Halt(ts=2, reason="begins halted"))
    after.halted()
    await until(lambda: not UnwrittenMark(path, memory).stands)
    after.close()


async def test_the_word_in_memory_is_taken_back_when_the_disk_goes_on(path: Path, tmp_path: Path) -> None:
    """Once all that was in force is on it; a kill after that is one like any other."""
    journal = on_frozen(path, memory=tmp_path)
    journal.append(Halt(ts=1, reason="enough"))
    journal.leave_word()
    word = UnwrittenMark(path, tmp_path)
    assert word.stands
    Frozen.goes_on.set()
    await until(lambda: not word.place.exists())
    journal.leave_word()
    assert not word.place.exists(), "all of it is on the disk"
    journal.close()


async def test_a_slow_disk_is_waited_for(path: Path) -> None:
    """However long it takes in all: each answer counts."""
    journal = on_frozen(path, stands_s=3600)
    journal.append(Halt(ts=0, reason="0"))
    waiting = journal.durable()
    assert waiting is not None
    await asyncio.wait((waiting,), timeout=0.3)
    assert not waiting.done()
    Frozen.goes_on.set()
    async with asyncio.timeout(30):
        await waiting
    journal.close()


def test_the_end_on_a_disk_that_hangs_says_what_is_lost(path: Path) -> None:
    """It waits no longer than for any answer of the disk, and closing it again does nothing."""
    journal = on_frozen(path)
    for event in halts(0, 3):
        journal.append(event)
    with pytest.raises(JournalHangs, match=r"no answer for more than 0\.05 s: the last 3 events are not on it") as told:
        journal.close()
    assert told.value.exit_code == 4
    journal.close()
    Frozen.goes_on.set()
    assert journal._hand.join(30)
    assert journaled(path) == halts(0, 3)


def test_more_than_a_transaction_takes_is_written_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a disk that fails in the midst of it loses nothing."""
    monkeypatch.setattr(writer, "AT_ONCE", 100)

    class Full(sqlite3.Connection):
        left = 3

        def commit(self) -> None:
            Full.left -= 1
            if not Full.left:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            super().commit()

    Full.left = 10
    journal = Journal(path, safe=True, database=lambda path: sqlite3.connect(
        path, check_same_thread=False, factory=Full))  # fmt: skip
    journal.describe({"version": "t"})
    many = halts(0, 2 * writer.AT_ONCE + 7)
    with journal._hand.lock:
        Full.left = 2
        for event in many:
            journal.append(event)
    deadline = time.monotonic() + 30
    while journal.committed < len(many):
        assert time.monotonic() < deadline, journal.trouble
    journal.close()
    assert Full.left < 0
    assert journaled(path) == many


def test_a_beginning_waits_for_another_program_that_writes(path: Path) -> None:
    """A backup, or a cron job, holds the file for some seconds: longer than it may while the daemon runs."""
    written(path, *halts(0, 3))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        freed = threading.Timer(2.5 * LOCKED_MS / 1000, lambda: other.execute("ROLLBACK"))
        freed.start()
        try:
            written(path, *halts(0, 2))
        finally:
            freed.join()
    assert len(journaled(path)) == 2
