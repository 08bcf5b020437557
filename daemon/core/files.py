"""A path that somebody gave → the bytes or the text of a regular file, or an `OSError` that says why not.

Invariant: nothing here waits. A named pipe, a terminal or a device would be read for ever; they are refused as
what they are. Text is UTF-8 (with or without a byte order mark) or UTF-16 with one, which is what spreadsheets write.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BLOCK_BYTES = 1 << 18
MAX_TEXT_BYTES = 64 << 20
"""Of a text that is read whole: settings, tables and tokens are far below."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises `OSError` whose `strerror` says why not, and never waits for a writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular_mode(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def stat_of(path: Path | str) -> os.stat_result | None:
    """What has this name, None where nothing does. Raises `OSError` where the disk doesn't say, which is no no."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_there(path: Path) -> bool:
    """Whether something has this name. Raises `OSError` where the disk doesn't say.

    `Path.exists` says no then, from Python 3.14 on.
    """
    return stat_of(path) is not None


def resolved(path: Path) -> Path:
    """Where the links of `path` lead; a loop of them is left for whoever opens it, who is told what it is.

    `Path.resolve` raises `RuntimeError` for one, until Python 3.13.
    """
    return Path(os.path.realpath(path))


def check_regular(path: Path) -> None:
    """Raise `OSError` where `path` is missing or is no regular file (or a link to one)."""
    check_regular_mode(path.stat().st_mode, path)


def check_regular_mode(mode: int, path: Path) -> None:
    """Raise `OSError` for the `st_mode` of anything but a regular file."""
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, f"is {kind}, expected a regular file", str(path))


def named_twice(paths: Iterable[Path]) -> Path | None:
    """The first of `paths` that is the same file as an earlier one, whatever it is called; None where none is."""
    seen: set[Path] = set()
    for path in paths:
        if resolved(path) in seen:
            return path
        seen.add(resolved(path))
    return None


def check_folder(path: Path) -> None:
    """Raise `OSError` where files can't be written into the directory `path`, which may have to be made first."""
    path = Path(os.path.normpath(path))  # `missing/../file` is `file`
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise OSError(errno.ENOTDIR, "is no directory" if there == path else f"{there} is no directory", str(path))
    if not os.access(there, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def encoding_of(head: bytes) -> str:
    """The encoding that a text's first bytes show: UTF-8 unless a byte order mark says otherwise."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")


class Utf8Stream(io.RawIOBase):
    """The bytes of a text file as UTF-8 without a mark, whatever encoding it shows.

    Reading raises `OSError` with the line of the first byte that is no text.
    """

    def __init__(self, path: Path) -> None:
        """Raises `OSError` as `open_regular` does."""
        self._stream = open_regular(path)
        encoding = encoding_of(self._stream.read(4))
        self._stream.seek(0)
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = memoryview(b"")
        self._lines = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; 0 at the end."""
        ended = False
        while not self._ready and not ended:
            block = self._stream.read(_BLOCK_BYTES)
            ended = not block
            try:
                text = self._decoder.decode(block, final=ended)
            except UnicodeDecodeError as error:
                line = self._lines + error.object.count(b"\n", 0, error.start) + 1
                raise _no_text(error.object[error.start], line, str(self._stream.name)) from None
            self._lines += text.count("\n")
            self._ready = memoryview(text.encode())
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        """Close the file as well."""
        self._stream.close()
        super().close()


def read_text(path: Path) -> str:
    """The text of a regular file. Raises `OSError`, also for bytes that are no text, with the line of the first."""
    with open_regular(path) as stream:
        content = stream.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MAX_TEXT_BYTES >> 20} MiB, far more than expected", str(path))
    try:
        return content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _no_text(content[error.start], line, str(path)) from None


def _no_text(byte: int, line: int, path: str) -> OSError:
    return OSError(errno.EILSEQ, f"is not UTF-8 text: byte 0x{byte:02x} in line {line}", path)


def write_whole(path: Path, content: bytes) -> None:
    """Put a file of the owner's alone in the place of another, on the disk before anybody sees it. Raises `OSError`.

    One writer at a time, which is its caller's to see to.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make sure that the disk has the names in a directory. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
