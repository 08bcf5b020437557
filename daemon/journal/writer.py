"""Events → SQLite: the record of what happened, in the order in which it was published.

`append` (on the loop, nanoseconds) queues an event; one thread encodes, commits in groups, and deletes what `shorten`
was told is no longer needed. `durable` says when everything queued so far is on disk. Invariant: the events of a run
are numbered without gaps in publication order, and a crash loses at most a tail that nobody was told is durable. With
equal input two replays write equal `events`; only `runs` differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from daemon.core import events as vocabulary
from daemon.core.clock import NS_PER_S, stopwatch_ns
from daemon.core.errors import JournalError, JournalHangs, UsageError
from daemon.core.events import Event
from daemon.core.files import is_there
from daemon.core.threads import Hand, ThreadHand
from daemon.journal.files import ALL_PARTS, OpenedFiles, UnwrittenMark
from daemon.journal.schema import (
    BEGINS_AT,
    CANARY,
    DAMAGED,
    ENDS_AT,
    IN_CHARGE,
    LOCK,
    MODEL_IN_CHARGE,
    SCHEMA_VERSION,
    check_schema,
)

RETRY_S = 0.5
IDLE_S = 0.05
BATCH = 4096
AT_ONCE = 20_000
"""Events in one transaction at most: one that takes long is the disk's doing, not that of all that waited for it."""
DELETED_AT_ONCE = 2000
"""Rows in one transaction of a shortening: an order that waits for the disk waits for one of these at most."""
NO_END = 2**62
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""Primary codes of a file that another program holds."""
_HELD = "another program holds it"
_STARVED = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, *_LOCKED)
"""Primary codes of what may pass by itself: the disk is full or doesn't answer, another program holds the file."""
STANDS_S = 5.0
"""A disk that has given no answer for so long is as one that can't be written: exits don't wait for it any longer."""
LOOK_S = 0.1
"""How often the end looks whether the writer goes on."""
LOCKED_MS = 1000
"""So long another program may hold the file before that counts as trouble."""
TRIED_S = 5.0
"""So often a file into which nothing happens to be written is tried."""
LOCKED_AT_END_S = 15.0
"""So long beginning and end wait for another program that holds the file."""
_UNWRITABLE = (sqlite3.Error, OSError, TypeError, ValueError, OverflowError, msgspec.MsgspecError)
"""What the file, or an event that can't be encoded, may raise: a writer that died silently would let orders wait."""

Database: TypeAlias = Callable[[Path], sqlite3.Connection]


def open_database(path: Path) -> sqlite3.Connection:
    """A connection that the loop opens and another thread writes through."""
    return sqlite3.connect(path, check_same_thread=False)


def _time_of(event: Event) -> int:
    return event.ts_close if isinstance(event, vocabulary.Bar) else int(getattr(event, "ts"))  # noqa: B009


