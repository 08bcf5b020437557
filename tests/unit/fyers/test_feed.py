"""From settings to the live feed: what it needs, what it must not be mixed with, and what it says where that lacks."""

from __future__ import annotations

import importlib.machinery
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.calls.budget import RateBudget
from daemon.calls.outcome import Done, NotSent
from daemon.core.aside import Aside
from daemon.core.clock import NS_PER_S, LiveClock, PacedClock
from daemon.core.errors import SettingsError
from daemon.feed.live.time import live_clock, live_schedule
from daemon.fyers.broker import FyersBroker
from daemon.fyers.feed import Venue, check_live, read_token, ticks_are_real
from daemon.market.calendar import MarketCalendar
from daemon.settings.orders import FyersSettings
from daemon.settings.tree import Settings
from tests.samples import OPEN, SBIN, settings_of
from tests.threads import Hung
from tests.unit.sandbox.desk import APP_ID, TOKEN, opened

LOCAL_FEED = (
    "broker.fyers.socket_url=ws://127.0.0.1:1/hsm", "broker.fyers.symbol_token_url=http://localhost:1/token",
    "broker.fyers.index_map_url=http://127.0.0.1:1/indices",
)  # fmt: skip
LOCAL_BROKER = (
    "broker.fyers.api_url=http://127.0.0.1:1/api", "broker.fyers.data_url=http://127.0.0.1:1/data",
    "broker.fyers.order_socket_url=ws://127.0.0.1:1/trade",
)  # fmt: skip


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A token file."""
    path = tmp_path / "token"
    path.write_text("aaa.bbb.ccc\n")
    path.chmod(0o600)
    return path


def fyers(token: Path, *changes: str) -> Settings:
    """A live feed of one share."""
    return settings_of("feed.source=fyers", f"feed.symbols=[{SBIN}]", f"broker.fyers.token_file={token}", *changes)


def test_symbols_are_asked_for(token: Path) -> None:
    """One line, with an example."""
    with pytest.raises(SettingsError, match=r'feed\.symbols: expected at least one .* such as \["NSE:SBIN-EQ"\]'):
        check_live(fyers(token, "feed.symbols=[]"))


def test_a_symbol_twice_is_refused(token: Path) -> None:
    """By the settings themselves."""
    with pytest.raises(SettingsError, match=r"feed\.symbols: expected each symbol once"):
        fyers(token, f"feed.symbols=[{SBIN}, {SBIN}]")


def test_without_a_token_it_points_to_the_login(tmp_path: Path, token: Path) -> None:
    """A missing file, an empty one, one that isn't text."""
    pytest.importorskip("fyers_apiv3")
    for path, content in ((tmp_path / "no", None), (tmp_path / "empty", b"\n"), (tmp_path / "bytes", b"\xff\xfe")):
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        with pytest.raises(SettingsError, match=r"broker\.fyers\.token_file: .*hrmd login"):
            check_live(fyers(path))
    assert read_token(fyers(token).broker.fyers) == "aaa.bbb.ccc"


