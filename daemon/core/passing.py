"""A start that was refused → whether for what may pass by itself.

After exit code 2 systemd starts nothing again, for settings stay as they are. A disk that is full, or that the system
lets nobody write after it failed, a network that is away, a morning on which nobody has logged in yet and the like do
not, and a daemon that may have positions must be there again when they are over.
Invariant: the words of a refusal stay as they were.
"""

from __future__ import annotations

import errno
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from daemon.core.errors import NoTokenYet, Unavailable, UsageError

OF_THE_MACHINE: Final = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENETDOWN,
    errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED,
    errno.ETIMEDOUT,
})  # fmt: skip
OF_SQLITE: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY})
PRIMARY: Final = 0xFF
"""Of SQLite's extended result codes the part that they refine."""


@contextmanager
def telling_what_passes() -> Iterator[None]:
    """Let a `UsageError` whose cause may pass be an `Unavailable` of the same words (exit 3)."""
    try:
        yield
    except UsageError as error:
        if passes(error):
            raise Unavailable(str(error)) from error
        raise


def passes(error: BaseException) -> bool:
    """Whether this, or what it was raised for, is a state that passes: of the machine, the network, or the morning."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Unavailable | NoTokenYet | TimeoutError | socket.gaierror):
            return True
        if isinstance(seen, OSError) and seen.errno in OF_THE_MACHINE:
            return True
        if isinstance(seen, sqlite3.Error) and getattr(seen, "sqlite_errorcode", 0) & PRIMARY in OF_SQLITE:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
