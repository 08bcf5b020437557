"""The app id and the day's access token, kept from every text that a person or a log might see.

The token is a file of mode 0600 or systemd's credential `fyers-token`. Invariant: nothing here puts a secret into a
text, and a token file is replaced whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from daemon.calls.hiding import HIDDEN, Hiding
from daemon.calls.secret import Secret, claims, read_secret, write_secret
from daemon.core.errors import NoTokenYet, SettingsError, UsageError
from daemon.core.files import read_text

TOKEN_KEY: Final = "broker.fyers.token_file"
TOKEN_CREDENTIAL: Final = "fyers-token"
SECRET_CREDENTIAL: Final = "fyers-secret"
SECRET_VARIABLE: Final = "FYERS_SECRET_KEY"

_FIT: Final = re.compile(r"[!-~]+")


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
    """The day's token; raises `SettingsError` that says why it can't be read, or (`private`) who else may read it.

    `NoTokenYet` where there is none, or an empty file.
    """
    try:
        token = read_secret(path, TOKEN_KEY, "hrmd login makes it", private=private)
    except SettingsError as error:
        if isinstance(error.__context__, FileNotFoundError):
            raise NoTokenYet(str(error)) from None
        raise
    if not token.reveal():
        raise NoTokenYet(f"{TOKEN_KEY}: {path} is empty; hrmd login puts the day's access token there")
    if not _FIT.fullmatch(token.reveal()):
        raise SettingsError(
            f"{TOKEN_KEY}: {path} holds no token (expected printable characters without spaces): hrmd login makes it"
        )
    return token


def write_token(path: Path, token: Secret) -> None:
    """Put the token there, readable by its owner only; a reader sees the old one or the new one, whole."""
    write_secret(path, TOKEN_KEY, token)


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


def hiding_of(token: str, *others: str) -> Hiding:
    """Hides a token, the key to the data socket that it carries, and whatever else is secret beside it."""
    key = claims(token).get("hsm_key")
    return Hiding(token, key if isinstance(key, str) else "", *others)


def _credential(name: str, environment: Mapping[str, str]) -> Path | None:
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    path = Path(directory) / name
    return path if path.exists() else None
