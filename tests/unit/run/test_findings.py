"""What each finding of the preflight says on both sides of its limit."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.calls.outcome import Done
from daemon.calls.secret import Secret
from daemon.core.clock import NS_PER_S, LiveClock
from daemon.fyers.credentials import write_token
from daemon.fyers.findings import address_finding, funds_finding, market_finding, token_finding
from daemon.market.calendar import MarketCalendar, ist_ns
from daemon.market.records import MarketState
from daemon.orders.venue import Funds
from daemon.preflight import Finding, State, skew_finding
from daemon.run.findings import (
    calendar_finding,
    live_findings,
    master_finding,
)
from daemon.sandbox.faults import FaultKind, Route
from daemon.sandbox.market_rest import make_token
from tests.samples import CLOSE, OPEN, settings_of
from tests.unit.market.masters import DAY, put
from tests.unit.sandbox.desk import TOKEN, Desk, opened

END_S = 1_767_650_400


def states(*findings: Finding) -> list[str]:
    """Of each."""
    return [finding.state.value for finding in findings]


def told(status: str) -> Done[list[MarketState]]:
    """What the broker says of both segments."""
    return Done([MarketState(exchange="NSE", segment=name, market="NORMAL", status=status) for name in ("CM", "FO")])


def test_clock() -> None:
    """Below a second nothing can be said, beyond two ticks are rejected; no time at all is worth a look."""
    assert states(*map(skew_finding, (0.0, -0.9, 1.1, -1.9, 2.1, -60.0, None))) == [
        "ok", "ok", "warn", "warn", "fail", "fail", "warn",
    ]  # fmt: skip
    assert skew_finding(-3.0).text == "3.0 s behind the broker's (± 0.5 s)"


def test_token(tmp_path: Path) -> None:
    """Ended, readable by others, ending soon, or well."""
    path, token = tmp_path / "token", Secret(make_token(END_S))
    write_token(path, token)

    def at(before_s: int, *, credential: bool = False) -> Finding:
        return token_finding(token, path, 3600, (END_S - before_s) * NS_PER_S, credential=credential)

    assert states(at(7200), at(3600), at(0)) == ["ok", "warn", "fail"]
    path.chmod(0o640)
    assert at(7200).text.endswith("others may read it (mode 0640)")
    assert at(7200).do == f"chmod 600 {path}"
    assert states(at(7200), at(7200, credential=True)) == ["fail", "ok"]
    assert token.reveal() not in str([at(7200), at(0)])


def test_funds() -> None:
    """Nothing free is said, but closing needs nothing."""
    purse = Funds(total=Decimal(5), utilised=Decimal(5), available=Decimal(0), realised=Decimal(0))
    assert states(funds_finding(Done(purse))) == ["warn"]


def test_market() -> None:
    """The broker's word against the calendar's."""
    calendar = MarketCalendar()
    found = [market_finding(told(status), ts, calendar) for status in ("OPEN", "CLOSED") for ts in (OPEN, CLOSE + 1)]
    assert states(*found) == ["ok", "warn", "fail", "ok"]
    assert states(market_finding(Done([]), OPEN, calendar)) == ["fail"]
    unconfirmed = ist_ns(dt.date(2027, 3, 2), "11:00")
    assert states(*(market_finding(told(status), unconfirmed, calendar) for status in ("OPEN", "CLOSED"))) == [
        "ok", "fail",
    ]  # fmt: skip


def test_the_calendar_warns_in_time() -> None:
    """Sixty days before NSE's list ends, and after; never a reason to stay out."""
    calendar, end = MarketCalendar(), MarketCalendar().confirmed_to
    found = [calendar_finding(calendar, end - dt.timedelta(days=days)) for days in (60, 59, 0, -1)]
    assert states(*found) == ["ok", "warn", "warn", "warn"]
    assert all(finding.ok for finding in found)
    assert "59 days from now" in found[1].text
    assert "1 days ago" in found[3].text
    assert found[1].do.startswith("hrmd calendar update --from FILE")


