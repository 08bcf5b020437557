"""Calls beside orders and book: shares, depth, history, market status, login, clock skew."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from pathlib import Path

from yarl import URL

from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.outcome import NotSent, Rejected, Unknown
from daemon.calls.secret import Secret, expiry_ns
from daemon.core.clock import LiveClock
from daemon.fyers.requests import Product
from daemon.fyers.rest import Endpoints, FyersRest
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.market_rest import SECRET
from tests.samples import MINUTE, OPEN, wave, write_tape
from tests.unit.fyers.test_rest import value_of
from tests.unit.sandbox.desk import APP_ID, QUICK, SBIN, WIDE, Desk, opened, order

NOW = Purpose.ORDINARY
MONDAY = dt.date(2026, 1, 5)


async def test_holdings() -> None:
    """Shares bought for delivery are there; an intraday position isn't."""
    async with opened() as desk:
        await desk.rest.place(order("a", product=Product.CNC), NOW)
        await desk.rest.place(order("b"), NOW)
        desk.price("830")
        (held,) = value_of(await desk.rest.holdings())
        assert (held.symbol, held.quantity, held.cost_price, held.last) == (SBIN, 10, Decimal("820.5"), Decimal(830))


async def test_depth() -> None:
    """Five prices a side, best first, and the price band."""
    async with opened() as desk:
        desk.price("820.55", bid=Decimal("820.5"), ask=Decimal("820.6"), bid_quantity=7, ask_quantity=9)
        depth = value_of(await desk.rest.depth(SBIN))
        assert [level.price for level in depth.bids[:2]] == [Decimal("820.5"), Decimal("820.45")]
        assert (depth.asks[0].price, depth.asks[0].quantity, len(depth.asks)) == (Decimal("820.6"), 9, 5)
        assert depth.lower_circuit < depth.last < depth.upper_circuit
        assert isinstance(await desk.rest.depth("NSE:NONE-EQ"), Rejected)


async def test_history(tmp_path: Path) -> None:
    """Candles of the tape; a day without any is no error; an interval that nobody has is."""
    times, prices = wave(minutes=10)
    tape = write_tape(tmp_path / "t.parquet", times, prices)
    async with opened(tapes=(tape,)) as desk:
        found = value_of(await desk.rest.history(SBIN, "5", MONDAY, MONDAY))
        assert [candle.start_s for candle in found] == [OPEN // 10**9, (OPEN + 5 * MINUTE) // 10**9]
        inside = [price for ts, price in zip(times, prices, strict=True) if ts < OPEN + 5 * MINUTE]
        first = found[0]
        assert (first.open, first.close) == (inside[0], inside[-1])
        assert (first.high, first.low) == (max(inside), min(inside))
        (day,) = value_of(await desk.rest.history(SBIN, "D", MONDAY, MONDAY))
        assert (day.start_s, day.open, day.close) == (1_767_571_200, prices[0], prices[-1])
        assert value_of(await desk.rest.history(SBIN, "5", dt.date(2026, 1, 6), dt.date(2026, 1, 6))) == []
        assert isinstance(await desk.rest.history(SBIN, "7", MONDAY, MONDAY), Rejected)
        assert isinstance(await desk.rest.history(SBIN, "5", dt.date(2025, 9, 1), MONDAY), Rejected)


async def test_market_status() -> None:
    """Each segment by name."""
    async with opened() as desk:
        found = value_of(await desk.rest.market_status())
        assert {(item.exchange, item.segment) for item in found} >= {("NSE", "CM"), ("NSE", "FO"), ("BSE", "CM")}
        assert {item.status for item in found} <= {"OPEN", "CLOSED", "PREOPEN"}


async def test_the_clock_is_compared_with_the_venue_s() -> None:
    """Unknown before the first answer; then within the second that the header leaves open."""
    async with opened() as desk:
        assert desk.rest.skew_s is None
        await desk.rest.profile()
        assert desk.rest.skew_s is not None
        assert abs(desk.rest.skew_s) < 5


def app_id_hash(secret: str) -> str:
    """What Fyers wants in place of the secret."""
    return hashlib.sha256(f"{APP_ID}:{secret}".encode()).hexdigest()


async def code_of(desk: Desk) -> Secret:
    """Log in, as a browser would, and take the code from the address that one is sent to."""
    query = {"client_id": APP_ID, "redirect_uri": "http://127.0.0.1:1/", "response_type": "code", "state": "s"}
    url = f"{desk.server.url}/api/v3/generate-authcode"
    async with desk.http.get(url, params=query, allow_redirects=False) as answer:
        return Secret(URL(answer.headers["Location"]).query["auth_code"])


async def test_a_code_becomes_a_token_once() -> None:
    """The right secret brings a token that ends and that the venue takes; a second time, or a wrong secret, doesn't."""
    async with opened() as desk:
        clock = LiveClock()
        async with FyersRest(None, RateBudget(clock, WIDE), clock, Endpoints.at(desk.server.url), QUICK) as rest:
            code = await code_of(desk)
            wrong = await rest.validate_authcode(app_id_hash("guess"), code)
            assert isinstance(wrong, Rejected)
            token = value_of(await rest.validate_authcode(app_id_hash(SECRET), code))
            again = await rest.validate_authcode(app_id_hash(SECRET), code)
            assert isinstance(again, Rejected)
            assert code.reveal() not in again.message
            assert "***" in again.message
        assert token.reveal() not in repr(token)
        ends = expiry_ns(token)
        assert ends is not None
        assert ends > clock.now_ns()
        assert isinstance(await desk.rest.profile(), Rejected)


async def test_retry_after_is_heeded_by_every_call() -> None:
    """After a 429 of one call the next kind of call waits too, and says so."""
    async with opened() as desk:
        desk.trouble(FaultKind.LIMITED, Route.HISTORY, seconds=30)
        assert isinstance(await desk.rest.history(SBIN, "5", MONDAY, MONDAY), NotSent)
        waiting = await desk.rest.holdings()
        assert isinstance(waiting, NotSent)
        assert (waiting.retry_after_s or 0) > 20


async def test_time_outs_are_everywhere() -> None:
    """A call that is not answered ends."""
    async with opened() as desk:
        desk.trouble(FaultKind.DELAY, Route.DEPTH, seconds=0.6)
        assert await desk.rest.depth(SBIN) == Unknown("no answer in time")
