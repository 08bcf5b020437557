"""SQLite → events: what a journal holds, of a run that is over or still goes on.

Invariant: the file stays untouched, and what is missing or can't be read is said, never passed over.
"""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from daemon.core import events as vocabulary
from daemon.core.errors import CheckFailed, Unavailable, UsageError
from daemon.core.events import Event
from daemon.core.files import check_regular, resolved, stat_of
from daemon.core.passing import passes
from daemon.journal.decoding import UNDECODABLE, decode
from daemon.journal.schema import BEGINS_AT, DAMAGED, ENDS_AT, KINDS, READABLE, SCHEMA_VERSION, check_schema, marks

_TERMINAL = ("OrderDenied", "OrderRejected", "OrderCancelled", "OrderExpired")


def is_blank(path: Path) -> bool:
    """Whether no run was ever begun in a file: it isn't there, is empty, or its maker ended before its first record.

    Raises `UsageError` where the disk doesn't say: what can't be looked at is never taken for a new journal.
    """
    try:
        found = stat_of(path)
    except OSError as error:
        raise UsageError(f"{path}: can't be looked at ({error.strerror})") from error
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size == 0:
        return True
    with contextlib.suppress(*DAMAGED), contextlib.closing(_read_only(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return not tables or ("runs" in tables and not db.execute("SELECT 1 FROM runs LIMIT 1").fetchone())
    return False


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{resolved(path).as_uri()}?mode=ro", uri=True)


def check_journal(path: Path) -> None:
    """Whether a run could be added to the existing file `path`, which stays untouched. Raises `UsageError` if not."""
    try:
        with contextlib.closing(_read_only(path)) as db:
            check_schema(db, path)
    except DAMAGED as error:
        raise UsageError(f"journal {path}: can't be opened ({error})") from None


class JournalReader:
    """Reads a finished or running journal."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` when `path` is missing or not a journal."""
        self._path = path
        try:
            check_regular(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: no such journal") from None
        except OSError as error:
            raise self._refusal(error, f"not an hrmd journal ({error.strerror})", str(error.strerror)) from None
        try:
            self._db = _read_only(path)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            row = self._db.execute("SELECT MAX(run) FROM runs").fetchone()
        except DAMAGED as error:
            raise self._refusal(error, f"not an hrmd journal ({error})") from None
        if version not in READABLE:
            raise UsageError(f"{path}: journal schema {version}, expected {SCHEMA_VERSION}")
        if not isinstance(row[0], int):
            raise UsageError(f"{path}: holds no run")
        self.run = row[0]

    def metadata(self, run: int | None = None) -> dict[str, str]:
        """What `Journal.describe` recorded of a run, the latest unless told."""
        rows = self._rows("SELECT key, value FROM runs WHERE run = ?", self.run if run is None else run)
        return {str(key): str(value) for key, value in rows}

    def select(self, run: int) -> None:
        """Let `events` tell of this run instead of the latest."""
        self.run = run

    def span(self, run: int) -> tuple[int, int] | None:
        """When the first and the last bar of a run closed, UTC ns; None where it has none."""
        first, last = next(self._rows("SELECT MIN(ts), MAX(ts) FROM events WHERE run = ? AND type = 'Bar'", run))
        return None if first is None else (int(first), int(last))

    def events(self, *types: type[Event]) -> Iterator[Event]:
        """The events of the latest run, or of the one selected, in order, all or of `types`.

        Raises `UsageError` at one that can't be read, and `CheckFailed` where one is missing or of no known type.
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
            if name not in KINDS:
                why = f"event {seq} is a {name}, which this version of hrmd doesn't know"
                raise CheckFailed(f"{self._path}: {why}: the journal was altered, or a later version wrote it")
            if name in wanted:
                try:
                    yield decode(KINDS[name], body)
                except UNDECODABLE as error:
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
            f"SELECT run, seq, type, body FROM events WHERE (run, seq) >= (?, ?) AND type IN ({marks(kinds)}) "
            "ORDER BY run, seq",
            *found,
            *kinds,
        )
        return self._decoded(rows, types)

    def leading_to(self, run: int, *types: type[Event]) -> Iterator[Event]:
        """The events of `types` of the runs before `run`, from the newest `AccountSnapshot` of theirs on, in order.

        Raises `UsageError` at one that can't be read.
        """
        name = vocabulary.AccountSnapshot.__name__
        found = next(
            self._rows(
                f"SELECT run, seq FROM events WHERE type = '{name}' AND run < ? ORDER BY run DESC, seq DESC LIMIT 1",
                run,
            ),
            (0, 0),
        )
        kinds = [kind.__name__ for kind in types]
        rows = self._rows(
            f"SELECT run, seq, type, body FROM events WHERE (run, seq) >= (?, ?) AND run < ? AND type IN "
            f"({marks(kinds)}) ORDER BY run, seq",
            *found,
            run,
            *kinds,
        )
        return self._decoded(rows, types)

    def of_runs(self, runs: Sequence[int], *types: type[Event], since_ns: int | None = None) -> Iterator[Event]:
        """The events of `types` of the given runs, oldest first, of event time `since_ns` (UTC ns) or later.

        Raises `UsageError` at one that can't be read.
        """
        kinds = [kind.__name__ for kind in types]
        later, since = ("", ()) if since_ns is None else ("AND ts >= ? ", (since_ns,))
        rows = self._rows(
            f"SELECT run, seq, type, body FROM events WHERE run IN ({marks(runs)}) {later}AND type IN ({marks(kinds)}) "
            "ORDER BY run, seq",
            *runs,
            *since,
            *kinds,
        )
        return self._decoded(rows, types)

    def counts_since(self, since_ns: int, runs: Sequence[int], *types: type[Event]) -> dict[str, int]:
        """How many events of each type the given runs have from `since_ns` (event time, UTC ns) on, by type."""
        kinds = [kind.__name__ for kind in types]
        rows = self._rows(
            f"SELECT type, COUNT(*) FROM events WHERE run IN ({marks(runs)}) AND ts >= ? AND type IN ({marks(kinds)}) "
            "GROUP BY type",
            *runs,
            since_ns,
            *kinds,
        )
        return {str(kind): int(count) for kind, count in rows}

    def metadata_of_all(self, key: str) -> dict[int, str]:
        """One piece of metadata of every run that has it, by run."""
        return {int(run): str(value) for run, value in self._rows("SELECT run, value FROM runs WHERE key = ?", key)}

    def newest_with_events(self) -> int | None:
        """The newest run of which an event is kept."""
        (run,) = next(self._rows("SELECT MAX(run) FROM events"))
        return None if run is None else int(run)

    def _decoded(self, rows: Iterator[Any], types: tuple[type[Event], ...]) -> Iterator[Event]:
        kinds = {kind.__name__: kind for kind in types}
        for run, seq, kind, body in rows:
            try:
                yield decode(kinds[kind], body)
            except UNDECODABLE as error:
                raise UsageError(f"{self._path}: run {run}, event {seq} ({kind}) can't be read ({error})") from None

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        """The rows of a query; raises `UsageError` where a page of the file can't be read."""
        try:
            for row in self._db.execute(query, values):  # noqa: UP028 — delegation closes the cursor, maybe too late
                yield row
        except DAMAGED as error:
            damaged = f"damaged ({error}); the next hrmd run recovers what can be read"
            raise self._refusal(error, damaged) from None

    def _refusal(self, error: Exception, otherwise: str, why: str = "") -> UsageError:
        """What to say of an error: that it passes (and `why`, the error unless told), or what is wrong `otherwise`."""
        if passes(error):
            return Unavailable(f"{self._path}: can't be read now ({why or error}); try again later")
        return UsageError(f"{self._path}: {otherwise}")

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
