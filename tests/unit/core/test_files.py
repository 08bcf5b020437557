"""What is read is a regular file, and its text is what spreadsheets and editors write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.core.errors import UsageError
from daemon.core.files import check_folder, check_regular, named_twice, open_regular, read_text, resolved
from daemon.journal.reader import JournalReader
from daemon.recovery.holds import hold_all


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_usual_encoding_reads_the_same(tmp_path: Path, encoding: str) -> None:
    """A byte order mark is no part of the text."""
    path = tmp_path / "text"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_text(f"{mark}₹ 5\nx", encoding=encoding)
    assert read_text(path) == "₹ 5\nx"


def test_bytes_that_are_no_text_are_placed(tmp_path: Path) -> None:
    """By line."""
    path = tmp_path / "text"
    path.write_bytes(b"a\nb\nc\xe9\n")
    with pytest.raises(OSError, match="is not UTF-8 text: byte 0xe9 in line 3"):
        read_text(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe without a writer, a directory, a device; a link to a file is a file."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a named pipe"), (tmp_path, "a directory"), (Path("/dev/null"), "a device")):
        for read in (open_regular, check_regular, read_text):
            with pytest.raises(OSError, match=f"is {kind}, expected a regular file"):
                read(path)
    (tmp_path / "file").write_bytes(b"x")
    link.symlink_to(tmp_path / "file")
    with open_regular(link) as stream:
        assert stream.read() == b"x"


def test_a_file_is_no_folder_however_it_is_reached(tmp_path: Path) -> None:
    """Also over a folder that isn't there and back."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "in", tmp_path / "missing" / ".." / "file"):
        with pytest.raises(OSError, match="is no directory"):
            check_folder(path)
    check_folder(tmp_path / "missing" / ".." / "new")


def test_links_in_a_circle_are_refused_where_they_are_opened(tmp_path: Path) -> None:
    """Following them on the way is no fault: it is the file that can't be had."""
    loop, link = tmp_path / "loop", tmp_path / "link"
    loop.symlink_to(loop)
    link.symlink_to("file")
    assert resolved(link) == tmp_path.resolve() / "file"
    assert named_twice([loop, link]) is None
    with pytest.raises(UsageError, match=r"^journal .*loop: can't be opened \(Too many levels of symbolic links\)$"):
        hold_all(loop, None)
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        JournalReader(loop)
