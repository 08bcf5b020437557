"""Tokens of people and programs: a file of hashes ⇄ who holds which, and what each may do.

A token is 32 random bytes, so its SHA-256 is enough: nobody tries 2^256 of them, and a slow hash would let strangers
keep the loop busy. Invariant: the file holds no token; whoever is taken out of it is refused from the next request on;
a file that can't be read lets nobody in; one whose disk gives no answer counts as it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from daemon.core.aside import Aside
from daemon.core.clock import wall_ns
from daemon.core.errors import UsageError
from daemon.core.files import read_text, write_whole

PREFIX = "hrmd_"
MAX_TOKENS = 1000
OWNER = "operator"
"""Who holds the daemon's own token, as `hrmd ctl` does."""
READ_S: Final = 0.5
"""How long the disk of the tokens may take, for each request."""
_Stamp: TypeAlias = tuple[int, int, int] | None
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class Scope(StrEnum):
    """What a token may do; each includes those before it."""

    READ = "read"
    """Look."""
    TRADE = "trade"
    """Halt, resume, close, and place orders through risk."""
    ADMIN = "admin"
    """Change who decides and by which limits."""

    def includes(self, other: Scope) -> bool:
        """Whether this is `other` or more."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One token, without the token; times are wall time, UTC nanoseconds."""

    name: str
    scope: Scope
    sha256: str
    created_ts: int
    expires_ts: int | None = None


class _Tokens(msgspec.Struct, forbid_unknown_fields=True):
    """The file."""

    tokens: list[TokenRecord]


_Found: TypeAlias = tuple[_Stamp, list[TokenRecord], str]
"""The file as it was found: its stamp, who is in it, and why it can't be used."""


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Keyring:
    """The tokens of a file, read again when it changes."""

    def __init__(self, path: Path, now_ns: Callable[[], int] = wall_ns, disk: Aside | None = None) -> None:
        """`disk`: asks for the file beside a loop, at each `refresh`; None: whoever wants to know looks at it."""
        self.path = path
        self._disk = disk
        self._unusable = self._unanswered = ""
        self._now_ns = now_ns
        self._stamp: _Stamp = None
        self._records: list[TokenRecord] = []

    @property
    def trouble(self) -> str:
        """Why the file can't be used, or read again, "" where it can or isn't there."""
        return self._unanswered or self._unusable

    def find(self, token: str) -> TokenRecord | None:
        """Whose token it is, None where nobody's or no longer; every token is compared, in constant time."""
        wanted = digest(token)
        found = None
        for record in self._current():
            if hmac.compare_digest(record.sha256, wanted):
                found = record
        return found if found is not None and self._holds(found) else None

    def still(self, name: str, sha256: str) -> bool:
        """Whether a token that was let in would be let in again."""
        return any(it.name == name and it.sha256 == sha256 and self._holds(it) for it in self._current())

    def _holds(self, record: TokenRecord) -> bool:
        return record.expires_ts is None or self._now_ns() < record.expires_ts

    async def refresh(self) -> None:
        """Know what the file says now; a disk that hangs holds up nobody for longer than that.

        Who was known stays so meanwhile: on such a disk no token can be taken away either, and whoever holds one may
        have to halt.
        """
        if self._disk is None:
            return
        try:
            self._take(await self._disk.ask(partial(_look, self.path, self._stamp), READ_S))
            self._unanswered = ""
        except TimeoutError as error:
            self._unanswered = f"{self.path}: the tokens can't be read ({error.strerror})"

    def _current(self) -> list[TokenRecord]:
        if self._disk is None:
            self._take(_look(self.path, self._stamp))
        return self._records

    def _take(self, found: _Found | None) -> None:
        if found is not None:
            self._stamp, self._records, self._unusable = found


def _look(path: Path, known: _Stamp) -> _Found | None:
    """What the file says; None where it is as it was."""
    try:
        found = path.stat()
    except OSError:
        return None, [], ""
    stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
    if stamp == known:
        return None
    try:
        return stamp, read_tokens(path), ""
    except UsageError as error:
        return stamp, [], str(error)


def read_tokens(path: Path) -> list[TokenRecord]:
    """The tokens of a file, none where there is no file. Raises `UsageError` for one that can't be relied on."""
    try:
        mode = path.stat().st_mode & 0o777
        text = read_text(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: the tokens can't be read ({error.strerror})") from None
    if mode & 0o077:
        raise UsageError(f"control.tokens_file: others may read {path} (mode {mode:04o}); chmod 600 {path}")
    try:
        return msgspec.json.decode(text, type=_Tokens).tokens
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: expected what `hrmd token new` writes ({error})") from None


def new_token(path: Path, name: str, scope: Scope, expires_ts: int | None, now_ns: int) -> tuple[str, TokenRecord]:
    """Make a token; it is shown this once. Raises `UsageError` for a name that is taken or can't be one."""
    if not _NAME.fullmatch(name) or name == OWNER:
        raise UsageError(f"{name!r}: expected a name of 1 to 40 of A-Z, a-z, 0-9, dot, dash, underscore; not {OWNER}")
    token = PREFIX + secrets.token_urlsafe(32)
    record = TokenRecord(name=name, scope=scope, sha256=digest(token), created_ts=now_ns, expires_ts=expires_ts)
    with _changing(path) as records:
        if any(one.name == name for one in records):
            raise UsageError(f"{name}: has a token already; hrmd token revoke {name} takes it away")
        if len(records) >= MAX_TOKENS:
            raise UsageError(f"{path}: holds {MAX_TOKENS} tokens, which is the most; revoke some")
        records.append(record)
    return token, record


def revoke_token(path: Path, name: str) -> TokenRecord:
    """Take a token away. Raises `UsageError` where there is none of that name."""
    _named(read_tokens(path), name)  # what isn't there makes no file
    with _changing(path) as records:
        found = _named(records, name)
        records.remove(found)
    return found


def _named(records: list[TokenRecord], name: str) -> TokenRecord:
    for one in records:
        if one.name == name:
            return one
    raise UsageError(f"{name}: no token of that name; hrmd token list shows them")


@contextmanager
def _changing(path: Path) -> Iterator[list[TokenRecord]]:
    """The file's tokens, which are written back at the end; one process at a time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"control.tokens_file: {path} can't be written ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = read_tokens(path)
        yield records
        _write(path, records)
    finally:
        os.close(lock)


def _write(path: Path, records: list[TokenRecord]) -> None:
    try:
        write_whole(path, msgspec.json.format(msgspec.json.encode(_Tokens(records)), indent=2) + b"\n")
    except OSError as error:
        raise UsageError(f"control.tokens_file: {path} can't be written ({error.strerror})") from None
