"""A file, or a systemd credential, → the daemon's own token, which `hrmd ctl` shows and which may do everything.

Invariant: nobody but its user may read the file.
"""

from __future__ import annotations

import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from daemon.core.errors import UsageError
from daemon.core.files import is_there, open_regular, read_text, write_whole

CREDENTIAL_NAME = "control-token"
MIN_TOKEN_CHARS = 16
KEY = "control.token_file"
MOST_BLANK_BYTES = 4096


def server_token(token_file: Path, environment: Mapping[str, str], key: str = KEY) -> str:
    """The daemon's token: systemd's credential `control-token` if there is one, else `token_file`, made if missing.

    `key`: the setting that names the file.

    Raises `UsageError` where the file can't be read or made, others may read it, or it holds no usable token.
    """
    path = server_token_file(token_file, environment)
    if path != token_file:
        return read_token(path)
    _create_if_missing(token_file, key)
    return _kept(token_file, key)


def check_server_token(token_file: Path, environment: Mapping[str, str]) -> None:
    """What `server_token` refuses of a token that is there; makes none."""
    path = server_token_file(token_file, environment)
    if path != token_file:
        read_token(path)
    elif not _is_blank(path):
        _kept(path, KEY)


def kept_token(token_file: Path, key: str = KEY) -> str:
    """The token in a file that is there; raises `UsageError` where others may read it, too, and `OSError`."""
    mode = token_file.stat().st_mode
    if mode & 0o077 and not stat.S_ISDIR(mode):  # a directory is no token, whatever its mode
        raise UsageError(f"{key}: others may read {token_file} (mode {mode & 0o777:04o}); chmod 600 {token_file}")
    return read_token(token_file)


def _kept(token_file: Path, key: str) -> str:
    """The same of a file that should be there; raises `UsageError` alone."""
    try:
        return kept_token(token_file, key)
    except OSError as error:
        raise UsageError(f"{token_file}: the token of {key} can't be read ({error.strerror})") from error


def server_token_file(token_file: Path, environment: Mapping[str, str]) -> Path:
    """Systemd's credential `control-token` if there is one, else `token_file`."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory) / CREDENTIAL_NAME if directory else None
    return credential if credential is not None and credential.exists() else token_file


def read_token(path: Path, key: str = "control.token_file", maker: str = "hrmd") -> str:
    """The token in `path`, that is of setting `key`; `maker` makes it. Raises `UsageError` where there is none."""
    try:
        token = read_text(path).strip()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such token file; {maker} makes it as it starts ({key})") from None
    except OSError as error:
        raise UsageError(f"{path}: the token of {key} can't be read ({error.strerror})") from None
    if len(token) < MIN_TOKEN_CHARS or not all("!" <= char <= "~" for char in token):
        raise UsageError(
            f"{path}: expected a token of at least {MIN_TOKEN_CHARS} visible ASCII characters in one line; "
            f"delete the file and restart {maker} to get a new one"
        )
    return token


def _is_blank(path: Path) -> bool:
    """Whether it isn't there, or is all that a power cut leaves of one: no bytes, or zeros."""
    try:
        if not is_there(path):
            return True
        with open_regular(path) as stream:
            return not any(stream.read(MOST_BLANK_BYTES))
    except OSError:
        return False  # who reads it says why


def _create_if_missing(path: Path, key: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_blank(path):
            write_whole(path, f"{secrets.token_urlsafe(32)}\n".encode())
    except OSError as error:
        raise UsageError(f"{key}: {path} can't be made ({error.strerror})") from None
