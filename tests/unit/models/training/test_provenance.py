"""Where a model comes from: the commit of its code and the hash of its data, or nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from models.training.provenance import data_sha256, git_revision


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.invalid")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_the_commit_of_a_tracked_file(tmp_path: Path) -> None:
    """Said to be changed where the checkout differs; None for what the repository doesn't know."""
    git(tmp_path, "init", "-q")
    source = tmp_path / "code.py"
    source.write_text("1\n")
    assert git_revision(source) is None
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_revision(source) == commit
    source.write_text("2\n")
    assert git_revision(source) == f"{commit}+changed"
    (tmp_path / "installed.py").write_text("")
    assert git_revision(tmp_path / "installed.py") is None
    assert git_revision(tmp_path.parent / "elsewhere.py") is None


def test_the_hash_of_the_data(tmp_path: Path) -> None:
    """Content and order count, of folders every file; names of the files given don't."""
    folder = tmp_path / "stored"
    folder.mkdir()
    one, two, copy = tmp_path / "1", tmp_path / "2", tmp_path / "copy"
    for path, text in ((one, "a"), (two, "b"), (copy, "a"), (folder / "x", "a")):
        path.write_text(text)
    assert data_sha256([one, two]) == data_sha256([copy, two]) != data_sha256([two, one])
    assert data_sha256([folder]) == data_sha256([one])
    (folder / "y").write_text("b")
    assert data_sha256([folder]) == data_sha256([one, two])
