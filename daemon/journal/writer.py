"""Events → SQLite: the record of what happened, in the order in which it was published.

`append` (on the loop, nanoseconds) queues an event; one thread encodes, commits in groups, and deletes what `shorten`
was told is no longer needed. `durable` says when everything queued so far is on disk. Invariant: the events of a run
are numbered without gaps in publication order, and a crash loses at most a tail that nobody was told is durable. With
equal input two replays write equal `events`; only `runs` differs.

Schema: `runs(run, key, value)` holds metadata; `events(run, seq, ts, type, body)` holds each event as JSON text. A run
that was shortened begins at the snapshot that its `begins_at` names.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from daemon.core import events as vocabulary
from daemon.core.errors import CheckFailed, JournalError, UsageError
from daemon.core.events import Event
from daemon.journal.files import OpenedFiles

SCHEMA_VERSION = 2
"""2 added the index by which the newest snapshot is found; journals of 1 are brought up to it when they are opened."""
_READABLE = (1, 2)
RETRY_S = 0.5
BATCH = 4096
DELETED_AT_ONCE = 2000
"""Rows in one transaction of a shortening: an order that waits for the disk waits for one of these at most."""
BEGINS_AT = "begins_at"
ENDS_AT = "ends_at"
"""Metadata of a run that was closed in order: its last event."""
IN_CHARGE = "strategy_in_charge"
"""Metadata of a shortened run: the strategy that decided when its first kept event was written."""

JOURNALED: tuple[type[Event], ...] = (
    vocabulary.Complexity,
    vocabulary.Decision,
    vocabulary.OrderIntent,
    vocabulary.OrderApproved,
    vocabulary.OrderDenied,
    vocabulary.OrderSent,
    vocabulary.OrderAccepted,
    vocabulary.OrderRejected,
    vocabulary.OrderCancelRequested,
    vocabulary.OrderCancelFailed,
    vocabulary.OrderCancelled,
    vocabulary.OrderExpired,
    vocabulary.OrderUnknown,
    vocabulary.Fill,
    vocabulary.PositionChanged,
    vocabulary.TradingStateChanged,
    vocabulary.StrategySwapped,
    vocabulary.ActorRestarted,
    vocabulary.FeedStatus,
    vocabulary.Halt,
    vocabulary.Resume,
    vocabulary.Reduce,
    vocabulary.Flatten,
    vocabulary.SwapStrategy,
    vocabulary.SymbolHalted,
    vocabulary.SymbolResumed,
    vocabulary.AccountSnapshot,
    vocabulary.DayProfitPeaked,
    vocabulary.OrderAmended,
    vocabulary.FundsDiffer,
    vocabulary.ManualOrder,
    vocabulary.ManualOrderAnswered,
    vocabulary.CancelOrder,
    vocabulary.BrokerStatus,
    vocabulary.PriceAdjusted,
    vocabulary.PriceJumped,
    vocabulary.PositionRestated,
)
"""What is recorded: every event that a decision, a position or a state depends on; of bars only
the intervals that decisions see (the caller chooses them), of ticks none: they have their own tape."""

_RECORDED: tuple[type[Event], ...] = (vocabulary.Bar, *JOURNALED)
KINDS = dict(zip([kind.__name__ for kind in _RECORDED], _RECORDED, strict=True))
NO_END = 2**62
_TERMINAL = ("OrderDenied", "OrderRejected", "OrderCancelled", "OrderExpired")
_UNDECODABLE = (msgspec.DecodeError, TypeError, ValueError, RecursionError)
_STARVED = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""Primary codes of what may pass by itself: the disk is full or doesn't answer, another program holds the file."""
LOCKED_MS = 1000
"""So long another program may hold the file before that counts as trouble."""
_UNWRITABLE = (sqlite3.Error, OSError, TypeError, ValueError, OverflowError, msgspec.MsgspecError)
"""What the file, or an event that can't be encoded, may raise: a writer that died silently would let orders wait."""


def _time_of(event: Event) -> int:
    return event.ts_close if isinstance(event, vocabulary.Bar) else int(getattr(event, "ts"))  # noqa: B009


