"""Secrets of an account: shown to nobody, kept in files that are replaced whole or not at all."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec

from daemon.calls.hiding import HIDDEN
from daemon.core.clock import NS_PER_S
from daemon.core.errors import SettingsError, UsageError
from daemon.core.files import read_text

LATEST_EXPIRY_S: Final = 4_102_444_800
"""2100-01-01: an `exp` beyond it is no time in seconds."""


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


def read_secret(path: Path, key: str, makes: str, *, private: bool = False) -> Secret:
    """The secret in a file that the setting `key` names; raises `SettingsError` that says why it can't be read.

    `makes` says where one comes from, such as "hrmd login makes it".

    `private`: a file that others than its owner may read is refused.
    """
    try:
        mode = path.stat().st_mode & 0o777
        text = read_text(path).strip()
    except OSError as error:
        raise SettingsError(
            f"{key}: {path} can't be read ({error.strerror}); expected a file that holds it: {makes}"
        ) from None
    if private and mode & 0o077:
        raise SettingsError(f"{key}: others may read {path} (mode {mode:04o}): chmod 600 {path}, or make another")
    return Secret(text)


def write_secret(path: Path, key: str, secret: Secret) -> None:
    """Put the secret there, readable by its owner only; a reader sees the old one or the new one, whole."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(secret.reveal() + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{key}: {path} can't be written ({error.strerror})") from None


def expiry_ns(token: Secret) -> int | None:
    """When a token ends (UTC ns) by the `exp` of its payload (RFC 7519); None where it has none that can be read.

    The signature isn't looked at: it is the venue's to check, and it alone decides whether the token holds.
    """
    moment = claims(token.reveal()).get("exp")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 < moment < LATEST_EXPIRY_S:
        return None
    return int(moment) * NS_PER_S


def claims(token: str) -> dict[str, Any]:
    """The payload of a token; {} where it has none that can be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    payload = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        read = msgspec.json.decode(base64.urlsafe_b64decode(payload))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
