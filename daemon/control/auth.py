"""Turns an `Authorization` header into a verdict, and a file (or a systemd credential) into the token to compare with.

Bearer tokens are RFC 6750. Invariant: comparison takes the same time for every wrong token, and the right token is
always let in: a flood of wrong ones can't lock the operator out of halting.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from daemon.core.clock import NS_PER_S, Clock
from daemon.core.errors import UsageError
from daemon.core.files import read_text

CREDENTIAL_NAME = "control-token"
MIN_TOKEN_CHARS = 16
FAILURES_ALLOWED = 10
FAILURE_WINDOW_S = 60


class Verdict(StrEnum):
    """On a request's credentials."""

    GRANTED = "granted"
    REFUSED = "refused"
    TOO_MANY = "too_many"


class Gate:
    """Compares tokens and counts failures: more than 10 in 60 s are answered as too many."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token = token.encode()
        self._clock = clock
        self._failures_ns: deque[int] = deque(maxlen=FAILURES_ALLOWED)

    def check(self, authorization: str | None) -> Verdict:
        """The verdict on the value of an `Authorization` header (None where there was none)."""
        scheme, _, token = (authorization or "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, self._token) and scheme.lower() == "bearer":
            return Verdict.GRANTED
        now_ns = self._clock.monotonic_ns()
        full = len(self._failures_ns) == FAILURES_ALLOWED
        if full and now_ns - self._failures_ns[0] < FAILURE_WINDOW_S * NS_PER_S:
            return Verdict.TOO_MANY
        self._failures_ns.append(now_ns)
        return Verdict.REFUSED


def server_token(token_file: Path, environment: Mapping[str, str]) -> str:
    """The daemon's token: systemd's credential `control-token` if there is one, else `token_file`, made if missing.

    Raises `UsageError` where the file can't be read or made, others may read it, or it holds no usable token.
    """
    path = server_token_file(token_file, environment)
    if path != token_file:
        return read_token(path)
    _create_if_missing(token_file)
    return _kept_token(token_file)


def check_server_token(token_file: Path, environment: Mapping[str, str]) -> None:
    """What `server_token` refuses of a token that is there; makes none."""
    path = server_token_file(token_file, environment)
    if path != token_file:
        read_token(path)
    elif path.exists():
        _kept_token(path)


def _kept_token(token_file: Path) -> str:
    mode = token_file.stat().st_mode & 0o777
    if mode & 0o077:
        raise UsageError(f"control.token_file: others may read {token_file} (mode {mode:04o}); chmod 600 {token_file}")
    return read_token(token_file)


def server_token_file(token_file: Path, environment: Mapping[str, str]) -> Path:
    """Systemd's credential `control-token` if there is one, else `token_file`."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory) / CREDENTIAL_NAME if directory else None
    return credential if credential is not None and credential.exists() else token_file


def read_token(path: Path) -> str:
    """The token in `path`; raises `UsageError` where there is none."""
    try:
        token = read_text(path).strip()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such token file; a running hrmd makes it (control.token_file)") from None
    except OSError as error:
        raise UsageError(f"{path}: the control token can't be read ({error.strerror})") from None
    if len(token) < MIN_TOKEN_CHARS or not all("!" <= char <= "~" for char in token):
        raise UsageError(
            f"{path}: expected a token of at least {MIN_TOKEN_CHARS} visible ASCII characters in one line; "
            "delete the file and restart hrmd to get a new one"
        )
    return token


def _create_if_missing(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
    except OSError as error:
        raise UsageError(f"control.token_file: {path} can't be made ({error.strerror})") from None