class Journal:
    """Appends the events of one run to a file; `safe` waits for the disk (live), else for nobody (replay)."""

    def __init__(self, path: Path, *, safe: bool, group_commit_ms: int = 5) -> None:
        """Open or create `path`. Raises `UsageError` when it can't be opened or is not a journal."""
        self._path = path
        self._safe = safe
        self._group_commit_s = group_commit_ms / 1000
        self._queue: deque[Event] = deque()  # its append and popleft are atomic: the loop appends, the writer takes
        self._appended = 0
        self._committed = 0
        self._wake = threading.Condition()
        self._closing = False
        self._error: BaseException | None = None
        self._trouble: sqlite3.Error | None = None
        self._lost = ""
        self._stranded = False
        self._held: list[Event] = []
        self._waiters: list[tuple[int, asyncio.Future[None], asyncio.AbstractEventLoop]] = []
        self._wanted: tuple[int, int] | None = None
        self._doomed: list[tuple[int, int]] = []
        self._db, self.run = _open(path, safe)
        self._files = OpenedFiles(path)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def describe(self, metadata: dict[str, str]) -> None:
        """Record the run's metadata (settings, model, versions); call it before the first event."""
        with self._wake:
            rows = [(self.run, key, value) for key, value in metadata.items()]
            try:
                self._db.executemany("INSERT INTO runs VALUES (?, ?, ?)", rows)
                self._db.commit()
            except sqlite3.Error as error:
                raise JournalError(f"journal {self._path}: {error}") from None

    def append(self, event: Event) -> None:
        """Queue an event; raises `JournalError` when the writer has failed or the journal is closed."""
        self._check_open()
        self._queue.append(event)
        self._appended += 1
        if len(self._queue) >= BATCH:
            with self._wake:
                self._wake.notify()

    def durable(self) -> asyncio.Future[None] | None:
        """None when all that was appended is on disk (or the journal is not `safe`), else a future that says so.

        Raises `JournalError`, here or from the future, when the writer has failed or the journal is closed.
        """
        self._check_open()
        if self._trouble is not None or self._stranded:
            raise JournalError(self.trouble)
        if not self._safe or self._committed >= self._appended:
            return None
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._wake:
            self._waiters.append((self._appended, future, loop))
            self._wake.notify()
        return future

    @property
    def trouble(self) -> str:
        """Why the record isn't as it should be ("": it is): a full disk, a writer that failed, a file that is gone.

        What was appended is kept, in memory or in a fresh file. A file that was deleted or replaced stays a trouble
        until a restart: somebody took it for unused.
        """
        found = self._error or self._trouble or self._lost
        return f"journal {self._path}: {found}" if found else ""

    def prune(self, before_ns: int) -> int:
        """Delete runs that began before `before_ns` (UTC ns) and that lie before the newest snapshot; how many."""
        with self._wake:
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
    def appended(self) -> int:
        """Events taken so far."""
        return self._appended

    def shorten(self, before_wall_ns: int, before_ts: int) -> None:
        """Have the writer delete, by and by, what no restart needs.

        That is: earlier runs that began before `before_wall_ns`, and of this one what lies before its newest snapshot
        that is older than `before_ts` (event time, UTC ns).
        """
        with self._wake:
            self._wanted = (before_wall_ns, before_ts)

    def close(self) -> None:
        """Write what is queued and close the file; calling it again does nothing."""
        with self._wake:
            if self._closing:
                return
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._db.close()
        if self._error is not None or self._trouble is not None or self._stranded:
            raise JournalError(self.trouble)

    def _check_open(self) -> None:
        if self._error is not None:
            raise JournalError(f"journal {self._path}: {self._error}")
        if self._closing:
            raise JournalError(f"journal {self._path}: closed")

    def _write(self) -> None:
        seq = 0
        while True:
            with self._wake:
                if not self._closing and not self._waiters and len(self._queue) < BATCH:
                    self._wake.wait(self._group_commit_s if self._doomed or (self._safe and self._queue) else 0.05)
                closing = self._closing
            self._follow_files()
            if not self._stranded:
                seq = self._commit_queued(seq)
            self._release()
            if closing and (self._stranded or not self._queue):
                self._note_end(seq)
                return
            if self._wanted is not None or self._doomed:
                self._shorten_a_little()
            if self._trouble is not None or self._stranded:
                with self._wake:
                    self._wake.wait_for(lambda: self._closing, RETRY_S)

    def _commit_queued(self, seq: int) -> int:
        """Write what is queued, if it can be; the number of the last event written."""
        batch = [*self._held, *(self._queue.popleft() for _ in range(len(self._queue)))]
        self._held = []
        if batch and self._error is None:
            try:
                seq = self._commit(batch, seq)
                self._committed += len(batch)
                self._trouble = None
            except _UNWRITABLE as error:
                self._on_failure(error, batch)
        return seq

    def _follow_files(self) -> None:
        """Notice that a file is gone, and go on in a fresh one that holds everything; the trouble stays said."""
        gone = self._files.missing() if self._safe else ""
        if not gone:
            self._stranded = False
            return
        self._lost = gone
        try:
            place = self._files.carry_over(self._db)
            fresh = _connect(place, self._safe)
        except (sqlite3.Error, OSError) as error:
            self._lost, self._stranded = f"{gone}, and a fresh file can't be written ({error})", True
            return
        with self._wake:
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
            if self._wanted is not None:
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
        except sqlite3.Error:
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
            swapped = self._db.execute(
                "SELECT body FROM events WHERE run = ? AND seq < ? AND type = 'StrategySwapped' ORDER BY seq DESC "
                "LIMIT 1",
                (self.run, cut),
            ).fetchone()
            notes = [(self.run, BEGINS_AT, str(cut))]
            if swapped is not None:
                in_charge = msgspec.json.decode(swapped[0], type=vocabulary.StrategySwapped).new
                notes.append((self.run, IN_CHARGE, in_charge))
            self._db.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", notes)
            doomed.append((self.run, int(cut)))
        return doomed

    def _release(self) -> None:
        with self._wake:
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
        future.set_exception(JournalError(f"journal {path}: {error}"))