class Journal:
    """Appends the events of one run to a file; `safe` waits for the disk (live), else for nobody (replay)."""

    def __init__(
        self,
        path: Path,
        *,
        safe: bool,
        group_commit_ms: int = 5,
        hand: Callable[[str], Hand] = ThreadHand,
        database: Database = open_database,
        stopwatch: Callable[[], int] = stopwatch_ns,
        stands_s: float = STANDS_S,
        memory: Path | None = None,
    ) -> None:
        """Open or create `path`. Raises `UsageError` when it can't be opened or is not a journal.

        `hand` writes, and `database` opens what is written to. A disk that gives no answer for `stands_s` by the
        `stopwatch` is a trouble. `memory`: a directory that needs no disk, where word is left for the next process.
        """
        self._path = path
        self._safe = safe
        self._group_commit_s = group_commit_ms / 1000
        self._queue: deque[Event] = deque()  # its append and popleft are atomic: the loop appends, the writer takes
        self._appended = 0
        self._committed = 0
        self._hand = hand("journal")
        self._database = database
        self._seq = 0
        self._closing = False
        self._closing_ns = 0
        self._error: BaseException | None = None
        self._trouble: sqlite3.Error | None = None
        self._lost = ""
        self._stopwatch, self._stands_s = stopwatch, stands_s
        self._asked_ns = 0
        """When the writer began what it does on the disk; 0 while it does nothing there."""
        self._tried_ns: int | None = None
        """When it was last written, or tried; None before the run is described, which is done on the loop."""
        self._refused: sqlite3.Error | None = None
        """Why it couldn't be written when it was tried."""
        self._stranded = False
        self._held: list[Event] = []
        self._waiters: list[tuple[int, asyncio.Future[None], asyncio.AbstractEventLoop]] = []
        self._wanted: tuple[int, int] | None = None
        self._wanted_after = 0
        """Events that were appended as it was asked for: what they say of where to cut counts."""
        self._doomed: list[tuple[int, int]] = []
        try:
            self._is_new, self._mark = not is_there(path), UnwrittenMark(path)
            self._word = UnwrittenMark(path, memory) if memory is not None and safe else None
        except OSError as error:
            raise UsageError(f"journal {path}: can't be opened ({error.strerror})") from error
        self._db, self.run = _open(path, safe, database)
        self._files = OpenedFiles(path)
        self._word_until = 0
        """Events that must be on disk before the word in memory has served."""
        self.unwritten = safe and (self._mark.stands or (self._word is not None and self._word.stands))
        """Whether the process before couldn't write all that happened."""
        self._halted_at: int | None = None if self.unwritten else 0
        self._hand.begin(self._turn)

    def describe(self, metadata: dict[str, str]) -> None:
        """Record the run's metadata (settings, model, versions); call it before the first event."""
        with self._hand.lock:
            rows = [(self.run, key, value) for key, value in metadata.items()]
            try:
                self._db.executemany("INSERT INTO runs VALUES (?, ?, ?)", rows)
                self._db.commit()
            except sqlite3.Error as error:
                raise JournalError(f"journal {self._path}: {error}") from None
            self._tried_ns = self._stopwatch()

    def append(self, event: Event) -> None:
        """Queue an event; raises `JournalError` when the writer has failed or the journal is closed."""
        self._check_open()
        self._queue.append(event)
        self._appended += 1
        if len(self._queue) >= BATCH and self._trouble is None:
            self._hand.wake()

    def durable(self) -> asyncio.Future[None] | None:
        """None when all that was appended is on disk (or the journal is not `safe`), else a future that says so.

        Raises `JournalError`, here or from the future, when the writer has failed or the journal is closed.
        """
        self._check_open()
        if self._trouble is not None or self._stranded or self._stands():
            raise JournalError(self.trouble)
        if not self._safe or self._committed >= self._appended:
            return None
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._give_up_in(self._stands_s, future)
        with self._hand.lock:
            self._waiters.append((self._appended, future, loop))
            self._hand.wake()
        return future

    @property
    def trouble(self) -> str:
        """Why the record isn't as it should be ("": it is): a full disk, a writer that failed, a file that is gone.

        What was appended is kept, in memory or in a fresh file. A file that was deleted or replaced stays a trouble
        until a restart: somebody took it for unused.
        """
        found = self._error or self._trouble or self._lost or self._stands()
        return f"journal {self._path}: {_words(found)}" if found else ""

    @property
    def held(self) -> str:
        """How a `trouble` begins that passes by itself, as another program lets go."""
        return f"journal {self._path}: {_HELD}"

    @property
    def doubt(self) -> str:
        """Why the next event won't be written, by the last try; "" where it will, or where `trouble` says it.

        It holds up nothing: whatever has to be on disk finds out by itself.
        """
        found = self._refused
        return f"journal {self._path}: {_words(found)}" if found and not self.trouble else ""

    def _stands(self) -> str:
        """Why nobody should wait for the disk: it has given no answer for too long; "" where it has."""
        if not self._safe or self._owes_s() < self._stands_s:
            return ""
        return f"its disk has given no answer for more than {self._stands_s:g} s"

    def _owes_s(self) -> float:
        """For how long the disk has not answered the writer."""
        asked_ns = self._asked_ns
        return (self._stopwatch() - asked_ns) / NS_PER_S if asked_ns else 0.0

    def _give_up_in(self, seconds: float, future: asyncio.Future[None]) -> None:
        """Let whoever waits know when the disk stands still; one that is slow is waited for."""

        def look() -> None:
            stands = self._stands()
            if stands and not future.done():
                future.set_exception(JournalError(f"journal {self._path}: {stands}"))
            elif not future.done():
                self._give_up_in(max(LOOK_S, self._stands_s - self._owes_s()), future)

        timer = future.get_loop().call_later(seconds, look)
        future.add_done_callback(lambda _: timer.cancel())

    def leave_word(self) -> None:
        """Not all that was published is on disk, and it may not get there: the next process learns of it from memory.

        It is taken back when all of it is on disk.
        """
        with self._hand.lock:
            if self._word is not None and self._committed < self._appended:
                self._word_until = self._appended
                self._word.put()

    def halted(self) -> None:
        """The halt that an `unwritten` record calls for has been appended: once it is on disk, the mark has served."""
        self._halted_at = self._appended

    def prune(self, before_ns: int) -> int:
        """Delete runs that began before `before_ns` (UTC ns) and that lie before the newest snapshot; how many.

        A disk that doesn't let it keeps them until the next time, for nothing depends on it.
        """
        with self._hand.lock:
            try:
                return self._delete_runs(before_ns)
            except DAMAGED:
                with contextlib.suppress(sqlite3.Error):
                    self._db.rollback()
                return 0

    def _delete_runs(self, before_ns: int) -> int:
        found = self._db.execute("SELECT MAX(run) FROM events WHERE type = 'AccountSnapshot'").fetchone()[0] or 0
        old = self._db.execute(
            "SELECT run FROM runs WHERE key = 'started_ts' AND CAST(value AS INTEGER) < ? AND run < ?",
            (before_ns, found),
        ).fetchall()
        self._db.executemany("DELETE FROM events WHERE run = ?", old)
        self._db.executemany("DELETE FROM runs WHERE run = ?", old)
        self._db.commit()
        return len(old)

    @property
    def committed(self) -> int:
        """Events that are on disk."""
        return self._committed

    @property
    def appended(self) -> int:
        """Events taken so far."""
        return self._appended

    def shorten(self, before_wall_ns: int, before_ts: int) -> None:
        """Have the writer delete, by and by, what no restart needs.

        That is: earlier runs that began before `before_wall_ns`, and of this one what lies before its newest snapshot
        that is older than `before_ts` (event time, UTC ns).
        """
        with self._hand.lock:
            self._wanted, self._wanted_after = (before_wall_ns, before_ts), self._appended

    def close(self, *, begun: bool = True) -> None:
        """Write what is queued and close the file; calling it again does nothing.

        Another program that holds the file is waited for, `LOCKED_AT_END_S` at most.
        A run that has not `begun` and has no event leaves no trace, and no file where there was none. Raises
        `JournalError` where not all of it is on disk, and `JournalHangs` where the disk gives no answer: what it has
        still open stays open then, as closing it would wait for the disk as well.
        """
        with self._hand.lock:
            if self._closing:
                return
            self._closing, self._closing_ns = True, self._stopwatch()
            self._hand.wake()
        while not self._hand.join(LOOK_S):
            if self._stands():
                left = self._appended - self._committed
                raise JournalHangs(f"journal {self._path}: {self._stands()}: the last {left} events are not on it")
        unmade = not begun and not self._appended and not self._files.missing()
        if unmade:
            self._forget()
        self._db.close()
        if unmade and self._is_new:
            for suffix in ALL_PARTS:
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        if self._error is not None or self._trouble is not None or self._stranded:
            raise JournalError(self.trouble)

    def _forget(self) -> None:
        """A start that was refused was no run: the next one has its number."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("DELETE FROM runs WHERE run = ?", (self.run,))
            self._db.commit()

    def _check_open(self) -> None:
        if self._error is not None:
            raise JournalError(f"journal {self._path}: {self._error}")
        if self._closing:
            raise JournalError(f"journal {self._path}: closed")

    def _turn(self) -> float | None:
        """Write what is queued and tell those who wait; seconds of rest, None after the last turn."""
        with self._hand.lock:
            closing = self._closing
        with self._on_the_disk():
            self._follow_files()
            if not self._stranded:
                self._seq = self._commit_queued(self._seq)
                if not closing:
                    self._try()
            if self._safe:
                self._set_mark()
        self._release()
        if closing and (self._stranded or not self._queue) and not self._held_by_another():
            with self._on_the_disk():
                self._note_end(self._seq)
            return None
        taken = self._committed + len(self._held)  # what a full disk holds up isn't waited for: rows that go make room
        if self._doomed or (self._wanted is not None and taken >= self._wanted_after):
            with self._on_the_disk():
                self._shorten_a_little()
        if self._trouble is not None or self._stranded:
            return RETRY_S
        return self._group_commit_s if self._doomed or (self._safe and self._queue) else IDLE_S

    @contextlib.contextmanager
    def _on_the_disk(self) -> Iterator[None]:
        """What may hang with the disk; nothing that waits for another thread."""
        self._asked_ns = self._stopwatch()
        try:
            yield
        finally:
            self._asked_ns = 0

    def _held_by_another(self) -> bool:
        """Whether another program holds the file at the end, and may still let go of it."""
        code = getattr(self._trouble, "sqlite_errorcode", 0) & 0xFF
        return code in _LOCKED and (self._stopwatch() - self._closing_ns) / NS_PER_S < LOCKED_AT_END_S

    def _set_mark(self) -> None:
        """Leave word for the next process while the record isn't whole."""
        if self._error is not None or self._trouble is not None or self._stranded:
            self._mark.put()
        elif self._halted_at is not None and self._committed >= self._halted_at:
            self._mark.lift()
            with self._hand.lock:
                if self._word is not None and self._committed >= self._word_until:
                    self._word.lift()

    def _commit_queued(self, seq: int) -> int:
        """Write what is queued, if it can be; the number of the last event written."""
        batch = [*self._held, *(self._queue.popleft() for _ in range(len(self._queue)))]
        self._held = []
        for at in range(0, len(batch), AT_ONCE):
            if self._error is not None:
                break
            self._asked_ns = self._stopwatch()
            part = batch[at : at + AT_ONCE]
            try:
                seq = self._commit(part, seq)
                self._committed += len(part)
                self._trouble = self._refused = None
                self._tried_ns = self._stopwatch()
            except _UNWRITABLE as error:
                self._on_failure(error, batch[at:])
                break
        return seq

    def _try(self) -> None:
        """Write nothing, so that a disk or a lock that stands in the way is known before anything happens."""
        if not self._safe or self._error is not None or self._trouble is not None or self._tried_ns is None:
            return
        if (self._stopwatch() - self._tried_ns) / NS_PER_S < TRIED_S:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._db.commit()
            self._refused = None
        except sqlite3.Error as error:
            self._refused = error
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
        self._tried_ns = self._stopwatch()

    def _follow_files(self) -> None:
        """Notice that a file is gone, and go on in a fresh one that holds everything; the trouble stays said."""
        gone = self._files.missing() if self._safe else ""
        if not gone:
            self._stranded = False
            return
        self._lost = gone
        try:
            place = self._files.carry_over(self._db)
            fresh = _connect(place, self._safe, self._database)
        except (sqlite3.Error, OSError) as error:
            self._lost, self._stranded = f"{gone}, and a fresh file can't be written ({error})", True
            return
        with self._hand.lock:
            left, self._db = self._db, fresh
        with contextlib.suppress(sqlite3.Error):
            left.close()
        self._files, self._stranded = OpenedFiles(place), False
        put = "" if place == self._path else f", put that file in the place of {self._path}"
        self._lost = f"{gone}; all of it is in {place} now: stop hrmd{put}, start it and resume"

    def _on_failure(self, error: Exception, batch: list[Event]) -> None:
        """Keep what could not be written where the disk may come back, else give up."""
        with contextlib.suppress(sqlite3.Error):
            self._db.rollback()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, sqlite3.Error) and code in _STARVED:
            self._trouble, self._held = error, batch
        else:
            self._error = error

    def _commit(self, batch: list[Event], seq: int) -> int:
        encode = msgspec.json.encode
        rows = (  # one at a time: a snapshot is large
            (self.run, seq + n, _time_of(event), type(event).__name__, encode(event).decode())
            for n, event in enumerate(batch, 1)
        )
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        self._db.commit()
        return seq + len(batch)

    def _note_end(self, seq: int) -> None:
        """An orderly end: whoever reads the run can tell that its tail is whole."""
        if seq and self._error is None and self._trouble is None and not self._stranded:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (self.run, ENDS_AT, str(seq)))
                self._db.commit()

    def _shorten_a_little(self) -> None:
        """A transaction's worth; what fails is left for the next time, for nothing depends on it."""
        try:
            if self._wanted is not None and not self._doomed:
                self._doomed, self._wanted = self._condemn(*self._wanted), None
            if self._doomed:
                run, end = self._doomed[0]
                deleted = self._db.execute(
                    "DELETE FROM events WHERE run = ? AND seq IN "
                    "(SELECT seq FROM events WHERE run = ? AND seq < ? ORDER BY seq LIMIT ?)",
                    (run, run, end, DELETED_AT_ONCE),
                ).rowcount
                if deleted < DELETED_AT_ONCE:
                    self._doomed.pop(0)
                    if run != self.run:
                        self._db.execute("DELETE FROM runs WHERE run = ?", (run,))
            self._db.commit()
        except DAMAGED:
            self._doomed, self._wanted = [], None
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()

    def _condemn(self, before_wall_ns: int, before_ts: int) -> list[tuple[int, int]]:
        """(run, first event to keep) of all that is to go. What this run begins with is on record before any goes."""
        newest = self._db.execute("SELECT MAX(run) FROM events WHERE type = 'AccountSnapshot'").fetchone()[0] or 0
        old = self._db.execute(
            "SELECT run FROM runs WHERE key = 'started_ts' AND CAST(value AS INTEGER) < ? AND run < ?",
            (before_wall_ns, newest),
        ).fetchall()
        doomed = [(int(run), NO_END) for (run,) in old]
        (cut,) = self._db.execute(
            "SELECT MAX(seq) FROM events WHERE run = ? AND type = 'AccountSnapshot' AND ts < ?", (self.run, before_ts)
        ).fetchone()
        if cut is not None:
            swapped, lock = self._newest("StrategySwapped", cut), self._newest("LockStrategy", cut)
            notes = [(self.run, BEGINS_AT, str(cut))]
            if swapped is not None:
                in_charge = msgspec.json.decode(swapped, type=vocabulary.StrategySwapped).new
                notes.append((self.run, IN_CHARGE, in_charge))
            loaded = self._db.execute(
                "SELECT body FROM events WHERE run = ? AND seq < ? AND type = 'ModelLoaded' ORDER BY seq DESC LIMIT 1",
                (self.run, cut),
            ).fetchone()
            if loaded is not None:
                notes.append((self.run, MODEL_IN_CHARGE, loaded[0]))
            canary = self._newest("CanaryChanged", cut)
            if canary is not None:
                notes.append((self.run, CANARY, canary))
            if lock is not None:
                said = msgspec.json.decode(lock, type=vocabulary.LockStrategy)
                notes.append((self.run, LOCK, said.reason if said.locked else ""))
            self._db.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", notes)
            doomed.append((self.run, int(cut)))
        return doomed

    def _newest(self, kind: str, before: int) -> str | None:
        """The newest event of a type before the `before`-th of this run."""
        found = self._db.execute(
            "SELECT body FROM events WHERE run = ? AND seq < ? AND type = ? ORDER BY seq DESC LIMIT 1",
            (self.run, before, kind),
        ).fetchone()
        return None if found is None else found[0]

    def _release(self) -> None:
        with self._hand.lock:
            failed = self._error or self._trouble or (OSError(self._lost) if self._stranded else None)
            ready = [waiter for waiter in self._waiters if waiter[0] <= self._committed or failed]
            self._waiters = [waiter for waiter in self._waiters if waiter not in ready]
        for wanted, future, loop in ready:
            error = None if wanted <= self._committed else failed
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, future, error, self._path)