def test_symbols(tmp_path: Path) -> None:
    """Today's copy, an old one, none, a broken one, or none needed."""
    settings = settings_of(
        "market.symbol_master.use=always", f"market.symbol_master.directory={tmp_path}",
        "market.symbol_master.min_rows=1",
    )  # fmt: skip
    assert states(master_finding(settings, DAY)) == ["warn"]
    put(tmp_path)
    assert master_finding(settings, DAY).text == "11 symbols of 2026-01-05"
    assert states(master_finding(settings, DAY + dt.timedelta(days=1))) == ["warn"]
    (tmp_path / "2026-01-05" / "NSE_FO.csv").write_text("")
    assert states(master_finding(settings, DAY)) == ["fail"]
    assert states(master_finding(settings_of(), DAY)) == ["ok"]


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("NSE:SBINN-EQ", "feed.symbols: NSE:SBINN-EQ: not in the symbol master of 2026-01-05"),
        ("NSE:NIFTY26FEB26000CE", "feed.symbols: NSE:NIFTY26FEB26000CE: not in the symbol master of 2026-01-05"),
        ("NSE:NIFTY50-INDEX", "11 symbols of 2026-01-05"),
        ("NSE:NIFTY-FUT1", "11 symbols of 2026-01-05"),
    ],
)
def test_a_symbol_that_the_exchange_does_not_have(tmp_path: Path, symbol: str, words: str) -> None:
    """No tick of it would ever come."""
    put(tmp_path)
    settings = settings_of(
        "market.symbol_master.use=always", f"market.symbol_master.directory={tmp_path}",
        "market.symbol_master.min_rows=1", f"feed.symbols=['NSE:SBIN-EQ', '{symbol}']",
    )  # fmt: skip
    found = master_finding(settings, DAY)
    assert (found.text, found.ok) == (words, words.startswith("11"))


def test_a_symbol_without_a_lot_is_found_before_the_start() -> None:
    """Where no master would say it."""
    found = master_finding(settings_of("feed.symbols=['NSE:SBIN-EQ', 'NSE:RELIANCE26JANFUT']"), DAY)
    assert states(found) == ["fail"]
    assert found.text.startswith("feed.symbols: NSE:RELIANCE26JANFUT: its lot is not known; add {symbol:")


def test_address() -> None:
    """Nobody listens there."""
    assert states(address_finding("http://127.0.0.1:1/api/v3")) == ["fail"]


async def looked(desk: Desk, directory: Path, token: str = TOKEN) -> dict[str, Finding]:
    """All findings against the sandbox."""
    write_token(directory / "token", Secret(token))
    places = desk.endpoints
    settings = settings_of(
        "broker.name=fyers", f"broker.fyers.api_url={places.api}", f"broker.fyers.data_url={places.data}",
        f"broker.fyers.token_file={directory}/token", f"journal.path={directory}/j.sqlite", "broker.live.answer_s=0.3",
        f"broker.fyers.calls_file={directory}/calls",
    )  # fmt: skip
    return {finding.name: finding for finding in await live_findings(settings, {}, LiveClock())}


async def test_all_is_well(tmp_path: Path) -> None:
    """Every subject is there and none fails; no order was sent, and no text holds the token."""
    async with opened() as desk:
        found = await looked(desk, tmp_path)
        assert list(found) == [
            "broker", "sdk", "token", "account", "clock", "funds", "market", "static ip", "symbols", "disk",
        ]  # fmt: skip
        assert [finding for finding in found.values() if finding.state is State.FAIL] == []
        assert desk.book == []
        assert TOKEN not in str(found)
        assert found["funds"].text == "₹10,00,000.00 available of ₹10,00,000.00"


async def test_a_token_that_the_broker_refuses(tmp_path: Path) -> None:
    """Says what gets another one."""
    async with opened() as desk:
        found = await looked(desk, tmp_path, "other-token")
        for name in ("account", "funds", "market"):
            assert (found[name].state, found[name].do) == (State.FAIL, "hrmd login")


async def test_a_broker_that_does_not_answer(tmp_path: Path) -> None:
    """Each subject fails by itself; the others are still looked at."""
    async with opened() as desk:
        desk.trouble(FaultKind.BROKEN, Route.FUNDS)
        found = await looked(desk, tmp_path)
        assert [name for name, finding in found.items() if finding.state is State.FAIL] == ["funds"]
        assert found["funds"].text.startswith("no answer (HTTP 502")


@pytest.mark.parametrize("text", ["", "two words"])
async def test_no_token(tmp_path: Path, text: str) -> None:
    """An empty file and one with something else: the broker isn't asked."""
    async with opened() as desk:
        found = await looked(desk, tmp_path, text)
        assert (found["token"].state, found["token"].do) == (State.FAIL, "hrmd login")
        assert "account" not in found