def _open(path: Path, safe: bool) -> tuple[sqlite3.Connection, int]:
    """The database, made where it is missing, and the number of the run to come."""
    db = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = _connect(path, safe)
        db.execute("CREATE TABLE IF NOT EXISTS runs (run INTEGER, key TEXT, value TEXT, PRIMARY KEY (run, key))")
        db.execute(
            "CREATE TABLE IF NOT EXISTS events (run INTEGER, seq INTEGER, ts INTEGER, type TEXT, body TEXT, "
            "PRIMARY KEY (run, seq)) WITHOUT ROWID"
        )
        db.execute("CREATE INDEX IF NOT EXISTS snapshots ON events (run, seq) WHERE type = 'AccountSnapshot'")
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.commit()
        run = db.execute("SELECT COALESCE(MAX(run), 0) + 1 FROM runs").fetchone()[0]
    except (sqlite3.Error, OSError, UsageError) as error:
        if db is not None:
            db.close()
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"journal {path}: can't be opened ({error})") from None
    return db, int(run)


def _connect(path: Path, safe: bool) -> sqlite3.Connection:
    """A connection that writes as a journal is written. Raises `UsageError` for a foreign file."""
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        _check_schema(db, path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if safe else 'OFF'}")
        db.execute(f"PRAGMA busy_timeout={LOCKED_MS}")
    except (sqlite3.Error, UsageError):
        db.close()
        raise
    return db


