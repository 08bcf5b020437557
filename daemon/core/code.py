"""The program's own source → one hash, by which a journal says which code wrote it.

Invariant: it is of everything that decides (code and the tables beside it), so that an edit between two releases of one
version is seen, too.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("daemon", "models", "strategies")
SUFFIXES = (".py", ".yaml", ".cpp", ".hpp")


@functools.cache
def code_sha256() -> str:
    """Of names and contents of all source files, by their names, as they were when it was first asked for."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for root in spec.submodule_search_locations or () if spec is not None else ():
            for path in sorted(Path(root).rglob("*")):
                if path.suffix in SUFFIXES:
                    content = path.read_bytes()
                    digest.update(f"{package}/{path.relative_to(root).as_posix()} {len(content)}\n".encode())
                    digest.update(content)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
