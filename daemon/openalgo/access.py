"""Settings → what every caller of an OpenAlgo server goes by: addresses and key.

Invariant: a key that leaves this machine leaves it encrypted, and comes from a file that only its owner can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from daemon.brokers.calls import rate_budget
from daemon.brokers.history_download import LIMITS
from daemon.calls.addresses import check_encrypted
from daemon.calls.secret import Secret, read_secret
from daemon.core.clock import Clock
from daemon.core.errors import SettingsError
from daemon.market.instruments import InstrumentBook
from daemon.openalgo.rest import OpenAlgoRest
from daemon.openalgo.symbols import Names
from daemon.orders.token_keeper import Access
from daemon.settings.orders import BrokerSettings, OpenAlgoSettings

KEY: Final = "broker.openalgo.key_file"
CREDENTIAL: Final = "openalgo-key"
RENEW: Final = "log in to the broker in OpenAlgo, or put another key into broker.openalgo.key_file"
"""OpenAlgo refuses the key as well where its own login to the broker is over."""
MAKES: Final = "OpenAlgo shows the key on its page API Key; put it there, and chmod 600"


def check_addresses(settings: OpenAlgoSettings) -> None:
    """Raise `SettingsError` for an address that would see the key in the clear."""
    for name in ("url", "socket_url"):
        check_encrypted(f"broker.openalgo.{name}", getattr(settings, name))


def access(settings: OpenAlgoSettings, environment: Mapping[str, str] = os.environ) -> Access:
    """The API key, of systemd's credential or the file."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory) / CREDENTIAL if directory else None
    given = credential is not None and credential.exists()
    path = credential if credential is not None and given else settings.key_file

    def read() -> Secret:
        secret = read_secret(path, KEY, MAKES, private=not given)
        if not secret.reveal():
            raise SettingsError(f"{KEY}: {path} is empty; {MAKES}")
        return secret

    return Access("OpenAlgo key", path, read, RENEW, RENEW)


def history(broker: BrokerSettings, clock: Clock, instruments: InstrumentBook) -> OpenAlgoRest:
    """The account's candles of the past. Raises `SettingsError` for a key that can't be read."""
    server = broker.openalgo
    check_addresses(server)
    return OpenAlgoRest(
        server.url, access(server).read(), rate_budget(server, limits=LIMITS), clock,
        names=Names(instruments.resolve),
    )  # fmt: skip
