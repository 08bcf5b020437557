"""Where a model comes from: the code that trained it and the bytes that it learned from.

Invariant: what can't be told is None, never a guess; an installation that only lies inside somebody's repository isn't
taken for that repository's code.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__)
GIT_S: Final = 10.0


def git_revision(source: Path = HERE) -> str | None:
    """The commit of the checkout that `source` is a tracked file of, "+changed" where it differs from it, else None."""
    if _git(source, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    return commit if changes == "" else f"{commit}+changed"


def _git(source: Path, *arguments: str) -> str | None:
    """What git answers in the folder of a file; None where it refuses or isn't here."""
    command = ["git", "-C", str(source.resolve().parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_version() -> str:
    """The version of hrmd that is installed, "" where it isn't."""
    try:
        return version("hrmd")
    except PackageNotFoundError:
        return ""


def data_sha256(files: Sequence[Path]) -> str:
    """One hash over the bytes of all files, in their order; of a folder all files in it, by name."""
    digest = hashlib.sha256()
    for path in files:
        for part in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
            with part.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
