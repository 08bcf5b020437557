"""Settings → what every caller of an account's API goes by: addresses and token.

Invariant: a token that leaves this machine leaves it encrypted, and comes from a file that only its owner can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from daemon.brokers.calls import rate_budget
from daemon.brokers.history_download import LIMITS
from daemon.calls.addresses import check_encrypted, is_local
from daemon.calls.secret import Secret
from daemon.core.clock import Clock
from daemon.core.errors import SettingsError
from daemon.fyers.credentials import Credentials, read_token, token_path
from daemon.fyers.rest import Endpoints, FyersRest
from daemon.market.instruments import InstrumentBook
from daemon.settings.orders import BrokerSettings, FyersSettings

SANDBOX_APP_ID = FyersSettings().app_id
"""As settings have it until somebody sets another."""
ADDRESSES = ("api_url", "data_url", "order_socket_url")


def endpoints(settings: FyersSettings) -> Endpoints:
    """Where the account's API is. Raises `SettingsError` for an address that would see the token in the clear."""
    for name in ADDRESSES:
        check_encrypted(f"broker.fyers.{name}", getattr(settings, name))
    return Endpoints(settings.api_url, settings.data_url, settings.order_socket_url)


def check_app_id(settings: FyersSettings) -> None:
    """Raise `SettingsError` where a login at Fyers itself would be that of no app, or of the sandbox's."""
    app_id = settings.app_id.strip()
    if is_local(settings.api_url) or (app_id and app_id.upper() != SANDBOX_APP_ID):
        return
    what = f"{app_id} is the sandbox's app" if app_id else "is not set"
    raise SettingsError(
        f"broker.fyers.app_id: {what}, and {settings.api_url} is none; expected the id of your own app, such as "
        "ABCDEFGHIJ-100 (myapi.fyers.in shows it)"
    )


def leaves_machine(settings: FyersSettings) -> bool:
    """Whether the token is shown to anybody beyond this machine."""
    return not all(is_local(getattr(settings, name)) for name in ADDRESSES)


def token_is_private(settings: FyersSettings, environment: Mapping[str, str], *, leaves: bool | None = None) -> bool:
    """Whether the token's file must be its owner's alone: one that stays here is a sandbox's and opens nothing.

    `leaves`: whether it leaves this machine; None where it goes to the addresses of `broker.fyers`. systemd guards its
    credentials itself.
    """
    from_file = token_path(settings.token_file, environment) == settings.token_file
    return from_file and (leaves_machine(settings) if leaves is None else leaves)


def token_of(settings: FyersSettings, environment: Mapping[str, str], *, leaves: bool | None = None) -> Secret:
    """The account's token, of systemd's credential or the file. Raises `SettingsError` that says what is wrong."""
    private = token_is_private(settings, environment, leaves=leaves)
    return read_token(token_path(settings.token_file, environment), private=private)


def history(broker: BrokerSettings, clock: Clock, _: InstrumentBook) -> FyersRest:
    """The account's candles of the past; symbols are Fyers'. Raises `SettingsError` for a token that can't be read."""
    fyers = broker.fyers
    places = endpoints(fyers)  # before the token is read: it must not go there in the clear
    credentials = Credentials(fyers.app_id, token_of(fyers, os.environ).reveal())
    return FyersRest(credentials, rate_budget(fyers, limits=LIMITS), clock, places)