def _check_schema(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if version not in _READABLE and tables:
        raise UsageError(
            f"{path}: not an hrmd journal of schema {SCHEMA_VERSION} (found {version}): choose another file"
        )


def _marks(values: list[str]) -> str:
    return ", ".join("?" * len(values))


def is_blank(path: Path) -> bool:
    """Whether no run was ever begun in a file: it isn't there, is empty, or its maker ended before its first record."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_read_only(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return not tables or ("runs" in tables and not db.execute("SELECT 1 FROM runs LIMIT 1").fetchone())
    return False


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def check_journal(path: Path) -> None:
    """Whether a run could be added to the existing file `path`, which stays untouched. Raises `UsageError` if not."""
    try:
        with contextlib.closing(_read_only(path)) as db:
            _check_schema(db, path)
    except sqlite3.Error as error:
        raise UsageError(f"journal {path}: can't be opened ({error})") from None


class JournalReader:
    """Reads a finished or running journal."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` when `path` is missing or not a journal."""
        self._path = path
        if not path.is_file():
            raise UsageError(f"{path}: no such journal")
        try:
            self._db = _read_only(path)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            row = self._db.execute("SELECT MAX(run) FROM runs").fetchone()
        except sqlite3.Error as error:
            raise UsageError(f"{path}: not an hrmd journal ({error})") from None
        if version not in _READABLE:
            raise UsageError(f"{path}: journal schema {version}, expected {SCHEMA_VERSION}")
        if not isinstance(row[0], int):
            raise UsageError(f"{path}: holds no run")
        self.run = row[0]

    def metadata(self) -> dict[str, str]:
        """What `Journal.describe` recorded of the latest run."""
        rows = self._rows("SELECT key, value FROM runs WHERE run = ?", self.run)
        return {str(key): str(value) for key, value in rows}

    def events(self, *types: type[Event]) -> Iterator[Event]:
        """The events of the latest run in order, all or of `types`.

        Raises `UsageError` at one that can't be read, and `CheckFailed` where one is missing.
        """
        wanted = {kind.__name__ for kind in types} or set(KINDS)
        metadata = self.metadata()
        try:
            begins, ends = int(metadata.get(BEGINS_AT, "1")), int(metadata.get(ENDS_AT, "0"))
        except ValueError:
            raise CheckFailed(f"{self._path}: where run {self.run} begins and ends is no number: altered") from None
        expected = begins
        rows = self._rows(
            "SELECT seq, type, body FROM events WHERE run = ? AND seq >= ? ORDER BY seq", self.run, begins
        )
        for seq, name, body in rows:
            if seq != expected:
                raise CheckFailed(f"{self._path}: event {expected} is missing: the journal was altered")
            expected += 1
            if name in wanted:
                try:
                    yield msgspec.json.decode(body, type=KINDS[name])
                except _UNDECODABLE as error:
                    raise UsageError(f"{self._path}: event {seq} ({name}) can't be read ({error})") from None
        if expected <= ends:
            raise CheckFailed(f"{self._path}: event {expected} is missing: the journal was altered")

    def since_snapshot(self, *types: type[Event]) -> Iterator[Event]:
        """The events of `types` of all runs, from the newest `AccountSnapshot` on (with it), oldest first.

        Raises `UsageError` at one that can't be read.
        """
        name = vocabulary.AccountSnapshot.__name__
        found = next(
            self._rows(f"SELECT run, seq FROM events WHERE type = '{name}' ORDER BY run DESC, seq DESC LIMIT 1"), (0, 0)
        )
        kinds = [kind.__name__ for kind in types]
        rows = self._rows(
            f"SELECT run, seq, type, body FROM events WHERE (run, seq) >= (?, ?) AND type IN ({_marks(kinds)}) "
            "ORDER BY run, seq",
            *found,
            *kinds,
        )
        decoders = {kind.__name__: msgspec.json.Decoder(kind) for kind in types}
        for run, seq, kind, body in rows:
            try:
                yield decoders[kind].decode(body)
            except _UNDECODABLE as error:
                raise UsageError(f"{self._path}: run {run}, event {seq} ({kind}) can't be read ({error})") from None

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        """The rows of a query; raises `UsageError` where a page of the file can't be read."""
        try:
            for row in self._db.execute(query, values):  # noqa: UP028 — delegation closes the cursor, maybe too late
                yield row
        except sqlite3.Error as error:
            raise UsageError(f"{self._path}: damaged ({error}); the next hrmd run recovers what can be read") from None

    def pending(self) -> list[str]:
        """Client ids of orders that were intended and neither denied, rejected, cancelled nor filled whole."""
        open_orders: dict[str, int] = {}
        for event in self.events():
            if isinstance(event, vocabulary.OrderIntent):
                open_orders[event.order_id] = event.quantity
            elif isinstance(event, vocabulary.Fill) and event.order_id in open_orders:
                open_orders[event.order_id] -= event.quantity
                if open_orders[event.order_id] <= 0:
                    del open_orders[event.order_id]
            elif type(event).__name__ in _TERMINAL:
                open_orders.pop(str(getattr(event, "order_id")), None)  # noqa: B009
        return list(open_orders)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
