"""The ledger's books ⇄ a file that one service holds.

Invariant: what is on disk is whole: either the books of before or those of now.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from daemon.budget.ledger import Books
from daemon.core.errors import UsageError
from daemon.core.files import read_text, write_whole
from daemon.core.locks import Held, let_go, take

KEY = "budget.books_file"


class BooksFile:
    """Held from the start to `close`."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` where another service holds it, or it can't be."""
        self.path = path
        self._lock = Path(f"{path.resolve()}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = take(self._lock, 0o600)
        except Held:
            raise UsageError(f"{KEY}: another hrmd budget keeps {path}; one service a budget") from None
        except OSError as error:
            raise UsageError(f"{KEY}: {path} can't be kept ({error.strerror})") from None

    def read(self) -> Books | None:
        """What an earlier service kept, None where there was none. Raises `UsageError` for what can't be relied on."""
        try:
            return msgspec.json.decode(read_text(self.path), type=Books)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{KEY}: {self.path} can't be read ({error.strerror})") from None
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{KEY}: {self.path} isn't what hrmd budget wrote ({error}): stop all daemons, close what they "
                "hold, and delete it"
            ) from None

    def write(self, books: bytes) -> None:
        """Put other books in their place; they are on the disk when it returns. Raises `OSError`."""
        write_whole(self.path, books)

    def close(self) -> None:
        """Let others have it."""
        let_go(self._lock, self._handle)
