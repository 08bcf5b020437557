"""Which addresses are this machine's."""

from __future__ import annotations

import pytest

from daemon.calls.addresses import check_encrypted, is_local
from daemon.core.errors import SettingsError


@pytest.mark.parametrize("address", ["http://127.0.0.1:8790/api", "ws://localhost/x", "http://[::1]:1/"])
def test_loopback_is_local(address: str) -> None:
    """By number or name."""
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    ["https://api-t1.fyers.in/api/v3", "http://127.0.0.1.example.com/", "http://example.com/127.0.0.1", "", "nonsense",
     "http://localhost@example.com/", "http://[::1", "http://0.0.0.0:1/", "http://127.0.0.1:99999999/"],
)  # fmt: skip
def test_everything_else_is_not(address: str) -> None:
    """Nor is what can't be read."""
    assert not is_local(address)


@pytest.mark.parametrize("address", ["https://example.com/x", "wss://example.com", "http://127.0.0.1:1", "ws://[::1]/"])
def test_what_a_token_may_be_shown_to(address: str) -> None:
    """Anybody over TLS, and this machine."""
    check_encrypted("a.key", address)


@pytest.mark.parametrize("address", ["http://example.com", "ws://127.0.0.1.example.com", "ftp://x", "", "http://[::1"])
def test_what_it_may_not_be_shown_to(address: str) -> None:
    """Anybody else, nor what can't be read; the key and the address are named."""
    with pytest.raises(SettingsError, match=r"^a\.key: expected https:// or wss://"):
        check_encrypted("a.key", address)
