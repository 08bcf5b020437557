"""The app id and the day's access token, kept from every text that a person or a log might see."""

from __future__ import annotations

import re
from typing import Final

from daemon.errors import UsageError

HIDDEN: Final = "***"
_FIT: Final = re.compile(r"[!-~]+")


class Credentials:
    """What the venue knows us by; shows itself without the token. Raises `UsageError` for what no header can carry."""

    __slots__ = ("_token", "app_id")

    def __init__(self, app_id: str, token: str) -> None:
        for name, value in (("app id", app_id), ("access token", token)):
            if not _FIT.fullmatch(value):
                raise UsageError(f"Fyers {name}: expected printable characters without spaces; log in once more")
        self.app_id = app_id
        self._token = token

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header: a secret."""
        return f"{self.app_id}:{self._token}"

    def hide(self, text: str) -> str:
        """`text` without the token, should the venue have repeated it."""
        return text.replace(self._token, HIDDEN)

    def __repr__(self) -> str:
        return f"Credentials({self.app_id!r}, {HIDDEN})"