def _resolve(future: asyncio.Future[None], error: BaseException | None, path: Path) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(JournalError(f"journal {path}: {_words(error)}"))


def _words(found: BaseException | str) -> str:
    """What stands in the way of a write, for a person."""
    code = getattr(found, "sqlite_errorcode", 0) & 0xFF
    return f"{_HELD} ({found})" if code in _LOCKED else str(found)


def _open(path: Path, safe: bool, database: Database) -> tuple[sqlite3.Connection, int]:
    """The database, made where it is missing, and the number of the run to come."""
    db = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = _connect(path, safe, database)
        db.execute(f"PRAGMA busy_timeout={int(LOCKED_AT_END_S * 1000)}")
        db.execute("CREATE TABLE IF NOT EXISTS runs (run INTEGER, key TEXT, value TEXT, PRIMARY KEY (run, key))")
        db.execute(
            "CREATE TABLE IF NOT EXISTS events (run INTEGER, seq INTEGER, ts INTEGER, type TEXT, body TEXT, "
            "PRIMARY KEY (run, seq)) WITHOUT ROWID"
        )
        db.execute("CREATE INDEX IF NOT EXISTS snapshots ON events (run, seq) WHERE type = 'AccountSnapshot'")
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.commit()
        run = db.execute("SELECT COALESCE(MAX(run), 0) + 1 FROM runs").fetchone()[0]
        db.execute(f"PRAGMA busy_timeout={LOCKED_MS}")
    except (*DAMAGED, OSError, UsageError) as error:
        if db is not None:
            db.close()
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"journal {path}: can't be opened ({error})") from None
    return db, int(run)


def _connect(path: Path, safe: bool, database: Database) -> sqlite3.Connection:
    """A connection that writes as a journal is written. Raises `UsageError` for a foreign file."""
    db = database(path)
    try:
        check_schema(db, path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if safe else 'OFF'}")
        db.execute(f"PRAGMA busy_timeout={LOCKED_MS}")
    except (*DAMAGED, UsageError):
        db.close()
        raise
    return db
