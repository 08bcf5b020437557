"""A risk budget that several daemons share: what the service lends, and how a daemon finds it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from daemon.settings.run import LOOPBACK
from daemon.settings.values import Money, Section


class BudgetSettings(Section):
    """What `hrmd budget` lends to all daemons together; rupees."""

    max_gross_notional: Money = Decimal(1_500_000)
    max_daily_loss: Money = Decimal(20_000)
    lease_s: Annotated[float, Field(ge=2, le=60)] = 5.0
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8644
    token_file: Path = Path("var/budget.token")
    books_file: Path = Path("var/budget.json")

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if host not in LOOPBACK:
            raise ValueError("127.0.0.1, ::1 or localhost: other machines come through a tunnel of their own")
        return host


class BudgetShare(Section):
    """The service from which a daemon leases what it may hold; null: its own limits alone."""

    url: str | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")] | None = None
    token_file: Path = Path("var/budget.token")

    @field_validator("url")
    @classmethod
    def _local(cls, url: str | None) -> str | None:
        if url is None:
            return url
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.scheme != "http" or host not in LOOPBACK or parts.path not in ("", "/") or parts.query:
            raise ValueError("http://127.0.0.1:PORT, where hrmd budget listens or a tunnel to it begins")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.url is not None and self.name is None:
            raise ValueError("a name with url: by it the budget tells its daemons apart")
        return self
