"""The app id and the day's access token, kept from every text that a person or a log might see.

The token is a file of mode 0600 or systemd's credential `fyers-token`. Invariant: nothing here puts a secret into a
text, and a token file is replaced whole or not at all.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from daemon.core.clock import NS_PER_S
from daemon.core.errors import SettingsError, UsageError
from daemon.core.files import read_text
from daemon.fyers.hiding import HIDDEN, Hiding

TOKEN_CREDENTIAL: Final = "fyers-token"
SECRET_CREDENTIAL: Final = "fyers-secret"
SECRET_VARIABLE: Final = "FYERS_SECRET_KEY"
LATEST_EXPIRY_S: Final = 4_102_444_800
"""2100-01-01: an `exp` beyond it is no time in seconds."""

_FIT: Final = re.compile(r"[!-~]+")


class Secret:
    """A text that shows itself to nobody who doesn't ask for it by `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"


class Credentials:
    """What the venue knows us by; shows itself without the token. Raises `UsageError` for what no header can carry."""

    __slots__ = ("_token", "app_id", "hiding")

    def __init__(self, app_id: str, token: str) -> None:
        for name, value in (("app id", app_id), ("access token", token)):
            if not _FIT.fullmatch(value):
                raise UsageError(f"Fyers {name}: expected printable characters without spaces; log in once more")
        self.app_id = app_id
        self.hiding = hiding_of(token)
        """Keeps the token out of what the venue wrote."""
        self._token = token

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header: a secret."""
        return f"{self.app_id}:{self._token}"

    def __repr__(self) -> str:
        return f"Credentials({self.app_id!r}, {HIDDEN})"


def token_path(token_file: Path, environment: Mapping[str, str]) -> Path:
    """Where the token is: systemd's credential `fyers-token` where there is one, else `token_file`."""
    credential = _credential(TOKEN_CREDENTIAL, environment)
    return credential if credential is not None else token_file


def read_token(path: Path, *, private: bool = False) -> Secret:
    """The token in a file; raises `SettingsError` that says why it can't be read.

    `private`: a file that others than its owner may read is refused.
    """
    try:
        mode = path.stat().st_mode & 0o777
        text = read_text(path).strip()
    except OSError as error:
        raise SettingsError(
            f"broker.fyers.token_file: {path} can't be read ({error.strerror}); "
            "expected a file that holds the access token: hrmd login makes it"
        ) from None
    if private and mode & 0o077:
        raise SettingsError(
            f"broker.fyers.token_file: others may read {path} (mode {mode:04o}): chmod 600 {path}, or log in again"
        )
    return Secret(text)


def write_token(path: Path, token: Secret) -> None:
    """Put the token there, readable by its owner only; a reader sees the old one or the new one, whole."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(token.reveal() + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"broker.fyers.token_file: {path} can't be written ({error.strerror})") from None


def app_secret(environment: Mapping[str, str]) -> Secret | None:
    """The app's secret from systemd's credential `fyers-secret` or the variable `FYERS_SECRET_KEY`; None: ask for it.

    Raises `UsageError` for a credential that can't be read.
    """
    credential = _credential(SECRET_CREDENTIAL, environment)
    if credential is not None:
        try:
            return Secret(read_text(credential).strip())
        except OSError:
            raise UsageError(
                f"systemd credential {SECRET_CREDENTIAL}: can't be read; expected the app's secret"
            ) from None
    text = environment.get(SECRET_VARIABLE, "").strip()
    return Secret(text) if text else None


def expiry_ns(token: Secret) -> int | None:
    """When a token ends (UTC ns) by the `exp` of its payload (RFC 7519); None where it has none that can be read.

    The signature isn't looked at: it is the venue's to check, and it alone decides whether the token holds.
    """
    moment = _claims(token.reveal()).get("exp")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 < moment < LATEST_EXPIRY_S:
        return None
    return int(moment) * NS_PER_S


def hiding_of(token: str, *others: str) -> Hiding:
    """Hides a token, the key to the data socket that it carries, and whatever else is secret beside it."""
    key = _claims(token).get("hsm_key")
    return Hiding(token, key if isinstance(key, str) else "", *others)


def _claims(token: str) -> dict[str, Any]:
    """The payload of a token; {} where it has none that can be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    payload = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _credential(name: str, environment: Mapping[str, str]) -> Path | None:
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    path = Path(directory) / name
    return path if path.exists() else None
