"""Which refusals of a start systemd is to try again, and which not."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from daemon.core.errors import SettingsError, Unavailable, UsageError
from daemon.core.passing import telling_what_passes


def full(place: Path) -> sqlite3.Error:
    """What SQLite itself says where a database may not grow."""
    db = sqlite3.connect(place)
    db.execute("PRAGMA max_page_count=1")
    with pytest.raises(sqlite3.OperationalError) as raised:
        db.execute("CREATE TABLE t (a)")
    db.close()
    return raised.value


@telling_what_passes()
def refuse(cause: Exception) -> None:
    """As hrmd refuses what it was given."""
    try:
        raise cause
    except (OSError, sqlite3.Error):
        raise SettingsError("a key: can't be used") from None


@pytest.mark.parametrize(
    ("cause", "again"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens"), True),
        (TimeoutError(), True),
        ("full", True),
        (FileNotFoundError(errno.ENOENT, "no such file"), False),
        (PermissionError(errno.EACCES, "not yours"), False),
        (OSError(errno.EADDRINUSE, "taken"), False),
        (BlockingIOError(errno.EAGAIN, "locked by another process"), False),
        (sqlite3.DatabaseError("file is not a database"), False),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, Exception) else str(it),
)
def test_a_refusal_is_of_what_it_was_raised_for(cause: Exception | str, again: bool, tmp_path: Path) -> None:
    """Its words stay; exit code 3 where it may pass by itself, 2 where somebody has to mend it."""
    error = full(tmp_path / "db") if isinstance(cause, str) else cause
    with pytest.raises(UsageError, match="a key: can't be used") as raised:
        refuse(error)
    assert isinstance(raised.value, Unavailable) is again
    assert raised.value.exit_code == (3 if again else 2)


def test_a_refusal_of_its_own_stays_what_it_is() -> None:
    """No cause, no second try."""
    with pytest.raises(SettingsError), telling_what_passes():
        raise SettingsError("a key: expected a number")