def test_without_the_sdk_it_says_what_to_install(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of it is imported to find out."""

    class Nothing(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: object = None, target: object = None) -> None:
            return None

    for name in [name for name in sys.modules if name.startswith("fyers_apiv3")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Nothing])
    with pytest.raises(SettingsError, match=r"the Fyers SDK is not installed; make setup .*--no-deps fyers-apiv3"):
        check_live(fyers(token))


def test_a_rehearsal_is_for_this_machine_alone(token: Path) -> None:
    """Ticks from outside don't say what time it is here."""
    pytest.importorskip("fyers_apiv3")
    with pytest.raises(SettingsError, match=r"broker\.fyers\.index_map_url: expected an address on this machine"):
        check_live(fyers(token, "feed.rehearse=true", *LOCAL_FEED[:2]))
    check_live(fyers(token, "feed.rehearse=true", *LOCAL_FEED))
    assert isinstance(live_clock(fyers(token, "feed.rehearse=true")), PacedClock)
    assert isinstance(live_clock(fyers(token)), LiveClock)


def test_a_rehearsal_is_as_fast_as_the_sandbox(token: Path) -> None:
    """`feed.speed` is that of the tape that it plays."""
    clock = live_clock(fyers(token, "feed.rehearse=true", "feed.speed=100"))
    assert isinstance(clock, PacedClock)
    clock.start(OPEN)
    assert clock.wall_seconds_until(OPEN + 1000 * NS_PER_S) <= 10.0


def test_ticks_are_real_only_where_nothing_of_them_is_local(token: Path) -> None:
    """A sandbox in part is a sandbox."""
    assert ticks_are_real(fyers(token))
    assert not ticks_are_real(fyers(token, "feed.rehearse=true"))
    for address in LOCAL_FEED:
        assert not ticks_are_real(fyers(token, address))


def test_real_orders_need_real_ticks_and_to_be_asked_for(token: Path) -> None:
    """Each alone is refused, at each address; both together are what trading is."""
    asked = fyers(token, "broker.live.real_money=true").broker
    with pytest.raises(SettingsError, match="ticks of a tape or a sandbox place no real orders"):
        FyersBroker(asked, LiveClock())
    with pytest.raises(SettingsError, match=r"broker\.live\.real_money is not set"):
        FyersBroker(fyers(token).broker, LiveClock(), real_ticks=True)
    for left_out in range(3):
        places = [address for number, address in enumerate(LOCAL_BROKER) if number != left_out]
        with pytest.raises(SettingsError, match="expected an address on this machine"):
            FyersBroker(fyers(token, *places, "broker.live.real_money=true").broker, LiveClock())
    FyersBroker(fyers(token, *LOCAL_BROKER).broker, LiveClock())
    FyersBroker(asked, LiveClock(), real_ticks=True)


async def test_quotes_are_asked_for_with_the_token_of_the_day(tmp_path: Path) -> None:
    """A token that is gone for a while, or is no token, asks nothing and breaks nothing."""
    async with opened() as desk:
        path, places = tmp_path / "token", desk.endpoints
        path.write_text(TOKEN)
        settings = FyersSettings(
            api_url=places.api, data_url=places.data, order_socket_url=places.orders, token_file=path, app_id=APP_ID
        )
        clock = LiveClock()
        venue = Venue(settings, clock, RateBudget(clock))
        answer = await venue.quotes([SBIN])
        assert isinstance(answer, Done)
        assert answer.value[0].last == Decimal("820.5")
        path.write_text("two words")
        assert isinstance(await venue.quotes([SBIN]), NotSent)
        path.unlink()
        assert isinstance(await venue.quotes([SBIN]), NotSent)
        path.write_text(TOKEN)
        assert isinstance(await venue.quotes([SBIN]), Done)
        await venue.close()


async def test_a_token_file_on_a_disk_that_hangs_holds_up_no_loop(tmp_path: Path) -> None:
    """Nothing is asked meanwhile; once the disk goes on, it is."""
    async with opened() as desk:
        path, places, hung = tmp_path / "token", desk.endpoints, Hung()
        path.write_text(TOKEN)
        settings = FyersSettings(
            api_url=places.api, data_url=places.data, order_socket_url=places.orders, token_file=path, app_id=APP_ID
        )
        clock = LiveClock()
        venue = Venue(settings, clock, RateBudget(clock))
        venue.disk = Aside("quotes token", hung.thread)
        assert await venue.quotes([SBIN]) == NotSent("the token's file can't be read (no answer for 2 s)")
        hung.goes_on.set()
        assert isinstance(await venue.quotes([SBIN]), Done)
        await venue.close()


def test_every_bar_of_every_interval_has_its_moment(token: Path) -> None:
    """3m and 5m meet every minute, so that each bar can be marked before it closes."""
    settings = fyers(token, "bars.intervals=[3m, 5m, 30m, 1d]")
    session = MarketCalendar().session_at(OPEN)
    assert session is not None
    moments = live_schedule(settings).of(session)
    assert {OPEN + minute * 60_000_000_000 + 1_000_000_000 for minute in range(1, 376)} <= set(moments)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("broker.fyers.socket_url=ws://feed.example.com/hsm", r"broker\.fyers\.socket_url"),
        ("broker.fyers.symbol_token_url=http://10.0.0.5/token", r"broker\.fyers\.symbol_token_url"),
        ("broker.fyers.index_map_url=http://127.0.0.1.example.com/", r"broker\.fyers\.index_map_url"),
        ("broker.fyers.data_url=http://api-t1.fyers.in/data", r"broker\.fyers\.data_url"),
    ],
)
def test_no_token_travels_in_the_clear(token: Path, address: str, key: str) -> None:
    """Whatever the ticks are for: an address beyond this machine is encrypted, or refused in one line."""
    pytest.importorskip("fyers_apiv3")
    with pytest.raises(SettingsError, match=key + ": expected https:// or wss:// .* in the clear$"):
        check_live(fyers(token, address))


def test_a_token_that_others_may_read_is_refused_where_it_leaves_the_machine(token: Path) -> None:
    """On real ticks, whatever orders there are; the token of a sandbox's feed, which stays here, opens nothing."""
    pytest.importorskip("fyers_apiv3")
    token.chmod(0o640)
    for changes in ((), LOCAL_FEED[:1], LOCAL_BROKER):
        with pytest.raises(SettingsError, match=r"others may read .*token \(mode 0640\): chmod 600 .*token"):
            check_live(fyers(token, *changes))
    check_live(fyers(token, *LOCAL_FEED))
    token.chmod(0o600)
    check_live(fyers(token))
