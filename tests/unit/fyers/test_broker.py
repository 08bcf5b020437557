"""The Fyers account as a broker: how market orders go out, and what it notes of its token."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from daemon.calls.budget import RateBudget
from daemon.calls.outcome import Done, Rejected
from daemon.calls.secret import Secret
from daemon.core.clock import LiveClock
from daemon.core.errors import SettingsError
from daemon.core.events import OrderType, Side
from daemon.fyers.broker import FyersBroker
from daemon.settings.orders import BrokerSettings
from tests.samples import fyers_settings, intend
from tests.unit.sandbox.desk import TOKEN, WIDE, Desk, opened


def broker_at(desk: Desk, directory: Path, **settings: Any) -> FyersBroker:
    """A broker on this sandbox."""
    token, places, clock = directory / "token", desk.endpoints, LiveClock()
    token.write_text(TOKEN)
    fyers = fyers_settings(
        api_url=places.api, data_url=places.data, order_socket_url=places.orders, token_file=token, **settings
    )
    return FyersBroker(fyers, clock, RateBudget(clock, WIDE))


@pytest.mark.parametrize(
    ("how", "side", "kind", "limit"),
    [
        ("market", Side.BUY, OrderType.MARKET, "0"),
        ("protected", Side.BUY, OrderType.LIMIT, "824.60"),
        ("protected", Side.SELL, OrderType.LIMIT, "816.40"),
    ],
)
async def test_market_orders(tmp_path: Path, how: str, side: Side, kind: OrderType, limit: str) -> None:
    """As they are, or half a per cent beyond the last price and on the grid; an exit as an entry."""
    async with opened() as desk:
        broker = broker_at(desk, tmp_path, market_orders=how)
        intent = intend("T1", side, 10, reference_price=Decimal("820.5"), reduces=side is Side.SELL)
        assert isinstance(await broker.submit(intent), Done)
        await broker.close()
        (order,) = desk.book
        assert (order.wanted.type, order.wanted.limit_price) == (kind, Decimal(limit))


async def test_a_refused_token_is_noted_until_it_is_taken_again(tmp_path: Path) -> None:
    """Any call tells; a fresh token starts afresh."""
    async with opened() as desk:
        broker = broker_at(desk, tmp_path)
        await desk.admin("POST", "token", {})
        assert isinstance(await broker.funds(), Rejected)
        assert broker.refusal == "Could not authenticate the user"
        await desk.admin("POST", "token", {"authorization": "SANDBOX-100:fresh"})
        assert isinstance(await broker.funds(), Rejected)
        broker.authorize(Secret("fresh"))
        assert broker.refusal == ""
        assert isinstance(await broker.funds(), Done)
        await broker.close()


@pytest.mark.parametrize("name", ["api_url", "data_url", "order_socket_url"])
def test_real_money_travels_encrypted_and_by_a_token_of_ones_own(tmp_path: Path, name: str) -> None:
    """An address beyond this machine in the clear, or a token that others may read: one line each, and no broker."""
    token = tmp_path / "token"
    token.write_text("t")
    token.chmod(0o644)
    real = {"real_money": True, "token_file": token}
    with pytest.raises(SettingsError, match=rf"others may read {token} \(mode 0644\): chmod 600 {token}"):
        FyersBroker(fyers_settings(**real), LiveClock(), real_ticks=True)
    token.chmod(0o600)
    FyersBroker(fyers_settings(**real), LiveClock(), real_ticks=True)
    clear = getattr(BrokerSettings().fyers, name).replace("https:", "http:").replace("wss:", "ws:")
    with pytest.raises(SettingsError, match=rf"broker\.fyers\.{name}: expected https:// or wss:// .*'{clear}'"):
        FyersBroker(fyers_settings(**real, **{name: clear}), LiveClock(), real_ticks=True)
